"""Metrics of lists against numbers worked by hand, and what they refuse."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

from fmrec.errors import EvaluationError
from fmrec.evaluation import list_metrics

ALL = [
    list_metrics.precision,
    list_metrics.recall,
    list_metrics.ndcg,
    list_metrics.average_precision,
    list_metrics.reciprocal_rank,
    list_metrics.hit_rate,
]

exactly = partial(pytest.approx, rel=0, abs=1e-12)


def lists(*places: str) -> np.ndarray:
    """Lists drawn as text: `x` is a hit, `.` a miss."""
    return np.array([[place == "x" for place in row] for row in places])


# Three users with 3, 1 and 7 relevant items.
HITS = lists("x..x.", "..x..", "xxxxx")
RELEVANT = np.array([3, 1, 7])


def test_precision_divides_by_the_cutoff() -> None:
    assert list_metrics.precision(HITS, RELEVANT, 5) == exactly([2 / 5, 1 / 5, 1])
    assert list_metrics.precision(HITS, RELEVANT, 2) == exactly([1 / 2, 0, 1])


def test_recall_divides_by_all_that_is_relevant() -> None:
    assert list_metrics.recall(HITS, RELEVANT, 5) == exactly([2 / 3, 1, 5 / 7])
    assert list_metrics.recall(HITS, RELEVANT, 3) == exactly([1 / 3, 1, 3 / 7])


def test_ndcg_discounts_a_hit_by_its_place() -> None:
    # Discounts of places 1 to 4: 1, 1/log2(3), 1/2, 1/log2(5).
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    expected = [(1 + 1 / math.log2(5)) / ideal, 1 / 2, 1]
    assert list_metrics.ndcg(HITS, RELEVANT, 5) == exactly(expected)
    assert list_metrics.ndcg(HITS, RELEVANT, 5)[0] == exactly(0.6713860725233041)
    # Cut at two, the best list of the first user has two hits.
    assert list_metrics.ndcg(HITS, RELEVANT, 2) == exactly([1 / (1 + 1 / math.log2(3)), 0, 1])


def test_average_precision_is_over_what_can_be_reached() -> None:
    assert list_metrics.average_precision(HITS, RELEVANT, 5) == exactly(
        [(1 / 1 + 2 / 4) / 3, (1 / 3) / 1, 1]
    )
    assert list_metrics.average_precision(HITS, RELEVANT, 3) == exactly([1 / 3, 1 / 3, 1])
    assert list_metrics.average_precision(HITS, RELEVANT, 2) == exactly([1 / 2, 0, 1])


def test_reciprocal_rank_is_that_of_the_first_hit_within_the_cutoff() -> None:
    assert list_metrics.reciprocal_rank(HITS, RELEVANT, 5) == exactly([1, 1 / 3, 1])
    assert list_metrics.reciprocal_rank(HITS, RELEVANT, 2) == exactly([1, 0, 1])
    assert list_metrics.reciprocal_rank(lists("....x"), np.array([2]), 5) == exactly([1 / 5])


def test_hit_rate_is_one_or_nothing() -> None:
    assert list_metrics.hit_rate(HITS, RELEVANT, 5).tolist() == [1, 1, 1]
    assert list_metrics.hit_rate(HITS, RELEVANT, 2).tolist() == [1, 0, 1]


@pytest.mark.parametrize("metric", ALL)
def test_a_list_without_a_hit_has_nothing(metric) -> None:
    assert metric(lists("...", "..x"), np.array([4, 1]), 2).tolist() == [0, 0]


def test_perfect_lists_have_one_to_the_last_bit() -> None:
    for relevant in range(1, 60):
        best = np.arange(50)[None] < relevant
        for metric in (list_metrics.ndcg, list_metrics.average_precision):
            assert [float(metric(best, np.array([relevant]), k)[0]) for k in (1, 10, 50)] == [1] * 3


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("k", [0, -1, 6])
def test_a_cutoff_beyond_the_lists_is_refused(metric, k: int) -> None:
    with pytest.raises(EvaluationError, match=f"cutoff {k} for lists of 5 places: .* 1 to 5"):
        metric(HITS, RELEVANT, k)


@pytest.mark.parametrize("metric", ALL)
def test_a_user_with_nothing_relevant_is_named_and_not_averaged(metric) -> None:
    with pytest.raises(EvaluationError, match=r"user of row 1 has 0 relevant items \(2 such rows"):
        metric(lists("x", ".", "."), np.array([1, 0, -1]), 1)


@pytest.mark.parametrize("metric", ALL)
def test_more_hits_than_there_can_be_are_refused_also_beyond_the_cutoff(metric) -> None:
    with pytest.raises(
        EvaluationError, match=r"row 1 has 2 hits and 1 relevant items .* item once"
    ):
        metric(lists("x..", "x.x"), np.array([1, 1]), 1)


@pytest.mark.parametrize("metric", ALL)
def test_arrays_that_do_not_belong_together_are_refused(metric) -> None:
    with pytest.raises(EvaluationError, match=r"bool of shape \(3, 5\), .* of shape \(2,\)"):
        metric(HITS, RELEVANT[:2], 5)
    with pytest.raises(EvaluationError, match=r"bool of shape \(5,\)"):
        metric(HITS[0], RELEVANT, 5)
    with pytest.raises(EvaluationError, match=r"hits are int64 of shape \(3, 5\)"):
        metric(HITS.astype(np.int64), RELEVANT, 5)
    with pytest.raises(EvaluationError, match="no lists to judge"):
        metric(HITS[:0], RELEVANT[:0], 5)


@pytest.mark.parametrize("metric", ALL)
def test_arguments_are_left_alone(metric) -> None:
    hits, relevant = HITS.copy(), RELEVANT.copy()
    metric(hits, relevant, 3)
    assert np.array_equal(hits, HITS)
    assert np.array_equal(relevant, RELEVANT)
