"""The pipeline beside a local AWS that goes wrong on purpose. About 40 s."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from local_aws_process import serving

pytestmark = pytest.mark.e2e

RUN = (
    *("run", "--source", "sample", "--epochs", "2", "--unknown-ids", "exclude"),
    *("--as-of", "1998-01-01"),
)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with serving(tmp_path / "aws") as address:
        yield address


@pytest.fixture
def plan(url: str) -> Callable[..., None]:
    """Plan faults as a person would, over HTTP."""

    def put(*faults: dict[str, Any]) -> None:
        body = json.dumps({"seed": 5, "faults": faults}).encode()
        request = urllib.request.Request(f"{url}/_fmrec/faults", body, method="PUT")
        with urllib.request.urlopen(request) as answer:
            assert json.load(answer)["faults"] == list(faults)

    return put


def jobs(url: str) -> list[tuple[str, str]]:
    client = boto3.client("sagemaker", endpoint_url=url, region_name="us-east-1")
    found = client.list_training_jobs(SortBy="CreationTime")["TrainingJobSummaries"]
    return [(job["TrainingJobStatus"], job["TrainingJobName"]) for job in found]


def test_a_run_outlives_throttling_slow_answers_and_one_crash(
    fmrec: Any, url: str, plan: Any, tmp_path: Path
) -> None:
    plan(
        {"fault": "throttle", "operation": "Describe*", "probability": 0.3},
        {"fault": "throttle", "operation": "Create*", "times": 1},
        {"fault": "server-error", "service": "s3", "probability": 0.05},
        {"fault": "slow", "operation": "Describe*", "seconds": 0.5, "times": 2},
        {"fault": "crash", "kind": "training-job", "phase": "Downloading", "times": 1},
    )
    answer = fmrec(*RUN, "--report-to", str(tmp_path / "out"), AWS_ENDPOINT_URL=url)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["counts"]["events"] == report["counts"]["predictions"] > 0
    assert [status for status, _ in jobs(url)] == ["Failed", "Completed"]


def test_a_crash_of_the_algorithm_ends_the_run_and_says_why(
    fmrec: Any, url: str, plan: Any
) -> None:
    plan({"fault": "crash", "kind": "training-job", "phase": "Training"})
    answer = fmrec(*RUN, AWS_ENDPOINT_URL=url)
    assert answer.returncode == 1
    assert "ended with exit code 137" in answer.stderr
    assert {status for status, _ in jobs(url)} == {"Failed"}


def interrupted(url: str, state: Path, *options: str, when: Callable[[], Any]) -> None:
    """Press Ctrl-C in a run once something is so; it ends, within seconds."""
    environ = {**os.environ, "AWS_ENDPOINT_URL": url, "FMREC_STATE_DIR": str(state)}
    command = [sys.executable, "-m", "fmrec", "run", "--source", "sample", *options]
    run = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    until = time.monotonic() + 120
    while not when():
        assert run.poll() is None, "it ended by itself"
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=20)
    assert run.returncode == 130, said


def test_ctrl_c_stops_the_job_and_nothing_follows(url: str, tmp_path: Path) -> None:
    long = ("--epochs", "1000", "--num-factors", "512")
    trains = lambda: [status for status, _ in jobs(url)] == ["InProgress"]  # noqa: E731
    interrupted(url, tmp_path / "state", *long, when=trains)
    until = time.monotonic() + 30
    while jobs(url)[0][0] != "Stopped" and time.monotonic() < until:
        time.sleep(0.2)
    time.sleep(6)  # a retry would come after five seconds
    assert [status for status, _ in jobs(url)] == ["Stopped"]


def test_ctrl_c_before_the_jobs_starts_none(url: str, tmp_path: Path) -> None:
    """The steps that are left before the first job take a second or two."""
    s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1")

    def writes() -> bool:
        buckets = [each["Name"] for each in s3.list_buckets()["Buckets"]]
        return buckets == ["fmrec"] and "Contents" in s3.list_objects_v2(Bucket="fmrec")

    interrupted(url, tmp_path / "state", when=writes)
    time.sleep(5)
    assert jobs(url) == []


def test_a_plan_that_is_wrong_is_refused(url: str) -> None:
    request = urllib.request.Request(
        f"{url}/_fmrec/faults", b'{"faults": [{"fault": "flood"}]}', method="PUT"
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 400
    message = json.load(refused.value)["message"]
    assert "fault 1 of faults.json: fault is 'flood'; one of throttle" in message
    refused.value.close()
    client = boto3.client("sagemaker", endpoint_url=url, region_name="us-east-1")
    assert client.list_models()["Models"] == []
    with pytest.raises(ClientError):
        client.describe_model(ModelName="none")
