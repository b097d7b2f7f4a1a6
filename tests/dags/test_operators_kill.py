"""What becomes of the job when its task is killed, cleared, marked, deferred or timed out."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, AirflowTaskTimeout, ErrorType, TaskDeferred
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse

from fake_sagemaker import COMPLETED, Clock, FakeSageMaker, Ti, context, refusal
from fmrec.errors import AlgorithmError, FmrecError, JobError, JobStoppedError
from fmrec.operators import triggers
from fmrec.operators.triggers import JobTrigger

RUNNING = {"TrainingJobStatus": "InProgress"}
STOPPED = {"TrainingJobStatus": "Stopped", "SecondaryStatus": "Stopped"}


class Airflow:
    """What a task's supervisor answers about it."""

    def __init__(self, state: str | None, *, replaced: bool = False) -> None:
        self.state, self.replaced = state, replaced

    def send(self, message: Any) -> Any:
        if type(message).__name__ == "ValidateInletsAndOutlets":
            if self.replaced:
                detail = {"status_code": 404, "message": "Task Instance not found"}
                raise AirflowRuntimeError(
                    ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail)
                )
            return None
        assert (message.dag_id, message.task_ids, message.run_ids) == (
            Ti.dag_id, [Ti.task_id], [Ti.run_id],
        )  # fmt: skip
        states = {} if self.state == "removed" else {Ti.run_id: {Ti.task_id: self.state}}
        return SimpleNamespace(task_states=states)


