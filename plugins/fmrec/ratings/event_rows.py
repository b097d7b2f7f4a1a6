"""Columns of landed events as they were written, made into typed values; what cannot be is told.

Everything here works on whole columns; only values that are not as expected are looked at one by
one. docs/landing.md describes the columns for people.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fmrec.ratings.tables import Scale

SCALE = Scale(0.5, 5.0, 0.5)
"""The stars an event may give."""

USER_ATTRIBUTES = ("age", "gender", "occupation", "zip_code")
ITEM_ATTRIBUTES = ("title", "release_year", "genres")
COLUMNS = (
    *("user_id", "item_id", "timestamp", "rating", "event", "admitted"),
    *(*USER_ATTRIBUTES, *ITEM_ATTRIBUTES),
)
_EVENTS = {"like": 5.0, "dislike": 1.0, "unrate": float("nan")}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WHOLE = r"^-?[0-9]{1,18}$"
_NUMBER = r"^-?([0-9]{1,20}(\.[0-9]{0,20})?|\.[0-9]{1,20})([eE][+-]?[0-9]{1,2})?$"
_ISO = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?"
    r"(Z|[+-][0-9]{2}:?[0-9]{2})$"
)
_ISO_WITHOUT_ZONE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]+)?"

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class _Faults:
    """Bad rows of a table: position → (check, reason), the first fault of each."""

    found: dict[int, tuple[str, str]] = field(default_factory=dict)

    def add(self, position: int, check: str, reason: str) -> None:
        """Keep a fault, unless the row has one already."""
        self.found.setdefault(position, (check, reason))

    def told(self, bad: Mask, check: str, reason: Callable[[int], str]) -> None:
        """Keep a fault for each row of a mask; `reason` says it for a position."""
        for position in np.flatnonzero(bad).tolist():
            self.add(position, check, reason(position))


def columns_fault(names: list[str]) -> str | None:
    """What is wrong with the column names of a file, or of a row that names its own, or None."""
    known = f"the known columns are {', '.join(COLUMNS)}"
    for name in names:
        if name not in COLUMNS:
            if any(mark in name for mark in ";\t|"):
                return f"{shown(name)} is no column: the separator must be a comma; {known}"
            return f"unknown column {shown(name)}; {known}"
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        return f"the column {twice!r} is there twice"
    missing = [name for name in ("user_id", "item_id", "timestamp") if name not in names]
    if missing:
        return f"the column {missing[0]!r} is missing; {known}"
    if not {"rating", "event"} & set(names):
        return f"neither a column 'rating' nor a column 'event' is there; {known}"
    return None


def type_fault(name: str, kind: pa.DataType) -> str | None:
    """Why a column of this type cannot be read, or None."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    listed = name == "genres" and (pa.types.is_list(kind) or pa.types.is_large_list(kind))
    if listed and _is_text(kind.value_type):
        return None
    if name == "timestamp" and pa.types.is_timestamp(kind):
        return None if kind.tz else "the column 'timestamp' has no time zone: say which it is in"
    if pa.types.is_null(kind) or _is_text(kind):
        return None
    if name == "admitted" and pa.types.is_boolean(kind):
        return None
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if numeric and name in {"user_id", "item_id", "timestamp", "rating", "age", "release_year"}:
        return None
    return f"the column {name!r} has the type {kind}, which it cannot have"


def interpret(table: pa.Table) -> tuple[pa.Table, dict[int, tuple[str, str]]]:
    """Typed values of a table with columns out of COLUMNS; position → check and reason of bad rows.

    The result has user_id, item_id (int64), rating (float32, NaN withdraws), timestamp (int64),
    admitted (bool) and the attributes that are there, nulls where they are not known. A bad row
    keeps its place; what stands in it means nothing.
    """
    plain = {name: _plain(table[name]) for name in table.column_names}
    size, faults = table.num_rows, _Faults()
    made: dict[str, Any] = {}
    for name in ("user_id", "item_id"):
        values, known = _whole(plain[name])
        made[name] = values
        faults.told(~known, "type", _told(plain[name], name, "a whole number from 1"))
    made["rating"] = _stars(plain, size, faults)
    made["timestamp"] = _seconds(plain["timestamp"], faults)
    made["admitted"] = _admitted(plain.get("admitted"), size, faults)
    for name in (*USER_ATTRIBUTES, *ITEM_ATTRIBUTES):
        if name in plain:
            made[name] = _attribute(name, plain[name], faults)
    return pa.table(made), faults.found


