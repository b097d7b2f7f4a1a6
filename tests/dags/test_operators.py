"""What the operators add to the provider's: jobs found again, honest ends, small results."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException
from botocore.exceptions import ClientError, EndpointConnectionError

from fake_sagemaker import (
    COMPLETED,
    STARTED,
    Clock,
    FakeSageMaker,
    context,
    refusal,
    run,
)
from fmrec import ledger, operators
from fmrec.errors import (
    AlgorithmError,
    BusyError,
    ConfigurationError,
    FmrecError,
    JobError,
    JobStoppedError,
    RefusedError,
    StoreError,
)
from fmrec.operators import assets

FAILED = {"TrainingJobStatus": "Failed", "FailureReason": "InternalServerError: try again"}
STOPPED = {"TrainingJobStatus": "Stopped", "SecondaryStatus": "Stopped"}
RUNNING = {"TrainingJobStatus": "InProgress"}
STOPPING = {"TrainingJobStatus": "Stopping"}


def test_a_completed_job_gives_a_few_facts(train: Any, recorded: list[Any]) -> None:
    hook = FakeSageMaker(COMPLETED)
    told = context()
    result = train(hook).execute(told)
    [request] = hook.created
    assert result == {
        "name": request["TrainingJobName"],
        "status": "Completed",
        "artifact": "s3://b/model.tar.gz",
        "seconds": 12,
        "billable_seconds": 4,
        "metrics": {"test:rmse": 0.9},
    }
    assert request["TrainingJobName"].endswith("-1")
    [entry] = recorded
    assert entry == {
        "job": request["TrainingJobName"],
        "kind": "training",
        "run": run()["layout"]["run"],
        "status": "Completed",
        "instance_type": "ml.m5.large",
        "instances": 1,
        "billable_seconds": 4,
    }
    extra = told["outlet_events"][assets.MODEL].extra
    assert extra == {
        "run": run()["layout"]["run"],
        "name": result["name"],
        "artifact": "s3://b/model.tar.gz",
        "metrics": {"test:rmse": 0.9},
        "billable_seconds": 4,
    }


def test_a_finished_task_that_is_repeated_launches_nothing(train: Any, recorded: list[Any]) -> None:
    hook = FakeSageMaker(COMPLETED)
    first = train(hook).execute(context())
    assert train(hook).execute(context()) == first
    assert len(hook.created) == 1
    assert {entry["job"] for entry in recorded} == {first["name"]}


def test_an_attempt_goes_on_with_the_job_of_a_lost_one(train: Any) -> None:
    hook = FakeSageMaker()
    name = hook.put(train(hook).request(1), RUNNING, RUNNING, COMPLETED)
    assert train(hook).execute(context())["name"] == name
    assert hook.created == []


@pytest.mark.parametrize("end", [FAILED, STOPPED])
def test_a_job_that_ended_badly_is_followed_by_another(
    end: dict[str, Any], train: Any, recorded: list[Any]
) -> None:
    hook = FakeSageMaker(COMPLETED)
    bad = hook.put(train(hook).request(1), end)
    result = train(hook).execute(context())
    assert result["name"].endswith("-2")
    assert [(entry["job"], entry["status"]) for entry in recorded] == [
        (bad, end["TrainingJobStatus"]),
        (result["name"], "Completed"),
    ]


def test_a_job_that_is_stopping_is_waited_for(train: Any, clock: Clock) -> None:
    """A person cleared the task: the job of the attempt before is being stopped."""
    hook = FakeSageMaker(COMPLETED)
    hook.put(train(hook).request(1), STOPPING, STOPPING, STOPPED)
    assert train(hook).execute(context())["name"].endswith("-2")
    assert clock.now >= 30


def test_a_job_that_is_stopped_for_the_attempt_before_is_followed_by_another(train: Any) -> None:
    """The attempt was faster than whoever stops the job of the one before."""
    hook = FakeSageMaker(COMPLETED)
    hook.put(train(hook).request(1), RUNNING, STOPPING, STOPPED)
    assert train(hook).execute(context())["name"].endswith("-2")


def test_a_job_that_takes_its_time_to_stop_is_followed_by_another(train: Any, clock: Clock) -> None:
    hook = FakeSageMaker(COMPLETED)
    hook.put(train(hook).request(1), *[STOPPING] * 20, STOPPED)
    assert train(hook).execute(context())["name"].endswith("-2")
    assert clock.now > 300


def test_a_stop_is_told_by_its_own_time_and_not_by_when_it_is_seen(
    train: Any, clock: Clock
) -> None:
    """Stopped at once, and seen late: whoever deferred it had to wait for a slot."""
    hook = FakeSageMaker(COMPLETED)
    end = {**STOPPED, "TrainingEndTime": datetime.fromtimestamp(clock.time() + 10, UTC)}
    hook.put(train(hook).request(1), *[RUNNING] * 20, end)
    assert train(hook).execute(context())["name"].endswith("-2")


@pytest.mark.parametrize(("code", "attempt", "left"), [
    ("AccessDeniedException", 1, False),  # no other attempt would come
    ("ThrottlingException", 4, False),  # nor after the last
    ("ThrottlingException", 1, True),
])  # fmt: skip
def test_a_job_that_cannot_be_seen_is_left_to_the_next_attempt_or_to_nobody(
    code: str, attempt: int, left: bool, train: Any
) -> None:
    """The worker was killed, and the retry is not told what there is."""
    hook = FakeSageMaker()
    name = hook.put(train(hook).request(1), RUNNING)
    hook.silences = [refusal(code, "no", "DescribeTrainingJob")]
    with pytest.raises(ClientError):
        train(hook).execute(context(attempt))
    assert hook.stopped == ([] if left else [name])


def test_a_job_that_a_person_stops_later_on_is_not_replaced(train: Any) -> None:
    """Another attempt has waited for it for long: whoever stopped it meant the job."""
    hook = FakeSageMaker()
    hook.put(train(hook).request(1), *[RUNNING] * 20, STOPPING, STOPPED)
    with pytest.raises(JobStoppedError):
        train(hook).execute(context())
    assert hook.created == []


def test_a_job_that_fails_while_a_later_attempt_waits_fails_that_attempt(train: Any) -> None:
    hook = FakeSageMaker()
    reason = "AlgorithmError: feature_dim does not fit"
    hook.put(train(hook).request(1), RUNNING, {**FAILED, "FailureReason": reason})
    with pytest.raises(AlgorithmError, match="feature_dim does not fit"):
        train(hook).execute(context())
    assert hook.created == []


@pytest.mark.parametrize(
    "changed",
    [
        {"AlgorithmSpecification": {"TrainingImage": "another:2"}},
        {"HyperParameters": {"epochs": "999"}},
        {"InputDataConfig": []},
    ],
)
@pytest.mark.parametrize("state", [COMPLETED, RUNNING])
def test_a_job_that_was_asked_for_something_else_is_left_alone(
    changed: dict[str, Any], state: dict[str, Any], train: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = FakeSageMaker(COMPLETED)
    hook.put({**train(hook).request(1), **changed}, state)
    assert train(hook).execute(context())["name"].endswith("-2")
    assert "was asked for something else" in capsys.readouterr().out


def test_what_aws_adds_to_a_request_changes_nothing(train: Any) -> None:
    hook = FakeSageMaker()
    request = train(hook).request(1)
    request["InputDataConfig"] = [
        {**each, "CompressionType": "None", "RecordWrapperType": "None"}
        for each in reversed(request["InputDataConfig"])
    ]
    request["AlgorithmSpecification"] |= {"MetricDefinitions": [{"Name": "x", "Regex": "x"}]}
    name = hook.put(request, COMPLETED)
    assert train(hook).execute(context())["name"] == name


def test_a_result_whose_artifact_is_gone_is_made_again(train: Any) -> None:
    hook = FakeSageMaker({**COMPLETED, "ModelArtifacts": {"S3ModelArtifacts": "s3://b/2"}})
    hook.put(train(hook).request(1), COMPLETED)
    hook.gone.add("s3://b/model.tar.gz")
    assert train(hook).execute(context())["artifact"] == "s3://b/2"


def test_of_two_attempts_at_once_the_second_waits_for_the_job_of_the_first(train: Any) -> None:
    hook = FakeSageMaker()
    operator = train(hook)

    def first_attempt(request: dict[str, Any], **_: Any) -> None:
        hook.put(request, RUNNING, COMPLETED)
        raise refusal("ResourceInUse", "names must be unique")

    hook.create_training_job = first_attempt  # type: ignore[method-assign,assignment]
    assert operator.execute(context())["name"].endswith("-1")


def test_a_create_request_that_was_heard_but_not_answered_makes_one_job(train: Any) -> None:
    """The worker dies between the two; the next attempt finds the job."""
    hook = FakeSageMaker(COMPLETED)
    create = hook.create_training_job

    def unanswered(request: dict[str, Any], **_: Any) -> Any:
        create(request)
        raise SystemExit

    hook.create_training_job = unanswered  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        train(hook).execute(context())
    assert train(hook).execute(context())["name"].endswith("-1")
    assert len(hook.created) == 1


def test_a_job_that_is_not_known_everywhere_yet_is_waited_for(train: Any) -> None:
    hook = FakeSageMaker(COMPLETED)
    hook.silences = [refusal("ValidationException", "not found", "DescribeTrainingJob")] * 2
    assert train(hook).execute(context())["status"] == "Completed"
    assert len(hook.created) == 1


@pytest.mark.parametrize("secondary", ["MaxRuntimeExceeded", "Stopped"])
def test_a_stopped_job_is_not_a_success(secondary: str, train: Any) -> None:
    hook = FakeSageMaker({"TrainingJobStatus": "Stopped", "SecondaryStatus": secondary})
    match = rf"fmrec-train-.* ended as Stopped \({secondary}\)"
    with pytest.raises(JobStoppedError, match=match):
        train(hook).execute(context())


def test_a_job_at_its_time_limit_is_not_repeated_by_the_attempt_that_waited(train: Any) -> None:
    hook = FakeSageMaker()
    end = {"TrainingJobStatus": "Stopped", "SecondaryStatus": "MaxRuntimeExceeded"}
    hook.put(train(hook).request(1), RUNNING, end)
    with pytest.raises(JobStoppedError):
        train(hook).execute(context())


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("AlgorithmError: feature_dim does not fit", AlgorithmError),
        ("ClientError: Data download failed", AlgorithmError),
        ("CapacityError: Unable to provision requested ML compute capacity.", BusyError),
        ("InternalServerError: We encountered an internal error.", JobError),
    ],
)
def test_a_failed_job_says_why_and_whether_to_repeat(
    reason: str, kind: type[FmrecError], train: Any, recorded: list[Any]
) -> None:
    hook = FakeSageMaker({"TrainingJobStatus": "Failed", "FailureReason": reason})
    with pytest.raises(FmrecError, match=reason) as caught:
        train(hook).execute(context())
    assert type(caught.value) is kind
    [entry] = recorded
    assert (entry["status"], entry["billable_seconds"]) == ("Failed", 0)


def test_a_ledger_that_cannot_be_written_does_not_hide_why_the_job_failed(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise StoreError("no")

    hook = FakeSageMaker(FAILED)
    operator = train(hook)
    monkeypatch.setattr(ledger, "record", broken)
    with pytest.raises(JobError, match="InternalServerError"):
        operator.execute(context())


@pytest.mark.parametrize(
    ("code", "said", "kind", "advice"),
    [
        ("ValidationException", "1 error: instanceType", RefusedError, "Correct the Param"),
        ("ValidationException", "Could not assume role arn", RefusedError, "trust sagemaker"),
        ("AccessDeniedException", "not authorized: iam:PassRole", RefusedError, "iam:PassRole"),
        ("AccessDeniedException", "not authorized: sagemaker:X", RefusedError, "Grant that"),
        ("ResourceLimitExceeded", "limit is 0 instances.", BusyError, "raise the quota"),
        ("ThrottlingException", "Rate exceeded", BusyError, "tries again"),
    ],
)
def test_a_refused_request_says_what_to_do(
    code: str, said: str, kind: type[FmrecError], advice: str, train: Any
) -> None:
    hook = FakeSageMaker()
    hook.refusals = [refusal(code, said)]
    with pytest.raises(kind, match=advice) as caught:
        train(hook).execute(context())
    assert said in str(caught.value)
    assert "CreateTrainingJob (fmrec-train-" in str(caught.value)


def test_missing_inputs_are_found_before_the_job_is_created(train: Any) -> None:
    hook = FakeSageMaker()
    hook.refusals = [AirflowException("The input S3 Key s3://b/t/ does not exist")]
    with pytest.raises(StoreError, match=r"input S3 Key s3://b/t/ does not exist\. Clear the task"):
        train(hook).execute(context())


def test_a_service_that_fails_for_a_while_is_borne(train: Any, clock: Clock) -> None:
    hook = FakeSageMaker(COMPLETED)
    operator = train(hook)
    silences = [
        refusal("ThrottlingException", "Rate exceeded", "DescribeTrainingJob"),
        refusal("InternalFailure", "oops", "DescribeTrainingJob"),
        EndpointConnectionError(endpoint_url="https://api.sagemaker"),
    ]

    def then() -> None:
        if clock.now == 1:
            hook.silences = silences

    clock.then = then
    assert operator.execute(context())["status"] == "Completed"
    assert silences == []


def test_a_service_that_stays_silent_fails_the_attempt(train: Any, clock: Clock) -> None:
    hook = FakeSageMaker(COMPLETED)
    operator = train(hook)

    def then() -> None:
        hook.silences = [EndpointConnectionError(endpoint_url="https://api.sagemaker")]

    clock.then = then
    with pytest.raises(EndpointConnectionError):
        operator.execute(context())
    assert clock.now > 300


def test_other_errors_while_waiting_are_not_borne(train: Any, clock: Clock) -> None:
    hook = FakeSageMaker(COMPLETED)
    operator = train(hook)

    def then() -> None:
        hook.silences = [refusal("AccessDeniedException", "no", "DescribeTrainingJob")]

    clock.then = then
    with pytest.raises(Exception, match="AccessDenied"):
        operator.execute(context())


def test_jobs_have_a_pool_of_their_own(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = FakeSageMaker()
    assert train(hook).pool == "default_pool"
    monkeypatch.setenv("FMREC_JOBS_POOL", "sagemaker_jobs")
    assert train(hook).pool == "sagemaker_jobs"
    assert train(hook, pool="other").pool == "other"


def dag_run(end: datetime | None, after: datetime | None) -> Any:
    return {"dag_run": SimpleNamespace(run_id="r", data_interval_end=end, run_after=after)}


def test_the_clock_of_a_run() -> None:
    later = STARTED + timedelta(hours=5)
    assert operators.clock(dag_run(STARTED, later)) == STARTED
    assert operators.clock(dag_run(None, later)) == later
    with pytest.raises(ConfigurationError, match="set Param as_of"):
        operators.clock(dag_run(None, None))
