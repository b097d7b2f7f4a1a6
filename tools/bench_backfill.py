"""Measure a backfill, and what Airflow adds to a run.

    python tools/bench_backfill.py [--days N] [--first DAY] [--source NAME] [--at-once N]

Starts a stack of its own (`python -m fmrec up`, in a folder that is gone afterwards), lets it come
to rest, times one run of `fmrec_retrain` that is alone, and then `python -m fmrec backfill` of the
days. Writes docs/benchmarks/backfill.md. The machine should have nothing else to do; 30 days
take a quarter of an hour. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from bench_codec import memory_gib, processor

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "docs" / "benchmarks" / "backfill.md"
DAG = "fmrec_retrain"
# Of these the job itself counts as work; asking for it and waiting do not.
JOBS = ("train", "score")
MINUTES, OVERHEAD = 15, 25


@dataclass(frozen=True)
class Run:
    """A run: its seconds from beginning to end, those of each task, and those of its work."""

    seconds: float
    tasks: dict[str, float]
    work: dict[str, float]

    @property
    def overhead(self) -> float:
        """What is neither a step nor a job."""
        return self.seconds - sum(self.work.values())


@dataclass(frozen=True)
class Figures:
    """What was measured."""

    wall: float
    days: list[Run]
    alone: Run
    cpu: dict[str, float]
    load: float


def main() -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--first", type=date.fromisoformat, default=date(1998, 3, 1))
    parser.add_argument("--source", default="ml-100k")
    parser.add_argument("--at-once", type=int, default=4)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, up(Path(folder), given.source) as stack:
        say("the run of yesterday, as the DAG is unpaused")
        stack.fmrec("airflow", "dags", "unpause", DAG, "--yes")
        stack.rest()
        say("runs alone, the second one counts")
        alone = [stack.alone(day) for day in (10, 11)][-1]
        say(f"a backfill of {given.days} days")
        last = given.first + timedelta(days=given.days - 1)
        before, began = stack.cpu(), time.monotonic()
        span = ("--from", str(given.first), "--to", str(last))
        stack.fmrec("backfill", *span, "--max-active-runs", str(given.at_once), quiet=False)
        wall = time.monotonic() - began
        cpu = {name: spent - before[name] for name, spent in stack.cpu().items()}
        figures = Figures(wall, stack.runs("backfill"), alone, cpu, load)
    REPORT.write_text("\n".join(page(given, figures)) + "\n", encoding="utf-8")
    print(f"docs/benchmarks/{REPORT.name}")
    return 0


def say(what: str) -> None:
    """Tell what is being measured."""
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {what}\n")


@contextmanager
def up(state: Path, source: str) -> Iterator[Stack]:
    """A running stack; afterwards it is down."""
    environ = os.environ | {
        "FMREC_STATE_DIR": str(state),
        "FMREC_SOURCE": source,
        "FMREC_APPROVAL_HOURS": "0",  # nobody is there to answer
    }
    stack = Stack(state / "up", environ)
    try:
        stack.fmrec("up")
        yield stack
    finally:
        stack.fmrec("down")


@dataclass(frozen=True)
class Stack:
    """What `python -m fmrec up` has started in a state folder."""

    folder: Path
    environ: dict[str, str]

    def fmrec(self, *words: str, quiet: bool = True) -> None:
        """Run a command."""
        subprocess.run(
            [sys.executable, "-m", "fmrec", *words],
            env=self.environ,
            cwd=ROOT,
            check=True,
            stdout=subprocess.DEVNULL if quiet else None,
        )

    def alone(self, day: int) -> Run:
        """A run as of a day in February 1998, while nothing else is at work."""
        name = f"alone-{day}"
        conf = json.dumps({"as_of": f"1998-02-{day}T00:00:00+00:00"})
        self.fmrec("airflow", "dags", "trigger", DAG, "--run-id", name, "--conf", conf)
        self.rest()
        (run,) = [self.run(name)]
        return run

    def rest(self) -> None:
        """Wait until no run is at work or about to be."""
        query = "SELECT count(*) FROM dag_run WHERE state IN ('queued', 'running')"
        still = 0
        while still < 5:
            still = 0 if self.rows(query)[0][0] else still + 1
            time.sleep(1)

    def rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        """Rows of Airflow's database."""
        file = self.folder / "airflow" / "airflow.db"
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=60)) as opened:
            return opened.execute(query, values).fetchall()

    def runs(self, kind: str) -> list[Run]:
        """The runs of a kind, in their order."""
        query = "SELECT run_id FROM dag_run WHERE run_type = ? ORDER BY logical_date"
        return [self.run(name) for (name,) in self.rows(query, kind)]

    def run(self, name: str) -> Run:
        """What the database and the logs say of a run."""
        of = "SELECT state, start_date, end_date FROM dag_run WHERE run_id = ?"
        ((state, *span),) = self.rows(of, name)
        if state != "success":
            raise SystemExit(f"run {name} ended as {state}: nothing was measured")
        of = (
            "SELECT task_id, start_date, end_date, try_number FROM task_instance WHERE run_id = ? "
            "AND state = 'success' AND start_date IS NOT NULL"
        )
        tasks, work, starts = {}, {}, []
        for task, start, end, attempt in self.rows(of, name):
            tasks[task] = seconds(start, end)
            starts.append(start)
            work[task] = self.job(name, task) if task in JOBS else self.step(name, task, attempt)
        # Airflow says that a backfilled run begins when it is created.
        return Run(seconds(min(starts), span[1]), tasks, work)

    def job(self, run: str, task: str) -> float:
        """The seconds of a task's SageMaker job."""
        of = "SELECT value FROM xcom WHERE run_id = ? AND task_id = ? AND key = 'return_value'"
        ((value,),) = self.rows(of, run, task)
        content = json.loads(value)
        content = json.loads(content) if isinstance(content, str) else content
        return float(content["seconds"])

    def step(self, run: str, task: str, attempt: int) -> float:
        """The seconds of a task between what Airflow does before it and what it does after."""
        place = f"dag_id={DAG}/run_id={run}/task_id={task}/attempt={attempt}.log"
        log = self.folder / "airflow" / "logs" / place
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        began = next(line for line in lines if line["event"] == "::endgroup::")
        ended = next(line for line in lines if line["event"] == "::group::Post Execute")
        return seconds(began["timestamp"], ended["timestamp"])

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU that each component has taken, with the processes it has waited for."""
        started = json.loads((self.folder / "stack.json").read_text())["started"]
        spent = {each["name"]: 0.0 for each in started}
        names = {each["pid"]: each["name"] for each in started}
        for process in psutil.process_iter():
            try:
                name = names.get(os.getsid(process.pid))
                if name is not None:
                    spent[name] += sum(process.cpu_times()[:4])
            except (psutil.Error, ProcessLookupError):
                continue
        return spent


def seconds(start: str, end: str) -> float:
    """The time between two moments as Airflow writes them."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def page(given: argparse.Namespace, figures: Figures) -> list[str]:
    """Return the page's lines."""
    alone, wall, count = figures.alone, figures.wall, len(figures.days)
    minutes = wall / 60 * 30 / count
    order = sorted(alone.tasks, key=list(figures.days[0].tasks).index)
    today = datetime.now(UTC)
    return [
        "# What a backfill takes",
        "",
        "On a laptop's stack (`make up`), with real training. Made by `tools/bench_backfill.py`.",
        "",
        f"- {today:%Y-%m-%d}, {processor()}, {os.cpu_count()} cores, {memory_gib():.0f} GiB, load "
        f"average at start {figures.load:.1f}",
        f"- Python {platform.python_version()}, Airflow {version('apache-airflow-core')}, "
        f"LocalExecutor, SQLite",
        f"- source `{given.source}`, default Params, {count} days from {given.first} on, "
        f"{given.at_once} at once",
        "",
        f"**{count} days in {wall / 60:.1f} minutes: {wall / count:.1f} s for a day.**",
        "",
        "| | measured | asked for | holds |",
        "|---|--:|--:|---|",
        f"| 30 days at this pace | {minutes:.1f} min | under {MINUTES} min "
        f"| {yes(minutes < MINUTES)} |",
        f"| what Airflow adds to a run that is alone | {alone.overhead:.1f} s "
        f"| under {OVERHEAD} s | {yes(alone.overhead < OVERHEAD)} |",
        "",
        f"A run that is alone takes {alone.seconds:.1f} s, of which {sum(alone.work.values()):.1f} "
        "are steps and jobs.",
        "*Work* is the time of a step between what Airflow does before and after it, and of a job",
        "(`train`, `score`) what SageMaker reports; asking for a job and looking at it once a",
        "second count as Airflow's.",
        "",
        "Seconds, of the tasks of the run that is alone and of those of the backfill:",
        "",
        "| task | alone | work of it | backfilled, median | work of it |",
        "|---|--:|--:|--:|--:|",
        *(
            f"| `{task}` | {alone.tasks[task]:.1f} | {alone.work[task]:.1f} "
            f"| {median(run.tasks[task] for run in figures.days if task in run.tasks):.1f} "
            f"| {median(run.work[task] for run in figures.days if task in run.work):.1f} |"
            for task in order
        ),
        "",
        "Seconds of CPU for each day of the backfill, by component. The scheduler's are those of",
        "the tasks, too, and the local AWS's those of the jobs:",
        "",
        "| component | CPU s |",
        "|---|--:|",
        *(f"| {name} | {spent / count:.1f} |" for name, spent in figures.cpu.items()),
        f"| together | {sum(figures.cpu.values()) / count:.1f} |",
    ]


def median(values: Iterable[float]) -> float:
    """The median of values that need not be a list."""
    return statistics.median(values)


def yes(holds: bool) -> str:
    """Return the word for whether a bar holds."""
    return "yes" if holds else "no"


if __name__ == "__main__":
    sys.exit(main())
