"""Which model stands for which age, what it loses, and what that means for retraining."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmrec.errors import EvaluationError
from fmrec.evaluation.ageing import AGES, Aged, Facts, advice, aged, schedule, tolerance
from fmrec.events.window import DAY

NOTHING = Facts(mean_age=0, models=1, known_users=1, known_items=1)


def test_a_model_stands_for_an_age_that_it_has_reached_and_not_long_passed() -> None:
    # Day 40 begins; models learnt up to days 38.5, 36 (too old for 1, too young for 7), 33, 18 and
    # 12, that is 1.5, 4, 7, 22 and 28 days ago. What stands for 14 is at most 21.
    horizons = np.array([38.5, 36, 33, 18, 12]) * DAY
    found = schedule(horizons, [40 * DAY])
    assert found.ages == (1, 7)
    assert found.models.tolist() == [[0, 2]]
    found = schedule([*horizons, 21.5 * DAY], [40 * DAY])
    assert found.ages == AGES
    assert found.models.tolist() == [[0, 2, 5, 4]]


def test_the_nearest_that_is_not_younger_is_taken() -> None:
    horizons = np.array([37, 39, 38.9, 39.1, 32]) * DAY
    found = schedule(horizons, [40 * DAY], (1, 7))
    assert found.models.tolist() == [[1, 4]]


@pytest.mark.parametrize(("age", "most"), [(1, 3), (7, 10.5), (14, 21), (28, 42)])
def test_the_tolerance_is_two_days_or_half_the_age(age: int, most: float) -> None:
    assert age + tolerance(age) == pytest.approx(most)
    begin = 100 * DAY
    for old, taken in ((most, 1), (most + 0.01, 0), (age, 1), (age - 0.01, 0)):
        assert schedule([begin - old * DAY], [begin], (age,)).days.size == taken


def test_days_without_a_model_of_each_age_are_left_out() -> None:
    horizons = [day * DAY for day in range(10, 31)]
    found = schedule(horizons, [day * DAY for day in range(60)], (1, 7))
    assert (found.days // DAY).tolist() == list(range(17, 34))
    assert (found.models[0] + 10).tolist() == [16, 10]


def test_no_model_of_a_second_age_leaves_one() -> None:
    assert schedule([9 * DAY], [10 * DAY]).ages == (1,)
    none = schedule([50 * DAY], [10 * DAY])
    assert none.ages == ()
    assert none.models.shape == (0, 0)


@given(
    st.lists(st.integers(0, 60 * DAY), min_size=1, max_size=30),
    st.sets(st.integers(0, 60), min_size=1, max_size=20),
)
def test_every_model_has_the_age_that_it_stands_for(horizons: list[int], days: set[int]) -> None:
    found = schedule(horizons, [day * DAY for day in sorted(days)])
    for begin, row in zip(found.days, found.models, strict=True):
        for age, model in zip(found.ages, row, strict=True):
            old = (begin - horizons[model]) / DAY
            assert age <= old <= age + tolerance(age)
            assert not any(age <= (begin - other) / DAY < old for other in horizons)


def drifting(per_day: float, users: int = 300) -> Any:
    """Errors of models whose predictions are off by `per_day` for each day of age, beside noise."""
    rng = np.random.default_rng(5)
    noise = rng.choice([-1.0, 1.0], users)
    return [(noise + per_day * age) ** 2 for age in AGES], np.arange(users), noise


def test_a_known_drift_is_measured() -> None:
    """Off by c a days after training, noise of one star: RMSE is sqrt(1 + 2 c a m + (c a)^2)."""
    errors, users, noise = drifting(0.05)
    rows = aged(AGES, errors, users, [NOTHING] * 4, root=True, better="less", seed=1)
    for age, row in zip(AGES, rows, strict=True):
        wanted = math.sqrt(1 + 0.1 * age * noise.mean() + (0.05 * age) ** 2)
        assert row.value == pytest.approx(wanted)
        assert row.loss == pytest.approx(wanted - rows[0].value)
    assert rows[0].low is rows[0].high is None
    for row in rows[1:]:
        assert row.low is not None
        assert row.high is not None
        assert row.low < row.loss < row.high
    assert rows[3].low is not None
    assert rows[3].low > 0.5


def test_a_gain_that_falls_is_a_loss_too() -> None:
    users, gains = np.arange(50), np.linspace(0, 1, 50)
    rows = aged((1, 7), [gains, 0.9 * gains], users, [NOTHING] * 2, root=False, better="more",
                seed=1)  # fmt: skip
    assert rows[1].loss == pytest.approx(0.05)
    assert rows[1].low is not None
    assert rows[1].high is not None
    assert 0 < rows[1].low < 0.05 < rows[1].high


def test_values_must_fit_their_users() -> None:
    with pytest.raises(EvaluationError, match="paired comparison"):
        aged((1, 7), np.ones((2, 3)), [1, 2], [NOTHING] * 2, root=True, better="less", seed=1)


def row(age: int, loss: float, low: float | None, high: float | None) -> Aged:
    return Aged(age=age, mean_age=age, models=1, value=1 + loss, loss=loss, low=low, high=high,
                known_users=1, known_items=1)  # fmt: skip


FRESH = row(1, 0, None, None)
HARMLESS, HARMFUL, WIDE = (0.001, -0.002, 0.004), (0.02, 0.01, 0.03), (0.002, -0.01, 0.014)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            [HARMLESS, HARMLESS, HARMLESS],
            "Retrain every 28 days: models of that age lose less than 0.5%. None older was tried.",
        ),
        (
            [HARMLESS, HARMFUL, HARMFUL],
            "Retrain every 7 days: models of that age lose less than 0.5%. At 14 days they lose "
            "more than 0.5% (95% interval +1.0% to +3.0%).",
        ),
        (
            [HARMFUL, HARMFUL, HARMFUL],
            "Retrain every day. At 7 days they lose more than 0.5% (95% interval +1.0% to +3.0%).",
        ),
        (
            # The interval reaches 0.012 above the loss, and may reach 0.003: 16 times the days.
            [HARMLESS, WIDE, HARMLESS],
            "Retrain every 7 days: models of that age lose less than 0.5%. Whether models may be "
            "14 days old cannot be told: the interval of their loss, -1.0% to +1.4%, includes "
            "0.5%; it comes from 10 days of ratings, and about 160 such days would tell.",
        ),
        (
            [WIDE],
            "Whether models may be 7 days old cannot be told: the interval of their loss, -1.0% to "
            "+1.4%, includes 0.5%; it comes from 10 days of ratings, and about 160 such days would "
            "tell.",
        ),
        (
            # Above zero and below the limit on average, but it may be above it.
            [(0.004, 0.001, 0.007)],
            "Whether models may be 7 days old cannot be told: the interval of their loss, +0.1% to "
            "+0.7%, includes 0.5%; it comes from 10 days of ratings, and about 90 such days would "
            "tell.",
        ),
        (
            [(0.00501, -0.01, 0.02)],
            "Whether models may be 7 days old cannot be told: the interval of their loss, -1.0% to "
            "+2.0%, includes 0.5%; it is so near to 0.5% that no number of days would settle it.",
        ),
        (
            [(0.1, None, None)],
            "Whether models may be 7 days old cannot be told: a single user leaves no interval. "
            "Take a longer backfill.",
        ),
    ],
)
def test_advice(found: list[Any], said: str) -> None:
    rows = [FRESH, *(row(age, *each) for age, each in zip(AGES[1:], found, strict=False))]
    assert advice(rows, 10) == said


def test_a_model_that_goes_stale_by_a_known_amount_gets_the_right_advice() -> None:
    """A drift of c stars a day costs (c a)^2 / 2 stars: 0.5% of one star at 0.1 stars."""
    for per_day, told in ((0.002, "Retrain every 28 days"), (0.06, "Retrain every day.")):
        noise, users = np.tile([-1.0, 1.0], 2000), np.arange(4000) // 2
        errors = [(noise + per_day * age) ** 2 for age in AGES]
        rows = aged(AGES, errors, users, [NOTHING] * 4, root=True, better="less", seed=1)
        assert rows[3].value == pytest.approx(math.sqrt(1 + (28 * per_day) ** 2))
        assert advice(rows, 30).startswith(told)
