"""Follow a DAG run in an Airflow database of our own, and show where it stands."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

POLL_SECONDS = 0.5
_SHOWN = {"success", "failed", "skipped", "up_for_retry"}
_MARKS = {"success": "[green]done[/]", "skipped": "skipped", "up_for_retry": "[yellow]retry[/]"}


@dataclass(frozen=True)
class Task:
    """One task instance as the database has it."""

    name: str
    state: str
    attempt: int
    seconds: float | None

    @property
    def holds_a_job(self) -> bool:
        """Whether it waits for a SageMaker job, or is about to start one."""
        return self.name in {"train", "tune", "score"} and self.state in {"running", "queued"}


def tasks(database: Path) -> list[Task]:
    """The task instances of the database's runs, in the order they began; none before it exists."""
    query = (
        "SELECT task_id, state, try_number, start_date, end_date FROM task_instance "
        "ORDER BY start_date IS NULL, start_date"
    )
    return [
        Task(name, state or "waiting", attempt, _seconds(start, end))
        for name, state, attempt, start, end in _rows(database, query)
    ]


def result(database: Path, task: str) -> Any:
    """What a task returned, or None."""
    query = (
        "SELECT value FROM xcom WHERE task_id = ? AND key = 'return_value' "
        "ORDER BY timestamp DESC LIMIT 1"
    )
    rows = _rows(database, query, task)
    value = json.loads(rows[0][0]) if rows else None
    # Airflow stores the serialised text once more as JSON.
    return json.loads(value) if isinstance(value, str) else value


def follow(
    process: subprocess.Popen[bytes],
    database: Path,
    console: Console,
    check: Callable[[], None] = lambda: None,
) -> list[Task]:
    """Print a line for each task as it ends, until the process does; gives the last state.

    `check` is called at every look, and what it raises ends the watch.
    """
    shown: set[tuple[str, int]] = set()
    started = time.monotonic()
    with console.status("starting Airflow") as status:
        while True:
            check()
            running = process.poll() is None
            found = tasks(database)
            for number, task in enumerate(found, start=1):
                if task.state in _SHOWN and (task.name, task.attempt) not in shown:
                    shown.add((task.name, task.attempt))
                    console.print(_line(task, len(found), number), highlight=False)
            if not running:
                return found
            busy = [task.name for task in found if task.state == "running"]
            at = f"{', '.join(busy) or 'Airflow'}, {time.monotonic() - started:.0f} s"
            status.update(f"running: {at}")
            time.sleep(POLL_SECONDS)


def _line(task: Task, total: int, number: int) -> str:
    mark = _MARKS.get(task.state, f"[red]{task.state}[/]")
    took = "" if task.seconds is None else f"{task.seconds:7.1f} s"
    return f"  {number:2d}/{total}  {task.name:<10}{took:>10}  {mark}"


def _rows(database: Path, query: str, *values: str) -> list[tuple[Any, ...]]:
    """Rows of a read-only query; none while Airflow is still making the tables."""
    if not database.is_file():
        return []
    try:
        with closing(
            sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=10)
        ) as opened:
            return opened.execute(query, values).fetchall()
    except sqlite3.OperationalError:
        return []


def _seconds(start: str | None, end: str | None) -> float | None:
    if start is None or end is None:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
