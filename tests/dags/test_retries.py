"""What is repeated, what is not, and after how long."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import AirflowTaskTimeout
from botocore.exceptions import ClientError

from fmrec import errors
from fmrec.operators.retries import Retries

FIRST = timedelta(seconds=30)


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "said AWS"}}, "PutObject")


@pytest.mark.parametrize("kind", errors.PERMANENT)
def test_what_would_fail_again_fails_at_once(kind: type[Exception]) -> None:
    assert Retries(FIRST).evaluate(kind("x"), 1, 3).action is RetryAction.FAIL


def test_a_task_whose_time_is_over_gets_no_more_of_it() -> None:
    """Its job was stopped; another one would cost as much and be stopped as well."""
    assert Retries(FIRST).evaluate(AirflowTaskTimeout("x"), 1, 3).action is RetryAction.FAIL


@pytest.mark.parametrize("code", ["NoSuchBucket", "AccessDenied", "ValidationException"])
def test_a_refusal_of_aws_fails_at_once(code: str) -> None:
    decision = Retries(FIRST).evaluate(refused(code), 1, 3)
    assert decision.action is RetryAction.FAIL
    assert decision.reason


@pytest.mark.parametrize(
    "error", [refused("ThrottlingException"), refused("SlowDown"), errors.BusyError("no room")]
)
def test_a_busy_aws_is_given_more_time_each_time(error: Exception) -> None:
    decisions = [Retries(FIRST).evaluate(error, attempt, 3) for attempt in (1, 2, 3)]
    assert {each.action for each in decisions} == {RetryAction.RETRY}
    delays = [each.retry_delay for each in decisions]
    assert delays == [timedelta(minutes=minutes) for minutes in (2, 4, 8)]


def test_attempts_that_are_counted_on_after_a_clear_wait_no_longer_than_half_an_hour() -> None:
    for attempt in (5, 9, 100):
        decision = Retries(FIRST).evaluate(errors.BusyError("no room"), attempt, attempt + 3)
        assert decision.retry_delay == timedelta(minutes=30)


@pytest.mark.parametrize(
    "error",
    [errors.JobError("x"), errors.StoreError("x"), errors.DownloadError("x"), ConnectionError(),
     refused("SomethingNew")],
)  # fmt: skip
def test_a_bad_moment_is_left_to_the_task_s_own_retries(error: Exception) -> None:
    assert Retries(FIRST).evaluate(error, 1, 3).action is RetryAction.DEFAULT
