"""A SageMaker for the operators' unit tests: jobs go through the states that a test says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from botocore.exceptions import ClientError

from fmrec.layout import Run
from fmrec.operators import assets
from fmrec.settings import Deployment, RunSettings

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
CHANNELS = {
    "feature_dim": 3,
    "bias": 3.5,
    "training": {"train": "s3://b/t/", "test": "s3://b/v/"},
    "score": "s3://b/s/",
}


def run(**params: Any) -> dict[str, Any]:
    settings, deployment = RunSettings.of(params), Deployment(bucket="b", role_arn="arn")
    return Run.of("r", datetime(1998, 3, 8, tzinfo=UTC), settings, deployment).to_xcom()


def refusal(code: str, message: str = "no", operation: str = "CreateTrainingJob") -> ClientError:
    status = 500 if code == "InternalFailure" else 400
    error: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(error, operation)


class Ti:
    """A task instance as far as the operators ask it."""

    dag_id, task_id, run_id, map_index = "fmrec_retrain", "train", "r", -1
    id = UUID(int=1)
    max_tries = 3

    def __init__(self, try_number: int = 1) -> None:
        self.try_number = try_number
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def context(try_number: int = 1) -> Any:
    return {"ti": Ti(try_number), "outlet_events": {assets.MODEL: SimpleNamespace(extra=None)}}


class Clock:
    """Time that passes only when somebody sleeps; `then` happens at each sleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self.then: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_000_000 + self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.then()


class Logs:
    """CloudWatch Logs: one stream; a test adds lines, or a reason why it cannot be read."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.refused: ClientError | None = None

    def get_paginator(self, operation: str) -> Any:
        assert operation == "describe_log_streams"
        return self

    def paginate(self, **named: str) -> Any:
        if self.refused is not None:
            raise self.refused
        yield {"logStreams": [{"logStreamName": named["logStreamNamePrefix"] + "algo-1-1"}]}

    def get_log_events(self, nextToken: str = "0", **_: Any) -> dict[str, Any]:
        events = [{"message": line} for line in self.lines[int(nextToken) :]]
        return {"events": events, "nextForwardToken": str(len(self.lines))}


class FakeSageMaker:
    """What the provider's hook and its client answer.

    A created job is InProgress when it is first looked at; then it ends as the next of `ends`
    says. `refusals` are raised by the next Create requests, `silences` by the next Describes.
    """

    conn_region_name, conn_partition = "eu-west-1", "aws"

    def __init__(self, *ends: dict[str, Any]) -> None:
        self.ends = list(ends)
        self.there: dict[str, list[dict[str, Any]]] = {}
        self.created: list[dict[str, Any]] = []
        self.stopped: list[str] = []
        self.refusals: list[Exception] = []
        self.silences: list[Exception] = []
        self.gone: set[str] = set()
        self.logs = Logs()
        self.logs_hook = SimpleNamespace(get_conn=lambda: self.logs)

    def put(self, request: dict[str, Any], *states: dict[str, Any]) -> str:
        """A job that is there already; each look takes it to the next state."""
        name = next(request[key] for key in request if key.endswith(("JobName", "ModelName")))
        self.there[name] = [{**request, **state} for state in states]
        return str(name)

    def _create(self, request: dict[str, Any], live: dict[str, str]) -> dict[str, Any]:
        if self.refusals:
            raise self.refusals.pop(0)
        self.created.append(dict(request))
        self.put(request, live, live, self.ends.pop(0) if self.ends else live)
        return {"ResponseMetadata": {"HTTPStatusCode": 200}}

    def _describe(self, name: str) -> dict[str, Any]:
        if name not in self.there:
            raise refusal("ValidationException", "not found", "DescribeIt")
        if self.silences:
            raise self.silences.pop(0)
        states = self.there[name]
        return states.pop(0) if len(states) > 1 else states[0]

    def configure_s3_resources(self, config: dict[str, Any]) -> None:
        pass

    def check_s3_url(self, uri: str) -> bool:
        return uri not in self.gone

    def get_conn(self) -> Any:
        return self

    def create_training_job(self, config: dict[str, Any], **_: Any) -> dict[str, Any]:
        return self._create(config, {"TrainingJobStatus": "InProgress"})

    def describe_training_job(self, name: str) -> dict[str, Any]:
        return self._describe(name)

    def stop_training_job(self, TrainingJobName: str) -> None:
        self._stop(TrainingJobName, "TrainingJobStatus")

    def create_transform_job(self, config: dict[str, Any], **_: Any) -> dict[str, Any]:
        return self._create(config, {"TransformJobStatus": "InProgress"})

    def describe_transform_job(self, name: str) -> dict[str, Any]:
        return self._describe(name)

    def stop_transform_job(self, TransformJobName: str) -> None:
        self._stop(TransformJobName, "TransformJobStatus")

    def create_tuning_job(self, config: dict[str, Any], **_: Any) -> dict[str, Any]:
        return self._create(config, {"HyperParameterTuningJobStatus": "InProgress"})

    def describe_tuning_job(self, name: str) -> dict[str, Any]:
        return self._describe(name)

    def stop_hyper_parameter_tuning_job(self, HyperParameterTuningJobName: str) -> None:
        self._stop(HyperParameterTuningJobName, "HyperParameterTuningJobStatus")

    def create_model(self, config: dict[str, Any]) -> dict[str, Any]:
        return self._create(config, {})

    def describe_model(self, name: str) -> dict[str, Any]:
        return self._describe(name)

    def _stop(self, name: str, status: str) -> None:
        if name not in self.there:
            raise refusal("ValidationException", "not found", "StopIt")
        self.stopped.append(name)
        last = self.there[name][-1]
        self.there[name] = [{**last, status: "Stopping"}, {**last, status: "Stopped"}]


COMPLETED = {
    "TrainingJobStatus": "Completed",
    "ModelArtifacts": {"S3ModelArtifacts": "s3://b/model.tar.gz"},
    "TrainingStartTime": STARTED,
    "TrainingTimeInSeconds": 12,
    "BillableTimeInSeconds": 4,
    "FinalMetricDataList": [{"MetricName": "test:rmse", "Value": 0.9, "Timestamp": STARTED}],
}
