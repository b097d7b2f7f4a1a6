"""What a run's own Airflow database says of its tasks, and what its log says of a failure."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from fmrec.cli import watch
from fmrec.cli.run import _last_error


@pytest.fixture
def database(tmp_path: Path) -> Path:
    file = tmp_path / "airflow.db"
    with sqlite3.connect(file) as made:
        made.execute(
            "CREATE TABLE task_instance (task_id, state, try_number, start_date, end_date)"
        )
        made.execute("CREATE TABLE xcom (task_id, key, value, timestamp)")
        made.executemany(
            "INSERT INTO task_instance VALUES (?, ?, ?, ?, ?)",
            [
                ("train", "running", 1, "2026-01-01 00:00:05.000000", None),
                ("publish", None, 0, None, None),
                ("plan", "success", 1, "2026-01-01 00:00:01.000000", "2026-01-01 00:00:03.5"),
            ],
        )
        value = {"links": {"report.json": "http://x"}}
        made.execute(
            "INSERT INTO xcom VALUES ('publish', 'return_value', ?, '2026')",
            (json.dumps(json.dumps(value)),),
        )
    made.close()
    return file


def test_tasks_come_in_the_order_they_began(database: Path) -> None:
    assert watch.tasks(database) == [
        watch.Task("plan", "success", 1, 2.5),
        watch.Task("train", "running", 1, None),
        watch.Task("publish", "waiting", 0, None),
    ]


def test_a_result_is_read_as_it_was_returned(database: Path) -> None:
    assert watch.result(database, "publish") == {"links": {"report.json": "http://x"}}
    assert watch.result(database, "plan") is None


def test_a_database_that_is_not_there_yet_has_no_tasks(tmp_path: Path) -> None:
    assert watch.tasks(tmp_path / "airflow.db") == []
    (tmp_path / "airflow.db").touch()
    assert watch.tasks(tmp_path / "airflow.db") == []


def test_the_last_error_of_a_log_with_all_its_lines() -> None:
    log = """\
2026-01-01T00:00:00Z [error] first
Traceback (most recent call last):
  File "x.py", line 1, in f
fmrec.errors.StoreError: an earlier one
2026-01-01T00:00:01Z [error] second
Traceback (most recent call last):
  File "y.py", line 2, in g
    raise DataError(
        ^^^^^^^^^^
fmrec.errors.DataError: u.data, line 7: rating 9 is not 1 to 5.
  Correct the line.
2026-01-01T00:00:02Z [info] go on
DagRun failed
"""
    assert _last_error(log.splitlines()) == (
        "fmrec.errors.DataError: u.data, line 7: rating 9 is not 1 to 5.\n  Correct the line."
    )
    assert _last_error(["nothing"]) == "no error was logged"
