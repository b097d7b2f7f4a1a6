"""`python -m fmrec backfill` and `status` on a real stack: watched, left, taken up, repeated."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from airflow_stack import ROOT, Airflow, command, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SHORT = ("--source", "sample", "--epochs", "3", "--num-factors", "8")


def fmrec(
    environ: dict[str, str], *words: str, code: int = 0, seconds: float = 400
) -> tuple[str, str]:
    """What a command prints and what it complains of; it ends with this code."""
    answer = subprocess.run(
        [sys.executable, "-m", "fmrec", *words],
        cwd=ROOT, env=environ, capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    assert answer.returncode == code, answer.stdout + answer.stderr
    return answer.stdout, answer.stderr


def backfilled(airflow: Airflow) -> list[dict[str, str]]:
    runs = airflow.runs("?limit=100&run_type=backfill&order_by=logical_date")["dag_runs"]
    return [run for run in runs if run["run_type"] == "backfill"]


def noted(airflow: Airflow) -> bool:
    """Whether Airflow counts no backfill as at work."""
    found = airflow.call("GET", "/api/v2/backfills?dag_id=fmrec_retrain")["backfills"]
    return all(each["completed_at"] for each in found)


def days_of(table: str) -> list[str]:
    """The moments of the table of figures."""
    return re.findall(r"^(1998-\d\d-\d\d) [0-9a-f]{8}", table, flags=re.M)


def test_days_are_rebuilt_also_when_nobody_watches(
    airflow: Airflow, environ: dict[str, str]
) -> None:
    words = ["backfill", "--from", "1998-03-01", "--to", "1998-03-03", *SHORT]
    watcher = subprocess.Popen(
        [sys.executable, "-m", "fmrec", *words],
        cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        # Whoever runs the tests in the background of a shell has Ctrl-C ignored, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )  # fmt: skip
    until("there are runs", lambda: backfilled(airflow))
    watcher.send_signal(signal.SIGINT)
    said, _ = watcher.communicate(timeout=60)
    assert watcher.returncode == 130, said
    assert "The backfill goes on. The same command shows again how far it is" in said

    other = ["backfill", "--from", "1998-01-01", "--to", "1998-01-02", *SHORT]
    _, complaint = fmrec(environ, *other, code=1)
    assert "a backfill of 1998-03-01 to 1998-03-03 is at work" in complaint

    said, _ = fmrec(environ, *words)
    assert "is at work already: watching it" in said
    assert days_of(said) == ["1998-03-02", "1998-03-03", "1998-03-04"]
    runs = backfilled(airflow)
    assert [run["state"] for run in runs] == ["success"] * 3
    assert {run["conf"]["epochs"] for run in runs} == {3}  # type: ignore[index]

    jobs = airflow.client("sagemaker").list_training_jobs()["TrainingJobSummaries"]
    until("Airflow notes the end, as it does twice a minute", lambda: noted(airflow))
    said, _ = fmrec(environ, *words)
    assert "3 of the days have been rebuilt before, and are kept." in said
    assert days_of(said) == ["1998-03-02", "1998-03-03", "1998-03-04"]
    again = airflow.client("sagemaker").list_training_jobs()["TrainingJobSummaries"]
    assert {job["TrainingJobName"] for job in again} == {job["TrainingJobName"] for job in jobs}


def test_a_day_that_fails_is_named_with_its_task_and_error(
    airflow: Airflow, environ: dict[str, str]
) -> None:
    """Nobody has rated so many films: nothing is left to train on.

    Airflow has yet to note that the backfill of the test before this one is over.
    """
    words = ["backfill", "--from", "1998-03-08", "--to", "1998-03-08", *SHORT]
    words += ["--min-user-ratings", "100000"]
    _, complaint = fmrec(environ, *words, code=1)
    assert "1 of 1 days have failed:" in complaint
    assert re.search(
        r"1998-03-08, task events: DataError: .* leaves no rating for train", complaint
    )
    assert f"{airflow.ui}/dags/fmrec_retrain/runs/" in complaint


def test_status_says_what_is_up_and_what_has_died(
    airflow: Airflow, environ: dict[str, str], state: Path
) -> None:
    said, _ = fmrec(environ, "status")
    names = "local-aws|api-server|execution-api|scheduler|dag-processor|triggerer"
    assert len(re.findall(rf"^ ({names}) .* runs *$", said, flags=re.M)) == 6
    assert re.search(r"^ fmrec_retrain +\d+ +\d+ +\d+ +\d+ +\d{4}-", said, flags=re.M)
    assert re.search(r"^ fmrec_tune +paused ", said, flags=re.M)
    assert re.search(r"^SageMaker: \d jobs? in progress, 0 endpoints$", said, flags=re.M)
    assert "no budget is set" in said
    started = json.loads((state / "up" / "stack.json").read_text())["started"]
    (triggerer,) = [each["pid"] for each in started if each["name"] == "triggerer"]
    psutil.Process(triggerer).kill()
    said, _ = fmrec(environ, "status")
    assert re.search(r"^ triggerer .* has ended: `make up` starts it again", said, flags=re.M)
    assert "triggerer had ended: starting it again" in command(environ, "make", "up")
    said, _ = fmrec(environ, "status")
    assert "has ended" not in said
