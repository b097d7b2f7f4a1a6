"""The best unseen items for users, from a factorization machine over any columns.

A row of the design matrix is what belongs to the user (and the moment) and what belongs to the
item. The FM equation (Rendle, "Factorization machines", ICDM 2010) over both together is

    w0 + c_u + c_i + <S_u, S_i>,  S = sum x v,  c = sum w x + 1/2 (|S|^2 - sum x^2 |v|^2)

with S and c of each side alone, so the scores of all items for many users are one matrix product.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fmrec.errors import ConfigurationError, DataError, EvaluationError
from fmrec.events.places import Places
from fmrec.fm.model import Model, sigmoid

NO_ITEM = -1

_BLOCK_BYTES = 1 << 24
_BLOCK_ROWS = 4096
_GROUP = 16
_PORTION = 2048
_THREADS = 8
# Scaled scores are between -1 and 1, but for rounding; what must not be listed is at -inf.
_LOWEST = np.float32(-2)

Ids = NDArray[np.int64]
Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]


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
    model: Model,
    design: Sides,
    users: ArrayLike,
    seen: pd.DataFrame,
    n: int,
    *,
    at: int,
    allowed: NDArray[np.bool_] | None = None,
) -> tuple[Ids, Doubles]:
    """Item ids and scores, both of shape (len(users), n), best first; equal scores by ascending id.

    Only items that the model was trained on are ranked; if `allowed` is given, a mask over
    `design.space.trained_items`, only those of them; and none that the user has in `seen`
    (columns user_id, item_id). `at` is the moment of asking, in UTC seconds, for columns that
    depend on it. A user without a training row is judged by what else the columns say of it, if
    anything. Scores are what the model would answer: a rating, not clipped, or the probability
    of a binary classifier. Where a user has fewer than n items left, the ids end in -1 and the
    scores in nan. The result is exact: single precision only narrows the field, and what is left
    is ranked in double precision, so a user's list does not depend on who else is asked for.
    Beyond model, item sides, `seen` and result, memory stays within some 64 MiB for each thread,
    however many the users. There are as many threads as cores, at most 8.

    Raises EvaluationError when model and feature space differ in width, when `allowed` is not
    one flag for each trained item, and when parameters of the model are no numbers;
    ConfigurationError for n < 1.
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
    catalogue = _Catalogue(model, design, allowed)
    history = _History(catalogue.ids, seen, wanted)
    size = catalogue.block_rows
    blocks = iter(range(0, wanted.size, size))

    def work() -> None:
        buffer = catalogue.buffer()
        for start in blocks:
            part = slice(start, start + size)
            own, constant = _side(model, design.user_side(wanted[part], at))
            constant += float(model.w0)
            taken = history.of(wanted[part])
            catalogue.rank(own, constant, taken, buffer, ids[part], scores[part])

    threads = min(os.cpu_count() or 1, _THREADS, -(-wanted.size // size))
    if catalogue.ids.size and threads:
        # The steps beside the product take a core each: threads within the product would idle.
        with (
            threadpool_limits(1, user_api="blas"),
            ThreadPoolExecutor(threads, thread_name_prefix="topn") as pool,
        ):
            for done in [pool.submit(work) for _ in range(threads)]:
                done.result()
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
    allowed: NDArray[np.bool_] | None = None,
) -> list[dict[str, Any]]:
    """The n best unseen items of one user as rows: rank (from 1), item_id, title, score.

    `items` has the columns item_id and title; an item without a title there is named by its id.
    `allowed` and `at` are those of `best`. Fewer rows come back when fewer items are left. Raises
    as `best` does, and DataError for a user the model was not trained on.
    """
    _check_trained(design.space, user)
    ids, scores = best(model, design, [user], seen, n, at=at, allowed=allowed)
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


class _Catalogue:
    """The items that may be listed: their sides in double precision, and a rounded copy.

    The items are dealt into groups of 16. The n-th highest group maximum cannot exceed the n-th
    highest score, as n groups hold n different items, so whatever is below it is out.
    """

    def __init__(self, model: Model, design: Sides, allowed: NDArray[np.bool_] | None) -> None:
        trained = design.space.trained_items
        if allowed is not None and (allowed.shape != trained.shape or allowed.dtype != np.bool_):
            raise EvaluationError(
                f"an array of {allowed.dtype} of shape {allowed.shape} does not say which items "
                f"are allowed: give a bool for each of the {trained.size:,} trained items"
            )
        if not all(np.isfinite(each).all() for each in (model.w0, model.w, model.V)):
            raise EvaluationError(
                "the model has parameters that are not finite numbers, so it ranks nothing: "
                "train it again, with a lower learning rate"
            )
        self.ids = trained if allowed is None else trained[allowed]
        total, factors = self.ids.size, model.V.shape[1]
        self._factors, self._alone = np.empty((total, factors)), np.empty(total)
        for start in range(0, total, _BLOCK_ROWS):
            part = slice(start, start + _BLOCK_ROWS)
            self._factors[part], self._alone[part] = _side(model, design.item_side(self.ids[part]))
        side = np.column_stack([self._factors, self._alone])
        # In single precision no score may overflow, nor the small ones vanish.
        self._norm = float(np.linalg.norm(side, axis=1).max(initial=0.0)) or 1.0
        _check_finite("films", np.array([self._norm]))
        self._rounded = (side / self._norm).astype(np.float32)
        self._groups = max(1, -(-total // _GROUP))
        self.block_rows = min(_BLOCK_ROWS, max(1, _BLOCK_BYTES // (4 * _GROUP * self._groups)))
        # Twice the rounding error of a single-precision dot product of two rounded vectors no
        # longer than 1 (Higham, "Accuracy and Stability of Numerical Algorithms", 2002,
        # section 3.1), for the two scores that are compared.
        self._slack = 2 * float(np.finfo(np.float32).eps) * (factors + 3)

    def buffer(self) -> Floats:
        """Room for the scores of a block: fresh pages would cost as much as the product itself."""
        room = np.empty((self.block_rows, self._groups * _GROUP), dtype=np.float32)
        room[:, self.ids.size :] = -np.inf
        return room

    def rank(
        self,
        own: Doubles,
        constant: Doubles,
        seen: tuple[Ids, NDArray[np.int32]],
        buffer: Floats,
        ids: Ids,
        scores: Doubles,
    ) -> None:
        """Write the lists of some users, given by their sides, to `ids` and `scores`, (m, n)."""
        users, n = ids.shape
        side = np.column_stack([own, np.ones(users)])
        norm = np.linalg.norm(side, axis=1)
        _check_finite("users", norm)
        rounded = (side / norm[:, None]).astype(np.float32)
        np.matmul(rounded, self._rounded.T, out=buffer[:users, : self.ids.size])
        buffer[:users][seen] = -np.inf
        grouped = buffer[:users].reshape(users, _GROUP, self._groups)
        highest = grouped.max(axis=1)
        limit = np.full(users, _LOWEST)
        if n <= self._groups:
            # What is added to all scores of a user makes ties of some that differ by a little.
            ties = 4 * np.finfo(np.float64).eps * np.abs(constant) / (norm * self._norm)
            nth = np.partition(highest, -n, axis=1)[:, -n]
            limit = np.maximum(limit, nth - (self._slack + ties)).astype(np.float32)
        for some in _portions(highest >= limit[:, None]):
            row, group = np.divmod(some, self._groups)
            members = grouped[row, :, group]
            hit, member = np.divmod(np.flatnonzero(members >= limit[row, None]), _GROUP)
            row, item = row[hit], group[hit] + member * self._groups
            raw = np.einsum("ij,ij->i", own[row], self._factors[item])
            raw += constant[row] + self._alone[item]
            order = np.lexsort((item, -raw, row))
            ranked = row[order]
            rank = np.arange(ranked.size) - np.searchsorted(ranked, ranked)
            kept = rank < n
            place = ranked[kept], rank[kept]
            ids[place] = self.ids[item[order][kept]]
            scores[place] = raw[order][kept]


def _check_finite(what: str, norm: Doubles) -> None:
    if not np.isfinite(norm).all():
        raise EvaluationError(
            f"the design matrix of the {what} holds values that are no finite numbers: a list of "
            "such scores would be empty without a word; run the events step again"
        )


def _portions(mask: NDArray[np.bool_]) -> Iterator[Ids]:
    """Where a mask is true, as flat indices, so many rows at a time that there are not too many.

    Where all scores are equal, all that is in a block is left to rank.
    """
    most = int(np.count_nonzero(mask, axis=1).max())
    rows = max(1, _PORTION // max(1, most))
    for start in range(0, len(mask), rows):
        yield np.flatnonzero(mask[start : start + rows]) + start * mask.shape[1]


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

    def __init__(self, ids: Ids, seen: pd.DataFrame, wanted: Ids) -> None:
        asked = np.unique(wanted)
        self._users = Places(asked)
        users = self._users.of(seen["user_id"].to_numpy(np.int64))
        items = Places(ids).of(seen["item_id"].to_numpy(np.int64))
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
