"""Rows of the quarantine that a person lets in after all: landed again, marked as admitted."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import Any

from fmrec.errors import ConfigurationError
from fmrec.ratings.event_files import records
from fmrec.ratings.event_rows import COLUMNS
from fmrec.ratings.landing import LandingDay, day_folder, read, read_file, zone
from fmrec.ratings.quarantine import JUDGEMENTS
from fmrec.store import Store

Place = tuple[str, int]
"""File (its key below landing/) and row of a refused row."""


@dataclass(frozen=True)
class Readmission:
    """Where refused rows landed again.

    `key` is the file of `rows` rows; `is_new` unless it was there before. `left` rows failed the
    check beyond what a person may overrule.
    """

    key: str
    rows: int
    is_new: bool
    left: int


def readmit(
    store: Store,
    prefix: str,
    day: LandingDay,
    *,
    today: date,
    places: Collection[Place] = (),
    check: str | None = None,
) -> Readmission:
    """Land refused rows of a day again, in the folder of `today`, with `admitted` = true.

    They are named by their `places`, or are all that failed `check`. The same rows are landed only
    once, whatever the day. Raises ConfigurationError for rows that are not in the day's
    quarantine, and for those that would be refused again: such rows must be corrected.
    """
    if check not in {None, *JUDGEMENTS}:
        raise ConfigurationError(_correct(f"--check {check}"))
    refused = {(row["file"], row["row"]): row for row in read(store, day).quarantine.to_pylist()}
    chosen = sorted(set(places))
    if check is not None:
        chosen = sorted(place for place, row in refused.items() if row["check"] == check)
    for name, number in chosen:
        if (name, number) not in refused:
            raise ConfigurationError(
                f"{name}:{number} is not in the quarantine of {day.day}; `python -m fmrec "
                f"quarantine --day {day.day}` lists what is"
            )
        row = refused[name, number]
        if row["check"] not in JUDGEMENTS:
            raise ConfigurationError(_correct(f"{name}:{number}: {row['reason']}"))
    rows = _records(store, day, chosen)
    fits = _would_be_taken(rows, day)
    left = [place for place, good in zip(chosen, fits, strict=True) if not good]
    if left and check is None:
        name, number = left[0]
        raise ConfigurationError(_correct(f"{name}:{number}: {refused[left[0]]['reason']}"))
    chosen = [place for place in chosen if place not in left]
    if not chosen:
        raise ConfigurationError(
            f"no row of {day.day} can be let in: none was refused by the check {check!r} alone"
        )
    return _land(store, prefix, today, chosen, _records(store, day, chosen), len(left))


def _land(
    store: Store,
    prefix: str,
    today: date,
    chosen: list[Place],
    rows: list[dict[str, Any]],
    left: int,
) -> Readmission:
    data = _file(rows)
    told = "\n".join(f"{name}\t{row}" for name, row in chosen).encode()
    name = f"readmitted-{hashlib.sha256(told + data).hexdigest()[:12]}.csv"
    for key in store.list(f"{zone(prefix)}dt="):
        if key.endswith(f"/{name}"):
            return Readmission(key, len(rows), False, left)
    key = day_folder(prefix, today) + name
    store.put(key, data)
    return Readmission(key, len(rows), True, left)


def _records(store: Store, day: LandingDay, places: list[Place]) -> list[dict[str, Any]]:
    """The rows at the places, which are in order."""
    rows: list[dict[str, Any]] = []
    for each in day.objects:
        mine = [row for name, row in places if name == day.name(each)]
        if mine:
            data = store.get(each.key, etag=each.etag)
            rows.extend(records(each.key.rpartition(".")[2], data, mine))
    return rows


def _would_be_taken(rows: list[dict[str, Any]], day: LandingDay) -> list[bool]:
    """Which rows pass once they are marked as admitted."""
    if not rows:
        return []
    _, refusals = read_file(_file(rows), "readmitted.csv", "csv", day.end)
    again = {line for _, line, *_ in refusals}
    fits, line = [], 2
    for each in _lines(rows)[1:]:
        fits.append(line not in again)
        line += each.count("\n")  # a value with a line end in it makes more lines than one
    return fits


def _correct(what: str) -> str:
    return (
        f"{what}. Only rows refused by the checks {' and '.join(JUDGEMENTS)} can be let in "
        "as they are, and a time must lie between 1990 and 2100. Correct the row, and land it as a "
        "new file."
    )


def _file(rows: list[dict[str, Any]]) -> bytes:
    return "".join(_lines(rows)).encode()


def _lines(rows: list[dict[str, Any]]) -> list[str]:
    """The header and each row as CSV, with their ends."""
    names = [name for name in COLUMNS if name != "admitted" and any(name in row for row in rows)]
    values = [[*(_written(row.get(name)) for name in names), "true"] for row in rows]
    return [_line(each) for each in [[*names, "admitted"], *values]]


def _line(values: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def _written(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return "|".join(each for each in value if each is not None)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
