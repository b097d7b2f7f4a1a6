"""Top N against a ranking of every item, one user at a time."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from fmrec import topn
from fmrec.fm.model import Model
from sides import Sides, Space


def ids(rng: np.random.Generator, size: int) -> np.ndarray:
    return np.sort(rng.choice(10 * size, size, replace=False)) + 1


def world(users: int, items: int, seed: int, *, coarse: bool, side: int):
    """A model and rows: ids, and besides them `side` columns for each side."""
    rng = np.random.default_rng(seed)
    width = users + items + 2 * side
    # Few distinct values give many exact ties; normal ones give near ties in single precision.
    V = rng.integers(-1, 2, (width, 3)) if coarse else rng.normal(0, 1, (width, 3))
    w = rng.integers(-1, 2, width) if coarse else rng.normal(0, 1, width)
    machine = Model(0.25, w.astype(np.float32), V.astype(np.float32), "regressor")
    own = np.eye(width, dtype=np.float32)[: users + items]
    # A quarter is exact in binary: sums of such features still tie.
    own[:users, users + items : width - side] = rng.integers(0, 4, (users, side)) / 4
    own[users:, width - side :] = rng.integers(0, 4, (items, side)) / 4
    # Columns in any order: nothing may rest on where a side's columns are.
    own = own[:, rng.permutation(width)]
    design = Sides(Space(ids(rng, users), ids(rng, items), width), own[:users], own[users:])
    size = users * items // 3
    seen = pd.DataFrame(
        {
            "user_id": rng.choice(design.space.trained_users, size),
            "item_id": rng.choice(design.space.trained_items, size),
        }
    )
    return machine, design, seen


def equation(machine: Model, row: np.ndarray) -> float:
    """The FM equation over a whole row, column pair by column pair."""
    V, w = machine.V.astype(float), machine.w.astype(float)
    there = np.flatnonzero(row)
    total = machine.w0 + float(w[there] @ row[there])
    for n, i in enumerate(there):
        for j in there[n + 1 :]:
            total += float(np.dot(V[i], V[j]) * row[i] * row[j])
    return total


def by_hand(
    machine, design, user: int, seen: pd.DataFrame, n: int, allowed: np.ndarray
) -> list[tuple[float, int]]:
    u = int(np.flatnonzero(design.space.trained_users == user)[0])
    taken = set(seen.loc[seen["user_id"] == user, "item_id"])
    taken |= set(design.space.trained_items[~allowed].tolist())
    scored = []
    for j, item in enumerate(design.space.trained_items.tolist()):
        if item not in taken:
            scored.append((-equation(machine, design.users[u] + design.items[j]), item))
    return sorted(scored)[:n]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 8),
    st.integers(1, 60),
    st.integers(1, 30),
    st.booleans(),
    st.sampled_from([0, 3]),
    st.sampled_from([0.1, 0.5, 1.0]),
    st.integers(0, 2**32 - 1),
)
def test_the_list_is_that_of_a_full_ranking(users, items, n, coarse, side, share, seed) -> None:
    machine, design, seen = world(users, items, seed, coarse=coarse, side=side)
    allowed = np.random.default_rng(seed).random(items) < share
    free = None if share == 1 else allowed
    # Blocks of one or two users, so that their seams are crossed; likewise of items.
    with mock.patch.multiple(topn, _BLOCK_BYTES=4 * 2 * items, _BLOCK_ROWS=7):
        listed, scores = topn.best(
            machine, design, design.space.trained_users, seen, n, at=0, allowed=free
        )
    for row, user in enumerate(design.space.trained_users.tolist()):
        expected = by_hand(machine, design, user, seen, n, allowed)
        assert listed[row].tolist() == [item for _, item in expected] + [topn.NO_ITEM] * (
            n - len(expected)
        )
        assert scores[row][: len(expected)] == pytest.approx([-raw for raw, _ in expected])
        alone = topn.best(machine, design, [user], seen, n, at=0, allowed=free)
        assert np.array_equal(alone[0][0], listed[row])
        assert np.array_equal(alone[1][0], scores[row], equal_nan=True)
        assert np.all(np.diff(scores[row][: len(expected)]) <= 0)


class OfIds:
    """A column for each user and item; the row of a user who is not known is empty."""

    def __init__(self, users: int, items: np.ndarray) -> None:
        self.space = Space(np.arange(1, users + 1), items, users + items.size)

    def user_side(self, user_ids, at):
        known = user_ids <= self.space.trained_users.size
        return self._rows((user_ids - 1)[known], known)

    def item_side(self, item_ids):
        place = np.searchsorted(self.space.trained_items, item_ids)
        return self._rows(self.space.trained_users.size + place, np.ones(place.size, bool))

    def _rows(self, columns, filled):
        ends = np.concatenate([[0], np.cumsum(filled)])
        shape = filled.size, self.space.dimension
        return csr_matrix((np.ones(columns.size, np.float32), columns, ends), shape=shape)


def full_sort(machine: Model, design: OfIds, wanted, seen, n: int, allowed):
    """Every score in double precision, sorted stably: equal scores stay in the order of ids."""
    count = design.space.trained_users.size
    V, w = machine.V.astype(float), machine.w.astype(float)
    own, constant = np.vstack([V[:count], 0 * V[:1]]), np.append(w[:count], 0) + machine.w0
    place = np.minimum(wanted - 1, count)
    raw = own[place] @ V[count:].T + (constant[place, None] + w[count:])
    items = design.space.trained_items
    ids, scores = np.full((wanted.size, n), topn.NO_ITEM), np.full((wanted.size, n), np.nan)
    for row, user in enumerate(wanted):
        left = np.flatnonzero(
            allowed & ~np.isin(items, seen.loc[seen["user_id"] == user, "item_id"])
        )
        best = left[np.argsort(-raw[row, left], kind="stable")][:n]
        ids[row, : best.size], scores[row, : best.size] = items[best], raw[row, best]
    return ids, scores


def asked(rng: np.random.Generator, users: int) -> np.ndarray:
    """Some users, in any order, some of them twice, and two that the model does not know."""
    return rng.permutation(
        np.concatenate([rng.integers(1, users + 1, 2 * users), [users + 1, users + 9]])
    )


def check(machine: Model, design: OfIds, n: int, rng: np.random.Generator) -> None:
    users, items = design.space.trained_users.size, design.space.trained_items
    seen = pd.DataFrame(
        {
            "user_id": rng.integers(1, users + 3, items.size),
            "item_id": rng.choice(items, items.size),
        }
    )
    allowed = rng.random(items.size) < 0.8
    wanted = asked(rng, users)
    with mock.patch.multiple(topn, _BLOCK_BYTES=4 * 3 * items.size, _BLOCK_ROWS=50, _PORTION=20):
        ids, scores = topn.best(machine, design, wanted, seen, n, at=0, allowed=allowed)
    expected_ids, expected_scores = full_sort(machine, design, wanted, seen, n, allowed)
    assert np.array_equal(ids, expected_ids)
    assert np.array_equal(scores, expected_scores, equal_nan=True)


POWERS = st.integers(-100, 100)


@settings(max_examples=60, deadline=None)
@given(
    users=st.integers(1, 6),
    items=st.integers(1, 300),
    n=st.integers(1, 60),
    powers=st.tuples(POWERS, POWERS, POWERS, POWERS, POWERS),
    seed=st.integers(0, 2**32 - 1),
)
# The bias is so large that sums which differ are equal when it is added.
@example(users=6, items=300, n=5, powers=(0, 0, 0, 0, 53), seed=0)
@example(users=6, items=300, n=5, powers=(-80, -80, 0, -100, -107), seed=0)
def test_lists_do_not_depend_on_the_scale_of_the_parameters(users, items, n, powers, seed) -> None:
    # Small whole numbers times powers of two: a dot product is exact in double precision in any
    # order, whatever overflows or vanishes in single precision, and many are equal.
    rng = np.random.default_rng(seed)
    design = OfIds(users, ids(rng, items))
    scale = np.concatenate([np.full(users, 2.0 ** powers[0]), np.full(items, 2.0 ** powers[1])])
    V = scale[:, None] * rng.integers(-4, 5, (users + items, 5))
    weight = np.concatenate([np.full(users, 2.0 ** powers[2]), np.full(items, 2.0 ** powers[3])])
    w = weight * rng.integers(-4, 5, users + items)
    machine = Model(2.0 ** powers[4], w.astype(np.float32), V.astype(np.float32), "regressor")
    check(machine, design, n, rng)


@settings(max_examples=60, deadline=None)
@given(
    users=st.integers(1, 6),
    items=st.integers(17, 400),
    n=st.integers(1, 20),
    factors=st.sampled_from([1, 7, 64]),
    spread=st.sampled_from([1, 3, 1000, 2**20]),
    seed=st.integers(0, 2**32 - 1),
)
def test_scores_that_single_precision_cannot_tell_apart_are_ranked(
    users, items, n, factors, spread, seed
) -> None:
    # Factors differ in their last bits; with the users' whole numbers all sums are exact in double
    # precision.
    rng = np.random.default_rng(seed)
    design = OfIds(users, ids(rng, items))
    V = np.concatenate(
        [
            rng.integers(1, 1000, (users, factors)),
            1 + rng.integers(0, spread + 1, (items, factors)) * 2.0**-23,
        ]
    ).astype(np.float32)
    w = np.zeros(users + items, np.float32)
    check(Model(0.0, w, V, "regressor"), design, n, rng)