def without_zone(times: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Times of Parquet as whole UTC seconds, rounded down; any other column as it is."""
    if pa.types.is_dictionary(times.type):
        times = times.cast(times.type.value_type)
    if not pa.types.is_timestamp(times.type):
        return times
    units = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[times.type.unit]
    ticks = times.cast(pa.int64())
    seconds = pc.divide(ticks, units)
    # Arrow divides towards zero.
    late = pc.less(ticks, pc.multiply(seconds, units))
    return pc.subtract(seconds, late.cast(pa.int64()))


def shown(value: Any) -> str:
    """A value in a message: quoted, and cut when it is long."""
    text = str(value)
    return repr(text) if len(text) <= 40 else f"{text[:40]!r}…"


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _plain(column: pa.ChunkedArray) -> pa.Array:
    """One array; text as string, empty text as null."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if pa.types.is_null(column.type) or _is_text(column.type):
        column = column.cast(pa.string())
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if pa.types.is_string(array.type):
        return pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.string()), array)
    return array


def _told(column: pa.Array, name: str, expected: str) -> Callable[[int], str]:
    def reason(position: int) -> str:
        value = column[position].as_py()
        return f"{name} is missing" if value is None else f"{name} {shown(value)} is not {expected}"

    return reason


def _mask(values: pa.Array) -> Mask:
    """A boolean array, null meaning no."""
    return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False), bool)


def _present(column: pa.Array) -> Mask:
    return np.asarray(pc.is_valid(column).to_numpy(zero_copy_only=False), bool)


def _whole(column: pa.Array) -> tuple[NDArray[np.int64], Mask]:
    """Whole numbers, and where there are such."""
    if pa.types.is_string(column.type):
        fits = pc.fill_null(pc.match_substring_regex(column, _WHOLE), False)
        values = _cast(pc.if_else(fits, column, pa.scalar(None, pa.string())))
        known = _mask(fits)
        for position in np.flatnonzero(~known & _present(column)).tolist():
            text = column[position].as_py()
            # Nineteen digits may fit 64 bits, and the cast fails for all when they do not.
            if re.fullmatch(r"[0-9]{19}", text, re.ASCII) and int(text) < 2**63:
                values[position], known[position] = int(text), True
        return values, known
    known = _present(column)
    if pa.types.is_floating(column.type):
        floats = pc.fill_null(column.cast(pa.float64()), 0.0).to_numpy(zero_copy_only=False)
        known = known & (np.abs(floats) < 2**53) & (np.floor(floats) == floats)
        return np.where(known, floats, 0.0).astype(np.int64), known
    if pa.types.is_integer(column.type):
        if column.type == pa.uint64():
            fits = pc.fill_null(pc.less(column, pa.scalar(2**63, pa.uint64())), False)
            known = known & _mask(fits)
            column = pc.if_else(fits, column, pa.scalar(0, pa.uint64()))
        return _cast(column), known
    return np.zeros(len(column), np.int64), np.zeros(len(column), bool)


def _cast(column: pa.Array) -> NDArray[np.int64]:
    filled = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    return np.array(filled, np.int64)


