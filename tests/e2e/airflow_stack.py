"""A running stack for tests: `make up`, its REST API and its AWS; then `make down`."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import psutil

ROOT = Path(__file__).resolve().parents[2]


class Airflow:
    """The running stack through its REST API, as the browser uses it; runs are of one DAG."""

    def __init__(self, stack: dict[str, Any], dag: str = "fmrec_retrain") -> None:
        self.ui, self.aws, self.dag = stack["ui"], stack["aws"], dag
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

    def of(self, dag: str) -> Airflow:
        """The same stack, as far as another DAG goes."""
        other = copy.copy(self)
        other.dag = dag
        return other

    def runs(self, path: str = "") -> Any:
        return self.call("GET", f"/api/v2/dags/{self.dag}/dagRuns{path}")

    def trigger(self, conf: dict[str, Any]) -> str:
        body = {"logical_date": None, "conf": conf}
        run = self.call("POST", f"/api/v2/dags/{self.dag}/dagRuns", body)
        return str(run["dag_run_id"])

    def tasks(self, run: str) -> dict[str, dict[str, Any]]:
        found = self.runs(f"/{run}/taskInstances")["task_instances"]
        return {each["task_id"]: each for each in found}

    def states(self, run: str) -> dict[str, str | None]:
        """The state of each task of a run."""
        return {name: task["state"] for name, task in self.tasks(run).items()}

    def wait(self, run: str, seconds: float = 200) -> str:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            state = self.runs(f"/{run}")["state"]
            if state in {"success", "failed"}:
                return str(state)
            time.sleep(1)
        raise AssertionError(f"{run} did not end: {self.states(run)}")

    def wait_for(self, run: str, task: str, states: set[str], seconds: float = 200) -> str:
        """The state of a task, once it is one of these."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            state = self.tasks(run)[task]["state"]
            if state in states:
                return str(state)
            time.sleep(1)
        raise AssertionError(f"{run} did not come to {states}: {self.states(run)}")

    def answer(self, run: str, chosen: str) -> dict[str, Any]:
        """Press a button of the page, once it asks; gives what it showed."""
        self.wait_for(run, "approve", {"awaiting_input"})
        # Airflow 3.3.2 takes an answer within the second for a task that died, and asks again.
        time.sleep(3)
        path = f"/{run}/taskInstances/approve/-1/hitlDetails"
        shown: dict[str, Any] = self.runs(path)
        body = {"chosen_options": [chosen]}
        self.call("PATCH", f"/api/v2/dags/{self.dag}/dagRuns{path}", body)
        return shown

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


def own_ports() -> dict[str, str]:
    """Free ports that no other worker of the tests looks at: two stacks may start at once."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 21_000 + 100 * worker
    free = []
    for port in range(first, first + 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            free.append(str(port))
    return {"FMREC_UI_PORT": free[0], "FMREC_AWS_PORT": free[1]}


def until(what: str, found: Callable[[], Any], seconds: float = 300) -> Any:
    """Wait until something is so; an API that is slow to answer is asked again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if value := found():
                return value
        time.sleep(0.2)
    raise AssertionError(f"not in {seconds} s: {what}")


def unpause(environ: dict[str, str], *dags: str) -> None:
    for dag in dags:
        words = ["airflow", "dags", "unpause", dag, "--yes"]
        command(environ, sys.executable, "-m", "fmrec", *words)


def command(environ: dict[str, str], *words: str) -> str:
    """Run a command of the checkout; its output."""
    answer = subprocess.run(
        words, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=240, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@contextmanager
def running(state: Path, environ: dict[str, str]) -> Iterator[Airflow]:
    """The stack of a state folder; afterwards no process of it is left."""
    said = command(environ, "make", "up")
    stack = json.loads((state / "up" / "stack.json").read_text())
    assert stack["ui"] in said
    assert stack["password"] in said
    try:
        yield Airflow(stack)
    finally:
        # What was started again since then is in the file too.
        stack = json.loads((state / "up" / "stack.json").read_text())
        sessions = [each["pid"] for each in stack["started"]]
        command(environ, "make", "down")
        left = [p for p in psutil.pids() if psutil.pid_exists(p) and os.getsid(p) in sessions]
        alive = [p for p in left if psutil.Process(p).status() != psutil.STATUS_ZOMBIE]
        assert alive == []
