"""How Airflow's processes share one SQLite file without failing each other.

Airflow opens savepoints, reads, and then writes. SQLite begins such a transaction as a reader, and
when another process has written in between, the write fails at once with "database is locked",
however long the time-out: `airflow backfill create` beside a busy scheduler fails now and then and
leaves half a backfill. Here a savepoint or a write takes SQLite's write lock at its beginning, and
waits for it. (The cure is the one in SQLAlchemy's notes on pysqlite: emit BEGIN oneself.)

A commit is left to the operating system to write: Airflow commits hundreds of times in a run, and a
process that dies loses nothing. When the machine itself loses power, the last seconds may be lost;
the file stays whole.

Airflow loads `CONNECT_ARGS` by the name in AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS.
"""

from __future__ import annotations

import sqlite3
from typing import Any


class _Cursor(sqlite3.Cursor):
    def execute(self, sql: str, parameters: Any = (), /) -> _Cursor:
        if sql.startswith("SAVEPOINT") and not self.connection.in_transaction:
            super().execute("BEGIN IMMEDIATE")
        super().execute(sql, parameters)
        return self


class _Connection(sqlite3.Connection):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        super().execute("PRAGMA synchronous = NORMAL")

    def cursor(self, factory: type[sqlite3.Cursor] = _Cursor) -> Any:  # type: ignore[override]
        return super().cursor(factory)


CONNECT_ARGS = {"factory": _Connection, "isolation_level": "IMMEDIATE", "timeout": 60}
