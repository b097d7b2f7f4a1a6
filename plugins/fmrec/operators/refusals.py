"""What it means when AWS refuses a request or a job ends badly, and what can be done about it."""

from __future__ import annotations

import re

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnectionError

from fmrec.errors import (
    AlgorithmError,
    BusyError,
    FmrecError,
    JobError,
    JobStoppedError,
    RefusedError,
)
from fmrec.operators.clients import CONNECTION

_THROTTLED = frozenset(
    {"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded"}
)
_QUOTA = frozenset({"ResourceLimitExceeded", "LimitExceededException"})
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
_MISSING = frozenset({"ValidationException", "ResourceNotFound", "ResourceNotFoundException"})
_ROLE = re.compile(r"assume|PassRole|role ?ARN", re.IGNORECASE)


def code(error: ClientError) -> str:
    """What AWS calls an error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def means_missing(error: ClientError) -> bool:
    """Whether a Describe request failed because there is nothing of that name."""
    return code(error) in _MISSING


def means_taken(error: ClientError) -> bool:
    """Whether a Create request failed because there is something of that name already."""
    text = str(error.response.get("Error", {}).get("Message", ""))
    return code(error) == "ResourceInUse" or "already existing" in text


def is_of_the_moment(error: ClientError | BotoCoreError) -> bool:
    """Whether the same request may be answered a little later."""
    if not isinstance(error, ClientError):
        return isinstance(error, HTTPClientError | NoConnectionError)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or code(error) in _THROTTLED


def refused(error: ClientError, name: str, role: str | None) -> FmrecError | None:
    """The error to raise for a Create request that AWS refused; None where it is not known.

    `name` is what should have been made, `role` the IAM role that it should have had.
    """
    said = str(error.response.get("Error", {}).get("Message", "")).rstrip(".") + "."
    what = f"AWS refuses {error.operation_name} ({name})"
    if code(error) in _THROTTLED:
        return BusyError(
            f"{what}: too many requests in this account and region. {said} Airflow tries again; "
            "if it happens often, let fewer runs overlap"
        )
    if code(error) in _QUOTA:
        return BusyError(
            f"{what}: {said} Airflow tries again; raise the quota in the console (Service Quotas), "
            "choose another instance type, or give the pool FMREC_JOBS_POOL fewer slots"
        )
    if code(error) in _DENIED | {"ValidationException"} and _ROLE.search(said):
        return RefusedError(
            f"{what} with the role {role} (FMREC_ROLE_ARN): {said} The role must exist and trust "
            "sagemaker.amazonaws.com, and whoever the Airflow connection "
            f"{CONNECTION} stands for needs iam:PassRole on it. Then clear this task"
        )
    if code(error) in _DENIED:
        return RefusedError(
            f"{what}: {said} Grant that to whoever the Airflow connection {CONNECTION} stands for, "
            "then clear this task"
        )
    if code(error) == "ValidationException":
        return RefusedError(
            f"{what}: {said} Nothing was started. Correct the Param or the FMREC_ variable that it "
            "speaks of and trigger a new run; where it speaks of something that is missing, put "
            "it there and clear this task"
        )
    return None


def ended_badly(name: str, status: str, reason: str) -> FmrecError:
    """The error for a job that did not complete: its kind says whether to try again."""
    said = f"SageMaker job {name} ended as {status} ({reason}); its log in CloudWatch says more"
    if reason.startswith(("CapacityError", "ResourceLimitExceeded")):
        return BusyError(f"{said}. Airflow tries again; another instance type may be free")
    kind = JobStoppedError if status == "Stopped" else JobError
    # So AWS begins the reason when the container, not the service, has failed.
    if reason.startswith(("AlgorithmError", "ClientError")):
        kind = AlgorithmError
    return kind(
        f"{said}. Mend the cause, then clear this task: the job starts again under a new name"
    )