def _stars(plain: dict[str, pa.Array], size: int, faults: _Faults) -> NDArray[np.float32]:
    rating = plain.get("rating", pa.nulls(size, pa.string()))
    event = plain.get("event", pa.nulls(size, pa.string()))
    given, named = _present(rating), _present(event)
    values, known = _numbers(rating)
    faults.told(given & ~known, "type", _told(rating, "rating", "a number"))
    with np.errstate(over="ignore"):
        stars = values.astype(np.float32)
    # Stars on the scale are exact in 32 bits; what rounding would put on it is not on it.
    rounded = known & (stars != values)
    faults.told(rounded, "range", lambda at: off_scale(float(values[at])))
    rate = _mask(pc.equal(event, "rate"))
    for name, worth in _EVENTS.items():
        here = _mask(pc.equal(event, name))
        faults.told(
            here & given,
            "type",
            lambda at: f"event {event[at].as_py()!r} and a rating: give one of the two",
        )
        stars[here] = worth
        rate |= here
    faults.told(named & ~rate, "type", _told(event, "event", f"one of rate, {', '.join(_EVENTS)}"))
    valued = given | _mask(pc.is_in(event, pa.array(list(_EVENTS))))
    faults.told(~valued, "type", lambda _: "rating is missing")
    return stars


def off_scale(value: float) -> str:
    """The words for stars that an event may not give."""
    return (
        f"rating {value:.10g} is not on the scale {SCALE.low:g} to {SCALE.high:g} "
        f"in steps of {SCALE.step:g}"
    )


def _numbers(column: pa.Array) -> tuple[NDArray[np.float64], Mask]:
    if pa.types.is_string(column.type):
        fits = pc.fill_null(pc.match_substring_regex(column, _NUMBER), False)
        column = pc.if_else(fits, column, pa.scalar(None, pa.string()))
    numbers = pc.fill_null(column.cast(pa.float64(), safe=False), np.nan)
    values = np.array(numbers.to_numpy(zero_copy_only=False), np.float64)
    return values, ~np.isnan(values)


def _seconds(column: pa.Array, faults: _Faults) -> NDArray[np.int64]:
    if pa.types.is_timestamp(column.type):
        faults.told(~_present(column), "type", lambda _: "timestamp is missing")
        return _cast(without_zone(column))
    values, known = _whole(column)
    if pa.types.is_string(column.type):
        fits = pc.fill_null(pc.match_substring_regex(column, _ISO), False)
        iso = _mask(fits)
        if iso.any():
            values[iso], known[iso] = _from_iso(column.filter(fits))
    faults.told(~known, "type", lambda at: _time_words(column[at].as_py()))
    return values


def _from_iso(texts: pa.Array) -> tuple[NDArray[np.int64], Mask]:
    try:
        moments = texts.cast(pa.timestamp("ns", "UTC"))
    except pa.ArrowInvalid:
        found = [_moment(text) for text in texts.to_pylist()]
        values = np.array([each or 0 for each in found], np.int64)
        return values, np.array([each is not None for each in found], bool)
    return _cast(moments) // 10**9, np.ones(len(texts), bool)


def _moment(text: str) -> int | None:
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError):
        return None


def _time_words(value: Any) -> str:
    if value is None:
        return "timestamp is missing"
    if isinstance(value, str) and re.fullmatch(_ISO_WITHOUT_ZONE, value, re.ASCII):
        return (
            f"timestamp {shown(value)} has no time zone: write 1998-03-08T12:30:00Z, "
            "or +01:00 in place of Z"
        )
    return f"timestamp {shown(value)} is neither UTC seconds nor ISO 8601 with a time zone"


def _admitted(column: pa.Array | None, size: int, faults: _Faults) -> Mask:
    if column is None:
        return np.zeros(size, bool)
    if pa.types.is_boolean(column.type):
        return _mask(column)
    yes = pc.is_in(column, pa.array(["true", "1"]))
    known = _mask(pc.is_in(column, pa.array(["true", "1", "false", "0"])))
    faults.told(_present(column) & ~known, "type", _told(column, "admitted", "true or false"))
    return _mask(yes)


def _attribute(name: str, column: pa.Array, faults: _Faults) -> pa.Array:
    if name in {"age", "release_year"}:
        low, high = (0, 150) if name == "age" else (1800, 2200)
        values, known = _whole(column)
        given = _present(column)
        known &= (values >= low) & (values <= high)
        expected = f"a whole number from {low} to {high}"
        faults.told(given & ~known, "type", _told(column, name, expected))
        return pa.array(values, mask=~known)
    if name == "genres" and pa.types.is_string(column.type):
        return pc.split_pattern(column, "|")
    if name == "genres":
        return column.cast(pa.list_(pa.string()))
    return column
