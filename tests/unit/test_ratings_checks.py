"""Every bad rating is found, told once and in words; no good one is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmrec.ratings.checks import EARLIEST, FAULTS, LATEST, screen
from fmrec.ratings.tables import RATINGS, Scale

HALVES = Scale(0.5, 5, 0.5)
WHOLE = Scale(1, 5, 1)
NOON = 889_358_400 - 43_200


def ratings(*rows: tuple[int, int, float, int]) -> pa.Table:
    user, item, rating, timestamp = zip(*rows, strict=True) if rows else ((), (), (), ())
    columns = {
        "user_id": user,
        "item_id": item,
        "rating": np.array(rating, np.float32),
        "timestamp": timestamp,
        "arrived": [0] * len(rows),
        "fold": [0] * len(rows),
    }
    return pa.table({name: pa.array(columns[name], RATINGS.field(name).type) for name in columns})


def told(table: pa.Table, **kinds: Any) -> list[tuple[int, str, str]]:
    found = screen(table, **({"scale": HALVES, "latest": LATEST} | kinds))
    assert found.schema == FAULTS
    return [tuple(row.values()) for row in found.to_pylist()]


def test_good_rows_are_not_spoken_of() -> None:
    largest = 2**63 - 1
    table = ratings((1, 1, 0.5, EARLIEST), (largest, largest, 5, LATEST - 1), (1, 1, 3.5, NOON))
    assert told(table) == []
    assert told(ratings()) == []


@pytest.mark.parametrize(
    ("row", "check", "reason"),
    [
        ((0, 1, 3, NOON), "id", "user_id 0 is not a whole number from 1"),
        ((1, -(2**63), 3, NOON), "id", f"item_id {-(2**63)} is not a whole number from 1"),
        ((1, 1, 6, NOON), "range", "rating 6 is not on the scale 0.5 to 5 in steps of 0.5"),
        ((1, 1, 0, NOON), "range", "rating 0 is not on the scale 0.5 to 5 in steps of 0.5"),
        ((1, 1, 3.25, NOON), "range", "rating 3.25 is not on the scale 0.5 to 5 in steps of 0.5"),
        ((1, 1, math.inf, NOON), "range", "rating inf is not on the scale 0.5 to 5"),
        ((1, 1, math.nan, NOON), "range", "rating is missing"),
        ((1, 1, 3, NOON * 1000), "clock", "looks like milliseconds; UTC seconds are expected"),
        ((1, 1, 3, NOON * 10**6), "clock", "looks like microseconds"),
        ((1, 1, 3, NOON * 10**9), "clock", "looks like nanoseconds"),
        ((1, 1, 3, EARLIEST - 1), "clock", "is not a time between 1990 and 2100"),
        ((1, 1, 3, LATEST), "clock", "is not a time between 1990 and 2100"),
        ((1, 1, 3, -5), "clock", "timestamp -5 is not a time between 1990 and 2100"),
    ],
)
def test_a_bad_row_is_told_by_place_check_and_reason(
    row: tuple[int, int, float, int], check: str, reason: str
) -> None:
    [(position, name, words)] = told(ratings((1, 1, 3, NOON), row, (1, 2, 3, NOON)))
    assert (position, name) == (1, check)
    assert reason in words


def test_the_scale_is_the_source_s_own() -> None:
    row = ratings((1, 1, 3.5, NOON))
    assert told(row) == []
    [(_, _, words)] = told(row, scale=WHOLE)
    assert words == "rating 3.5 is not on the scale 1 to 5 in steps of 1"


def test_a_time_ahead_of_the_clock_is_told_with_both_moments() -> None:
    latest = 889_401_600
    assert told(ratings((1, 1, 3, latest - 1)), latest=latest) == []
    [(_, check, words)] = told(ratings((1, 1, 3, latest)), latest=latest)
    assert check == "clock"
    assert words == (
        "timestamp 889401600 (1998-03-09T00:00:00Z) is ahead of the clock: "
        "a time before 1998-03-09T00:00:00Z is expected"
    )


def test_a_rating_may_be_withdrawn_only_where_that_is_allowed() -> None:
    row = ratings((1, 1, math.nan, NOON))
    assert told(row, withdrawals=True) == []
    assert len(told(row)) == 1


def test_a_row_with_several_faults_is_told_once_with_the_first() -> None:
    [(position, check, words)] = told(ratings((1, 0, 9, -5)))
    assert (position, check) == (0, "id")
    assert words.startswith("item_id 0")


numbers = st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 2)
stars = st.floats(width=32) | st.sampled_from([0.5, 3.0, 5.0, 5.5, 0.0, -0.5])
times = numbers | st.sampled_from([EARLIEST - 1, EARLIEST, NOON, LATEST - 1, LATEST])


@given(st.lists(st.tuples(numbers, numbers, stars, times), max_size=20), st.booleans())
def test_what_is_told_is_what_the_rules_say(
    rows: list[tuple[int, int, float, int]], withdrawals: bool
) -> None:
    def check(user: int, item: int, rating: float, timestamp: int) -> str | None:
        on_scale = rating in {half / 2 for half in range(1, 11)}
        if user < 1 or item < 1:
            return "id"
        if not (on_scale or (withdrawals and math.isnan(rating))):
            return "range"
        return None if EARLIEST <= timestamp < LATEST else "clock"

    expected = [(place, check(*row)) for place, row in enumerate(rows)]
    found = [(place, name) for place, name, _ in told(ratings(*rows), withdrawals=withdrawals)]
    assert found == [(place, name) for place, name in expected if name]
