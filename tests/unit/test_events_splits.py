"""Splits on tables small enough to divide by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from fmrec.errors import ConfigurationError, DataError
from fmrec.events import divide


def ratings(times: list[int], folds: list[str] | None = None) -> pd.DataFrame:
    count = len(times)
    return pd.DataFrame(
        {
            "user_id": range(1, count + 1),
            "item_id": [1] * count,
            "rating": pd.Series([3.0] * count, dtype="float32"),
            "timestamp": pd.Series(times, dtype="int64"),
            "fold": folds or [""] * count,
        }
    )


def times(part: pd.DataFrame) -> list[int]:
    return [int(time) for time in part["timestamp"]]


def test_time_takes_the_latest_for_the_test_and_those_before_for_validation() -> None:
    split = divide(ratings([50, 10, 90, 30, 20, 100, 40, 70, 60, 80]), "time")
    assert times(split.train) == [10, 20, 30, 40, 50, 60, 70, 80]
    assert times(split.validation) == [90]
    assert times(split.test) == [100]


def test_fractions_are_of_the_number_of_ratings() -> None:
    split = divide(
        ratings(list(range(100, 120))), "time", validation_fraction=0.25, test_fraction=0.5
    )
    assert (len(split.train), len(split.validation), len(split.test)) == (5, 5, 10)


def test_events_of_one_second_stay_together_with_the_earlier_part() -> None:
    split = divide(ratings([1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 9, 10]), "time", validation_fraction=0.2)
    assert times(split.train) == [1, 2, 3, 4, 5, 6, 7, 8, 8]
    assert times(split.validation) == [9, 9]
    assert times(split.test) == [10]


def test_ties_keep_their_file_order() -> None:
    split = divide(ratings([7, 5, 5, 5, 9]), "time", validation_fraction=0.2, test_fraction=0.2)
    assert split.train["user_id"].tolist() == [2, 3, 4]


def test_no_validation_is_possible() -> None:
    split = divide(ratings([3, 1, 2, 4]), "time", validation_fraction=0, test_fraction=0.25)
    assert (times(split.train), times(split.validation), times(split.test)) == ([1, 2, 3], [], [4])


@pytest.mark.parametrize(
    ("validation", "test"), [(-0.1, 0.2), (0.1, 0.0), (0.5, 0.5), (0.9, 0.2), (float("nan"), 0.1)]
)
def test_fractions_that_do_not_fit_are_refused(validation: float, test: float) -> None:
    with pytest.raises(ConfigurationError, match=r"validation_fraction .* and test_fraction .* do"):
        divide(ratings([1, 2, 3, 4]), "time", validation_fraction=validation, test_fraction=test)


@pytest.mark.parametrize(
    ("made", "missing"),
    [
        ([], "train and test and validation"),
        ([5], "test and validation"),
        ([5] * 100, "test and validation"),
        ([1] * 50 + [2] * 50, "test and validation"),
        ([1] * 60 + [2] * 40, "test"),
        ([1] * 80 + [2] * 20, "validation"),
    ],
)
def test_a_window_too_small_says_which_part_and_what_there_is(
    made: list[int], missing: str
) -> None:
    with pytest.raises(DataError) as caught:
        divide(ratings(made), "time", validation_fraction=0.2, test_fraction=0.2)
    text = str(caught.value)
    assert f"split 'time' leaves no rating for {missing}: " in text
    assert (f"the {len(made)} ratings lie between" if made else "no ratings at all") in text
    assert "Set as_of to a later moment" in text


def test_a_fold_split_follows_the_files_and_keeps_their_order() -> None:
    table = ratings([9, 3, 5, 1], ["base", "base", "test", "test"])
    split = divide(table, "u1")
    assert times(split.train) == [9, 3]
    assert times(split.test) == [5, 1]
    assert split.validation.empty
    assert list(split.validation.columns) == list(table.columns)
    assert split.validation.dtypes.equals(table.dtypes)
    assert split.test.index.tolist() == [0, 1]


def test_ratings_without_folds_are_not_divided_by_them() -> None:
    with pytest.raises(ConfigurationError, match="load them with split='u1'"):
        divide(ratings([1, 2]), "u1")


@pytest.mark.parametrize(("fold", "missing"), [("base", "test"), ("test", "train")])
def test_a_fold_that_the_window_emptied_is_an_error(fold: str, missing: str) -> None:
    with pytest.raises(DataError, match=f"split 'ua' leaves no rating for {missing}: the 2 rat"):
        divide(ratings([1, 2], [fold, fold]), "ua")


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="split 'u6' is not known: choose one of time, u1"):
        divide(ratings([1, 2]), "u6")
