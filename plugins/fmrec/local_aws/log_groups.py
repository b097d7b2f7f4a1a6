"""CloudWatch Logs of jobs: written to moto's Logs, which answers the API, and kept in SQLite."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from moto.logs.models import logs_backends

from fmrec.local_aws.database import Database

# CloudWatch's limit for an event is 256 KiB, of which 26 bytes are its own.
_LONGEST = 262_118


class LogGroups:
    """All log groups of one account. `clock` gives Unix seconds."""

    def __init__(self, account: str, database: Database, clock: Callable[[], float]) -> None:
        self._account = account
        self._database = database
        self._clock = clock
        database.create(
            "CREATE TABLE IF NOT EXISTS log_events (id INTEGER PRIMARY KEY, region TEXT, "
            "log_group TEXT, stream TEXT, timestamp INTEGER, message TEXT)"
        )

    def restore(self) -> None:
        """Put the stored events back into moto."""
        streams = self._database.rows(
            "SELECT region, log_group, stream, min(id) AS first FROM log_events "
            "GROUP BY region, log_group, stream ORDER BY first"
        )
        for stream in streams:
            place = (stream["region"], stream["log_group"], stream["stream"])
            rows = self._database.rows(
                "SELECT timestamp, message FROM log_events "
                "WHERE region = ? AND log_group = ? AND stream = ? ORDER BY id",
                place,
            )
            events = [{"timestamp": row["timestamp"], "message": row["message"]} for row in rows]
            self._moto_stream(*place).put_log_events(events)

    def stream(self, region: str, group: str, name: str) -> LogWriter:
        """Create a stream, and its group where it is missing, and return its writer."""
        return LogWriter(
            self._moto_stream(region, group, name),
            self._database,
            (region, group, name),
            self._clock,
        )

    def _moto_stream(self, region: str, group: str, name: str) -> Any:
        backend: Any = logs_backends[self._account][region]
        backend.ensure_log_group(group)
        backend.ensure_log_stream(group, name)
        return backend.groups[group].streams[name]


class LogWriter:
    """Appends to one stream; to be used by one thread at a time."""

    def __init__(
        self,
        stream: Any,
        database: Database,
        place: tuple[str, str, str],
        clock: Callable[[], float],
    ) -> None:
        self._stream = stream
        self._database = database
        self._place = place
        self._clock = clock
        self._latest = 0

    def write(self, lines: Iterable[str]) -> int:
        """Append lines as events of this instant; return it in Unix milliseconds.

        Time never runs backwards within a stream, so the order of lines is the order of events.
        """
        self._latest = max(self._latest, int(self._clock() * 1000))
        messages = [piece for line in lines for piece in _pieces(line)]
        if not messages:
            return self._latest
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO log_events (region, log_group, stream, timestamp, message) "
                "VALUES (?, ?, ?, ?, ?)",
                [(*self._place, self._latest, message) for message in messages],
            )
        self._stream.put_log_events(
            [{"timestamp": self._latest, "message": message} for message in messages]
        )
        return self._latest


def _pieces(line: str) -> Iterable[str]:
    # An event holds at least one character, so an empty line is a space, as the agent writes it.
    text = line or " "
    return (text[start : start + _LONGEST] for start in range(0, len(text), _LONGEST))
