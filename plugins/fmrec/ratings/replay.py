"""An archive landed day by day, shifted by whole days, as if its ratings were given now."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from fmrec.errors import ConfigurationError, DataError
from fmrec.ratings.landing import DAY, REPLAY_STATE, day_folder, zone
from fmrec.store import Store

_GIVEN = ("user_id", "item_id", "rating", "timestamp")


@dataclass(frozen=True)
class Replay:
    """The replay of a landing zone: which source, and how many days later it happens again."""

    source: str
    shift_days: int
    first_day: date


def current(store: Store, prefix: str) -> Replay | None:
    """The replay that was begun in the landing zone below `prefix`, or None."""
    key = zone(prefix) + REPLAY_STATE
    if not store.exists(key):
        return None
    kept = json.loads(store.get(key))
    return Replay(kept["source"], kept["shift_days"], date.fromisoformat(kept["first_day"]))


def begin(
    store: Store, prefix: str, source: str, first_day: date, ratings: Iterable[pa.Table]
) -> Replay:
    """Begin a replay whose first day is `first_day`; `ratings` (RATINGS) are read once.

    Raises DataError when there are none, ConflictError when another replay was begun meanwhile.
    """
    earliest = min(
        (pc.min(each["timestamp"]).as_py() for each in _with_rows(ratings)), default=None
    )
    if earliest is None:
        raise DataError(f"{source} holds no ratings: choose another source to replay.")
    shift = (first_day - _day(earliest)).days
    kept = {"source": source, "shift_days": shift, "first_day": first_day.isoformat()}
    store.put(zone(prefix) + REPLAY_STATE, json.dumps(kept, indent=2).encode())
    return Replay(source, shift, first_day)


def agree(found: Replay | None, source: str | None, first_day: date | None) -> None:
    """Raise ConfigurationError when the landing zone replays something else than is asked for."""
    if found is None:
        if source is None:
            raise ConfigurationError(
                "nothing was replayed here yet: say which archive, e.g. --source ml-100k"
            )
        return
    if source not in {None, found.source} or first_day not in {None, found.first_day}:
        raise ConfigurationError(
            f"this landing zone already replays {found.source} from {found.first_day} on. Leave "
            "out --source and --first-day to go on with it, or set FMREC_PREFIX to another prefix "
            "for another replay."
        )


def due(ratings: pa.Table, replay: Replay, until: date) -> pa.Table:
    """Of RATINGS those that happen again on `until` or before."""
    end = int(datetime(until.year, until.month, until.day, tzinfo=UTC).timestamp()) + DAY
    limit = pa.scalar(end - replay.shift_days * DAY)
    return ratings.select(list(_GIVEN)).filter(pc.less(ratings["timestamp"], limit))


def land(
    store: Store,
    prefix: str,
    replay: Replay,
    *,
    ratings: Iterable[pa.Table],
    users: pa.Table,
    items: pa.Table,
    progress: Callable[[date, int, int], None] = lambda day, done, total: None,
) -> list[date]:
    """Land the days that are not there yet, in order; gives these days.

    `ratings` are what is `due`, from the source's first on. `users` and `items` are what the
    source says of them, which is written with the first rating of each. A day is one file,
    `replay-<source>.csv`, and is never written twice. `progress` is told a day, its number, and
    how many there are.
    """
    shift = replay.shift_days * DAY
    shown = list(_with_rows(ratings))
    if not shown:
        return []
    table = pa.concat_tables(shown).combine_chunks()
    order = np.argsort(table["timestamp"].to_numpy(), kind="stable")
    table = table.take(pa.array(order))
    moments = table["timestamp"].to_numpy() + shift
    table = table.set_column(3, "timestamp", pa.array(moments))
    first_user, first_item = (_first(table[name].to_numpy()) for name in ("user_id", "item_id"))
    numbers, starts = np.unique(moments // DAY, return_index=True)
    ends = np.append(starts[1:], table.num_rows)
    there = set(store.list(zone(prefix)))
    landed = []
    for done, (number, start, stop) in enumerate(zip(numbers, starts, ends, strict=True), start=1):
        day = _day(int(number) * DAY)
        key = f"{day_folder(prefix, day)}replay-{replay.source}.csv"
        if key not in there:
            part = table.slice(start, stop - start)
            part = _joined(part, "user_id", users, first_user[start:stop])
            part = _joined(part, "item_id", items, first_item[start:stop])
            store.put(key, _csv(part))
            landed.append(day)
        progress(day, done, numbers.size)
    return landed


def _with_rows(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    return (each for each in tables if each.num_rows)


def _day(seconds: int) -> date:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).date()


def _first(ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where each id stands for the first time."""
    first = np.zeros(ids.size, bool)
    first[np.unique(ids, return_index=True)[1]] = True
    return first


def _joined(table: pa.Table, key: str, known: pa.Table, wanted: NDArray[np.bool_]) -> pa.Table:
    """The table with the attributes of `known`, in the rows that are wanted alone."""
    order = np.argsort(known[key].to_numpy())
    listed, ids = known[key].to_numpy()[order], table[key].to_numpy()
    place = np.searchsorted(listed, ids)
    found = place < listed.size
    found[found] = listed[place[found]] == ids[found]
    rows = np.zeros(ids.size, np.int64)
    rows[found] = order[place[found]]
    taken = known.drop_columns([key]).combine_chunks().take(pa.array(rows, mask=~(found & wanted)))
    for name in taken.column_names:
        table = table.append_column(name, taken[name])
    return table


def _csv(table: pa.Table) -> bytes:
    place = table.column_names.index("genres")
    table = table.set_column(place, "genres", pc.binary_join(table["genres"], "|"))
    buffer = io.BytesIO()
    csv.write_csv(table, buffer)
    return buffer.getvalue()
