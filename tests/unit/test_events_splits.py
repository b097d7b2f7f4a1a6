"""Splits on tables small enough to divide by hand, and the random numbers behind one of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from fmrec.errors import ConfigurationError
from fmrec.events.intake import EVENT
from fmrec.events.mixing import bucket_of, mixed
from fmrec.events.spill import Rows
from fmrec.events.splits import AtRandom, ByFold, LeaveLast, by_time, check_fractions
from prepare_oracle import word


def events(**columns: Iterable[int]) -> Rows:
    """Events with these fields, in the order of the source."""
    lists = {name: list(values) for name, values in columns.items()}
    rows = np.zeros(len(next(iter(lists.values()))), EVENT)
    rows["row"] = np.arange(rows.size)
    for name, values in lists.items():
        rows[name] = values
    return rows


def divided(times: list[int], validation: float = 0.1, test: float = 0.1) -> list[list[int]]:
    """The times of each part; what is asked about all times hears of them in two pieces."""
    rows = events(time=times)
    halves = np.array_split(rows["time"], 2)
    parts = by_time(lambda: iter(halves), validation, test)(rows)
    return [sorted(rows["time"][parts == part].tolist()) for part in range(3)]


def test_time_takes_the_latest_for_the_test_and_those_before_for_validation() -> None:
    assert divided([50, 10, 90, 30, 20, 100, 40, 70, 60, 80]) == [
        [10, 20, 30, 40, 50, 60, 70, 80],
        [90],
        [100],
    ]


def test_fractions_are_of_the_number_of_events() -> None:
    parts = divided([*range(864_000, 864_020)], validation=0.25, test=0.5)
    assert [len(part) for part in parts] == [5, 5, 10]


def test_time_cuts_between_days_and_within_one() -> None:
    day = 86_400
    times = [day - 1, day, day, 2 * day - 1, 2 * day, 5 * day, 5 * day + 1, 9 * day]
    assert divided(times, validation=0.25, test=0.25) == [times[:4], times[4:6], times[6:]]


def test_events_of_one_second_stay_together_with_the_earlier_part() -> None:
    parts = divided([1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 9, 10], validation=0.2)
    assert parts == [[1, 2, 3, 4, 5, 6, 7, 8, 8], [9, 9], [10]]


def test_no_validation_is_possible() -> None:
    assert divided([3, 1, 2, 4], validation=0, test=0.25) == [[1, 2, 3], [], [4]]


def test_a_share_that_rounds_to_nothing_is_nothing() -> None:
    assert divided([0], validation=0, test=0.9) == [[], [], [0]]


@pytest.mark.parametrize(
    ("times", "sizes"),
    [
        ([5], [1, 0, 0]),
        ([5] * 100, [100, 0, 0]),
        ([1] * 50 + [2] * 50, [100, 0, 0]),
        ([1] * 60 + [2] * 40, [60, 40, 0]),
        ([1] * 80 + [2] * 20, [80, 0, 20]),
        ([0, 2**32 - 1], [1, 1, 0]),
    ],
)
def test_moments_are_never_divided_even_when_a_part_is_left_empty(
    times: list[int], sizes: list[int]
) -> None:
    assert [len(part) for part in divided(times, validation=0.2, test=0.2)] == sizes


@pytest.mark.parametrize(
    ("validation", "test"), [(-0.1, 0.2), (0.1, 0.0), (0.5, 0.5), (0.9, 0.2), (float("nan"), 0.1)]
)
def test_fractions_that_do_not_fit_are_refused(validation: float, test: float) -> None:
    with pytest.raises(ConfigurationError, match=r"validation_fraction .* and test_fraction .* do"):
        check_fractions(validation, test)


@pytest.mark.parametrize(("validation", "test"), [(0.0, 0.1), (0.5, 0.4)])
def test_fractions_that_fit_are_accepted(validation: float, test: float) -> None:
    check_fractions(validation, test)


def test_a_fold_split_follows_the_files() -> None:
    assert ByFold("u1")(events(fold=[1, 2, 2, 1])).tolist() == [0, 2, 2, 0]


def test_ratings_without_folds_are_not_divided_by_them() -> None:
    with pytest.raises(ConfigurationError, match="split 'u1' needs ratings that come divided"):
        ByFold("u1")(events(fold=[1, 0]))


def test_leave_last_takes_the_latest_of_each_user_by_time_then_place() -> None:
    rows = events(user=[0, 1, 0, 0, 0, 1, 0], time=[9, 1, 3, 5, 5, 2, 1])
    assert LeaveLast(1)(rows).tolist() == [2, 0, 0, 0, 1, 0, 0]
    assert LeaveLast(2)(rows).tolist() == [2, 0, 1, 1, 2, 0, 0]


@pytest.mark.parametrize(
    ("k", "events_of_user", "sizes"),
    [(1, 2, [2, 0, 0]), (1, 3, [1, 1, 1]), (3, 6, [6, 0, 0]), (3, 7, [1, 3, 3])],
)
def test_users_with_no_more_than_2k_events_are_trained_on(
    k: int, events_of_user: int, sizes: list[int]
) -> None:
    parts = LeaveLast(k)(events(time=range(events_of_user)))
    assert np.bincount(parts, minlength=3).tolist() == sizes


def at_random(seed: int, rows: Rows) -> list[int]:
    ids = np.arange(100) + 2**40
    parts: list[int] = AtRandom(0.25, 0.25, seed, ids, ids)(rows).tolist()
    return parts


def test_random_takes_the_same_shares_of_each_user() -> None:
    rows = events(user=[0] * 8 + [1] * 4 + [2], item=[*range(8), *range(4), 0])
    parts = np.array(at_random(1, rows))
    sizes = [np.bincount(parts[rows["user"] == user], minlength=3).tolist() for user in range(3)]
    assert sizes == [[4, 2, 2], [2, 1, 1], [1, 0, 0]]


def test_random_depends_on_the_seed_and_on_who_rated_what_alone() -> None:
    rows = events(user=np.arange(60) // 20, item=np.arange(60))
    assert at_random(1, rows) == at_random(1, rows)
    assert at_random(1, rows) != at_random(2, rows)
    turned = rows[::-1].copy()
    turned["row"], turned["time"] = np.arange(60), np.arange(60)
    assert at_random(1, turned) == at_random(1, rows)[::-1]


def test_random_parts_of_a_user_are_as_likely_anywhere() -> None:
    """Of 2,000 users with four items each, every item is tested about 500 times."""
    ids = np.arange(2_000)
    rows = events(user=np.repeat(ids, 4), item=np.tile(np.arange(4), ids.size))
    parts = AtRandom(0.25, 0.25, 7, ids, ids)(rows)
    tested = np.bincount(rows["item"][parts == 2])
    assert tested.sum() == 2_000
    assert (abs(tested - 500) < 100).all()  # five standard deviations


def test_the_mixer_is_splitmix64() -> None:
    """The first words for these seeds, as published with the generator's reference code."""
    assert int(mixed(0)) == 0xE220A8397B1DCDAF
    assert int(mixed(1234567)) == 6457827717110365317


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1, -1])
def test_words_are_those_of_a_slow_mixer(seed: int) -> None:
    users, items = np.array([[1], [2**62]]), np.array([1, 7, 2**63 - 1])
    assert mixed(seed, users, items, 0).tolist() == [
        [word(seed, user, item, 0) for item in items.tolist()] for user in users[:, 0].tolist()
    ]


@pytest.mark.parametrize("buckets", [1, 3, 64, 2**16])
def test_buckets_are_equal_ranges_in_order(buckets: int) -> None:
    words = np.sort(mixed(1, np.arange(1_000)))
    found = bucket_of(words, buckets).tolist()
    # By the upper half of the word: what the lower half says is less than a bucket in 2**32.
    assert found == [(each >> 32) * buckets >> 32 for each in words.tolist()]
    ends = np.array([0, 2**64 - 1], np.uint64)
    assert bucket_of(ends, buckets).tolist() == [0, buckets - 1]
