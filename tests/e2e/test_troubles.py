"""What goes wrong outside: the scheduler's runs beside an AWS that is told to fail them."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow_stack import Airflow, command

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

CONF = {"source": "sample", "as_of": "1998-01-01T00:00:00+00:00", "epochs": 3, "num_factors": 8}


class Troubles:
    """The faults of the stack's AWS, and what there is of its jobs."""

    def __init__(self, stack: Airflow) -> None:
        self._stack = stack
        self._url = f"{stack.aws}/_fmrec/faults"

    def plan(self, *faults: dict[str, Any]) -> None:
        body = json.dumps({"seed": 3, "faults": faults}).encode()
        with urllib.request.urlopen(urllib.request.Request(self._url, body, method="PUT")):
            pass

    def end(self) -> None:
        with urllib.request.urlopen(urllib.request.Request(self._url, method="DELETE")):
            pass

    def jobs(self, run: str) -> list[tuple[str, str]]:
        """Kind and status of each job of a run, the oldest first."""
        key = self._stack.result(run, "plan")["layout"]["run"]
        client = self._stack.client("sagemaker")
        sort: dict[str, Any] = {"NameContains": key, "SortOrder": "Ascending"}
        trained = client.list_training_jobs(**sort)["TrainingJobSummaries"]
        scored = client.list_transform_jobs(**sort)["TransformJobSummaries"]
        return [("train", each["TrainingJobStatus"]) for each in trained] + [
            ("score", each["TransformJobStatus"]) for each in scored
        ]

    def champions(self) -> list[dict[str, Any]]:
        """Every entry of the histories of champions."""
        found = self._stack.client("s3").list_objects_v2(Bucket="fmrec", Prefix="fmrec/champions/")
        return [json.loads(self._stack.object(each["Key"])) for each in found.get("Contents", [])]

    def nothing_runs(self) -> bool:
        client = self._stack.client("sagemaker")
        live = {"StatusEquals": "InProgress"}
        return not (
            client.list_training_jobs(**live)["TrainingJobSummaries"]
            or client.list_transform_jobs(**live)["TransformJobSummaries"]
        )


@pytest.fixture(scope="module")
def undisturbed(airflow: Airflow) -> dict[str, Any]:
    """The report of a run that nothing happened to."""
    run = airflow.trigger(CONF)
    assert airflow.wait(run) == "success"
    return airflow.report(run)


@pytest.fixture
def troubles(airflow: Airflow) -> Iterator[Troubles]:
    made = Troubles(airflow)
    try:
        yield made
    finally:
        made.end()


def said(airflow: Airflow, run: str, task: str) -> str:
    """The log of a failed task's only attempt, as the page shows it."""
    found = airflow.tasks(run)[task]
    assert (found["state"], found["try_number"]) == ("failed", 1)
    return json.dumps(airflow.runs(f"/{run}/taskInstances/{task}/logs/1?full_content=true"))


def test_throttling_is_waited_out(
    airflow: Airflow, troubles: Troubles, undisturbed: dict[str, Any]
) -> None:
    troubles.plan(
        {"fault": "throttle", "operation": "Describe*", "probability": 0.3},
        {"fault": "throttle", "operation": "Create*", "times": 2},
        {"fault": "throttle", "service": "s3", "operation": "*", "probability": 0.05},
    )
    run = airflow.trigger(CONF)
    assert airflow.wait(run, 400) == "success"
    assert troubles.jobs(run) == [("train", "Completed"), ("score", "Completed")]
    assert airflow.report(run)["metrics"] == undisturbed["metrics"]


def test_a_lack_of_capacity_and_a_spot_interruption_are_outlived(
    airflow: Airflow, troubles: Troubles, undisturbed: dict[str, Any]
) -> None:
    troubles.plan(
        {"fault": "capacity", "kind": "transform-job", "times": 1},
        {"fault": "interrupt", "times": 1},
    )
    run = airflow.trigger(CONF | {"spot": True, "max_runtime_minutes": 30})
    assert airflow.wait(run, 400) == "success"
    assert troubles.jobs(run) == [
        ("train", "Completed"), ("score", "Failed"), ("score", "Completed"),
    ]  # fmt: skip
    key = airflow.result(run, "plan")["layout"]["run"]
    client = airflow.client("sagemaker")
    (job,) = client.list_training_jobs(NameContains=key)["TrainingJobSummaries"]
    told = client.describe_training_job(TrainingJobName=job["TrainingJobName"])
    assert "Interrupted" in {each["Status"] for each in told["SecondaryStatusTransitions"]}
    assert airflow.report(run)["metrics"] == undisturbed["metrics"]


def test_a_lack_of_capacity_for_training_starts_another_job(
    airflow: Airflow, troubles: Troubles, undisturbed: dict[str, Any]
) -> None:
    troubles.plan({"fault": "capacity", "kind": "training-job", "times": 1})
    run = airflow.trigger(CONF)
    assert airflow.wait(run, 400) == "success"
    assert troubles.jobs(run) == [
        ("train", "Failed"), ("train", "Completed"), ("score", "Completed"),
    ]  # fmt: skip
    assert airflow.report(run)["metrics"] == undisturbed["metrics"]


def test_a_failure_of_the_algorithm_ends_the_run_at_once(
    airflow: Airflow, troubles: Troubles
) -> None:
    troubles.plan({"fault": "crash", "kind": "training-job", "phase": "Training"})
    run = airflow.trigger(CONF)
    assert airflow.wait(run) == "failed"
    assert "ended with exit code 137" in said(airflow, run, "train")
    assert troubles.jobs(run) == [("train", "Failed")]
    assert airflow.states(run)["release"] == "upstream_failed"


@pytest.mark.parametrize(
    ("fault", "task", "says"),
    [
        (
            {"service": "s3", "operation": "HEAD"},
            "plan",
            "FMREC_BUCKET: bucket 'fmrec' is forbidden",
        ),
        ({"operation": "CreateTrainingJob"}, "train", "sagemaker:CreateTrainingJob"),
    ],
)
def test_what_aws_forbids_fails_at_once_and_leaves_nothing_running(
    fault: dict[str, Any],
    task: str,
    says: str,
    airflow: Airflow,
    troubles: Troubles,
) -> None:
    before = troubles.champions()
    troubles.plan({"fault": "deny"} | fault)
    run = airflow.trigger(CONF)
    assert airflow.wait(run) == "failed"
    troubles.end()
    assert says in said(airflow, run, task)
    assert troubles.nothing_runs()
    assert troubles.champions() == before


def test_a_landing_file_that_arrives_in_mid_run_is_for_the_next_run(
    airflow: Airflow, environ: dict[str, str], state: Path
) -> None:
    replay = ["replay", "--source", "sample", "--first-day", "2026-01-01", "--until", "2026-01-20"]
    command(environ, sys.executable, "-m", "fmrec", *replay)
    conf = CONF | {"source": "landing", "as_of": "2026-01-21T00:00:00+00:00"}
    run = airflow.trigger(conf)
    airflow.wait_for(run, "ingest", {"success"})
    text = b"user_id,item_id,rating,timestamp\n1,1,5,1767400000\n2,1,4,1767400001\n"
    key = "fmrec/landing/dt=2026-01-03/late.csv"
    airflow.client("s3").put_object(Bucket="fmrec", Key=key, Body=text)
    assert airflow.wait(run) == "success"
    again = airflow.trigger(conf)
    assert airflow.wait(again) == "success"
    one, two = airflow.report(run), airflow.report(again)
    seen = [each["counts"]["ratings_seen"] for each in (one, two)]
    assert seen[1] == seen[0] + 2
