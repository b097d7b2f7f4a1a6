"""Clearing a training task stops its job at once, deferred or not; the next one is its own.

About two minutes: a whole stack in a copy of the checkout, which has the DAG a second time, with
tasks that are deferred.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from airflow_stack import Airflow, own_ports, until

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
DEFERRED = "fmrec_retrain_deferred"
# The training takes half a minute or more: long enough to be met, short enough to be repeated.
CONF = {
    "source": "sample",
    "as_of": "1998-01-01T00:00:00+00:00",
    "epochs": 1000,
    "num_factors": 512,
}


class Clearing(Airflow):
    """The stack, with what is cleared and what becomes of it."""

    def clear(self, run: str, task: str) -> None:
        """Clear one task of a run, as a person does in the browser."""
        body = {"dag_run_id": run, "task_ids": [task], "only_failed": False, "dry_run": False}
        self.call("POST", f"/api/v2/dags/{self.dag}/clearTaskInstances", body)

    def jobs(self, run: str) -> dict[str, str]:
        """The run's training jobs and their status."""
        key = self.result(run, "plan")["layout"]["run"]
        found = self.client("sagemaker").list_training_jobs(NameContains=key)
        return {
            each["TrainingJobName"]: each["TrainingJobStatus"]
            for each in found["TrainingJobSummaries"]
        }

    def link(self, run: str, task: str, name: str) -> str:
        path = f"/{run}/taskInstances/{task}/links"
        return str(self.runs(path)["extra_links"][name])


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, plain_environ: dict[str, str]
) -> Iterator[dict[str, Any]]:
    copy = tmp_path_factory.mktemp("checkout")
    shutil.copytree(
        ROOT / "plugins", copy / "plugins", ignore=shutil.ignore_patterns("__pycache__")
    )
    # Runs of the schedule would be in the way.
    text = (ROOT / "dags" / "fmrec_retrain.py").read_text()
    text, found = re.subn(r"schedule=.*,", "schedule=None,", text)
    assert found == 1
    deferred, found = re.subn(
        'task_id="(train|score)",', r'task_id="\1",\n        deferrable=True,', text
    )
    assert found == 2
    (copy / "dags").mkdir()
    (copy / "dags" / "fmrec_retrain.py").write_text(text)
    (copy / "dags" / "deferred.py").write_text(
        deferred.replace('dag_id="fmrec_retrain"', f'dag_id="{DEFERRED}"')
    )
    environ = (
        plain_environ
        | own_ports()
        | {
            "FMREC_SOURCE": "sample",
            "FMREC_STATE_DIR": str(copy / "var"),
            "PYTHONPATH": str(copy / "plugins"),
        }
    )

    def fmrec(*words: str) -> None:
        answer = subprocess.run(
            [sys.executable, "-m", "fmrec", *words],
            cwd=copy,
            env=environ,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr

    fmrec("up")
    stack = json.loads((copy / "var" / "up" / "stack.json").read_text())
    sessions = [each["pid"] for each in stack["started"]]
    try:
        for dag in ("fmrec_retrain", DEFERRED):
            fmrec("airflow", "dags", "unpause", dag, "--yes")
        yield stack
    finally:
        fmrec("down")
        left = [p for p in psutil.pids() if psutil.pid_exists(p) and os.getsid(p) in sessions]
        alive = [p for p in left if psutil.Process(p).status() != psutil.STATUS_ZOMBIE]
        assert alive == []


@pytest.mark.parametrize(("dag", "waits"), [("fmrec_retrain", "running"), (DEFERRED, "deferred")])
def test_clearing_a_training_task_stops_its_job(
    dag: str, waits: str, stack: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    airflow = Clearing(stack, dag)
    run = airflow.trigger(CONF)
    until("the task waits", lambda: airflow.tasks(run).get("train", {}).get("state") == waits)
    if waits == "deferred":
        # Until the triggerer has it, nobody is there to be told; the next attempt takes the job.
        until("the wait begins", lambda: airflow.tasks(run)["train"]["triggerer_job"])
    until("the job trains", lambda: airflow.training_job(run) == "Training")
    [name] = airflow.jobs(run)
    assert name in airflow.link(run, "train", "SageMaker training job")

    airflow.clear(run, "train")
    cleared = time.monotonic()
    ending = {"Stopping", "Stopped"}
    until("the job stops", lambda: airflow.jobs(run)[name] in ending, seconds=60)
    with capsys.disabled():
        sys.stdout.write(f"\n{dag}: stopped {time.monotonic() - cleared:.1f} s after clearing\n")

    assert airflow.wait(run, 400) == "success"
    second = airflow.result(run, "train")["name"]
    assert (name[-2:], second[-2:]) == ("-1", "-2")
    assert airflow.jobs(run) == {name: "Stopped", second: "Completed"}
