"""CloudWatch Logs of jobs: moto's Logs answers the API, the events lie in SQLite alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from moto.logs.models import LogEvent, LogGroup, LogStream, logs_backends

from fmrec.local_aws.database import Database
from fmrec.local_aws.moto_memory import forget_instances

# CloudWatch's limit for an event is 256 KiB, of which 26 bytes are its own.
_LONGEST = 262_118


class LogGroups:
    """The logs of jobs of one account. `clock` gives Unix seconds."""

    def __init__(self, account: str, database: Database, clock: Callable[[], float]) -> None:
        self._account = account
        self._database = database
        self._clock = clock
        # moto looks for a group and then makes it: of two jobs that begin together, the second
        # would replace the group of the first, and its stream with it.
        self._showing = threading.Lock()
        database.create(
            "CREATE TABLE IF NOT EXISTS log_streams (id INTEGER PRIMARY KEY, region TEXT, "
            "log_group TEXT, name TEXT, created REAL, UNIQUE (region, log_group, name))"
        )
        database.create(
            "CREATE TABLE IF NOT EXISTS log_events "
            "(id INTEGER PRIMARY KEY, stream INTEGER, timestamp INTEGER, message TEXT)"
        )
        database.create("CREATE INDEX IF NOT EXISTS events_of_stream ON log_events (stream)")

    def restore(self) -> None:
        """Show the stored streams to moto again."""
        forget_instances(LogEvent, LogStream, StoredStream)
        for row in self._database.rows("SELECT * FROM log_streams ORDER BY id"):
            self._show(*row)

    def stream(self, region: str, group: str, name: str) -> LogWriter:
        """Create a stream where it is missing, its group too, and return its writer."""
        key = (region, group, name)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO log_streams (region, log_group, name, created) "
                "VALUES (?, ?, ?, ?)",
                (*key, self._clock()),
            )
            rows = self._database.rows(
                "SELECT id, created FROM log_streams "
                "WHERE region = ? AND log_group = ? AND name = ?",
                key,
            )
        (row,) = rows
        return LogWriter(self._show(row["id"], *key, row["created"]), self._clock)

    def _show(
        self, number: int, region: str, group: str, name: str, created: float
    ) -> StoredStream:
        with self._showing:
            backend: Any = logs_backends[self._account][region]
            backend.ensure_log_group(group)
            shown = StoredStream(backend.groups[group], name, number, created, self._database)
            backend.groups[group].streams[name] = shown
        return shown


class StoredStream(LogStream):
    """A stream of moto's whose events are read from the database when they are asked for."""

    def __init__(
        self, group: LogGroup, name: str, number: int, created: float, database: Database
    ) -> None:
        self._number = number
        self._database = database
        super().__init__(group, name)
        self.creation_time = datetime.fromtimestamp(created, UTC).replace(tzinfo=None)
        self.last_ingestion_time = self.creation_time

    @property
    def events(self) -> list[LogEvent]:
        """All events in the order in which they were put."""
        rows = self._database.rows(
            "SELECT timestamp, message FROM log_events WHERE stream = ? ORDER BY id",
            (self._number,),
        )
        return [LogEvent(row["timestamp"], dict(row)) for row in rows]

    @events.setter
    def events(self, events: list[LogEvent]) -> None:
        """Ignore the empty list that the base class begins with."""

    def put_log_events(self, log_events: list[dict[str, Any]]) -> str:
        """Append events, from a job or from a client of the API."""
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO log_events (stream, timestamp, message) VALUES (?, ?, ?)",
                [(self._number, event["timestamp"], event["message"]) for event in log_events],
            )
        self.upload_sequence_token += 1
        return f"{self.upload_sequence_token:056d}"


class LogWriter:
    """Appends to one stream; to be used by one thread at a time."""

    def __init__(self, stream: StoredStream, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock
        self._latest = 0

    def write(self, lines: Iterable[str]) -> int:
        """Append lines as events of this instant; return it in Unix milliseconds.

        Time never runs backwards within a stream, so the order of lines is the order of events.
        """
        self._latest = max(self._latest, int(self._clock() * 1000))
        self._stream.put_log_events(
            [
                {"timestamp": self._latest, "message": piece}
                for line in lines
                for piece in _pieces(line)
            ]
        )
        return self._latest


def _pieces(line: str) -> Iterable[str]:
    # An event holds at least one character, so an empty line is a space.
    text = line or " "
    return (text[start : start + _LONGEST] for start in range(0, len(text), _LONGEST))
