"""Sampled negatives: never rated, the same however events are dealt, as popular as asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fmrec.errors import ConfigurationError, DataError
from fmrec.events import negatives

Pairs = tuple[np.ndarray, np.ndarray]


def world(seed: int, users: int, items: int, share: float) -> tuple[Pairs, Pairs, np.ndarray]:
    """Training likes, all training events, and item ids with gaps between them."""
    rng = np.random.default_rng(seed)
    ids = np.sort(rng.choice(50 * items, items, replace=False)) + 1
    user, item = np.nonzero(rng.random((users, items)) < share)
    order = rng.permutation(user.size)
    seen = 1000 + 7 * user[order], ids[item[order]]
    liked = rng.random(user.size) < 0.5
    return (seen[0][liked], seen[1][liked]), seen, ids


def drawn(liked: Pairs, seen: Pairs, items, counts=None, **changes):
    counts = np.ones(len(items), np.int64) if counts is None else counts
    options = {"ratio": 3, "exponent": 0.0, "seed": 5} | changes
    return negatives.sample(liked, seen=seen, items=items, counts=counts, **options)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(2, 40), st.integers(1, 5), st.data()
)
def test_no_pair_is_seen_and_all_there_is_room_for_are_drawn(seed, users, items, ratio, data):
    share = data.draw(st.sampled_from([0.0, 0.2, 0.5, 1.0]))
    liked, seen, ids = world(seed, users, items, share)
    made = drawn(liked, seen, ids, ratio=ratio)
    assert made.users.dtype == made.items.dtype == np.int64
    pairs = set(zip(made.users.tolist(), made.items.tolist(), strict=True))
    assert not pairs & set(zip(*(part.tolist() for part in seen), strict=True))
    assert set(made.items.tolist()) <= set(ids.tolist())
    assert made.items.size + made.missing == ratio * liked[0].size
    assert made.kept.size == ratio * liked[0].size
    assert np.repeat(liked[0], ratio)[made.kept].tolist() == made.users.tolist()
    # With half of the items free, 64 misses in a row have probability 2^-64.
    free = {u: items - np.count_nonzero(seen[0] == u) for u in set(liked[0].tolist())}
    roomy = [u for u, left in free.items() if 2 * left >= items]
    for user in roomy:
        assert np.count_nonzero(made.users == user) == ratio * np.count_nonzero(liked[0] == user)
    for user, left in free.items():
        assert left or not np.count_nonzero(made.users == user)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.permutations(range(6)))
def test_chunks_order_and_other_users_change_nothing(seed, chunks, deal):
    liked, seen, ids = world(seed, 6, 20, 0.4)
    counts = np.arange(1, 21)

    def negatives_of(rows) -> dict[tuple[int, int], list[int]]:
        """Those of each liked event; an event has its three side by side, if none is missing."""
        users = np.unique(liked[0][rows])
        theirs = np.isin(seen[0], users)
        made = drawn(
            (liked[0][rows], liked[1][rows]),
            (seen[0][theirs], seen[1][theirs]),
            ids,
            counts,
            exponent=0.5,
        )
        assert made.missing == 0
        each = made.items.reshape(-1, 3).tolist()
        return dict(
            zip(zip(*(part[rows].tolist() for part in liked), strict=True), each, strict=True)
        )

    if not liked[0].size or np.bincount(seen[0]).max() > 15:
        return
    whole = negatives_of(np.arange(liked[0].size))
    by_user = [1000 + 7 * user for user in deal]
    order = np.concatenate([np.flatnonzero(liked[0] == user) for user in by_user])
    parts: dict[tuple[int, int], list[int]] = {}
    for rows in np.array_split(order, chunks):
        parts |= negatives_of(rows)
    assert parts == whole


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_frequencies_follow_the_popularity_exponent(exponent: float) -> None:
    items, counts = np.arange(1, 13), np.array([1, 2, 4, 8, 16, 32, 64, 128, 3, 5, 7, 500])
    users = np.arange(1, 2001)
    liked = users, np.full(2000, 12)
    made = drawn(liked, liked, items, counts, ratio=10, exponent=exponent)
    assert made.missing == 0
    # Item 12 is seen by all: the rest share its probability in proportion to their weights.
    weights = counts[:-1].astype(float) ** exponent
    found = np.bincount(made.items, minlength=13)[1:12]
    expected = weights / weights.sum() * found.sum()
    assert stats.chisquare(found, expected).pvalue > 0.001


def test_the_seed_decides_and_the_draws_of_an_event_differ() -> None:
    liked = np.arange(1, 101), np.full(100, 3)
    items = np.arange(1, 1001)
    first = drawn(liked, liked, items, ratio=8)
    assert np.array_equal(drawn(liked, liked, items, ratio=8).items, first.items)
    assert (drawn(liked, liked, items, ratio=8, seed=6).items != first.items).mean() > 0.9
    assert all(len(set(row)) > 4 for row in first.items.reshape(-1, 8).tolist())
    # More draws go on where fewer ended.
    few = drawn(liked, liked, items, ratio=2)
    assert np.array_equal(few.items.reshape(-1, 2), first.items.reshape(-1, 8)[:, :2])


def test_a_user_who_rated_everything_has_none_and_they_are_counted() -> None:
    items = np.array([10, 20, 30])
    seen = np.array([1, 1, 1, 2]), np.array([10, 20, 30, 10])
    liked = np.array([1, 2]), np.array([20, 10])
    made = drawn(liked, seen, items, ratio=4)
    assert set(made.users.tolist()) == {2}
    assert set(made.items.tolist()) <= {20, 30}
    assert made.missing == 4


def test_what_was_rated_but_is_no_candidate_does_not_matter() -> None:
    made = drawn((np.array([1]), np.array([5])), (np.array([1, 9]), np.array([5, 7])), [7, 8])
    assert set(made.items.tolist()) <= {7, 8}
    assert made.missing == 0


def test_items_never_counted_are_never_drawn_with_an_exponent() -> None:
    nobody = np.array([1]), np.array([99])
    made = drawn(nobody, nobody, [1, 2, 3, 4], np.array([0, 5, 0, 0]), exponent=1.0, ratio=50)
    assert set(made.items.tolist()) == {2}


def test_no_like_has_no_negatives() -> None:
    nothing = np.array([], np.int64), np.array([], np.int64)
    made = drawn(nothing, nothing, [1, 2])
    assert made.users.size == made.items.size == made.missing == 0


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"ratio": 0}, ConfigurationError, "at least one"),
        ({"exponent": -0.5}, ConfigurationError, "exponent is -0.5"),
        ({"exponent": math.nan}, ConfigurationError, "exponent is nan"),
        ({"items": [2, 1]}, DataError, "ascending"),
        ({"counts": np.array([1])}, DataError, "2 items with 1 counts"),
        ({"counts": np.array([0, 0]), "exponent": 1.0}, DataError, "no item can be drawn"),
        ({"items": [], "counts": np.array([], np.int64)}, DataError, "no item can be drawn"),
    ],
)
def test_what_cannot_be_drawn_from_is_said(changes, error, says) -> None:
    one = np.array([1]), np.array([1])
    with pytest.raises(error, match=says):
        drawn(one, one, **({"items": [1, 2]} | changes))
