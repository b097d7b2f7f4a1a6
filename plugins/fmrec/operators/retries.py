"""Which failures are worth another attempt, and after how long."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import RetryAction, RetryDecision, RetryPolicy
from airflow.sdk.exceptions import AirflowTaskTimeout
from botocore.exceptions import ClientError

from fmrec import errors

# What AWS answers when it is asked too often or has a bad moment; S3 has words of its own.
_BUSY = frozenset(
    {
        "ThrottlingException",
        "Throttling",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "SlowDown",
        "InternalFailure",
        "InternalError",
        "ServiceUnavailable",
        "ResourceLimitExceeded",
    }
)
# What it answers as long as nobody changes the request, the rights or the bucket.
_REFUSED = frozenset(
    {
        "ValidationException",
        "ValidationError",
        "AccessDenied",
        "AccessDeniedException",
        "UnauthorizedOperation",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "NoSuchBucket",
        "AllAccessDisabled",
    }
)

LONGEST_DELAY = timedelta(minutes=30)


class Retries(RetryPolicy):
    """Fail at once what would fail again; give a busy service more time than a bad moment."""

    def __init__(self, first: timedelta) -> None:
        self._first = first

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,
        context: object = None,
    ) -> RetryDecision:
        """What becomes of a task that has failed with an exception."""
        code = exception.response["Error"]["Code"] if isinstance(exception, ClientError) else ""
        if isinstance(exception, errors.PERMANENT) or code in _REFUSED:
            return RetryDecision.fail("repeating it would fail in the same way")
        if isinstance(exception, AirflowTaskTimeout):
            return RetryDecision.fail("execution_timeout is over; another attempt has no more time")
        if isinstance(exception, errors.BusyError) or code in _BUSY:
            # Attempts are counted on when a task is cleared.
            delay = min(self._first * 4 * 2 ** min(try_number - 1, 16), LONGEST_DELAY)
            return RetryDecision.retry(delay, "AWS is busy: the next attempt waits longer")
        return RetryDecision.default()


def is_final(exception: BaseException, ti: Any) -> bool:
    """Whether a failure with an exception is the last of a task instance."""
    decision = Retries(timedelta(0)).evaluate(exception, ti.try_number, ti.max_tries)
    return decision.action is RetryAction.FAIL or ti.try_number > ti.max_tries
