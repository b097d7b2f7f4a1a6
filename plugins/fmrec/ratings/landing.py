"""The landing zone: files of new ratings by day, `<prefix>/landing/dt=YYYY-MM-DD/…`.

A day is read when it is over. What cannot be taken goes to quarantine, with file, row and reason:
each row of each file is in the ratings or there. docs/landing.md describes the files for people.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from fmrec.ratings.attributes import latest
from fmrec.ratings.checks import LATEST, screen
from fmrec.ratings.event_files import KINDS, UnreadableError, blocks, texts
from fmrec.ratings.event_rows import SCALE, interpret
from fmrec.ratings.quarantine import Refusal, quarantine
from fmrec.ratings.tables import ITEMS, RATINGS, USERS
from fmrec.store import Store, Stored

DAY = 86_400
_DAY_FOLDER = re.compile(r"dt=(\d{4}-\d{2}-\d{2})/(.*)", re.ASCII | re.DOTALL)
_SCREENED = 1 << 20  # rows at once, to bound the memory
_SAME = ("user_id", "item_id", "timestamp", "rating")
_EMPTY = pa.schema(
    [
        *((name, RATINGS.field(name).type) for name in ("user_id", "item_id", "rating")),
        ("timestamp", pa.int64()),
        ("admitted", pa.bool_()),
        ("row", pa.int64()),
    ]
).empty_table()
REPLAY_STATE = "replay.json"


@dataclass(frozen=True)
class LandingDay:
    """The objects that landed for one day (UTC), in order of their keys.

    `folder` is the key prefix they share. `identity` is a hash of names, sizes and ETags: a
    day with the same identity holds the same rows.
    """

    day: date
    folder: str
    objects: tuple[Stored, ...]

    @property
    def identity(self) -> str:
        """Changes with what lies in the day's folder, and with nothing else."""
        told = "\n".join(f"{self.name(each)}\t{each.bytes}\t{each.etag}" for each in self.objects)
        return hashlib.sha256(f"{self.day}\n{told}".encode()).hexdigest()

    @property
    def end(self) -> int:
        """The UTC second at which the day is over and its ratings are known."""
        return int(_midnight(self.day).timestamp()) + DAY

    def name(self, each: Stored) -> str:
        """What a file is called in quarantine: its key below landing/."""
        return f"dt={self.day}/{each.key.removeprefix(self.folder)}"


@dataclass(frozen=True, eq=False)
class DayContent:
    """What a day brought.

    `ratings` (RATINGS) are in file and row order; `users` (USERS) and `items` (ITEMS) those that
    something was said of, ids ascending, the latest word counts; `quarantine` is QUARANTINE.
    `counts`: `rows` read, `refused` of them, `files` of events, `files_refused` of them (whole),
    `strays` (other objects). `rows` is the sum of the ratings and the refused rows.
    """

    ratings: pa.Table
    users: pa.Table
    items: pa.Table
    quarantine: pa.Table
    counts: dict[str, int]


def zone(prefix: str) -> str:
    """The landing zone's key prefix below the deployment's `prefix`; ends in a slash."""
    return f"{prefix}/landing/"


def day_folder(prefix: str, day: date) -> str:
    """The key prefix of a landing day; ends in a slash."""
    return f"{zone(prefix)}dt={day:%Y-%m-%d}/"


def days(store: Store, prefix: str, until: datetime) -> list[LandingDay]:
    """The landing days that are over at `until` (aware), in order; those without objects are not.

    `prefix` is the deployment's.
    """
    found: dict[date, list[Stored]] = {}
    latest_start = until - timedelta(days=1)  # the last day of the calendar has no day after it
    for each in store.objects(f"{zone(prefix)}dt="):
        day = _day_of(each.key, prefix)
        if day is not None and _midnight(day) <= latest_start:
            found.setdefault(day, []).append(each)
    return [
        LandingDay(day, day_folder(prefix, day), tuple(objects))
        for day, objects in sorted(found.items())
    ]


def strays(store: Store, prefix: str) -> pa.Table:
    """Objects of the landing zone that belong to no day, as QUARANTINE rows of whole files."""
    root = zone(prefix)
    return quarantine(
        (
            each.key.removeprefix(root),
            0,
            "file",
            "it lies in no folder of a day: a name such as dt=1998-03-08/ratings.csv is expected",
            "",
        )
        for each in store.objects(root)
        if _day_of(each.key, prefix) is None and each.key not in {root, root + REPLAY_STATE}
    )


def read(store: Store, day: LandingDay) -> DayContent:
    """Read a landing day: files in order of their names, rows in file order.

    Rows that fail a check, rows that repeat an earlier row of the day, and files that cannot be
    read are in the quarantine. Raises StoreError when an object changed since the day was listed.
    """
    files, refusals, unread = [], [], {"files_refused": 0, "strays": 0}
    for each in day.objects:
        name, kind = day.name(each), each.key.rpartition(".")[2]
        if kind not in KINDS:
            unread["strays"] += 1
            refusals.append((name, 0, "file", _stray(each), ""))
            continue
        try:
            taken, refused = read_file(store.get(each.key, etag=each.etag), name, kind, day.end)
        except UnreadableError as error:
            unread["files_refused"] += 1
            refusals.append((name, 0, error.check, str(error), ""))
            continue
        files.append(_File(name, kind, each, taken))
        refusals.extend(refused)
    files, repeats = _without_repeats(store, files)
    refusals.extend(repeats)
    ratings = pa.concat_tables([RATINGS.empty_table(), *(_ratings(f.taken, day) for f in files)])
    refused_rows = sum(row > 0 for _, row, *_ in refusals)
    return DayContent(
        ratings,
        latest(USERS, (each.taken for each in files)),
        latest(ITEMS, (each.taken for each in files)),
        quarantine(sorted(refusals)),
        {
            "rows": ratings.num_rows + refused_rows,
            "refused": refused_rows,
            "files": len(files) + unread["files_refused"],
            **unread,
        },
    )


