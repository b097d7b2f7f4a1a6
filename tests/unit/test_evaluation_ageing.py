"""Which model stands for which age, what it loses, and what that means for retraining."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmrec.errors import EvaluationError
from fmrec.evaluation.ageing import (
    AGES,
    NO_MODEL,
    Aged,
    Facts,
    advice,
    aged,
    schedule,
    shares,
    tolerance,
)
from fmrec.events.window import DAY

NOTHING = Facts(mean_age=0, models=1, days=1, ratings=1, known_users=1, known_items=1)


def test_a_model_stands_for_an_age_that_it_has_reached_and_not_long_passed() -> None:
    # Day 40 begins; models learnt up to days 38.5, 36 (too old for 1, too young for 7), 33, 18 and
    # 12, that is 1.5, 4, 7, 22 and 28 days ago. What stands for 14 is at most 21.
    horizons = np.array([38.5, 36, 33, 18, 12]) * DAY
    found = schedule(horizons, [40 * DAY])
    assert found.ages == (1, 7, 28)
    assert found.models.tolist() == [[0, 2, 4]]
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
        # The same model is held against itself: a day must have two ages.
        assert schedule([begin - old * DAY], [begin], (age, age)).days.size == taken


def test_each_age_has_the_days_that_have_a_fresh_model_too() -> None:
    horizons = [day * DAY for day in range(10, 31)]
    found = schedule(horizons, [day * DAY for day in range(60)], (1, 7, 14))
    # Models of 7 to 10.5 days from day 17 on; fresh ones, of at most 3 days, until day 33.
    assert (found.days // DAY).tolist() == list(range(17, 34))
    assert found.ages == (1, 7, 14)
    assert (found.models[0] + 10).tolist() == [16, 10, NO_MODEL + 10]
    there = (found.models != NO_MODEL).sum(axis=0)
    assert there.tolist() == [17, 17, 10]


def test_one_day_with_all_ages_costs_no_other_day() -> None:
    """26 models, one a day: 23 days have a model of 7 days, and the last alone one of 28."""
    horizons = [day * DAY for day in range(26)]
    found = schedule(horizons, [day * DAY for day in range(1, 29)])
    assert (found.models != NO_MODEL).sum(axis=0).tolist() == [22, 22, 15, 1]


def test_an_age_without_a_day_is_left_out_and_the_others_stay() -> None:
    found = schedule([39 * DAY, 12 * DAY], [40 * DAY])
    assert found.ages == (1, 28)
    assert found.models.tolist() == [[0, 1]]


@pytest.mark.parametrize("horizons", [[9 * DAY], [3 * DAY], [50 * DAY]])
def test_without_two_ages_on_a_day_there_is_nothing_to_compare(horizons: list[int]) -> None:
    none = schedule(horizons, [10 * DAY])
    assert none.ages == ()
    assert none.models.shape == (0, 0)
    assert none.days.shape == (0,)


@given(
    st.lists(st.integers(0, 60 * DAY), min_size=1, max_size=30),
    st.sets(st.integers(0, 60), min_size=1, max_size=20),
)
def test_every_model_has_the_age_that_it_stands_for(horizons: list[int], days: set[int]) -> None:
    found = schedule(horizons, [day * DAY for day in sorted(days)])
    ages = [age for age in AGES if age in found.ages]
    assert list(found.ages) == ages
    assert (found.models != NO_MODEL).any(axis=0).all()
    for begin, row in zip(found.days, found.models, strict=True):
        assert row[0] != NO_MODEL
        assert (row[1:] != NO_MODEL).any()
        for age, model in zip(found.ages, row, strict=True):
            if model == NO_MODEL:
                assert not any(age <= (begin - each) / DAY <= age + tolerance(age)
                               for each in horizons)  # fmt: skip
                continue
            old = (begin - horizons[model]) / DAY
            assert age <= old <= age + tolerance(age)
            assert not any(age <= (begin - other) / DAY < old for other in horizons)


def drifting(per_day: float, users: int = 300) -> Any:
    """Errors of models whose predictions are off by `per_day` for each day of age, beside noise."""
    rng = np.random.default_rng(5)
    noise = rng.choice([-1.0, 1.0], users)
    return [(noise + per_day * age) ** 2 for age in AGES], np.arange(users), noise


def all_of(values: Any) -> Any:
    return np.ones(np.shape(values), bool)


def test_a_known_drift_is_measured() -> None:
    """Off by c a days after training, noise of one star: RMSE is sqrt(1 + 2 c a m + (c a)^2)."""
    errors, users, noise = drifting(0.05)
    rows = aged(
        AGES, errors, all_of(errors), users, [NOTHING] * 4, root=True, better="less", seed=1
    )
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
    rows = aged((1, 7), [gains, 0.9 * gains], all_of([gains] * 2), users, [NOTHING] * 2, root=False,
                better="more", seed=1)  # fmt: skip
    assert rows[1].loss == pytest.approx(0.05)
    assert rows[1].low is not None
    assert rows[1].high is not None
    assert 0 < rows[1].low < 0.05 < rows[1].high


def test_values_must_fit_their_users() -> None:
    with pytest.raises(EvaluationError, match="paired comparison"):
        aged((1, 7), np.ones((2, 2)), np.zeros((2, 2), bool), [1, 2], [NOTHING] * 2, root=True,
             better="less", seed=1)  # fmt: skip


def test_an_age_is_held_against_the_freshest_on_its_own_ratings() -> None:
    """The day that the older model lacks was hard: it must not make the fresh one look bad."""
    values = [[100.0, 100.0, 1.0, 3.0], [np.nan, np.nan, 2.0, 4.0]]
    judged = [[True] * 4, [False, False, True, True]]
    fresh, old = aged((1, 7), values, judged, [3, 3, 1, 2], [NOTHING] * 2, root=False,
                      better="less", seed=1)  # fmt: skip
    assert (fresh.value, fresh.fresh, fresh.users) == (51, 51, 3)
    assert (old.value, old.fresh, old.loss, old.users) == (3, 2, 1, 2)
    assert (old.low, old.high) == (1, 1)
    assert shares(old) == ("+50.00%", "+50.00% to +50.00%")
    assert shares(fresh) == ("", "")


def test_a_prediction_that_is_no_number_is_not_taken_for_a_missing_one() -> None:
    with pytest.raises(EvaluationError, match="not finite"):
        aged((1, 7), [[1, 1], [1, np.nan]], [[True] * 2] * 2, [1, 2], [NOTHING] * 2, root=False,
             better="less", seed=1)  # fmt: skip


def row(
    age: int,
    loss: float,
    low: float | None,
    high: float | None,
    users: int = 200,
    fresh: float = 1,
) -> Aged:
    return Aged(age=age, mean_age=age, models=1, days=10, ratings=999, users=users,
                value=fresh + loss, fresh=fresh, loss=loss, low=low, high=high, known_users=1,
                known_items=1)  # fmt: skip


FRESH = row(1, 0, None, None)
HARMLESS, HARMFUL, WIDE = (0.001, -0.002, 0.004), (0.02, 0.01, 0.03), (0.002, -0.01, 0.014)
OFTEN = "Retrain every 6 days: a run of this lane has learnt nothing of its last 0.5 days."


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            [HARMLESS, HARMLESS, HARMLESS],
            "Models up to 28 days old lose less than 0.5%. None older was tried. Retrain every 27 "
            "days: a run of this lane has learnt nothing of its last 0.5 days.",
        ),
        (
            [HARMLESS, HARMFUL, HARMFUL],
            "Models up to 7 days old lose less than 0.5%. Models 14 days old lose more than 0.5% "
            f"(95% interval +1.0% to +3.0%). {OFTEN}",
        ),
        (
            [HARMFUL, HARMLESS, HARMLESS],
            "Models 7 days old lose more than 0.5% (95% interval +1.0% to +3.0%). Retrain every "
            "day: a run of this lane has learnt nothing of its last 0.5 days.",
        ),
        (
            # The interval reaches 0.012 above the loss, and may reach 0.003: 16 times the days.
            [HARMLESS, WIDE, HARMLESS],
            f"Models up to 7 days old lose less than 0.5%. {OFTEN} Whether models may be 14 days "
            "old cannot be told: the interval of their loss, -1.0% to +1.4%, includes 0.5%; it "
            "comes from 10 days of ratings, and about 160 such would tell.",
        ),
        (
            [WIDE],
            "Whether models may be 7 days old cannot be told: the interval of their loss, -1.0% to "
            "+1.4%, includes 0.5%; it comes from 10 days of ratings, and about 160 such would "
            "tell.",
        ),
        (
            # Above zero and below the limit on average, but it may be above it.
            [(0.004, 0.001, 0.007)],
            "Whether models may be 7 days old cannot be told: the interval of their loss, +0.1% to "
            "+0.7%, includes 0.5%; it comes from 10 days of ratings, and about 90 such would tell.",
        ),
        (
            [(0.00501, -0.01, 0.02)],
            "Whether models may be 7 days old cannot be told: the interval of their loss, -1.0% to "
            "+2.0%, includes 0.5%; it is so near to 0.5% that no number of days would settle it.",
        ),
        (
            [(0.1, None, None, 1)],
            "Whether models may be 7 days old cannot be told: 1 user is too few for an interval, "
            "which takes 30. Take a longer backfill.",
        ),
        (
            [(*HARMLESS, 29)],
            "Whether models may be 7 days old cannot be told: 29 users are too few for an "
            "interval, which takes 30. Take a longer backfill.",
        ),
        (
            [HARMLESS, (*HARMFUL, 29)],
            f"Models up to 7 days old lose less than 0.5%. {OFTEN} Whether models may be 14 days "
            "old cannot be told: 29 users are too few for an interval, which takes 30. Take a "
            "longer backfill.",
        ),
        (
            [(0.0, 0.0, 0.0, 30, 0.0)],
            "Whether models may be 7 days old cannot be told: the figure of the freshest models is "
            "0, of which nothing is a share.",
        ),
    ],
)
def test_advice(found: list[Any], said: str) -> None:
    rows = [FRESH, *(row(age, *each) for age, each in zip(AGES[1:], found, strict=False))]
    assert advice(rows, 0.5) == said


@pytest.mark.parametrize(
    ("lag", "said"),
    [
        (0.01, "Retrain every 6 days."),
        (1.04, "Retrain every 5 days: a run of this lane has learnt nothing of its last 1 day."),
        (6.9, "Retrain every day: a run of this lane has learnt nothing of its last 6.9 days."),
        (
            7,
            "A run of this lane has learnt nothing of its last 7 days, so its model is no younger "
            "than 7 days when it is new: hold back less (validation_fraction, test_fraction) to "
            "use this.",
        ),
        (
            41.4,
            "A run of this lane has learnt nothing of its last 41 days, so its model is no younger "
            "than 7 days when it is new: hold back less (validation_fraction, test_fraction) to "
            "use this.",
        ),
    ],
)
def test_what_runs_hold_back_is_taken_off_the_time_between_them(lag: float, said: str) -> None:
    rows = [FRESH, row(7, *HARMLESS), row(14, *HARMFUL)]
    assert advice(rows, lag).endswith(f"(95% interval +1.0% to +3.0%). {said}")


def test_no_share_of_nothing_is_shown() -> None:
    assert shares(row(7, 0.1, 0, 0.2, fresh=0.0)) == ("", "")
    assert shares(row(7, 0.001, -0.002, 0.004)) == ("+0.10%", "-0.20% to +0.40%")


def test_a_model_that_goes_stale_by_a_known_amount_gets_the_right_advice() -> None:
    """A drift of c stars a day costs (c a)^2 / 2 stars: 0.5% of one star at 0.1 stars."""
    for per_day, told in (
        (0.002, "Models up to 28 days old lose less"),
        (0.06, "Models 7 days old lose more"),
    ):
        noise, users = np.tile([-1.0, 1.0], 2000), np.arange(4000) // 2
        errors = [(noise + per_day * age) ** 2 for age in AGES]
        rows = aged(
            AGES, errors, all_of(errors), users, [NOTHING] * 4, root=True, better="less", seed=1
        )
        assert rows[3].value == pytest.approx(math.sqrt(1 + (28 * per_day) ** 2))
        assert advice(rows, 0).startswith(told)
