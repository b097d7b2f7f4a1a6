"""Every step loses its worker to kill -9, and a run its scheduler: nothing is lost or done twice.

One run for each step of `fmrec_retrain`, beside an undisturbed one of the same data. About ten
minutes.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import psutil
import pytest
from airflow_stack import Airflow, command

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(1800)]

CONF = {
    "source": "sample",
    "as_of": "1998-01-01T00:00:00+00:00",
    "epochs": 3,
    "num_factors": 8,
    "gate_baselines": "report",
}
STEPS = (
    *("plan", "ingest", "events", "recordio", "choose", "train", "model", "score", "evaluate"),
    *("publish", "approve", "release"),
)
WORKER, SCHEDULER = "train, with its worker", "score, then the scheduler"
# The first of its lane, which a person approves; the other runs meet their like as the champion.
PROMOTION = "release, of a champion"
EVERY = (*STEPS, WORKER, SCHEDULER, PROMOTION)


class Database:
    """Airflow's own tables: asked often, and without a token."""

    def __init__(self, state: Path) -> None:
        self._file = state / "up" / "airflow" / "airflow.db"

    def task(self, run: str, task: str) -> tuple[str | None, int | None, float]:
        """State and process of a task instance, and how long it has run or ran."""
        query = (
            "SELECT state, pid, (julianday(coalesce(end_date, 'now')) - julianday(start_date)) "
            "* 86400 FROM task_instance WHERE run_id = ? AND task_id = ?"
        )
        with closing(sqlite3.connect(f"file:{self._file}?mode=ro", uri=True, timeout=30)) as opened:
            row = opened.execute(query, (run, task)).fetchone()
        return (None, None, 0.0) if row is None else (row[0], row[1], row[2] or 0.0)


def kill(pid: int) -> None:
    psutil.Process(pid).send_signal(signal.SIGKILL)


def killed_in(database: Database, run: str, step: str, after: float) -> bool:
    """Kill a step's process once it has run for so many seconds; says whether it was in time."""
    state, pid, seconds = database.task(run, step)
    if state != "running" or pid is None or seconds < after:
        return False
    try:
        kill(pid)
    except psutil.NoSuchProcess:
        return False
    return True


@pytest.fixture(scope="module")
def crashed(
    airflow: Airflow, state: Path, environ: dict[str, str]
) -> Iterator[tuple[dict[str, str], str]]:
    """The runs by the step that was killed in them, all over; and the undisturbed one."""
    database = Database(state)
    first = airflow.trigger(CONF)
    airflow.answer(first, "Approve")
    assert airflow.wait(first) == "success"
    whole = airflow.trigger(CONF)
    assert airflow.wait(whole) == "success"
    half = {step: database.task(whole, step)[2] / 2 for step in STEPS}
    split = {PROMOTION: {"split": "random"}}
    runs = {what: airflow.trigger(CONF | split.get(what, {})) for what in EVERY}
    person = Thread(target=airflow.answer, args=(runs[PROMOTION], "Approve"))
    waiting = dict(runs)
    until = time.monotonic() + 900
    while waiting and time.monotonic() < until:
        for what, run in list(waiting.items()):
            step = what.partition(",")[0]
            asks = database.task(run, "approve")[0] == "awaiting_input"
            if what == PROMOTION and asks and person.ident is None:
                person.start()
            _, pid, _ = database.task(run, step)
            supervisor = None
            if what == WORKER and pid is not None and psutil.pid_exists(pid):
                supervisor = psutil.Process(pid).ppid()
            if not killed_in(database, run, step, half[step]):
                continue
            if supervisor is not None:
                kill(supervisor)
            if what == SCHEDULER:
                stack = json.loads((state / "up" / "stack.json").read_text())
                (scheduler,) = [e["pid"] for e in stack["started"] if e["name"] == "scheduler"]
                kill(scheduler)
                command(environ, "make", "up")
            del waiting[what]
        time.sleep(0.05)
    assert not waiting, f"never met in the middle: {sorted(waiting)}"
    for run in runs.values():
        airflow.wait(run, 600)
    yield runs, whole


@pytest.mark.parametrize("step", EVERY)
def test_a_killed_step_is_done_once_and_to_the_same_end(
    step: str, crashed: tuple[dict[str, str], str], airflow: Airflow
) -> None:
    runs, whole = crashed
    run = runs[step]
    assert airflow.runs(f"/{run}")["state"] == "success", airflow.states(run)
    tries = {name: task["try_number"] for name, task in airflow.tasks(run).items()}
    assert tries[step.partition(",")[0]] > 1, f"{step} was not repeated: {tries}"
    key = airflow.result(run, "plan")["layout"]["run"]
    client = airflow.client("sagemaker")
    jobs = client.list_training_jobs(NameContains=key)["TrainingJobSummaries"]
    assert [job["TrainingJobStatus"] for job in jobs] == ["Completed"]
    transforms = client.list_transform_jobs(NameContains=key)["TransformJobSummaries"]
    assert [job["TransformJobStatus"] for job in transforms] == ["Completed"]
    assert len(client.list_models(NameContains=key)["Models"]) == 1
    if step == PROMOTION:
        return  # of another split
    one, two = airflow.report(whole), airflow.report(run)
    for name in ("metrics", "baselines", "comparisons", "counts", "recommendations", "gate"):
        assert one[name] == two[name], name


def test_whoever_was_killed_on_becoming_the_champion_became_it_once(
    crashed: tuple[dict[str, str], str], airflow: Airflow
) -> None:
    runs, _ = crashed
    key = airflow.result(runs[PROMOTION], "plan")["layout"]["run"]
    client = airflow.client("s3")
    found = {}
    for lane in ("rating-sample-time", "rating-sample-random"):
        prefix = f"fmrec/champions/{lane}/"
        keys = client.list_objects_v2(Bucket="fmrec", Prefix=prefix)["Contents"]
        found[lane] = [json.loads(airflow.object(each["Key"]))["run"] for each in keys]
    assert len(found["rating-sample-time"]) == 1
    assert found["rating-sample-random"] == [key]
