"""What the subclasses add to the provider's operators: honest ends, small results, a clean stop."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException
from botocore.exceptions import ClientError

from fmrec import operators
from fmrec.errors import AlgorithmError, ConfigurationError, JobError, JobStoppedError
from fmrec.layout import Run
from fmrec.settings import Deployment, RunSettings

RUN = Run.of(
    "r",
    datetime(1998, 3, 8, tzinfo=UTC),
    RunSettings.of({}),
    Deployment(bucket="b", role_arn="arn"),
).to_xcom()
CHANNELS = {
    "feature_dim": 3,
    "bias": 3.5,
    "training": {"train": "s3://fmrec/t/", "test": "s3://fmrec/v/"},
    "score": "s3://fmrec/s/",
}
STARTED = datetime(2026, 1, 1, tzinfo=UTC)


class FakeHook:
    """A SageMaker that ends every job as it is told, and remembers what it was asked."""

    def __init__(self, **description: Any) -> None:
        self.description = description
        self.created: list[dict[str, Any]] = []
        self.stopped: list[str] = []
        self.refusal: Exception | None = None

    def configure_s3_resources(self, config: dict[str, Any]) -> None:
        pass

    def describe_training_job(self, name: str) -> dict[str, Any]:
        if not self.created:
            error = {"Error": {"Code": "ValidationException", "Message": "not found"}}
            raise ClientError(error, "DescribeTrainingJob")
        return {"TrainingJobName": name, **self.description}

    def create_training_job(self, config: dict[str, Any], **_: Any) -> dict[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        self.created.append(config)
        return {"ResponseMetadata": {"HTTPStatusCode": 200}}

    def get_conn(self) -> Any:
        return self

    def stop_training_job(self, TrainingJobName: str) -> None:
        self.stopped.append(TrainingJobName)


def training(hook: FakeHook, monkeypatch: pytest.MonkeyPatch) -> Any:
    operator = operators.TrainingOperator(task_id="train", run=RUN, channels=CHANNELS)
    monkeypatch.setattr(type(operator), "hook", hook)
    monkeypatch.setattr(type(operator), "expand_role", lambda _: None)
    monkeypatch.setenv("FMREC_BUCKET", "b")
    monkeypatch.setenv("FMREC_ROLE_ARN", "arn")
    return operator


def context(attempt: int = 1) -> Any:
    return {"ti": SimpleNamespace(try_number=attempt)}


COMPLETED = {
    "TrainingJobStatus": "Completed",
    "ModelArtifacts": {"S3ModelArtifacts": "s3://fmrec/model.tar.gz"},
    "TrainingTimeInSeconds": 12,
    "BillableTimeInSeconds": 12,
    "FinalMetricDataList": [{"MetricName": "test:rmse", "Value": 0.9, "Timestamp": STARTED}],
}


def test_a_completed_job_gives_a_few_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = FakeHook(**COMPLETED)
    result = training(hook, monkeypatch).execute(context())
    assert result == {
        "name": hook.created[0]["TrainingJobName"],
        "status": "Completed",
        "artifact": "s3://fmrec/model.tar.gz",
        "seconds": 12,
        "billable_seconds": 12,
        "metrics": {"test:rmse": 0.9},
    }


def test_each_attempt_has_a_name_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for attempt in (1, 2):
        hook = FakeHook(**COMPLETED)
        training(hook, monkeypatch).execute(context(attempt))
        names.append(hook.created[0]["TrainingJobName"])
    assert names[0].endswith("-1")
    assert names[1].endswith("-2")


def test_a_stopped_job_is_not_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = FakeHook(TrainingJobStatus="Stopped", SecondaryStatus="MaxRuntimeExceeded")
    with pytest.raises(
        JobStoppedError, match=r"fmrec-train-.* ended as Stopped \(MaxRuntimeExceeded\)"
    ):
        training(hook, monkeypatch).execute(context())


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("AlgorithmError: feature_dim does not fit", AlgorithmError),
        ("ClientError: Data download failed", AlgorithmError),
        ("CapacityError: Unable to provision requested ML compute capacity.", JobError),
        ("InternalServerError: We encountered an internal error.", JobError),
    ],
)
def test_a_failed_job_says_why_and_whether_to_repeat(
    reason: str, kind: type[JobError], monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = FakeHook(TrainingJobStatus="Failed", FailureReason=reason)
    operator = training(hook, monkeypatch)
    with pytest.raises(JobError, match=reason.partition(":")[0]) as caught:
        operator.execute(context())
    assert type(caught.value) is kind


def test_a_job_that_was_never_made_does_not_hide_the_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Missing inputs are found before the job is created."""
    hook = FakeHook()
    hook.refusal = AirflowException("The input S3 Key s3://b/t/ does not exist")
    with pytest.raises(AirflowException, match="input S3 Key s3://b/t/ does not exist"):
        training(hook, monkeypatch).execute(context())


@pytest.mark.parametrize(
    ("description", "kind"),
    [
        ({"TrainingJobStatus": "Failed", "FailureReason": "AlgorithmError: x"}, AlgorithmError),
        ({"TrainingJobStatus": "Stopped", "SecondaryStatus": "Stopped"}, JobStoppedError),
    ],
)
def test_a_deferred_job_ends_with_the_same_errors(
    description: dict[str, Any], kind: type[JobError], monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = FakeHook(**description)
    hook.created.append({})
    event = {"status": "failed", "job_name": "fmrec-train-x-1"}
    with pytest.raises(kind, match="fmrec-train-x-1 ended as"):
        training(hook, monkeypatch).execute_complete(context(), event)


def test_a_deferred_job_gives_the_same_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = FakeHook(**COMPLETED)
    hook.created.append({})
    event = {"status": "success", "job_name": "fmrec-train-x-1"}
    result = training(hook, monkeypatch).execute_complete(context(), event)
    assert result["name"] == "fmrec-train-x-1"
    assert result["artifact"] == "s3://fmrec/model.tar.gz"


def test_a_trigger_outlasts_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider's own limit is 60 looks, half an hour, and then the job goes on unwatched."""
    operator = training(FakeHook(**COMPLETED), monkeypatch)
    operator.execute(context())
    assert operator.max_attempts * operator.check_interval > 60 * 60


def test_a_killed_task_stops_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = FakeHook(**COMPLETED)
    operator = training(hook, monkeypatch)
    operator.on_kill()
    assert hook.stopped == []
    operator.execute(context())
    operator.on_kill()
    assert hook.stopped == [hook.created[0]["TrainingJobName"]]


def dag_run(end: datetime | None, after: datetime | None) -> Any:
    return {"dag_run": SimpleNamespace(run_id="r", data_interval_end=end, run_after=after)}


def test_the_clock_of_a_run() -> None:
    later = STARTED + timedelta(hours=5)
    assert operators.clock(dag_run(STARTED, later)) == STARTED
    assert operators.clock(dag_run(None, later)) == later
    with pytest.raises(ConfigurationError, match="set Param as_of"):
        operators.clock(dag_run(None, None))
