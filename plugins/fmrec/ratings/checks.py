"""What a rating must be, whatever source it comes from: ids, stars and clock, told row by row."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from fmrec.ratings.tables import Scale

EARLIEST = 631_152_000  # 1990-01-01 UTC: MovieLens opened in the nineties
LATEST = 4_102_444_800  # 2100-01-01 UTC

FAULTS = pa.schema([("position", pa.int64()), ("check", pa.string()), ("reason", pa.string())])
"""One row for each bad row of a table, ascending: its place (from 0), its first failed check and
why, in words."""

_CHECKS = {"user_id": "id", "item_id": "id", "rating": "range", "timestamp": "clock"}


def screen(ratings: pa.Table, *, scale: Scale, latest: int, withdrawals: bool = False) -> pa.Table:
    """The bad rows of a RATINGS table, as FAULTS; none when all is well.

    Ids must be at least 1, ratings lie on `scale` (NaN only where `withdrawals` are allowed), and
    timestamps lie from 1990 to before `latest` (UTC seconds, at most LATEST). A row with several
    faults is told once, with the first in the order user_id, item_id, rating, timestamp.
    """
    from pandera.errors import SchemaErrors  # noqa: PLC0415 (pandera takes a second to import)

    frame = ratings.select(list(_CHECKS)).to_pandas()
    try:
        _schema(scale, latest, withdrawals).validate(frame, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases
    else:
        return FAULTS.empty_table()
    order = cases["column"].map({name: rank for rank, name in enumerate(_CHECKS)})
    first = cases.assign(order=order).sort_values(["index", "order"]).drop_duplicates("index")
    positions = first["index"].to_numpy(np.int64)
    columns = first["column"].tolist()
    values = {name: frame[name].to_numpy()[positions].tolist() for name in _CHECKS}
    reasons = [
        _reason(column, values[column][row], scale, latest) for row, column in enumerate(columns)
    ]
    return pa.table(
        [
            pa.array(positions),
            pa.array([_CHECKS[column] for column in columns], pa.string()),
            pa.array(reasons, pa.string()),
        ],
        schema=FAULTS,
    )


def fault_in_time(value: int, latest: int = LATEST) -> str | None:
    """What is wrong with a timestamp that must lie from 1990 to before `latest`, or None."""
    if EARLIEST <= value < latest:
        return None
    if latest <= value < LATEST:
        return (
            f"timestamp {value} ({_moment(value)}) is ahead of the clock: a time before "
            f"{_moment(latest)} is expected"
        )
    for unit, factor in (("milli", 10**3), ("micro", 10**6), ("nano", 10**9)):
        if EARLIEST <= value // factor < LATEST:
            return (
                f"timestamp {value} looks like {unit}seconds; UTC seconds are expected "
                f"(divide by {factor:,})"
            )
    return f"timestamp {value} is not a time between 1990 and 2100 in UTC seconds since 1970"


@cache
def _schema(scale: Scale, latest: int, withdrawals: bool) -> Any:
    import pandera.pandas as schemas  # noqa: PLC0415

    def on_step(stars: pd.Series[float]) -> pd.Series[bool]:
        return (stars - scale.low) % scale.step == 0

    return schemas.DataFrameSchema(
        {
            "user_id": schemas.Column("int64", schemas.Check.ge(1)),
            "item_id": schemas.Column("int64", schemas.Check.ge(1)),
            "rating": schemas.Column(
                "float32",
                [schemas.Check.in_range(scale.low, scale.high), schemas.Check(on_step)],
                nullable=withdrawals,
            ),
            "timestamp": schemas.Column(
                "int64", schemas.Check.in_range(EARLIEST, latest, include_max=False)
            ),
        }
    )


def _reason(column: str, value: float, scale: Scale, latest: int) -> str:
    if column == "timestamp":
        return fault_in_time(int(value), latest) or ""
    if column == "rating":
        if math.isnan(value):
            return "rating is missing"
        return (
            f"rating {value:g} is not on the scale {scale.low:g} to {scale.high:g} "
            f"in steps of {scale.step:g}"
        )
    return f"{column} {value} is not a whole number from 1"


def _moment(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
