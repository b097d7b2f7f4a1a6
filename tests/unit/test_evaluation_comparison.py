"""Paired comparisons: hand-worked differences, laws of the interval, and its coverage."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from fmrec.errors import EvaluationError
from fmrec.evaluation import comparison
from fmrec.evaluation.comparison import RESAMPLES, Comparison, compare, compare_all


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


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_an_error_that_says_whose_and_where(wrong) -> None:
    with pytest.raises(EvaluationError, match=r"1 of 3 values of the candidate .* row 1 .*user 8"):
        compare([1.0, wrong, 1.0], [1.0, 1.0, 1.0], [7, 8, 9], root=True, seed=0)
    with pytest.raises(EvaluationError, match=r"2 of 3 values of ease .* row 0 .*user 7"):
        compare_all([1.0] * 3, {"ease": [wrong, 1.0, wrong]}, [7, 8, 9], root=True, seed=0)


def test_the_probability_counts_ties_half() -> None:
    # Of two users drawn twice, AA is better, BB worse, and AB (half of all) better or a tie.
    better = compare([0.0, 3.0], [2.0, 2.0], [1, 2], root=False, seed=0)
    assert better.probability == pytest.approx(0.75, abs=0.03)
    tie = compare([1.0, 3.0], [2.0, 2.0], [1, 2], root=False, seed=0)
    assert tie.probability == pytest.approx(0.5, abs=0.03)
    turned = compare([0.0, 3.0], [2.0, 2.0], [1, 2], root=False, seed=0, better="more")
    assert turned.probability == pytest.approx(1 - better.probability)
    same = compare([2.0, 2.0], [2.0, 2.0], [1, 2], root=False, seed=0)
    assert same.probability == 0.5


@pytest.mark.parametrize("root", [False, True])
@pytest.mark.parametrize("better", ["less", "more"])
def test_the_resamples_can_be_worked_out_one_by_one(root, better) -> None:
    ours, theirs, owner = losses(7, users=23, each=3)
    found = compare(ours, theirs, owner, root=root, seed=9, better=better)
    rng = np.random.default_rng(9)
    draws = []
    for _ in range(RESAMPLES):
        events = [i for user in rng.integers(23, size=23) for i in np.flatnonzero(owner == user)]
        means = [math.fsum(x[events]) / len(events) for x in (ours, theirs)]
        one, other = map(math.sqrt, means) if root else means
        draws.append(one - other)
    low, high = np.quantile(draws, [0.025, 0.975])
    assert found.low == pytest.approx(low, rel=1e-11)
    assert found.high == pytest.approx(high, rel=1e-11)
    assert found.standard_error == pytest.approx(np.std(draws, ddof=1), rel=1e-11)
    wins = np.less if better == "less" else np.greater
    assert found.probability == np.mean(wins(draws, 0))


@pytest.mark.parametrize("root", [False, True])
def test_an_answer_does_not_depend_on_who_else_is_asked_about(root) -> None:
    ours, theirs, owner = losses(8, users=31)
    rng = np.random.default_rng(1)
    rivals = {"reference": theirs} | {
        str(i): theirs + rng.gamma(1, size=theirs.size) for i in range(8)
    }
    together = compare_all(ours, rivals, owner, root=root, seed=3)
    assert list(together) == list(rivals)
    for name, each in rivals.items():
        assert together[name] == compare(ours, each, owner, root=root, seed=3)


def test_an_answer_depends_neither_on_the_order_of_rows_nor_on_the_blocks(monkeypatch) -> None:
    ours, theirs, owner = losses(9, users=37)
    found = compare(ours, theirs, owner, root=True, seed=3)
    order = np.random.default_rng(0).permutation(ours.size)
    shuffled = compare(*(x[order] for x in (ours, theirs, owner)), root=True, seed=3)
    assert (shuffled.low, shuffled.probability) == (pytest.approx(found.low), found.probability)
    monkeypatch.setattr(comparison, "_BLOCK", 100)
    assert compare(ours, theirs, owner, root=True, seed=3) == found


def test_sums_of_resamples_are_exact_in_whatever_order_they_are_added() -> None:
    rng = np.random.default_rng(0)
    values = [rng.gamma(0.1, size=997), rng.normal(0, 1e-7, 997), np.zeros(997)]
    grid, exponents = comparison._on_grid(values)
    times = np.bincount(rng.integers(997, size=997), minlength=997)
    for column, rounded, exponent in zip(values, grid, exponents, strict=True):
        total = math.fsum(times * rounded)
        assert all((times * rounded)[rng.permutation(997)].sum() == total for _ in range(20))
        step = np.ldexp(1.0, exponent)
        assert np.abs(rounded * step - column).max() <= step / 2
        assert step <= 1000 * 2.0**-51 * np.abs(column).max() or not column.any()


def test_exchanging_the_two_is_exact_down_to_the_ties() -> None:
    apart = np.array([0.1, -0.1, 0.3, -0.3])
    forth = compare(1 + apart, np.ones(4), [1, 2, 3, 4], root=False, seed=0)
    back = compare(np.ones(4), 1 + apart, [1, 2, 3, 4], root=False, seed=0)
    assert (back.low, back.high) == (-forth.high, -forth.low)
    assert back.probability + forth.probability == 1


def test_values_of_any_size_are_told_apart() -> None:
    ours, theirs, owner = losses(10)
    found = compare(ours, theirs, owner, root=False, seed=0)
    for scale in (2.0**-400, 2.0**400):
        scaled = compare(ours * scale, theirs * scale, owner, root=False, seed=0)
        assert (scaled.low, scaled.high) == (found.low * scale, found.high * scale)
        assert scaled.probability == found.probability


def test_memory_does_not_grow_with_the_resamples() -> None:
    users = np.arange(5_000)
    ours = np.random.default_rng(0).gamma(2, size=users.size)
    tracemalloc.start()
    try:
        compare_all(ours, {str(i): ours[::-1] for i in range(8)}, users, root=False, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # All resamples of these users at once would be 80 MB.
    assert peak < 20e6


def clustered(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Squared errors of two models on events of 60 users; their means are 1.01 and 1 by design.

    The first model's are those of the second times what its user's own taste makes of them.
    """
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(60), rng.integers(4, 17, 60))
    taste = rng.normal(0, 0.2, 60).clip(-0.6, 0.6)
    shared = rng.normal(size=owner.size) ** 2
    return shared * (1.01 + taste[owner]), shared, owner


def test_with_users_who_err_together_only_resampling_users_covers_the_truth() -> None:
    truth = math.sqrt(1.01) - 1
    by_users, by_events = 0, 0
    for seed in range(200):
        ours, theirs, owner = clustered(seed)
        found = compare(ours, theirs, owner, root=True, seed=seed)
        by_users += found.low <= truth <= found.high
        if seed < 60:
            each = compare(ours, theirs, np.arange(owner.size), root=True, seed=seed)
            by_events += each.low <= truth <= each.high
    # 95 % of 200 is 190, and fewer than 180 has probability 0.002; 95 % of 60 is 57.
    assert 180 <= by_users <= 199
    assert by_events < 48


def test_root_of_the_mean_is_not_the_mean_of_roots() -> None:
    result = compare([0.0, 16.0], [4.0, 4.0], [1, 2], root=True, seed=0)
    assert result.candidate == pytest.approx(math.sqrt(8))
