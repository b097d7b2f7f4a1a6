"""`make up`: the DAG as the scheduler runs it, triggered, backfilled, killed; then `make down`."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from airflow_stack import Airflow, command

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]


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


def test_the_schedule_rebuilds_the_day_that_has_just_ended(airflow: Airflow) -> None:
    """A DAG that is unpaused runs for its last interval, and for none before."""
    (run,) = [
        each for each in airflow.runs("?limit=100")["dag_runs"] if each["run_type"] == "scheduled"
    ]
    name = run["dag_run_id"]
    if airflow.wait_for(name, "approve", {"awaiting_input", "success"}) == "awaiting_input":
        airflow.answer(name, "Approve")
    assert airflow.wait(name) == "success"
    as_of = datetime.fromisoformat(airflow.result(name, "plan")["as_of"])
    assert as_of == datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    report = airflow.report(name)
    assert report["counts"]["events"] == report["counts"]["predictions"] > 0


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
        "num_factors": 256,
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