def says(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", airflow, raising=False)


def kill_while_waiting(hook: FakeSageMaker, train: Any, clock: Clock) -> FmrecError:
    operator = train(hook)
    clock.then = operator.on_kill
    with pytest.raises(FmrecError) as caught:
        operator.execute(context())
    return caught.value


@pytest.mark.parametrize(
    "airflow",
    [
        Airflow("restarting"),  # cleared
        Airflow("failed"),
        Airflow("success"),
        Airflow("skipped"),  # the run took too long
        Airflow("removed"),
        Airflow("running"),  # the worker is shut down
    ],
)
def test_a_killed_task_stops_its_job(
    airflow: Airflow, train: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(airflow, monkeypatch)
    hook = FakeSageMaker(COMPLETED)
    error = kill_while_waiting(hook, train, clock)
    assert set(hook.stopped) == {hook.created[0]["TrainingJobName"]}
    assert type(error) is JobError  # another attempt may help
    assert "was killed" in str(error)


@pytest.mark.parametrize(
    "airflow",
    [
        Airflow(None),
        Airflow("scheduled"),
        Airflow("queued"),
        Airflow("up_for_retry"),
        Airflow("deferred"),
        Airflow("running", replaced=True),
    ],
)
def test_a_task_that_goes_on_elsewhere_leaves_its_job_alone(
    airflow: Airflow, train: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler was restarted and gave the task to another worker."""
    says(airflow, monkeypatch)
    hook = FakeSageMaker(COMPLETED)
    error = kill_while_waiting(hook, train, clock)
    assert hook.stopped == []
    assert type(error) is JobError
    assert "goes on elsewhere" in str(error)


def test_where_airflow_cannot_be_asked_the_job_is_stopped(train: Any, clock: Clock) -> None:
    hook = FakeSageMaker(COMPLETED)
    kill_while_waiting(hook, train, clock)
    assert set(hook.stopped) == {hook.created[0]["TrainingJobName"]}


def test_a_kill_before_there_is_a_job(train: Any) -> None:
    hook = FakeSageMaker(COMPLETED)
    train(hook).on_kill()
    assert hook.stopped == []


def test_a_kill_while_the_job_is_being_created_stops_it_afterwards(train: Any) -> None:
    hook = FakeSageMaker()
    operator = train(hook)
    create = hook.create_training_job

    def slowly(request: dict[str, Any], **_: Any) -> Any:
        operator.on_kill()  # there is no such job yet
        return create(request)

    hook.create_training_job = slowly  # type: ignore[method-assign]
    with pytest.raises(JobError, match="was killed"):
        operator.execute(context())
    assert hook.stopped == [hook.created[0]["TrainingJobName"]]


def test_a_task_that_took_too_long_stops_its_job(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow calls on_kill for that too, and the task is running then."""
    says(Airflow("running", replaced=True), monkeypatch)
    hook = FakeSageMaker()
    operator = train(hook)
    operator.config = request = operator.request(1)
    hook.put(request, RUNNING)
    try:
        raise AirflowTaskTimeout
    except AirflowTaskTimeout:
        operator.on_kill()
    assert hook.stopped == [request["TrainingJobName"]]


def deferred(hook: FakeSageMaker, train: Any, **arguments: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as caught:
        train(hook, deferrable=True, **arguments).execute(context())
    return caught.value


def resume(
    waiting: TaskDeferred, hook: FakeSageMaker, train: Any, status: str, try_number: int = 1
) -> Any:
    """What Airflow does when the trigger has fired: in another process, with another operator."""
    assert isinstance(waiting.trigger, JobTrigger)
    event = {"status": status, "job_name": waiting.trigger.job_name, "message": "said so"}
    method = getattr(train(hook, deferrable=True), waiting.method_name)
    return method(context(try_number), event=event, **(waiting.kwargs or {}))


def test_a_deferred_task_gives_the_same_result(train: Any, recorded: list[Any]) -> None:
    end = COMPLETED
    in_sync = train(FakeSageMaker(end)).execute(context())
    hook = FakeSageMaker(end)
    waiting = deferred(hook, train)
    assert resume(waiting, hook, train, "success") == in_sync
    assert [entry["job"] for entry in recorded] == [in_sync["name"]] * 2


def test_a_job_that_is_done_already_is_not_waited_for(train: Any) -> None:
    hook = FakeSageMaker()
    hook.put(train(hook).request(1), COMPLETED)
    assert train(hook, deferrable=True).execute(context())["status"] == "Completed"


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        ({"TrainingJobStatus": "Failed", "FailureReason": "AlgorithmError: x"}, AlgorithmError),
        (STOPPED, JobStoppedError),
    ],
)
def test_a_deferred_task_fails_with_the_same_errors(
    end: dict[str, Any], kind: type[FmrecError], train: Any
) -> None:
    hook = FakeSageMaker(end)
    waiting = deferred(hook, train)
    hook.describe_training_job(hook.created[0]["TrainingJobName"])
    with pytest.raises(kind, match="ended as"):
        resume(waiting, hook, train, "failed")


def test_a_deferred_attempt_whose_found_job_is_stopped_starts_another(train: Any) -> None:
    """The attempt was faster than the triggerer that stops the job of the one before."""
    hook = FakeSageMaker(COMPLETED)
    hook.put(train(hook).request(1), RUNNING, RUNNING, STOPPED)
    waiting = deferred(hook, train)
    hook.describe_training_job(waiting.trigger.job_name)  # type: ignore[attr-defined]
    with pytest.raises(TaskDeferred) as caught:
        resume(waiting, hook, train, "stopped")
    assert caught.value.trigger.job_name.endswith("-2")  # type: ignore[attr-defined]


def test_a_wait_that_failed_leaves_the_job_to_the_next_attempt(train: Any) -> None:
    hook = FakeSageMaker()
    waiting = deferred(hook, train)
    with pytest.raises(JobError, match=r"the wait for .* failed: said so") as caught:
        resume(waiting, hook, train, "error")
    assert type(caught.value) is JobError
    assert hook.stopped == []


def test_a_wait_that_failed_for_the_last_time_ends_the_job(train: Any) -> None:
    hook = FakeSageMaker()
    waiting = deferred(hook, train)
    with pytest.raises(JobError, match="said so"):
        resume(waiting, hook, train, "error", try_number=4)
    assert hook.stopped == [hook.created[0]["TrainingJobName"]]


def test_a_wait_that_took_too_long_ends_the_job(train: Any) -> None:
    hook = FakeSageMaker()
    waiting = deferred(hook, train)
    with pytest.raises(JobStoppedError, match="took longer than it was waited for"):
        resume(waiting, hook, train, "timeout")
    assert hook.stopped == [hook.created[0]["TrainingJobName"]]


def test_a_trigger_outlasts_the_job_but_not_the_task(train: Any) -> None:
    """The provider's own limit is 60 looks, half an hour, and then the job goes on unwatched."""
    trigger: Any = deferred(FakeSageMaker(), train).trigger
    assert trigger.attempts * trigger.waiter_delay > 2 * 3600
    short = timedelta(minutes=10)
    trigger = deferred(FakeSageMaker(), train, execution_timeout=short).trigger
    assert trigger.attempts * trigger.waiter_delay < 11 * 60


class Client:
    """SageMaker, as a trigger's hook gives it."""

    def __init__(self, refused: Exception | None = None) -> None:
        self.stopped: list[Any] = []
        self.refused = refused

    def get_conn(self) -> Client:
        return self

    def _stop(self, **named: str) -> None:
        if self.refused is not None:
            raise self.refused
        self.stopped.append(named)

    stop_training_job = stop_transform_job = stop_hyper_parameter_tuning_job = _stop


def trigger(kind: str = "training") -> JobTrigger:
    return JobTrigger(job_name="j", job_type=kind, waiter_delay=7, waiter_max_attempts=9)


@pytest.mark.parametrize(
    ("kind", "member"),
    [
        ("training", "TrainingJobName"),
        ("transform", "TransformJobName"),
        ("tuning", "HyperParameterTuningJobName"),
    ],
)
def test_a_person_who_acts_on_a_deferred_task_stops_its_job(
    kind: str, member: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client()
    monkeypatch.setattr(JobTrigger, "hook", lambda _: client)
    asyncio.run(trigger(kind).on_kill())
    assert client.stopped == [{member: "j"}]


def test_a_trigger_has_its_client_before_somebody_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    """To make one takes seconds, of which there are few then."""
    client = Client()
    waiting = trigger()

    async def act() -> None:
        monkeypatch.setattr(JobTrigger, "hook", lambda _: client)
        task = asyncio.ensure_future(anext(aiter(waiting.run())))
        await asyncio.sleep(0.2)
        monkeypatch.setattr(JobTrigger, "hook", lambda _: None)
        task.cancel()
        await waiting.on_kill()

    asyncio.run(act())
    assert client.stopped == [{"TrainingJobName": "j"}]


def test_a_job_that_cannot_be_stopped_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = Client(refusal("AccessDeniedException"))
    monkeypatch.setattr(JobTrigger, "hook", lambda _: client)
    asyncio.run(trigger().on_kill())
    assert "SageMaker job j could not be stopped" in capsys.readouterr().out


def test_a_trigger_is_made_again_from_what_airflow_keeps() -> None:
    path, arguments = trigger().serialize()
    assert path == f"{triggers.__name__}.JobTrigger"
    assert JobTrigger(**arguments).serialize() == (path, arguments)
