"""Lists of recommendations beside what their users went on to like.

The protocol: a list of fifty is drawn from the items of the training part, without those that its
user has an event of before the test (in the training or the validation part). Relevant is what the
user rated with 4 stars or more in the test part, also when the training part does not know the
item: such items cannot be listed and count as missed. Judged are the users who have a training
event and something relevant, each with the same weight. The main figures are of the first ten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmrec.errors import EvaluationError
from fmrec.evaluation import list_metrics
from fmrec.events.objectives import LIKED_FROM
from fmrec.events.places import Places

LENGTH = 10
DEPTH = 50
CUTOFFS = (1, 2, 3, 5, 10, 20, 50)
NO_ITEM = -1

Array = NDArray[np.float64]
Ids = NDArray[np.int64]
Marks = NDArray[np.bool_]

_AT_LENGTH: dict[str, Callable[[Marks, Ids, int], Array]] = {
    "ndcg": list_metrics.ndcg,
    "precision": list_metrics.precision,
    "recall": list_metrics.recall,
    "map": list_metrics.average_precision,
    "mrr": list_metrics.reciprocal_rank,
    "hit_rate": list_metrics.hit_rate,
}
# Users at a time: what is held to work on their lists stays at a few MB.
_BLOCK = 1 << 13


@dataclass(frozen=True, eq=False)
class Hits:
    """Where the lists of m users are right.

    `users`, shape (m,); `places`, bool (m, 50), whether the item at that place is relevant;
    `relevant`, int64 (m,), how many items are relevant for the user, at least 1.
    """

    users: Ids
    places: Marks
    relevant: Ids


def judged_users(train: pd.DataFrame, test: pd.DataFrame) -> Ids:
    """The users with a training event and at least one test rating of 4 stars or more, ascending.

    Raises EvaluationError when there is none.
    """
    liking: Ids = np.unique(_relevant(test)["user_id"].to_numpy(np.int64))
    place = Places(liking).of(train["user_id"].to_numpy(np.int64))
    trained = np.bincount(place[place >= 0], minlength=liking.size) > 0
    if not trained.any():
        raise EvaluationError(
            f"no user of the training part gives {LIKED_FROM} stars or more in the test part, so "
            "there is no list to judge: choose another as_of or split"
        )
    return liking[trained]


def hits(users: Ids, items: Ids, test: pd.DataFrame) -> Hits:
    """Mark in lists what their users liked in the test part.

    `users`, shape (m,), distinct; `items`, shape (m, 50), best first, -1 where a list has ended.
    Raises EvaluationError for lists of another shape, and for a user who likes nothing there.
    """
    _check_shape("lists", users, items)
    liked = _Pairs(users, _relevant(test))
    relevant = liked.of_each_user()
    without = users[relevant == 0]
    if without.size:
        raise EvaluationError(
            f"user {without[0]} gives {LIKED_FROM} stars or more to nothing in the test part "
            f"({without.size} such users): judge only judged_users(train, test)"
        )
    return Hits(users, liked.among(items), relevant)


def per_user(found: Hits) -> dict[str, Array]:
    """The six metrics of the first ten places of each list, shape (m,).

    Their means are those of a report. Formulas and sources: `fmrec.evaluation.list_metrics`.
    """
    return {
        f"{name}@{LENGTH}": metric(found.places, found.relevant, LENGTH)
        for name, metric in _AT_LENGTH.items()
    }


def curves(found: Hits) -> dict[str, list[float]]:
    """Mean precision and mean recall over the users at each of CUTOFFS, ascending."""
    return {
        name: [float(_AT_LENGTH[name](found.places, found.relevant, k).mean()) for k in CUTOFFS]
        for name in ("precision", "recall")
    }


@dataclass(frozen=True, eq=False)
class Popularity:
    """The items of the training part, ascending, and how many training likes each has."""

    items: Ids
    likes: Ids

    @classmethod
    def of(cls, train: pd.DataFrame) -> Popularity:
        """Count the training events of 4 stars or more."""
        events = train["item_id"].to_numpy(np.int64)
        items: Ids = np.sort(pd.unique(events))
        liked = events[train["rating"].to_numpy() >= LIKED_FROM]
        return cls(items, np.bincount(Places(items).of(liked), minlength=items.size))

    def lists(self, users: Ids, seen: pd.DataFrame, n: int = DEPTH) -> Ids:
        """The n most liked items that each user has not seen: (m, n), ties by ascending id."""
        return first_unseen(self.items[np.argsort(-self.likes, kind="stable")], users, seen, n)

    def scores(self, items: Ids) -> Array:
        """Likes of each item, 0 for one that the training part does not know; shape (n,)."""
        place = Places(self.items).of(items)
        return np.where(place >= 0, self.likes[place], 0).astype(np.float64)


def first_unseen(order: Ids, users: Ids, seen: pd.DataFrame, n: int = DEPTH) -> Ids:
    """The lists of a predictor that has one order of items for all: (m, n).

    `order` holds distinct ids, best first; `users`, shape (m,), distinct. A list is the first n of
    the order that its user has no row of in `seen` (columns user_id, item_id), then -1.
    """
    items = np.append(order, NO_ITEM)
    taken = _Pairs(users, seen, order)
    lists = np.empty((users.size, n), np.int64)
    for start in range(0, users.size, _BLOCK):
        rows = slice(start, min(start + _BLOCK, users.size))
        owner, place = taken.of_rows(rows)
        size = rows.stop - start
        counts = np.bincount(owner, minlength=size)
        # Before the m-th seen item of a user stand place - m unseen ones. So the j-th unseen one
        # has place j plus the number of seen items that at most j unseen ones precede.
        nth = np.arange(owner.size) - np.repeat(counts.cumsum() - counts, counts)
        before = np.minimum(place - nth, n)
        table = np.bincount(owner * (n + 1) + before, minlength=size * (n + 1))
        shift = table.reshape(size, n + 1)[:, :n].cumsum(axis=1)
        lists[rows] = items[np.minimum(np.arange(n) + shift, order.size)]
    return lists


def check_lists(
    name: str,
    users: Ids,
    items: Ids,
    seen: pd.DataFrame,
    train: pd.DataFrame,
    test: pd.DataFrame,
    *,
    catalogue: Ids | None = None,
) -> None:
    """Raise EvaluationError unless the lists of `name` follow the protocol.

    `users` and `items` are as for `hits`; `seen` (columns user_id, item_id) is what was kept out of
    the lists: the events of the training and of the validation part. `catalogue`, the ids that may
    be listed, is for a model that was trained on other events than `train`: what that model knows.
    """
    expected = judged_users(train, test)
    if not np.array_equal(users, expected):
        raise EvaluationError(
            f"{name}: lists of {users.size} users, {expected.size} are to be judged: rank for "
            "judged_users(train, test), in that order"
        )
    _check_shape(f"{name}: lists", users, items)
    filled = items != NO_ITEM
    gaps = np.zeros_like(filled)
    gaps[:, 1:] = filled[:, 1:] & ~filled[:, :-1]
    _refuse_places(name, users, items, gaps, "after an empty place", "fill lists from the top")
    known = pd.unique(train["item_id"].to_numpy(np.int64) if catalogue is None else catalogue)
    strange = filled & (Places(known).of(items.ravel()).reshape(items.shape) < 0)
    _refuse_places(
        name, users, items, strange, "which was not trained on", "rank trained items only"
    )
    before = _Pairs(users, seen).among(items)
    _refuse_places(name, users, items, before, "which was seen before", "rank unseen items only")
    ordered = np.sort(items, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != NO_ITEM)
    _refuse_places(name, users, ordered[:, 1:], twice, "twice", "rank each item once")


def _check_shape(what: str, users: Ids, items: Ids) -> None:
    if items.shape != (users.size, DEPTH):
        raise EvaluationError(
            f"{what} of shape {items.shape} for {users.size} users: rank {DEPTH} for each, "
            f"with {NO_ITEM} where a list has ended"
        )


def _refuse_places(name: str, users: Ids, items: Ids, wrong: Marks, why: str, way_out: str) -> None:
    if wrong.any():
        row, place = np.argwhere(wrong)[0]
        raise EvaluationError(
            f"{name}: the list of user {users[row]} holds item {items[row, place]} {why} "
            f"({np.count_nonzero(wrong)} such places): {way_out}"
        )


class _Pairs:
    """The distinct pairs of a user's row and an item that events hold, in order of both.

    `users`, shape (m,), distinct; rows are their places. Events of other users are left out, and
    with `order`, distinct ids, those of other items. Items are numbered as in `order`, or anyhow.
    """

    def __init__(self, users: Ids, events: pd.DataFrame, order: Ids | None = None) -> None:
        items = events["item_id"].to_numpy(np.int64)
        numbered = pd.unique(items) if order is None else order
        self._rows = users.size
        self._width = max(numbered.size, 1)
        self._places = Places(numbered)
        row, item = Places(users).of(events["user_id"].to_numpy(np.int64)), self._places.of(items)
        kept = (row >= 0) & (item >= 0)
        keys = row[kept] * np.int64(self._width)
        keys += item[kept]
        keys.sort()
        self._keys = keys[np.diff(keys, prepend=-1) > 0]

    def of_each_user(self) -> Ids:
        """How many pairs each user has, shape (m,)."""
        return np.bincount(self._keys // self._width, minlength=self._rows)

    def of_rows(self, rows: slice) -> tuple[Ids, Ids]:
        """The pairs of some rows, ascending: row, counted from the first of them, and item."""
        bounds = np.array([rows.start, rows.stop]) * self._width
        first, last = np.searchsorted(self._keys, bounds)
        owner, item = np.divmod(self._keys[first:last] - bounds[0], self._width)
        return owner, item

    def among(self, items: Ids) -> Marks:
        """Whether each place of lists (m, n) holds an item that makes a pair with its user."""
        marks = np.zeros(items.shape, np.bool_)
        for start in range(0, self._rows if self._keys.size else 0, _BLOCK):
            rows = slice(start, min(start + _BLOCK, self._rows))
            item = self._places.of(items[rows].ravel()).reshape(items[rows].shape)
            wanted = np.arange(rows.start, rows.stop)[:, None] * self._width + item
            at = np.searchsorted(self._keys, wanted)
            found = self._keys[np.minimum(at, self._keys.size - 1)] == wanted
            marks[rows] = found & (item >= 0)
        return marks


def _relevant(test: pd.DataFrame) -> pd.DataFrame:
    return test.loc[test["rating"] >= LIKED_FROM, ["user_id", "item_id"]]
