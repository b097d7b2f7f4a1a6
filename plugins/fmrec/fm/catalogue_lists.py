"""What a ranking is worth on test rows: whether the films that users liked there come first.

The error of single rows says nothing of it: the model is trained to tell the rated films from all
others, which the test rows do not hold.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from fmrec.fm.catalogue_sides import Longs, Sides, pairs_within
from fmrec.fm.channels import Rows
from fmrec.fm.features import Features
from fmrec.fm.model import Model

LENGTH = 10
# The grade of four stars (fmrec.events.objectives): from here on a film was liked.
LIKED = np.float32(0.8)
# Scores of one block of users, for all films.
_SCORES = 1 << 24


class Lists:
    """The first ten films of users, without those that they have a training row of."""

    def __init__(self, model: Model, sides: Sides, features: Features) -> None:
        """Lists are drawn from the films that have a training row, for such users."""
        self._model, self._sides, self._features = model, sides, features

    def judge(self, rows: Rows) -> dict[str, float]:
        """Return ``ndcg@10``, binary and averaged over users; empty without anybody to judge by.

        Relevant is what a user's test rows grade with 0.8 or more, also a film without a training
        row, which cannot be listed. Judged are users with a training row and something relevant.
        """
        sides = self._sides
        users, items = (each.owners[each.trained] for each in (sides.users, sides.items))
        liked = rows.labels >= LIKED
        user, item = (self._own(rows, feature)[liked] for feature in ("user", "item"))
        place = np.minimum(np.searchsorted(users, user), len(users) - 1)
        known = (users[place] == user) & (item >= 0)
        # A pair that is rated twice is one film.
        pairs = np.unique(np.stack([place[known], item[known]]), axis=1)
        judged, first, relevant = np.unique(pairs[0], return_index=True, return_counts=True)
        if not len(judged):
            return {}
        discounts = 1 / np.log2(np.arange(2, LENGTH + 2))
        gained = []
        for at, lists in self._lists(judged):
            for number, listed in zip(at, lists, strict=True):
                mine = pairs[1, first[number] : first[number] + relevant[number]]
                hits = np.isin(items[listed[listed >= 0]], mine)
                gained.append(float(discounts[: len(hits)][hits].sum()))
        best = discounts.cumsum()[np.minimum(relevant, LENGTH) - 1]
        return {f"ndcg@{LENGTH}": float(np.mean(np.array(gained) / best))}

    def _own(self, rows: Rows, feature: str) -> Longs:
        """The column of a feature in each row, -1 where there is none: of an unknown user."""
        X = rows.features
        belongs = np.zeros(X.shape[1], np.bool_)
        belongs[self._features.columns_of(feature)] = True
        entry = belongs[X.indices] & (X.data != 0)
        own = np.full(X.shape[0], -1, np.int64)
        own[np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))[entry]] = X.indices[entry]
        return own

    def _lists(self, users: Longs) -> Iterator[tuple[Longs, Longs]]:
        """Yield in blocks which of ``users`` these are, and their lists, (n, 10), -1 at the end.

        ``users`` (m,) are places among those with a training row; so are the films in the lists.
        """
        model, sides = self._model, self._sides
        records = sides.items.rows
        of_items = records @ model.V
        alone = records @ model.w + pairs_within(records, model.V)
        of_users = sides.users.rows
        films = len(alone)
        block = max(_SCORES // films, 1)
        for start in range(0, len(users), block):
            at = np.arange(start, min(start + block, len(users)))
            mine = users[at]
            scores = (of_users[mine] @ model.V) @ of_items.T + alone.astype(np.float32)
            seen = sides.targets[mine]
            scores[np.repeat(np.arange(len(at)), np.diff(seen.indptr)), seen.indices] = -np.inf
            yield at, _first(scores)


def _first(scores: npt.NDArray[np.float32]) -> Longs:
    """Return the places of the ten highest scores of each row, best first; -1 for -inf."""
    count = min(LENGTH, scores.shape[1])
    near = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(scores, near, axis=1), axis=1, kind="stable")
    listed = np.take_along_axis(near, order, axis=1)
    listed[np.isneginf(np.take_along_axis(scores, listed, axis=1))] = -1
    return listed.astype(np.int64)
