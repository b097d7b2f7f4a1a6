"""Rows `user item rating timestamp`: read fast when all is well, explained by line when not."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
from pyarrow import csv

from fmrec.ratings.archive import Archive

COLUMNS = ("user_id", "item_id", "rating", "timestamp")
EARLIEST = 631_152_000  # 1990-01-01 UTC: MovieLens opened in the nineties
LATEST = 4_102_444_800  # 2100-01-01 UTC
_LARGEST_ID = 2**63 - 1
_KINDS = {
    "user_id": "a whole number from 1 that fits 64 bits",
    "item_id": "a whole number from 1 that fits 64 bits",
    "rating": "a whole number from 1 to 5",
    "timestamp": "a whole number of UTC seconds since 1970",
}
_PLAIN = b"0123456789\t\r\n"


def read_ratings(archive: Archive, name: str) -> pd.DataFrame:
    """Rows of a tab-separated ratings file, in file order, as COLUMNS of int64.

    Raises DataError with the file, the line and the remedy at the first row that has not four
    columns of digits, an id from 1, a whole rating from 1 to 5, and a time in UTC seconds.
    """
    data = archive.read(name)
    table = _parse(data)
    if table is not None:
        valid = (
            (table["user_id"] >= 1)
            & (table["item_id"] >= 1)
            & table["rating"].between(1, 5)
            & table["timestamp"].between(EARLIEST, LATEST - 1)
        )
        if valid.all():
            return table
    for number, line in enumerate(_lines(data), start=1):
        fault = fault_in(line)
        if fault is not None:
            raise archive.fault(name, fault, number)
    raise archive.fault(name, "this file cannot be read as ratings")


def reject_duplicates(archive: Archive, parts: list[tuple[str, pd.DataFrame]]) -> None:
    """Raise DataError naming both lines when a user rated an item twice, across all parts."""
    pairs = pd.concat([table[["user_id", "item_id"]] for _, table in parts], ignore_index=True)
    repeated = pairs.duplicated(keep="first")
    if not repeated.any():
        return
    second = int(repeated.to_numpy().argmax())
    user, item = (int(value) for value in pairs.iloc[second])
    first = int(((pairs["user_id"] == user) & (pairs["item_id"] == item)).to_numpy().argmax())
    name, line = _file_and_line(parts, second)
    earlier = archive.within(*_file_and_line(parts, first))
    raise archive.fault(
        name, f"user {user} rated item {item} already in {earlier}; keep one of the two", line
    )


def reject_unknown(
    archive: Archive,
    parts: list[tuple[str, pd.DataFrame]],
    listed: pd.Series[int],
    listed_in: str,
) -> None:
    """Raise DataError at the first row whose id is not among `listed`, read from `listed_in`.

    The name of `listed` says which column of the ratings it is for.
    """
    column = str(listed.name)
    for name, table in parts:
        stray = ~table[column].isin(listed)
        if stray.any():
            row = int(stray.to_numpy().argmax())
            value = int(table[column].iloc[row])
            raise archive.fault(
                name, f"{column} {value} is not in {archive.folder}/{listed_in}", row + 1
            )


def fault_in(line: bytes) -> str | None:
    """What is wrong with one row, or None: the rules in words, the measure of the fast path."""
    if not line:
        return "the row is empty"
    fields = line.split(b"\t")
    if len(fields) != len(COLUMNS):
        return (
            f"{len(fields)} column(s) where {len(COLUMNS)} are expected "
            f"(tab-separated: {', '.join(COLUMNS)}): {_shown(line)}"
        )
    for column, field in zip(COLUMNS, fields, strict=True):
        fault = _fault_in_field(column, field)
        if fault is not None:
            return fault
    return None


def _fault_in_field(column: str, field: bytes) -> str | None:
    kind = _KINDS[column]
    if not field.isdigit():
        return f"{column} {_shown(field)} is not {kind}"
    value = int(field[:40])
    if column == "timestamp":
        return _fault_in_time(value)
    largest = 5 if column == "rating" else _LARGEST_ID
    return None if 1 <= value <= largest else f"{column} {_shown(field)} is not {kind}"


def _fault_in_time(value: int) -> str | None:
    if EARLIEST <= value < LATEST:
        return None
    for unit, factor in (("milli", 10**3), ("micro", 10**6), ("nano", 10**9)):
        if EARLIEST <= value // factor < LATEST:
            return (
                f"timestamp {value} looks like {unit}seconds; UTC seconds are expected "
                f"(divide by {factor:,})"
            )
    return f"timestamp {value} is not a time between 1990 and 2100 in UTC seconds since 1970"


def _parse(data: bytes) -> pd.DataFrame | None:
    """The table, or None when the text is anything but four columns of digits."""
    if data.translate(None, _PLAIN) or data.count(b"\r") != data.count(b"\r\n"):
        return None
    try:
        table = csv.read_csv(
            pa.py_buffer(data),
            read_options=csv.ReadOptions(column_names=list(COLUMNS), use_threads=False),
            parse_options=csv.ParseOptions(
                delimiter="\t", quote_char=False, ignore_empty_lines=False
            ),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(COLUMNS, pa.int64()), null_values=[]
            ),
        )
    except pa.ArrowInvalid:
        return None
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _lines(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix(b"\r") for line in lines]


def _file_and_line(parts: list[tuple[str, pd.DataFrame]], row: int) -> tuple[str, int]:
    """File and line (from 1) of a row counted through all parts from 0."""
    for name, table in parts:
        if row < len(table):
            return name, row + 1
        row -= len(table)
    raise IndexError(row)


def _shown(field: bytes) -> str:
    text = field[:40].decode("utf-8", errors="backslashreplace")
    return repr(text) if len(field) <= 40 else f"{text!r}…"
