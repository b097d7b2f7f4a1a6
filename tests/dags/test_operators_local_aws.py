"""The operators against a local AWS that really trains, throttles and takes machines away."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest

from fake_sagemaker import context
from fmrec import ledger
from fmrec.errors import AlgorithmError, BusyError, JobError
from fmrec.layout import Run
from fmrec.operators import ModelOperator, TrainingOperator, TransformOperator, TuningOperator
from local_aws_process import serving
from steps_world import World

pytestmark = pytest.mark.e2e

ROLE = "arn:aws:iam::123456789012:role/fmrec-local"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/fmrec-fm:local"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("aws")) as address:
        yield address


class Aws:
    """The local AWS, and a run's data in it."""

    def __init__(self, url: str, cache: Path) -> None:
        self.url = url
        self.s3, self.sagemaker = self.client("s3"), self.client("sagemaker")
        self.world = World(self.s3, cache)
        self.world.deployment = replace(self.world.deployment, role_arn=ROLE)

    def client(self, service: str) -> Any:
        keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
        return boto3.client(service, endpoint_url=self.url, region_name="us-east-1", **keys)

    def prepare(self, run_id: str, **params: Any) -> dict[str, Any]:
        """What the operators are told: `run` and `channels`."""
        found = self.world.prepare(run_id, **params).xcom
        return {name: found[name] for name in ("run", "channels")}

    def jobs(self, run: Any) -> dict[str, str]:
        found = self.sagemaker.list_training_jobs(NameContains=run["layout"]["run"])
        return {
            each["TrainingJobName"][-1]: each["TrainingJobStatus"]
            for each in found["TrainingJobSummaries"]
        }

    def plan(self, *faults: dict[str, Any]) -> None:
        body = json.dumps({"seed": 5, "faults": faults}).encode()
        request = urllib.request.Request(f"{self.url}/_fmrec/faults", body, method="PUT")
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200


@pytest.fixture(scope="module")
def prepared(url: str, tmp_path_factory: pytest.TempPathFactory) -> Aws:
    aws = Aws(url, tmp_path_factory.mktemp("cache"))
    aws.s3.create_bucket(Bucket="fmrec")
    return aws


