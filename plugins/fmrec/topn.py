"""The best unseen items for users, from a factorization machine over one-hot users and items.

With one user column and one item column set, the FM equation (Rendle, "Factorization machines",
ICDM 2010) is w0 + w_u + w_i + <v_u, v_i>, so the scores of all items for many users are one matrix
product.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fmrec.errors import ConfigurationError, DataError, EvaluationError
from fmrec.events.features import FeatureSpace
from fmrec.fm.model import Model, sigmoid

NO_ITEM = -1

_BLOCK_BYTES = 1 << 24
_GROUP = 16


def best(
    model: Model, space: FeatureSpace, users: ArrayLike, seen: pd.DataFrame, n: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Item ids and scores, both of shape (len(users), n), best first; equal scores by ascending id.

    Only items that the model knows are ranked, and none that the user has in `seen` (columns
    user_id, item_id). Scores are what the model would answer: a rating, not clipped, or the
    probability of a binary classifier. Where a user has fewer than n items left, the ids end in -1
    and the scores in nan. The result is exact: single precision only narrows the field, and what
    is left is ranked in double precision, so a user's list does not depend on who else is asked
    for. Beyond model and result, memory stays near 16 MiB however many the users.

    Raises DataError for a user the model does not know, EvaluationError when model and feature
    space differ in width, ConfigurationError for n < 1.
    """
    if n < 1:
        raise ConfigurationError(f"{n} recommendations were asked for: ask for at least one")
    if model.feature_dim != space.dimension:
        raise EvaluationError(
            f"the model has {model.feature_dim} columns, the id map {space.dimension}: take "
            "both from the same run"
        )
    wanted = np.asarray(users, dtype=np.int64)
    rows = _user_columns(space, wanted)
    ids = np.full((wanted.size, n), NO_ITEM)
    scores = np.full((wanted.size, n), np.nan)
    for row, item, raw in _candidates(model, space, rows, seen, n):
        order = np.lexsort((item, -raw, row))
        ranked = row[order]
        rank = np.arange(ranked.size) - np.searchsorted(ranked, ranked)
        kept = rank < n
        place = ranked[kept], rank[kept]
        ids[place] = space.items[item[order][kept]]
        scores[place] = raw[order][kept]
    return ids, sigmoid(scores) if model.predictor_type == "binary_classifier" else scores


def recommend(
    model: Model, space: FeatureSpace, seen: pd.DataFrame, items: pd.DataFrame, user: int, n: int
) -> list[dict[str, Any]]:
    """The n best unseen items of one user as rows: rank (from 1), item_id, title, score.

    `items` has the columns item_id and title; an item without a row there is named by its id.
    Fewer rows come back when the user has seen nearly everything. Raises as `best` does.
    """
    ids, scores = best(model, space, [user], seen, n)
    titles = dict(zip(items["item_id"].tolist(), items["title"].tolist(), strict=True))
    return [
        {"rank": rank, "item_id": item, "title": titles.get(item, f"item {item}"), "score": score}
        for rank, (item, score) in enumerate(
            zip(ids[0].tolist(), scores[0].tolist(), strict=True), start=1
        )
        if item != NO_ITEM
    ]


def _user_columns(space: FeatureSpace, users: NDArray[np.int64]) -> NDArray[np.int64]:
    known = np.isin(users, space.users)
    if not known.all():
        raise DataError(
            f"user {users[~known][0]} is not known to the model, which learnt {len(space.users):,} "
            f"users from {space.users[0]} to {space.users[-1]}: choose one of them, or train on "
            "ratings of this user"
        )
    return np.searchsorted(space.users, users)


def _candidates(
    model: Model, space: FeatureSpace, rows: NDArray[np.int64], seen: pd.DataFrame, n: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
    """Block by block of users: place in `rows`, item, raw score of all that may be among the best.

    The items are dealt into groups of 16. The n-th highest group maximum cannot exceed the n-th
    highest score, as n groups hold n different items, so whatever is below it is out.
    """
    split = len(space.users)
    total = len(space.items)
    user_side = np.column_stack([model.V[:split], np.ones(split, np.float32)])
    groups = -(-total // _GROUP)
    padded = groups * _GROUP
    item_side = np.zeros((padded, user_side.shape[1]), dtype=np.float32)
    item_side[:total, :-1] = model.V[split:]
    item_side[:total, -1] = model.w[split:]
    # Twice the rounding error of a single-precision dot product (Higham, "Accuracy and Stability
    # of Numerical Algorithms", 2002, section 3.1), for the two scores that are compared.
    unit = np.finfo(np.float32).eps * user_side.shape[1]
    slack = 2 * unit * np.linalg.norm(user_side, axis=1) * np.linalg.norm(item_side, axis=1).max()
    item_side[total:, -1] = -np.inf
    history = _History(space, seen)
    size = max(1, _BLOCK_BYTES // (4 * padded))
    # One buffer for all blocks: fresh pages would cost as much as the product itself.
    buffer = np.empty((min(size, rows.size), padded), dtype=np.float32)
    for start in range(0, rows.size, size):
        users = rows[start : start + size]
        scores = np.matmul(user_side[users], item_side.T, out=buffer[: users.size])
        scores[history.of(users)] = -np.inf
        grouped = scores.reshape(users.size, _GROUP, groups)
        highest = grouped.max(axis=1)
        limit = np.full(users.size, -np.inf, dtype=np.float32)
        if n <= groups:
            limit = np.partition(highest, -n, axis=1)[:, -n] - slack[users]
        row, group = np.nonzero((highest >= limit[:, None]) & (highest > -np.inf))
        members = grouped[row, :, group]
        hit, member = np.nonzero((members >= limit[row, None]) & (members > -np.inf))
        row, item = row[hit], group[hit] + member * groups
        yield start + row, item, _raw(model, users[row], split + item)


def _raw(model: Model, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float64]:
    """The FM equation for pairs of columns, in double precision."""
    raw: NDArray[np.float64] = np.einsum(
        "ij,ij->i", model.V[users].astype(np.float64), model.V[items].astype(np.float64)
    )
    raw += model.w[users].astype(np.float64) + model.w[items].astype(np.float64)
    return raw + float(model.w0)


class _History:
    """What each user has seen, by column of the feature space."""

    def __init__(self, space: FeatureSpace, seen: pd.DataFrame) -> None:
        known = seen[space.knows_user(seen) & space.knows_item(seen)]
        users = np.searchsorted(space.users, known["user_id"].to_numpy())
        order = np.argsort(users, kind="stable")
        self._items = np.searchsorted(space.items, known["item_id"].to_numpy())[order]
        self._ends = np.concatenate([[0], np.bincount(users, minlength=len(space.users)).cumsum()])

    def of(self, users: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Index arrays (position in `users`, item) of everything these users have seen."""
        first, counts = self._ends[users], np.diff(self._ends)[users]
        row = np.repeat(np.arange(users.size), counts)
        within = np.arange(row.size) - np.repeat(counts.cumsum() - counts, counts)
        return row, self._items[np.repeat(first, counts) + within]
