"""The best unseen items for users, from a factorization machine over any columns.

A row of the design matrix is what belongs to the user (and the moment) and what belongs to the
item. The FM equation (Rendle, "Factorization machines", ICDM 2010) over both together is

    w0 + c_u + c_i + <S_u, S_i>,  S = sum x v,  c = sum w x + 1/2 (|S|^2 - sum x^2 |v|^2)

with S and c of each side alone, so the scores of all items for many users are one matrix product.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from fmrec.errors import ConfigurationError, DataError, EvaluationError
from fmrec.events.places import Places
from fmrec.fm.model import Model, sigmoid

NO_ITEM = -1

_BLOCK_BYTES = 1 << 24
_BLOCK_ROWS = 4096
_GROUP = 16

Ids = NDArray[np.int64]
Doubles = NDArray[np.float64]


class Space(Protocol):
    """What of a feature space is needed: see `fmrec.events.space`."""

    @property
    def dimension(self) -> int: ...  # noqa: D102

    @property
    def trained_users(self) -> Ids: ...  # noqa: D102

    @property
    def trained_items(self) -> Ids: ...  # noqa: D102


class Sides(Protocol):
    """The design matrix by sides: see `fmrec.events.design`."""

    @property
    def space(self) -> Space: ...  # noqa: D102

    def user_side(self, user_ids: Ids, at: int) -> sparse.csr_matrix: ...  # noqa: D102

    def item_side(self, item_ids: Ids) -> sparse.csr_matrix: ...  # noqa: D102


def best(
    model: Model, design: Sides, users: ArrayLike, seen: pd.DataFrame, n: int, *, at: int
) -> tuple[Ids, Doubles]:
    """Item ids and scores, both of shape (len(users), n), best first; equal scores by ascending id.

    Only items that the model was trained on are ranked, and none that the user has in `seen`
    (columns user_id, item_id). `at` is the moment of asking, in UTC seconds, for columns that
    depend on it. A user without a training row is judged by what else the columns say of it, if
    anything. Scores are what the model would answer: a rating, not clipped, or the probability
    of a binary classifier. Where a user has fewer than n items left, the ids end in -1 and the
    scores in nan. The result is exact: single precision only narrows the field, and what is left
    is ranked in double precision, so a user's list does not depend on who else is asked for.
    Beyond model, item sides and result, memory stays near 32 MiB however many the users.

    Raises EvaluationError when model and feature space differ in width, ConfigurationError for
    n < 1.
    """
    if n < 1:
        raise ConfigurationError(f"{n} recommendations were asked for: ask for at least one")
    if model.feature_dim != design.space.dimension:
        raise EvaluationError(
            f"the model has {model.feature_dim} columns, the id map {design.space.dimension}: take "
            "both from the same run"
        )
    wanted = np.asarray(users, dtype=np.int64)
    ids = np.full((wanted.size, n), NO_ITEM)
    scores = np.full((wanted.size, n), np.nan)
    items = design.space.trained_items
    for row, item, raw in _candidates(model, design, wanted, seen, n, at):
        order = np.lexsort((item, -raw, row))
        ranked = row[order]
        rank = np.arange(ranked.size) - np.searchsorted(ranked, ranked)
        kept = rank < n
        place = ranked[kept], rank[kept]
        ids[place] = items[item[order][kept]]
        scores[place] = raw[order][kept]
    return ids, sigmoid(scores) if model.predictor_type == "binary_classifier" else scores


def recommend(
    model: Model,
    design: Sides,
    seen: pd.DataFrame,
    items: pd.DataFrame,
    user: int,
    n: int,
    *,
    at: int,
) -> list[dict[str, Any]]:
    """The n best unseen items of one user as rows: rank (from 1), item_id, title, score.

    `items` has the columns item_id and title; an item without a title there is named by its id.
    Fewer rows come back when the user has seen nearly everything. Raises as `best` does, and
    DataError for a user the model was not trained on.
    """
    _check_trained(design.space, user)
    ids, scores = best(model, design, [user], seen, n, at=at)
    titled = items[items["title"].notna()]
    titles = dict(zip(titled["item_id"].tolist(), titled["title"].tolist(), strict=True))
    return [
        {"rank": rank, "item_id": item, "title": titles.get(item, f"item {item}"), "score": score}
        for rank, (item, score) in enumerate(
            zip(ids[0].tolist(), scores[0].tolist(), strict=True), start=1
        )
        if item != NO_ITEM
    ]


def _check_trained(space: Space, user: int) -> None:
    trained = space.trained_users
    if user not in trained:
        raise DataError(
            f"user {user} is not known to the model, which learnt {trained.size:,} "
            f"users from {trained[0]} to {trained[-1]}: choose one of them, or train on "
            "ratings of this user"
        )


def _candidates(
    model: Model, design: Sides, wanted: Ids, seen: pd.DataFrame, n: int, at: int
) -> Iterator[tuple[Ids, Ids, Doubles]]:
    """Block by block of users: place in `wanted`, item, raw score of all that may be best.

    The items are dealt into groups of 16. The n-th highest group maximum cannot exceed the n-th
    highest score, as n groups hold n different items, so whatever is below it is out.
    """
    items = design.space.trained_items
    total, width = items.size, model.V.shape[1] + 1
    groups = -(-total // _GROUP)
    padded = groups * _GROUP
    exact, alone = np.empty((total, width - 1)), np.empty(total)
    for start in range(0, total, _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        exact[part], alone[part] = _side(model, design.item_side(items[part]))
    item_side = np.zeros((padded, width), dtype=np.float32)
    item_side[:total, :-1] = exact
    item_side[:total, -1] = alone
    # Twice the rounding error of a single-precision dot product of rounded vectors (Higham,
    # "Accuracy and Stability of Numerical Algorithms", 2002, section 3.1), for the two scores
    # that are compared.
    unit = 2 * np.finfo(np.float32).eps * (width + 2) * np.linalg.norm(item_side, axis=1).max()
    item_side[total:, -1] = -np.inf
    history = _History(design.space, seen, wanted)
    size = min(_BLOCK_ROWS, max(1, _BLOCK_BYTES // (4 * padded)))
    # One buffer for all blocks: fresh pages would cost as much as the product itself.
    buffer = np.empty((min(size, wanted.size), padded), dtype=np.float32)
    for start in range(0, wanted.size, size):
        users = wanted[start : start + size]
        own, constant = _side(model, design.user_side(users, at))
        user_side = np.column_stack([own, np.ones(users.size)]).astype(np.float32)
        scores = np.matmul(user_side, item_side.T, out=buffer[: users.size])
        scores[history.of(users)] = -np.inf
        grouped = scores.reshape(users.size, _GROUP, groups)
        highest = grouped.max(axis=1)
        limit = np.full(users.size, -np.inf, dtype=np.float32)
        if n <= groups:
            slack = unit * np.linalg.norm(user_side, axis=1)
            limit = np.partition(highest, -n, axis=1)[:, -n] - slack
        row, group = np.nonzero((highest >= limit[:, None]) & (highest > -np.inf))
        members = grouped[row, :, group]
        hit, member = np.nonzero((members >= limit[row, None]) & (members > -np.inf))
        row, item = row[hit], group[hit] + member * groups
        raw = np.einsum("ij,ij->i", own[row], exact[item]) + (constant[row] + alone[item])
        yield start + row, item, raw + float(model.w0)


def _side(model: Model, rows: sparse.csr_matrix) -> tuple[Doubles, Doubles]:
    """S, shape (n, k), and c, shape (n,), of rows that hold one side alone; in double precision."""
    # Only the columns that occur: a block of users must not cost a copy of the whole model.
    columns, place = np.unique(rows.indices, return_inverse=True)
    compact = sparse.csr_matrix(
        (rows.data.astype(np.float64), place, rows.indptr), shape=(rows.shape[0], columns.size)
    )
    factors = model.V[columns].astype(np.float64)
    sums = np.asarray(compact @ factors)
    squares = compact.multiply(compact) @ np.square(factors).sum(axis=1)
    pairs = 0.5 * (np.square(sums).sum(axis=1) - squares)
    return sums, compact @ model.w[columns].astype(np.float64) + pairs


class _History:
    """What each of the users who are asked for has seen, by place among the trained items."""

    def __init__(self, space: Space, seen: pd.DataFrame, wanted: Ids) -> None:
        asked = np.unique(wanted)
        self._users = Places(asked)
        users = self._users.of(seen["user_id"].to_numpy(np.int64))
        items = Places(space.trained_items).of(seen["item_id"].to_numpy(np.int64))
        kept = (users >= 0) & (items >= 0)
        self._items = items[kept][np.argsort(users[kept], kind="stable")]
        counts = np.bincount(users[kept], minlength=asked.size)
        self._ends = np.concatenate([[0], counts.cumsum()])

    def of(self, users: Ids) -> tuple[Ids, NDArray[np.int32]]:
        """Index arrays (position in `users`, item) of everything these users have seen."""
        at = self._users.of(users)
        first, counts = self._ends[at], np.diff(self._ends)[at]
        row = np.repeat(np.arange(users.size), counts)
        within = np.arange(row.size) - np.repeat(counts.cumsum() - counts, counts)
        return row, self._items[np.repeat(first, counts) + within]
