"""`make up`: the DAG as the scheduler runs it, triggered, backfilled, killed; then `make down`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]


class Airflow:
    """The running stack through its REST API, as the browser uses it."""

    def __init__(self, stack: dict[str, Any]) -> None:
        self.ui, self.aws = stack["ui"], stack["aws"]
        body = {"username": "admin", "password": stack["password"]}
        self.token = self.call("POST", "/auth/token", body, token=None)["access_token"]

    def call(
        self, method: str, path: str, body: Any = None, token: str | None = "own"
    ) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.ui + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            content: dict[str, Any] = json.loads(answer.read() or "{}")
        return content

    def runs(self, path: str = "") -> Any:
        return self.call("GET", f"/api/v2/dags/fmrec_retrain/dagRuns{path}")

    def trigger(self, conf: dict[str, Any]) -> str:
        body = {"logical_date": None, "conf": conf}
        run = self.call("POST", "/api/v2/dags/fmrec_retrain/dagRuns", body)
        return str(run["dag_run_id"])

    def tasks(self, run: str) -> dict[str, dict[str, Any]]:
        found = self.runs(f"/{run}/taskInstances")["task_instances"]
        return {each["task_id"]: each for each in found}

    def wait(self, run: str, seconds: float = 200) -> str:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            state = self.runs(f"/{run}")["state"]
            if state in {"success", "failed"}:
                return str(state)
            time.sleep(1)
        raise AssertionError(f"{run} did not end: {self.tasks(run)}")

    def result(self, run: str, task: str) -> Any:
        path = f"/{run}/taskInstances/{task}/xcomEntries/return_value?deserialize=true"
        return self.runs(path)["value"]

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.aws,
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    def training_job(self, run: str) -> str | None:
        """The secondary status of the run's training job, once it trains."""
        client = self.client("sagemaker")
        key = self.result(run, "plan")["layout"]["run"]
        jobs = client.list_training_jobs(NameContains=key)["TrainingJobSummaries"]
        for job in jobs:
            found = client.describe_training_job(TrainingJobName=job["TrainingJobName"])
            if found["SecondaryStatus"] not in {"Starting", "Downloading"}:
                return str(found["SecondaryStatus"])
        return None

    def object(self, key: str) -> bytes:
        client = self.client("s3")
        return client.get_object(Bucket="fmrec", Key=key)["Body"].read()

    def report(self, run: str) -> dict[str, Any]:
        files = self.result(run, "publish")["files"]
        content: dict[str, Any] = json.loads(self.object(files["report.json"]))
        return content


def command(environ: dict[str, str], *words: str) -> str:
    """Run a command of the checkout; its output."""
    answer = subprocess.run(
        words, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=240, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def environ(state: Path, plain_environ: dict[str, str]) -> dict[str, str]:
    return plain_environ | {"FMREC_SOURCE": "sample", "FMREC_STATE_DIR": str(state)}


@pytest.fixture(scope="module")
def airflow(state: Path, environ: dict[str, str]) -> Iterator[Airflow]:
    said = command(environ, "make", "up")
    stack = json.loads((state / "up" / "stack.json").read_text())
    sessions = [each["pid"] for each in stack["started"]]
    assert stack["ui"] in said
    assert stack["password"] in said
    try:
        words = ["airflow", "dags", "unpause", "fmrec_retrain", "--yes"]
        command(environ, sys.executable, "-m", "fmrec", *words)
        yield Airflow(stack)
    finally:
        command(environ, "make", "down")
        left = [p for p in psutil.pids() if psutil.pid_exists(p) and os.getsid(p) in sessions]
        alive = [p for p in left if psutil.Process(p).status() != psutil.STATUS_ZOMBIE]
        assert alive == []


def test_everything_listens_on_this_machine_alone(airflow: Airflow, state: Path) -> None:
    stack = json.loads((state / "up" / "stack.json").read_text())
    sessions = {each["pid"] for each in stack["started"]}
    addresses = set()
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) in sessions:
                listening = process.net_connections(kind="inet")
                addresses |= {c.laddr.ip for c in listening if c.status == psutil.CONN_LISTEN}
        except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
            continue
    assert addresses == {"127.0.0.1"}


def test_a_manual_run_without_a_date(airflow: Airflow) -> None:
    run = airflow.trigger({"source": "sample", "epochs": 3})
    assert airflow.wait(run) == "success"
    report = airflow.report(run)
    assert report["counts"]["events"] == report["counts"]["predictions"]
    assert report["run"]["run_id"] == run


def test_a_killed_task_is_retried_to_the_right_report(airflow: Airflow) -> None:
    """One of two equal runs loses its training task in mid-training; both end in one report."""
    conf = {
        "source": "sample",
        "as_of": "1998-01-01T00:00:00+00:00",
        "epochs": 1000,
        "num_factors": 64,
    }
    whole, run = airflow.trigger(conf), airflow.trigger(conf)
    job = None
    until = time.monotonic() + 120
    while job is None and time.monotonic() < until:
        time.sleep(0.2)
        if airflow.tasks(run)["train"]["state"] == "running":
            job = airflow.training_job(run)
    assert job == "Training", f"the training task was not met in mid-training: {job}"
    psutil.Process(airflow.tasks(run)["train"]["pid"]).send_signal(signal.SIGKILL)
    assert airflow.wait(run) == airflow.wait(whole) == "success"
    assert airflow.tasks(run)["train"]["try_number"] == 2
    assert airflow.tasks(whole)["train"]["try_number"] == 1
    one, two = airflow.report(whole), airflow.report(run)
    assert one["metrics"] == two["metrics"]
    assert one["counts"] == two["counts"]
    assert one["recommendations"] == two["recommendations"]


def test_a_week_of_march_1998(airflow: Airflow, environ: dict[str, str], tmp_path: Path) -> None:
    """Each backfilled day is rebuilt from what was known then, and from nothing later."""
    source = "ml-100k" if os.environ.get("FMREC_DATA_DIR") else "sample"
    conf = json.dumps({"source": source, "epochs": 3})
    command(
        environ, sys.executable, "-m", "fmrec", "airflow", "backfill", "create",
        "--dag-id", "fmrec_retrain", "--from-date", "1998-03-01", "--to-date", "1998-03-07",
        "--max-active-runs", "2", "--dag-run-conf", conf,
    )  # fmt: skip
    runs = [
        each["dag_run_id"]
        for each in airflow.runs("?limit=100")["dag_runs"]
        if each["run_type"] == "backfill"
    ]
    assert len(runs) == 7
    seen = []
    for run in sorted(runs):
        assert airflow.wait(run, 240) == "success"
        files = airflow.result(run, "publish")["files"]
        manifest = json.loads(airflow.object(files["manifest.json"]))
        as_of = datetime(1998, 3, 2 + len(seen), tzinfo=UTC)
        assert manifest["as_of"] == as_of.isoformat()
        for part in manifest["events"].values():
            if part["last"] is not None:
                assert part["last"] < as_of.timestamp()
        seen.append(manifest["counts"]["ratings_seen"])
    assert seen == sorted(seen)
    assert len(set(seen)) == 7
    page = tmp_path / "history.html"
    told = command(
        environ, sys.executable, "-m", "fmrec", "history", "--lane", f"rating-{source}-time",
        "--page", str(page),
    )  # fmt: skip
    days = [line.split()[0] for line in told.splitlines() if line.startswith("1998-03-")]
    assert days == [f"1998-03-{day:02d}" for day in range(2, 9)]
    assert "1998-03-08" in page.read_text()
