"""The tables that every source yields: their columns and what these mean."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

RATINGS = pa.schema(
    [
        ("user_id", pa.int64()),
        ("item_id", pa.int64()),
        ("rating", pa.float32()),
        ("timestamp", pa.int64()),
        ("arrived", pa.int64()),
        ("fold", pa.int8()),
    ]
)
"""One row for each rating, in the order of the source.

`rating` is in stars; NaN withdraws the user's earlier rating of the item. `timestamp` is in UTC
seconds. `arrived` is the UTC second from which the rating could be known besides: 0 in an archive,
the end of its day in the landing zone. `fold` is 1 in a base file and 2 in a test file of an
archive that brings its own splits, else 0.
"""

USERS = pa.schema(
    [
        ("user_id", pa.int64()),
        ("age", pa.int64()),
        ("gender", pa.string()),
        ("occupation", pa.string()),
        ("zip_code", pa.string()),
    ]
)
"""One row for each user that something is known of; null where it is not."""

ITEMS = pa.schema(
    [
        ("item_id", pa.int64()),
        ("title", pa.string()),
        ("release_year", pa.int64()),
        ("genres", pa.list_(pa.string())),
    ]
)
"""One row for each item that something is known of; null where it is not."""

QUARANTINE = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        ("check", pa.string()),
        ("reason", pa.string()),
        ("text", pa.string()),
    ]
)
"""One row for each row that was refused: where it stood (rows count from 1, the header included;
0 is the whole file), which check it failed, why in words, and what it said.
"""


@dataclass(frozen=True)
class Scale:
    """The ratings that a source may hold: from `low` to `high` in steps of `step` stars."""

    low: float
    high: float
    step: float


@dataclass(frozen=True)
class Chunk:
    """A part of a source, in its order: every row read is in exactly one of the two tables."""

    ratings: pa.Table
    quarantine: pa.Table
