"""Two processes' transactions on one SQLite file wait for each other instead of failing."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from fmrec.cli.sqlite_writers import CONNECT_ARGS


def engine(file: Path, **arguments: Any) -> Any:
    made = create_engine(f"sqlite:///{file}", connect_args=arguments)
    with made.begin() as connection:
        connection.execute(text("PRAGMA journal_mode=WAL"))
        connection.execute(text("CREATE TABLE IF NOT EXISTS t (x)"))
    return made


def read_then_write(made: Any, meanwhile: Any) -> None:
    """As Airflow does it: a savepoint, a look, a write."""
    with made.connect() as connection:
        with connection.begin_nested():
            connection.execute(text("SELECT count(*) FROM t")).scalar()
            meanwhile()
            connection.execute(text("INSERT INTO t VALUES (1)"))
        connection.commit()


def write(file: Path) -> None:
    with sqlite3.connect(file, timeout=30) as other:
        other.execute("INSERT INTO t VALUES (2)")
    other.close()


def test_the_fault_is_there_without_the_cure(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    made = engine(file, timeout=60)
    with pytest.raises(Exception, match="database is locked"):
        read_then_write(made, lambda: write(file))
    made.dispose()


def test_a_writer_in_between_has_to_wait(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    made = engine(file, **CONNECT_ARGS)
    other = threading.Thread(target=write, args=(file,))

    def meanwhile() -> None:
        other.start()
        time.sleep(0.3)

    read_then_write(made, meanwhile)
    other.join()
    with made.connect() as connection:
        rows = connection.execute(text("SELECT x FROM t")).scalars().all()
    assert sorted(rows) == [1, 2]
    made.dispose()


def test_a_rolled_back_savepoint_leaves_nothing(tmp_path: Path) -> None:
    made = engine(tmp_path / "a.db", **CONNECT_ARGS)
    with made.connect() as connection:
        nested = connection.begin_nested()
        connection.execute(text("INSERT INTO t VALUES (1)"))
        nested.rollback()
        connection.execute(text("INSERT INTO t VALUES (2)"))
        connection.commit()
        assert connection.execute(text("SELECT x FROM t")).scalars().all() == [2]
    made.dispose()