@pytest.fixture
def aws(prepared: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    connection = {
        "conn_type": "aws",
        "login": "local",
        "password": "local",
        "extra": {"endpoint_url": prepared.url, "region_name": "us-east-1"},
    }
    for name, value in {
        "AWS_ENDPOINT_URL": prepared.url,
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(connection),
        "AWS_DEFAULT_REGION": "us-east-1",
        "FMREC_BUCKET": "fmrec",
        "FMREC_ROLE_ARN": ROLE,
        "FMREC_IMAGE_URI": IMAGE,
        "FMREC_POLL_SECONDS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    yield prepared
    prepared.plan()


def train(told: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = TrainingOperator(task_id="train", **told).execute(context())
    return result


def spent(aws: Aws, run: dict[str, Any]) -> dict[str, Any]:
    layout = Run.from_xcom(run).layout
    return ledger.spent(aws.world.store, layout, ledger.month_of(datetime.now(UTC)))


def test_the_whole_way_and_once_more(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    told = aws.prepare("whole")

    def go() -> list[Any]:
        training = train(told)
        model = ModelOperator(task_id="model", run=told["run"], training=[training, None]).execute(
            context()
        )
        score = TransformOperator(task_id="score", model=model, **told).execute(context())
        return [training, model, score]

    first = go()
    said = capsys.readouterr().out
    assert "Completed: Training job completed" in said
    assert "#quality_metric: host=algo-1, epoch=1, train rmse" in said
    assert "train rmse           █▁" in said
    assert go() == first
    assert aws.jobs(told["run"]) == {"1": "Completed"}
    assert spent(aws, told["run"])["unknown"] == []
    assert spent(aws, told["run"])["jobs"] == 2


def test_two_attempts_at_once_have_one_job(aws: Aws) -> None:
    told = aws.prepare("twice")
    aws.plan({"fault": "slow", "operation": "CreateTrainingJob", "seconds": 1, "times": 2})
    results: list[Any] = []
    attempts = [threading.Thread(target=lambda: results.append(train(told))) for _ in range(2)]
    for attempt in attempts:
        attempt.start()
    for attempt in attempts:
        attempt.join(120)
    assert results[0] == results[1]
    assert aws.jobs(told["run"]) == {"1": "Completed"}


def test_a_killed_attempt_stops_its_job_and_the_next_has_its_own(aws: Aws) -> None:
    told = aws.prepare("killed", epochs=100_000)
    for _ in range(2):
        operator = TrainingOperator(task_id="train", **told)
        threading.Timer(4, operator.on_kill).start()
        with pytest.raises(JobError, match="was killed"):
            operator.execute(context())
    assert aws.jobs(told["run"])["1"] == "Stopped"
    assert aws.jobs(told["run"])["2"] in {"Stopping", "Stopped"}


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ({"fault": "capacity"}, BusyError, "CapacityError"),
        ({"fault": "crash", "phase": "Downloading"}, JobError, "InternalServerError"),
        ({"fault": "crash", "phase": "Training"}, AlgorithmError, "exit code 137"),
    ],
)
def test_a_job_that_fails_is_followed_by_another(
    fault: dict[str, Any], kind: type[Exception], said: str, aws: Aws
) -> None:
    told = aws.prepare(said)
    aws.plan({"kind": "training-job", "times": 1, **fault})
    with pytest.raises(kind, match=said):
        train(told)
    assert train(told)["name"].endswith("-2")
    assert aws.jobs(told["run"]) == {"1": "Failed", "2": "Completed"}


def test_a_service_that_throttles_and_fails_is_borne(aws: Aws) -> None:
    told = aws.prepare("throttled")
    aws.plan(
        {"fault": "throttle", "operation": "*", "probability": 0.3},
        {"fault": "server-error", "operation": "Describe*", "probability": 0.2},
        {"fault": "server-error", "service": "logs", "probability": 0.3},
    )
    assert train(told)["status"] == "Completed"
    assert aws.jobs(told["run"]) == {"1": "Completed"}


def test_spot_capacity_that_is_taken_back(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    long = {"epochs": 1000, "num_factors": 384}
    told = aws.prepare("spot", spot=True, image="fmrec", solver="adam", **long)
    aws.plan({"fault": "interrupt", "kind": "training-job", "seconds": 10, "times": 1})
    result = train(told)
    assert "Interrupted: " in capsys.readouterr().out
    # The job's own log: the task's shows the end of what is new at each look.
    logs = aws.client("logs")
    place: dict[str, Any] = {"logGroupName": "/aws/sagemaker/TrainingJobs"}
    streams = logs.describe_log_streams(logStreamNamePrefix=result["name"], **place)["logStreams"]
    # Whoever starts again has a stream of its own, and what is sought is at its beginning.
    place |= {"logStreamName": streams[-1]["logStreamName"], "startFromHead": True}
    lines = [event["message"] for event in logs.get_log_events(**place)["events"]]
    assert len(streams) == 2
    assert any("Going on from the checkpoint" in line for line in lines)
    found = aws.sagemaker.describe_training_job(TrainingJobName=result["name"])
    assert result["billable_seconds"] == found["BillableTimeInSeconds"]
    assert result["billable_seconds"] <= result["seconds"]


def test_a_tuning(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    told = aws.prepare(
        "tuned", mode="tune", tuning_jobs=3, tuning_ranges="factors_lr=0.001..0.1 log"
    )
    result = TuningOperator(task_id="tune", **told).execute(context())
    tuning = result["tuning"]
    assert len(tuning["name"]) <= 32
    assert [each["status"] for each in tuning["jobs"]] == ["Completed"] * 3
    best = min(tuning["jobs"], key=lambda each: each["value"])
    assert (result["name"], tuning["objective"]["value"]) == (best["name"], best["value"])
    assert result["hyperparameters"] == best["hyperparameters"]
    assert set(result["hyperparameters"]) == {"factors_lr"}
    assert "3 of 3 trials done" in capsys.readouterr().out
    assert TuningOperator(task_id="tune", **told).execute(context()) == result
