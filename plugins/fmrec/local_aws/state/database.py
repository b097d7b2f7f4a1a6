"""One SQLite file of the state folder, shared by the server's threads."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fmrec.errors import ConfigurationError

LAYOUT_VERSION = 1


class Database:
    """A connection behind a lock. Every change is a transaction, on disk when it returns.

    Survives kill -9 at any moment (write-ahead log) and, with `power_safe`, a power cut too, at
    the price of one fsync per transaction.
    """

    def __init__(self, path: Path, *, power_safe: bool) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if power_safe else 'NORMAL'}")
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, LAYOUT_VERSION):
            self._connection.close()
            raise ConfigurationError(
                f"{path} was written by another version of the local AWS (layout {version}, "
                f"this one knows {LAYOUT_VERSION}). Use an empty state folder, or that version."
            )
        self._connection.execute(f"PRAGMA user_version = {LAYOUT_VERSION}")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection inside a transaction; roll back when the block raises."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def create(self, statement: str) -> None:
        """Create a table or an index of which the caller is the owner."""
        with self._lock:
            self._connection.execute(statement)

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Return all rows of a query."""
        with self._lock:
            return self._connection.execute(query, parameters).fetchall()

    def close(self) -> None:
        """Close the file; later calls fail."""
        with self._lock:
            self._connection.close()