@dataclass(frozen=True, eq=False)
class _File:
    """A file of a day: `taken` has `row` (its number in the file) and what `interpret` makes."""

    name: str
    kind: str
    stored: Stored
    taken: pa.Table


def read_file(data: bytes, name: str, kind: str, end: int) -> tuple[pa.Table, list[Refusal]]:
    """The rows of a file that can be taken, and the others, in no order.

    `end` is the end of its day in UTC seconds. The table has `row` (from 1, a header included),
    user_id, item_id, rating, timestamp, admitted and the attributes that the file has. Raises
    UnreadableError.
    """
    faults: list[tuple[int, str, str]] = []
    parts = [_EMPTY]
    for block in blocks(kind, data):
        faults.extend(block.refused)
        typed, found = interpret(block.table)
        faults.extend((int(block.rows[at]), *fault) for at, fault in found.items())
        typed = typed.append_column("row", pa.array(block.rows))
        parts.append(_without(typed, list(found)))
    taken = pa.concat_tables(parts, promote_options="default").combine_chunks()
    bad: list[int] = []
    admitted = taken["admitted"].to_numpy(zero_copy_only=False)
    # A person has judged that the clock of an admitted row is right after all.
    for rows, latest_time in ((~admitted, end + DAY), (admitted, LATEST)):
        places = np.flatnonzero(rows)
        for start in range(0, places.size, _SCREENED):
            here = places[start : start + _SCREENED]
            told = screen(
                taken.take(pa.array(here)), scale=SCALE, latest=latest_time, withdrawals=True
            )
            for position, check, reason in zip(*told.to_pydict().values(), strict=True):
                place = int(here[position])
                bad.append(place)
                faults.append((taken["row"][place].as_py(), check, reason))
    return _without(taken, bad), _refusals(name, kind, data, faults)


def _refusals(
    name: str, kind: str, data: bytes, faults: list[tuple[int, str, str]]
) -> list[Refusal]:
    if not faults:
        return []
    said = texts(kind, data, [row for row, _, _ in faults])
    return [(name, *fault, text) for fault, text in zip(faults, said, strict=True)]


def _without(table: pa.Table, positions: list[int]) -> pa.Table:
    if not positions:
        return table
    keep = np.ones(table.num_rows, bool)
    keep[positions] = False
    return table.filter(pa.array(keep))


def _without_repeats(store: Store, files: list[_File]) -> tuple[list[_File], list[Refusal]]:
    """The files without the rows that say what an earlier row of the day says, and these rows."""
    if not files:
        return [], []
    every = pa.concat_tables([each.taken.select(list(_SAME)) for each in files])
    first = _first_like_it(every)
    admitted = np.concatenate([each.taken["admitted"].to_numpy() for each in files])
    repeats = np.flatnonzero((first != np.arange(first.size)) & ~admitted)
    if not repeats.size:
        return files, []
    starts = np.cumsum([0, *(each.taken.num_rows for each in files)])
    kept, refusals = [], []

    def place(position: int) -> tuple[_File, int]:
        number = int(np.searchsorted(starts, position, side="right")) - 1
        return files[number], position - int(starts[number])

    for number, each in enumerate(files):
        mine = repeats[(repeats >= starts[number]) & (repeats < starts[number + 1])]
        faults = []
        for position in mine.tolist():
            earlier, at = place(int(first[position]))
            where = f"row {earlier.taken['row'][at].as_py()}"
            if earlier is not each:
                where = f"{earlier.name}, {where}"
            row = each.taken["row"][position - int(starts[number])].as_py()
            faults.append((row, "duplicate", f"it says the same as {where}"))
        if faults:
            data = store.get(each.stored.key, etag=each.stored.etag)
            refusals.extend(_refusals(each.name, each.kind, data, faults))
        kept.append(replace(each, taken=_without(each.taken, (mine - starts[number]).tolist())))
    return kept, refusals


def _first_like_it(table: pa.Table) -> NDArray[np.int64]:
    """For each row the position of the first row that is equal to it."""
    columns = [table[name].to_numpy() for name in _SAME]
    columns[-1] = columns[-1].astype(np.float32).view(np.int32).astype(np.int64)
    mixed = np.zeros(table.num_rows, np.uint64)
    for column in columns:
        mixed = (mixed ^ column.view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    first = np.arange(table.num_rows)
    suspects = np.flatnonzero(pd.Series(mixed).duplicated(keep=False))
    if suspects.size:
        frame = pd.DataFrame({name: c[suspects] for name, c in zip(_SAME, columns, strict=True)})
        frame["first"] = suspects
        first[suspects] = frame.groupby(list(_SAME), sort=False)["first"].transform("min")
    return first


def _ratings(taken: pa.Table, day: LandingDay) -> pa.Table:
    size = taken.num_rows
    given = {name: taken[name] for name in ("user_id", "item_id", "rating", "timestamp")}
    return pa.table(
        given
        | {"arrived": pa.array(np.full(size, day.end)), "fold": pa.array(np.zeros(size, np.int8))},
        schema=RATINGS,
    )


def _stray(each: Stored) -> str:
    if each.key.endswith("/"):
        return "it is the mark of a folder, and holds no ratings"
    return f"its name ends in none of {', '.join(f'.{kind}' for kind in KINDS)}"


def _day_of(key: str, prefix: str) -> date | None:
    match = _DAY_FOLDER.fullmatch(key.removeprefix(zone(prefix)))
    if match is None:
        return None
    try:
        return date.fromisoformat(match[1])
    except ValueError:
        return None


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
