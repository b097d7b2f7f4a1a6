"""Top N against a ranking of every item, one user at a time."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def by_hand(machine, design, user: int, seen: pd.DataFrame, n: int) -> list[tuple[float, int]]:
    u = int(np.flatnonzero(design.space.trained_users == user)[0])
    taken = set(seen.loc[seen["user_id"] == user, "item_id"])
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
    st.integers(0, 2**32 - 1),
)
def test_the_list_is_that_of_a_full_ranking(users, items, n, coarse, side, seed) -> None:
    machine, design, seen = world(users, items, seed, coarse=coarse, side=side)
    # Blocks of one or two users, so that their seams are crossed; likewise of items.
    with mock.patch.multiple(topn, _BLOCK_BYTES=4 * 2 * items, _BLOCK_ROWS=7):
        listed, scores = topn.best(machine, design, design.space.trained_users, seen, n, at=0)
    for row, user in enumerate(design.space.trained_users.tolist()):
        expected = by_hand(machine, design, user, seen, n)
        assert listed[row].tolist() == [item for _, item in expected] + [topn.NO_ITEM] * (
            n - len(expected)
        )
        assert scores[row][: len(expected)] == pytest.approx([-raw for raw, _ in expected])
        alone = topn.best(machine, design, [user], seen, n, at=0)
        assert np.array_equal(alone[0][0], listed[row])
        assert np.array_equal(alone[1][0], scores[row], equal_nan=True)
        assert np.all(np.diff(scores[row][: len(expected)]) <= 0)
