"""A day unlike the days before fails the run, with figures; one within its limits does not."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fmrec.errors import DataError
from fmrec.ratings.acceptance import accept, judge, profile
from fmrec.ratings.landing import DayContent
from fmrec.ratings.quarantine import quarantine
from fmrec.ratings.tables import ITEMS, RATINGS, USERS

FIRST = date(1998, 3, 1)


def day(
    number: int, stars: list[float], refused: int = 0, *, files: int = 1, files_refused: int = 0
) -> dict[str, Any]:
    size = len(stars)
    columns = {name: np.zeros(size) for name in RATINGS.names} | {"rating": np.array(stars)}
    refusals = [("a.csv", n + 2, "range", f"rating {n} is not on", "") for n in range(refused)]
    refusals += [(f"f{n}.csv", 0, "columns", "unknown", "") for n in range(files_refused)]
    content = DayContent(
        pa.table(
            [pa.array(columns[each.name]).cast(each.type) for each in RATINGS], schema=RATINGS
        ),
        USERS.empty_table(),
        ITEMS.empty_table(),
        quarantine(refusals),
        {
            "rows": size + refused,
            "refused": refused,
            "files": files,
            "files_refused": files_refused,
            "strays": 0,
        },
    )
    made = profile(FIRST + timedelta(days=number), content)
    return dict(json.loads(json.dumps(made, sort_keys=True)))


def verdict(days: list[dict[str, Any]], accepted: Any = None, **limits: float) -> list[str]:
    generous = {"max_refused": 1.0, "max_day_ratio": 1e9, "max_drift": 1.0}
    return judge(days, accepted, **generous | limits)


def test_a_profile_is_what_the_day_holds() -> None:
    made = day(7, [0.5, 5, 5, np.nan], refused=2)
    assert made["day"] == "1998-03-08"
    assert made["counts"]["rows"] == 6
    assert {star: n for star, n in made["stars"].items() if n} == {
        "0.5": 1,
        "5": 2,
        "withdrawn": 1,
    }
    assert sum(made["stars"].values()) == 4
    assert made["worst"] == {
        "check": "range",
        "file": "a.csv",
        "number": 2,
        "reason": "rating 0 is not on",
    }
    assert day(1, [3])["worst"] is None


def test_refused_rows_may_be_the_share_and_no_more() -> None:
    assert verdict([day(0, [3.0] * 99, refused=1)], max_refused=0.01) == []
    with pytest.raises(DataError) as caught:
        verdict([day(0, [3.0] * 98, refused=2)], max_refused=0.01)
    assert str(caught.value) == (
        "Landing day 1998-03-01: 2 of 100 rows were refused (2.0%, the limit is 1.0%), most often "
        "in a.csv (range, e.g. rating 0 is not on). Correct them and land them again, or raise "
        "max_refused."
    )


def test_refused_files_are_held_to_the_same_share() -> None:
    assert verdict([day(0, [3.0], files=2, files_refused=1)], max_refused=0.5) == []
    with pytest.raises(DataError, match=r"1 of 2 files were refused \(50\.0%.*f0\.csv \(columns"):
        verdict([day(0, [3.0], files=2, files_refused=1)], max_refused=0.49)


def test_a_day_may_be_so_many_times_larger_than_the_median_of_those_before() -> None:
    accepted = accept([day(n, [3.0] * rows) for n, rows in enumerate([10, 20, 1000])], None)
    assert verdict([day(3, [3.0] * 60)], accepted, max_day_ratio=3) == []
    words = r"1998-03-04 holds 61 rows, 3\.0 times the median of the 3 days before \(20\); the"
    with pytest.raises(DataError, match=words):
        verdict([day(3, [3.0] * 61)], accepted, max_day_ratio=3)


def test_the_volume_is_measured_when_there_are_three_days_not_before() -> None:
    two = [day(n, [3.0]) for n in range(2)]
    assert verdict([day(2, [3.0] * 100)], accept(two, None), max_day_ratio=2) == []
    assert verdict([*two, day(2, [3.0] * 100)], None, max_day_ratio=2) == []
    with pytest.raises(DataError, match="1998-03-04 holds 100 rows"):
        verdict([*two, day(2, [3.0]), day(3, [3.0] * 100)], None, max_day_ratio=2)


def test_stars_may_drift_so_far_and_no_farther() -> None:
    accepted = accept([day(0, [3.0] * 100 + [4.0] * 100)], None)
    drifted = [3.0] * 60 + [4.0] * 140  # 30 % against 50 %: a distance of 0.2
    assert verdict([day(1, drifted)], accepted, max_drift=0.2001) == []
    with pytest.raises(DataError) as caught:
        verdict([day(1, drifted)], accepted, max_drift=0.1999)
    assert "distance 0.200, the limit is 0.1999" in str(caught.value)
    assert "3 stars are 30% of them, were 50% before" in str(caught.value)
    assert "raise max_drift" in str(caught.value)


def test_few_stars_say_nothing_of_a_drift() -> None:
    accepted = accept([day(0, [3.0] * 200)], None)
    assert verdict([day(1, [5.0] * 199)], accepted, max_drift=0.1) == []
    with pytest.raises(DataError, match="its stars are unlike"):
        verdict([day(1, [5.0] * 200)], accepted, max_drift=0.1)
    assert verdict([day(1, [5.0] * 200)], None, max_drift=0.1) == []


def test_empty_and_missing_days_are_warned_of() -> None:
    accepted = accept([day(0, [3.0])], None)
    assert verdict([day(1, [])], accepted) == [
        "The landing day 1998-03-02 is empty: its files hold no rows."
    ]
    assert verdict([day(2, [3.0])], accepted) == ["Nothing landed on 1998-03-02."]
    assert verdict([day(4, [3.0]), day(5, [3.0])], accepted) == [
        "Nothing landed from 1998-03-02 to 1998-03-04."
    ]


def test_an_empty_day_is_no_measure() -> None:
    accepted = accept([*(day(n, [3.0] * 10) for n in range(3)), day(3, [])], None)
    assert len(accepted["days"]) == 3
    assert accepted["last"] == "1998-03-04"
    assert verdict([day(4, [3.0] * 10)], accepted, max_day_ratio=1) == []


def test_the_latest_28_days_are_the_measure() -> None:
    days = [day(n, [3.0] * (100 if n < 10 else 1)) for n in range(38)]
    accepted = accept(days[20:], accept(days[:20], None))
    assert accepted == accept(days, None)
    assert [each["day"] for each in accepted["days"]] == [each["day"] for each in days[10:]]
    with pytest.raises(DataError, match="times the median of the 28 days before"):
        verdict([day(38, [3.0] * 3)], accepted, max_day_ratio=2)


def test_all_faults_are_told_at_once_the_first_five_in_full() -> None:
    with pytest.raises(DataError) as caught:
        verdict([day(n, [3.0], refused=1) for n in range(8)], max_refused=0.1)
    lines = str(caught.value).splitlines()
    assert len(lines) == 6
    assert lines[-1] == "and 3 more"
