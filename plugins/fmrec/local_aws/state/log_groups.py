"""CloudWatch Logs: moto's Logs answers the API, the events lie in SQLite alone.

moto's tables of groups and streams write to SQLite whatever a job or a client of the API creates or
deletes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from moto.logs.models import LogEvent, LogGroup, LogStream, logs_backends

from fmrec.local_aws.state.database import Database
from fmrec.local_aws.state.moto_memory import forget_instances

# CloudWatch's limit for an event is 256 KiB, of which 26 bytes are its own.
_LONGEST = 262_118


class LogGroups:
    """The logs of one account. `clock` gives Unix seconds."""

    def __init__(self, account: str, database: Database, clock: Callable[[], float]) -> None:
        self._account = account
        self._database = database
        self._clock = clock
        # moto looks for a group and then makes it: of two jobs that begin together, the second
        # would replace the group of the first, and its stream with it.
        self._showing = threading.Lock()
        database.create(
            "CREATE TABLE IF NOT EXISTS log_groups "
            "(region TEXT, name TEXT, created REAL, retention INTEGER, PRIMARY KEY (region, name))"
        )
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
        """Show the stored groups and streams to moto again."""
        forget_instances(LogEvent, LogStream, StoredStream)
        backends: Any = logs_backends[self._account]
        for region in backends.regions:
            backends[region].groups = _Groups(self._database, region, self._clock)
        for row in self._database.rows("SELECT * FROM log_groups"):
            if row["region"] not in backends.regions:
                continue  # this moto does not know it
            make_group: Any = LogGroup  # abstract to a type checker, not to moto
            group = make_group(self._account, row["region"], row["name"])
            group.creation_time = _moment(row["created"])
            group.retention_in_days = row["retention"]
            backends[row["region"]].groups[row["name"]] = group
        for row in self._database.rows("SELECT * FROM log_streams ORDER BY id"):
            if row["region"] in backends.regions:
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

    def messages(
        self, region: str, group: str, prefix: str, after: int = 0
    ) -> list[tuple[int, str]]:
        """Return the events of the streams whose names have a prefix, each with its number.

        They come in the order in which they were put, from the one after number `after` on.
        """
        rows = self._database.rows(
            "SELECT log_events.id, message FROM log_events "
            "JOIN log_streams ON log_streams.id = stream "
            "WHERE region = ? AND log_group = ? AND name >= ? AND name < ? AND log_events.id > ? "
            "ORDER BY log_events.id",
            (region, group, prefix, f"{prefix}\U0010ffff", after),
        )
        return [(row["id"], row["message"]) for row in rows]

    def timed(self, region: str, group: str, prefix: str) -> list[tuple[int, str]]:
        """Return the events of the streams whose names have a prefix, each with its time in ms."""
        rows = self._database.rows(
            "SELECT timestamp, message FROM log_events "
            "JOIN log_streams ON log_streams.id = stream "
            "WHERE region = ? AND log_group = ? AND name >= ? AND name < ? ORDER BY log_events.id",
            (region, group, prefix, f"{prefix}\U0010ffff"),
        )
        return [(row["timestamp"], row["message"]) for row in rows]

    def _show(
        self, number: int, region: str, group: str, name: str, created: float
    ) -> StoredStream:
        with self._showing:
            backend: Any = logs_backends[self._account][region]
            backend.ensure_log_group(group)
            shown = StoredStream(backend.groups[group], name, number, created, self._database)
            backend.groups[group].streams[name] = shown
        return shown


class _Groups(dict[str, Any]):
    """moto's table of the groups of a region."""

    def __init__(self, database: Database, region: str, clock: Callable[[], float]) -> None:
        super().__init__()
        self._database = database
        self._region = region
        self._clock = clock

    def __setitem__(self, name: str, group: Any) -> None:
        created = group.creation_time.replace(tzinfo=UTC).timestamp()
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO log_groups VALUES (?, ?, ?, ?)",
                (self._region, name, created, group.retention_in_days),
            )
        group.streams = _Streams(self._database, group, self._clock)
        group.database = self._database
        group.__class__ = _StoredGroup
        super().__setitem__(name, group)

    def __delitem__(self, name: str) -> None:
        for stream in list(self[name].streams):
            del self[name].streams[stream]
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM log_groups WHERE region = ? AND name = ?", (self._region, name)
            )
        super().__delitem__(name)


class _StoredGroup(LogGroup):
    """A group of moto's whose retention is stored."""

    database: Database

    def set_retention_policy(self, retention_in_days: str | None) -> None:
        super().set_retention_policy(retention_in_days)
        with self.database.transaction() as connection:
            connection.execute(
                "UPDATE log_groups SET retention = ? WHERE region = ? AND name = ?",
                (retention_in_days, self.region, self.name),
            )


class _Streams(dict[str, Any]):
    """moto's table of the streams of a group; a stream that a client makes becomes a stored one."""

    def __init__(self, database: Database, group: Any, clock: Callable[[], float]) -> None:
        super().__init__()
        self._database = database
        self._group = group
        self._clock = clock

    def __setitem__(self, name: str, stream: Any) -> None:
        if not isinstance(stream, StoredStream):
            created = self._clock()
            with self._database.transaction() as connection:
                cursor = connection.execute(
                    "INSERT INTO log_streams (region, log_group, name, created) "
                    "VALUES (?, ?, ?, ?)",
                    (self._group.region, self._group.name, name, created),
                )
            number = int(cursor.lastrowid or 0)
            stream = StoredStream(self._group, name, number, created, self._database)
        super().__setitem__(name, stream)

    def __delitem__(self, name: str) -> None:
        number = self[name].number
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM log_events WHERE stream = ?", (number,))
            connection.execute("DELETE FROM log_streams WHERE id = ?", (number,))
        super().__delitem__(name)


class StoredStream(LogStream):
    """A stream of moto's whose events are read from the database when they are asked for."""

    def __init__(
        self, group: LogGroup, name: str, number: int, created: float, database: Database
    ) -> None:
        self.number = number
        self._database = database
        super().__init__(group, name)
        self.creation_time = _moment(created)
        self.last_ingestion_time = self.creation_time

    @property
    def events(self) -> list[LogEvent]:
        """All events in the order in which they were put."""
        rows = self._database.rows(
            "SELECT timestamp, message FROM log_events WHERE stream = ? ORDER BY id",
            (self.number,),
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
                [(self.number, event["timestamp"], event["message"]) for event in log_events],
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


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
