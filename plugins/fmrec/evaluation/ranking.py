"""Lists of ten recommendations beside what their users went on to like.

The protocol: a list is drawn from the items of the training part, without those that its user has
an event of before the test (in the training or the validation part). Relevant is what the user
rated with 4 stars or more in the test part, also when the training part does not know the item:
such items cannot be listed and count as missed. Judged are the users who have a training event and
something relevant, each with the same weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmrec.errors import EvaluationError
from fmrec.events.objectives import LIKED_FROM
from fmrec.events.places import Places

LENGTH = 10
NO_ITEM = -1

Array = NDArray[np.float64]
Ids = NDArray[np.int64]

_DISCOUNTS = 1 / np.log2(np.arange(2, LENGTH + 2))


@dataclass(frozen=True, eq=False)
class Ranked:
    """A list of items for each judged user, best first.

    `users`, shape (m,), are those of `judged_users`, ascending; `items`, shape (m, 10), ends in -1
    where a user has fewer items left. `seen` (columns user_id, item_id) is what was kept out of
    the lists: the events of the training and of the validation part.
    """

    users: Ids
    items: Ids
    seen: pd.DataFrame


def judged_users(train: pd.DataFrame, test: pd.DataFrame) -> Ids:
    """The users with a training event and at least one test rating of 4 stars or more, ascending.

    Raises EvaluationError when there is none.
    """
    users: Ids = np.intersect1d(train["user_id"].to_numpy(), _relevant(test)["user_id"].to_numpy())
    if not users.size:
        raise EvaluationError(
            f"no user of the training part gives {LIKED_FROM} stars or more in the test part, so "
            "there is no list to judge: choose another as_of or split"
        )
    return users


def per_user(users: Ids, items: Ids, test: pd.DataFrame) -> dict[str, Array]:
    """The four metrics of each list, shape (m,); their means are those of the report.

    With r_j = 1 where place j of ten holds a relevant item, and R relevant items of the user:
    `ndcg@10` is sum r_j / log2(j + 1) over the same sum with all of min(10, R) first places hit
    (Järvelin and Kekäläinen, ACM TOIS 20(4), 2002, with binary gain); `precision@10` sum r_j / 10,
    also for shorter lists; `recall@10` sum r_j / R; `map@10` the mean over min(10, R) of the
    precision at each hit (Manning et al., "Introduction to Information Retrieval", 2008, section
    8.4, cut at ten).

    `users` ascending, each with at least one relevant test event; `items` (m, 10).
    """
    relevant = _relevant(test)
    owner = Places(users).of(relevant["user_id"].to_numpy(np.int64)).astype(np.int64)
    known = owner >= 0
    wanted, film = np.unique(relevant["item_id"].to_numpy()[known], return_inverse=True)
    keys = np.unique(owner[known] * wanted.size + film)
    total = np.bincount(keys // wanted.size, minlength=users.size)
    place = Places(wanted).of(items.ravel()).reshape(items.shape)
    row = np.arange(users.size)[:, None]
    hits = (place >= 0) & np.isin(row * wanted.size + place, keys)
    found = hits.sum(axis=1)
    reachable = np.minimum(total, LENGTH)
    precisions = hits.cumsum(axis=1) / np.arange(1, LENGTH + 1)
    return {
        "ndcg@10": hits @ _DISCOUNTS / _DISCOUNTS.cumsum()[reachable - 1],
        "precision@10": found / LENGTH,
        "recall@10": found / total,
        "map@10": (hits * precisions).sum(axis=1) / reachable,
    }


@dataclass(frozen=True, eq=False)
class Popularity:
    """The items of the training part, ascending, and how many training likes each has."""

    items: Ids
    likes: Ids

    @classmethod
    def of(cls, train: pd.DataFrame) -> Popularity:
        """Count the training events of 4 stars or more."""
        items, place = np.unique(train["item_id"].to_numpy(np.int64), return_inverse=True)
        liked = train["rating"].to_numpy() >= LIKED_FROM
        return cls(items, np.bincount(place[liked], minlength=items.size))

    def lists(self, users: Ids, seen: pd.DataFrame) -> Ids:
        """The ten most liked items that each user has not seen: (m, 10), ties by ascending id."""
        order = np.argsort(-self.likes, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(order.size)
        user = Places(users).of(seen["user_id"].to_numpy(np.int64)).astype(np.int64)
        item = Places(self.items).of(seen["item_id"].to_numpy(np.int64))
        kept = (user >= 0) & (item >= 0)
        keys = np.unique(user[kept] * order.size + rank[item[kept]])
        owner, taken = np.divmod(keys, order.size)
        counts = np.bincount(owner, minlength=users.size)
        # Before the m-th seen item of a user stand taken - m unseen ones. So the j-th unseen one
        # has rank j plus the number of seen items that at most j unseen ones precede.
        nth = np.arange(keys.size) - np.repeat(counts.cumsum() - counts, counts)
        before = np.minimum(taken - nth, LENGTH)
        table = np.bincount(owner * (LENGTH + 1) + before, minlength=users.size * (LENGTH + 1))
        shift = table.reshape(users.size, LENGTH + 1)[:, :LENGTH].cumsum(axis=1)
        ranks = np.arange(LENGTH) + shift
        listed = self.items[order[np.minimum(ranks, order.size - 1)]]
        return np.where(ranks < order.size, listed, NO_ITEM)

    def scores(self, items: NDArray[np.int64]) -> Array:
        """Likes of each item, 0 for one that the training part does not know; shape (n,)."""
        place = Places(self.items).of(items)
        return np.where(place >= 0, self.likes[place], 0).astype(np.float64)


def check(ranked: Ranked, train: pd.DataFrame, test: pd.DataFrame) -> None:
    """Raise EvaluationError unless the lists follow the protocol."""
    expected = judged_users(train, test)
    if not np.array_equal(ranked.users, expected):
        raise EvaluationError(
            f"lists of {ranked.users.size} users, {expected.size} are to be judged: rank for "
            "judged_users(train, test)"
        )
    if ranked.items.shape != (expected.size, LENGTH):
        raise EvaluationError(
            f"lists of shape {ranked.items.shape} for {expected.size} users: each has {LENGTH}"
        )
    filled = ranked.items != NO_ITEM
    _refuse(filled & ~np.isin(ranked.items, train["item_id"].to_numpy()), ranked, "not trained on")
    catalogue = np.unique(ranked.items[filled])
    row = np.arange(expected.size)[:, None]
    user = Places(expected).of(ranked.seen["user_id"].to_numpy(np.int64)).astype(np.int64)
    item = Places(catalogue).of(ranked.seen["item_id"].to_numpy(np.int64))
    seen = (user * catalogue.size + item)[(user >= 0) & (item >= 0)]
    listed = Places(catalogue).of(ranked.items.ravel()).reshape(ranked.items.shape)
    keys = row * catalogue.size + listed
    _refuse(filled & np.isin(keys, seen), ranked, "seen before")
    ordered = np.sort(ranked.items, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != NO_ITEM)
    if twice.any():
        at = np.argwhere(twice)[0]
        raise EvaluationError(
            f"the list of user {expected[at[0]]} holds item {ordered[at[0], at[1]]} twice"
        )


def _refuse(wrong: NDArray[np.bool_], ranked: Ranked, why: str) -> None:
    if wrong.any():
        row, place = np.argwhere(wrong)[0]
        raise EvaluationError(
            f"the list of user {ranked.users[row]} holds item {ranked.items[row, place]}, which "
            f"was {why} ({np.count_nonzero(wrong)} such places): rank trained, unseen items"
        )


def _relevant(test: pd.DataFrame) -> pd.DataFrame:
    return test.loc[test["rating"] >= LIKED_FROM, ["user_id", "item_id"]]
