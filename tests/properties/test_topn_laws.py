"""Top N against a ranking of every item, one user at a time."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from fmrec import topn
from fmrec.events.features import FeatureSpace
from fmrec.fm.model import Model


def world(users: int, items: int, seed: int, *, coarse: bool):
    rng = np.random.default_rng(seed)
    width = users + items
    # Few distinct values give many exact ties; normal ones give near ties in single precision.
    V = rng.integers(-1, 2, (width, 3)) if coarse else rng.normal(0, 1, (width, 3))
    w = rng.integers(-1, 2, width) if coarse else rng.normal(0, 1, width)
    machine = Model(0.25, w.astype(np.float32), V.astype(np.float32), "regressor")
    space = FeatureSpace.from_ids(
        rng.choice(10 * users, users, replace=False), rng.choice(10 * items, items, replace=False)
    )
    size = users * items // 3
    seen = pd.DataFrame(
        {"user_id": rng.choice(space.users, size), "item_id": rng.choice(space.items, size)}
    )
    return machine, space, seen


def by_hand(machine, space, user: int, seen: pd.DataFrame, n: int) -> list[int]:
    u = int(np.flatnonzero(space.users == user)[0])
    taken = set(seen.loc[seen["user_id"] == user, "item_id"])
    scored = []
    for j, item in enumerate(space.items.tolist()):
        if item not in taken:
            i = len(space.users) + j
            pair = float(np.dot(machine.V[u].astype(float), machine.V[i].astype(float)))
            scored.append((-(pair + float(machine.w[u]) + float(machine.w[i])), item))
    return [item for _, item in sorted(scored)[:n]]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 90),
    st.integers(1, 30),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_the_list_is_that_of_a_full_ranking(users, items, n, coarse, seed) -> None:
    machine, space, seen = world(users, items, seed, coarse=coarse)
    # Blocks of one or two users, so that their seams are crossed.
    with mock.patch.object(topn, "_BLOCK_BYTES", 4 * 2 * items):
        ids, scores = topn.best(machine, space, space.users, seen, n)
    for row, user in enumerate(space.users.tolist()):
        expected = by_hand(machine, space, user, seen, n)
        assert ids[row].tolist() == expected + [topn.NO_ITEM] * (n - len(expected))
        alone = topn.best(machine, space, [user], seen, n)
        assert np.array_equal(alone[0][0], ids[row])
        assert np.array_equal(alone[1][0], scores[row], equal_nan=True)
        assert np.all(np.diff(scores[row][: len(expected)]) <= 0)
