"""Three hundred jobs and ten kills: nothing lost, nothing twice. About a minute."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

JOBS, KILLS = 300, 10
RESTARTED = "InternalServerError: the local AWS was restarted while the job was running"


class Target:
    """The server of the moment, for submitters that outlive it."""

    def __init__(self) -> None:
        self.up = threading.Event()
        self.client = None

    def submit(self, request: dict) -> None:
        """Submit until it is acknowledged."""
        while True:
            self.up.wait()
            try:
                self.client.create_training_job(**request)
            except ClientError as error:
                # Recorded before the kill that cut off the answer.
                assert error.response["Error"]["Code"] == "ResourceInUse"
                return
            except (ConnectionError, HTTPClientError):
                time.sleep(0.05)
            else:
                return


def all_jobs(sagemaker) -> list[dict]:
    pages = sagemaker.get_paginator("list_training_jobs").paginate(MaxResults=100)
    return [job for page in pages for job in page["TrainingJobSummaries"]]


def test_ten_kills_lose_no_job_and_run_none_twice(tmp_path, start, training_request):
    chance = random.Random(20)  # noqa: S311
    ledger = tmp_path / "ledger"
    names = [f"job-{number:03}" for number in range(JOBS)]
    target = Target()
    children: set[int] = set()
    with ThreadPoolExecutor(12) as submitters:
        sent = []
        for kill in range(KILLS + 1):
            with start(tmp_path / "state") as server:
                if not sent:
                    server.client("s3").create_bucket(Bucket="bucket")
                target.client = server.client("sagemaker", max_pool_connections=12)
                target.up.set()
                sent = sent or [
                    submitters.submit(
                        target.submit, training_request(name, "bucket", ledger=str(ledger))
                    )
                    for name in names
                ]
                if kill < KILLS:
                    time.sleep(chance.uniform(0.1, 2.5))
                    children |= {item.pid for item in psutil.Process(server.process.pid).children()}
                    target.up.clear()
                    server.kill()
                    continue
                for each in sent:
                    each.result()
                s3, sagemaker = server.client("s3"), server.client("sagemaker")
                while any(job["TrainingJobStatus"] == "InProgress" for job in all_jobs(sagemaker)):
                    time.sleep(0.2)
                jobs = all_jobs(sagemaker)
                ran = Counter(ledger.read_text().split())
                outcomes = Counter(job["TrainingJobStatus"] for job in jobs)
                assert sorted(job["TrainingJobName"] for job in jobs) == names
                assert max(ran.values()) == 1
                stored = {
                    item["Key"]
                    for page in s3.get_paginator("list_objects_v2").paginate(Bucket="bucket")
                    for item in page.get("Contents", [])
                }
                for name in names:
                    job = sagemaker.describe_training_job(TrainingJobName=name)
                    states = [item["Status"] for item in job["SecondaryStatusTransitions"]]
                    assert len(states) == len(set(states))
                    assert states[-1] == job["TrainingJobStatus"] == job["SecondaryStatus"]
                    assert all("EndTime" in item for item in job["SecondaryStatusTransitions"])
                    key = f"out/{name}/output/model.tar.gz"
                    if job["TrainingJobStatus"] == "Completed":
                        assert ran[name] == 1
                        assert job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://bucket/{key}"
                        assert key in stored
                    else:
                        assert job["FailureReason"] == RESTARTED
                        assert "ModelArtifacts" not in job
                        assert key not in stored
    print(outcomes)  # noqa: T201 - shown when something is wrong
    # Every kill met at most what was running, and most jobs went through.
    assert 1 <= outcomes["Failed"] <= 2 * KILLS
    assert outcomes["Completed"] + outcomes["Failed"] == JOBS
    assert not [pid for pid in children if psutil.pid_exists(pid) and _is_ours(pid)]


def _is_ours(pid: int) -> bool:
    try:
        return "toy_algorithm" in " ".join(psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return False
