"""Paired comparison: hand-worked differences, laws of the interval, and its coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fmrec.errors import EvaluationError
from fmrec.evaluation.comparison import Comparison, compare


def losses(seed: int, users: int = 40, each: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(users), each)
    shared = rng.gamma(2, size=owner.size)
    return shared + rng.normal(0, 0.1, owner.size), shared, owner


def test_difference_of_means_and_of_roots() -> None:
    mean = compare([1.0, 3.0], [2.0, 6.0], [1, 2], root=False, seed=0)
    assert (mean.candidate, mean.reference, mean.difference) == (2.0, 4.0, -2.0)
    root = compare([1.0, 7.0], [9.0, 9.0], [1, 2], root=True, seed=0)
    assert (root.candidate, root.reference, root.difference) == (2.0, 3.0, -1.0)
    assert root.users == 2


def test_the_standard_error_is_that_of_the_user_means() -> None:
    ours, theirs, owner = losses(1, users=400)
    result = compare(ours, theirs, owner, root=False, seed=2)
    per_user = (ours - theirs).reshape(400, 5).mean(axis=1)
    assert result.standard_error == pytest.approx(per_user.std(ddof=1) / 20, rel=0.06)
    assert result.low == pytest.approx(result.difference - 1.96 * result.standard_error, rel=0.1)
    assert result.high == pytest.approx(result.difference + 1.96 * result.standard_error, rel=0.1)


def test_repeating_every_event_of_a_user_adds_no_certainty() -> None:
    ours, theirs, owner = losses(2)
    once = compare(ours, theirs, owner, root=True, seed=0)
    tenfold = compare(*(np.repeat(x, 10) for x in (ours, theirs, owner)), root=True, seed=0)
    assert tenfold.low == pytest.approx(once.low)
    assert tenfold.high == pytest.approx(once.high)


def test_exchanging_the_two_turns_the_result_over() -> None:
    ours, theirs, owner = losses(3)
    forth = compare(ours, theirs, owner, root=True, seed=5)
    back = compare(theirs, ours, owner, root=True, seed=5)
    assert back.difference == pytest.approx(-forth.difference)
    assert back.low == pytest.approx(-forth.high)
    assert back.high == pytest.approx(-forth.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(60):
        ours, theirs, owner = losses(100 + seed)
        result = compare(ours, theirs, owner, root=False, seed=seed)
        covered += result.low <= 0 <= result.high
    # 95 % of 60 is 57; fewer than 50 has probability below 1e-4.
    assert 50 <= covered <= 60


def test_the_seed_decides_the_draws() -> None:
    ours, theirs, owner = losses(4)
    first = compare(ours, theirs, owner, root=True, seed=1)
    assert compare(ours, theirs, owner, root=True, seed=1) == first
    assert compare(ours, theirs, owner, root=True, seed=2).low != first.low


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (-0.2, -0.1, "better"),
        (0.1, 0.2, "worse"),
        (-0.1, 0.1, "undecided"),
        (-0.1, 0.0, "undecided"),
        (0.0, 0.1, "undecided"),
        (None, None, "undecided"),
    ],
)
def test_only_an_interval_clear_of_zero_decides(low, high, outcome) -> None:
    assert Comparison(1.0, 1.0, 0.0, None, low, high, 3).outcome == outcome


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [(-0.2, -0.1, "worse"), (0.1, 0.2, "better"), (-0.1, 0.1, "undecided")],
)
def test_where_more_is_better_the_sides_change_places(low, high, outcome) -> None:
    assert Comparison(1.0, 1.0, 0.0, None, low, high, 3, better="more").outcome == outcome


def test_gains_and_losses_of_the_same_lists_say_the_same() -> None:
    gains, others, owner = losses(6)
    more = compare(gains, others, owner, root=False, seed=1, better="more")
    less = compare(9 - gains, 9 - others, owner, root=False, seed=1)
    assert more.outcome == less.outcome
    assert more.difference == pytest.approx(-less.difference)
    assert (more.low, more.high) == (pytest.approx(-less.high), pytest.approx(-less.low))


def test_a_single_user_gives_a_difference_without_an_interval() -> None:
    result = compare([1.0, 2.0], [3.0, 4.0], [7, 7], root=False, seed=0)
    assert result.difference == -2.0
    assert (result.standard_error, result.low, result.high) == (None, None, None)
    assert result.outcome == "undecided"


def test_identical_predictors_cannot_be_told_apart() -> None:
    ours, _, owner = losses(5)
    result = compare(ours, ours, owner, root=True, seed=0)
    assert (result.difference, result.low, result.high) == (0.0, 0.0, 0.0)
    assert result.outcome == "undecided"


@pytest.mark.parametrize(
    ("ours", "theirs", "users"), [([1.0], [1.0, 2.0], [1]), ([], [], []), ([1.0], [1.0], [1, 2])]
)
def test_arrays_that_do_not_pair_up_are_an_error(ours, theirs, users) -> None:
    with pytest.raises(EvaluationError, match="paired comparison"):
        compare(ours, theirs, users, root=False, seed=0)


def test_root_of_the_mean_is_not_the_mean_of_roots() -> None:
    result = compare([0.0, 16.0], [4.0, 4.0], [1, 2], root=True, seed=0)
    assert result.candidate == pytest.approx(math.sqrt(8))
