"""Exposure of lists against numbers worked by hand, its rules, and what it refuses."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest

from fmrec.errors import EvaluationError
from fmrec.evaluation import exposure
from fmrec.evaluation.ranking import DEPTH, NO_ITEM

exactly = partial(pytest.approx, rel=0, abs=1e-12)


def counts(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def events(*pairs: tuple[int, int]) -> pd.DataFrame:
    return pd.DataFrame(list(pairs), columns=["user_id", "item_id"])


def lists(*rows: list[int]) -> np.ndarray:
    made = np.full((len(rows), DEPTH), NO_ITEM)
    for row, items in enumerate(rows):
        made[row, : len(items)] = items
    return made


# Four users; item 10 has 4 ratings, 20 has 2, 30 and 40 have 1 each.
TRAIN = events((1, 10), (2, 10), (3, 10), (4, 10), (1, 20), (2, 20), (3, 30), (4, 40))


def test_coverage_counts_what_is_listed_at_all() -> None:
    assert exposure.coverage(counts(5, 0, 1, 0)) == exactly(0.5)
    assert exposure.coverage(counts(0, 0)) == 0
    assert exposure.coverage(counts(1)) == 1


def test_gini_worked_by_hand() -> None:
    # Ascending 0, 1, 1, 2: weights -3, -1, 1, 3, so (-1 + 1 + 6) / (3 * 4).
    assert exposure.gini(counts(1, 2, 0, 1)) == exactly(6 / 12)
    assert exposure.gini(counts(7, 7, 7)) == 0
    assert exposure.gini(counts(0, 9, 0)) == 1
    assert exposure.gini(counts(3)) == 0
    assert math.isnan(exposure.gini(counts(0, 0)))


def test_novelty_is_in_bits() -> None:
    # Shares 1, 1/2 and 1/4 are 0, 1 and 2 bits.
    assert exposure.novelty(counts(1, 2, 1), counts(4, 2, 1), 4) == exactly((0 + 2 * 1 + 2) / 4)
    assert exposure.novelty(counts(0, 0, 3), counts(4, 2, 1), 4) == exactly(2)
    assert exposure.novelty(counts(5, 0, 0), counts(4, 2, 1), 4) == 0
    assert math.isnan(exposure.novelty(counts(0, 0, 0), counts(4, 2, 1), 4))


def test_popularity_is_the_mean_number_of_ratings() -> None:
    assert exposure.popularity(counts(3, 1, 0), counts(10, 2, 5)) == exactly((3 * 10 + 2) / 4)
    assert math.isnan(exposure.popularity(counts(0, 0, 0), counts(10, 2, 5)))


def test_the_four_figures_of_lists() -> None:
    made = exposure.exposure(lists([10, 20], [10, 30]), TRAIN)
    assert made == {
        "coverage@10": exactly(3 / 4),
        # Listed 0, 1, 1, 2 times.
        "gini@10": exactly(1 / 2),
        "novelty@10": exactly((0 + 0 + 1 + 2) / 4),
        "popularity@10": exactly((4 + 4 + 2 + 1) / 4),
    }
    assert list(made) == ["coverage@10", "gini@10", "novelty@10", "popularity@10"]


def test_what_stands_below_the_tenth_place_does_not_count() -> None:
    train = events(*((user, item) for item in range(1, 13) for user in range(1, item + 1)))
    ten = lists(list(range(1, 11)))
    longer = lists(list(range(1, 13)))
    assert exposure.exposure(longer, train) == exposure.exposure(ten, train)
    assert exposure.exposure(longer, train)["coverage@10"] == exactly(10 / 12)


def test_lists_that_are_all_empty_cover_nothing_and_have_no_mean() -> None:
    made = exposure.exposure(lists([], []), TRAIN)
    assert made.pop("coverage@10") == 0
    assert all(math.isnan(value) for value in made.values())


def test_an_item_of_another_models_training_has_a_declared_place() -> None:
    # Nobody in TRAIN has rated 99: no ratings, the novelty of a single one, outside of coverage.
    made = exposure.exposure(lists([10, 99]), TRAIN)
    assert made == {
        "coverage@10": exactly(1 / 4),
        "gini@10": exactly(1),
        "novelty@10": exactly((0 + 2) / 2),
        "popularity@10": exactly((4 + 0) / 2),
    }


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"lists of shape \(2, 9\)"):
        exposure.exposure(lists([10], [20])[:, :9], TRAIN)
    with pytest.raises(EvaluationError, match=r"lists of shape \(50,\)"):
        exposure.exposure(lists([10])[0], TRAIN)
    with pytest.raises(EvaluationError, match=r"shape \(0,\): pass one for each item of a cat"):
        exposure.exposure(lists([], []), TRAIN[:0])
    with pytest.raises(EvaluationError, match="item at place 0 has 5 ratings, and there are 4"):
        exposure.exposure(lists([10]), pd.concat([TRAIN, events((1, 10))]))
    with pytest.raises(EvaluationError, match=r"item at place 1 has 0 ratings"):
        exposure.novelty(counts(1, 1), counts(2, 0), 3)
    with pytest.raises(EvaluationError, match=r"counts of shapes \(2,\) and \(3,\)"):
        exposure.popularity(counts(1, 1), counts(1, 2, 3))
    for single in (exposure.coverage, exposure.gini):
        with pytest.raises(EvaluationError, match=r"counts of shape \(1, 2\)"):
            single(np.array([[1, 2]]))


def test_arguments_are_left_alone() -> None:
    listed, items = counts(3, 1, 2), lists([10, 20])
    exposure.gini(listed)
    exposure.exposure(items, TRAIN)
    assert listed.tolist() == [3, 1, 2]
    assert np.array_equal(items, lists([10, 20]))
