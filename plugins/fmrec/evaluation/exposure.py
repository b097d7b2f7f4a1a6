"""Which items lists bring before people: how many of them, how evenly, and how known ones.

None of these figures says whether a list is right: a list drawn at random does best on all but the
mean popularity. They stand beside the accuracy of the same lists.

The single functions take counts that are aligned with the catalogue, the c items of the training
part: `listed`, int64 (c,), is how often each item stands in a list. Each place of each list weighs
the same. Where nothing at all is listed, a mean over what is listed is nan.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmrec.errors import EvaluationError
from fmrec.evaluation.ranking import LENGTH, NO_ITEM
from fmrec.events.places import Places

Array = NDArray[np.float64]
Ids = NDArray[np.int64]


def exposure(items: Ids, train: pd.DataFrame) -> dict[str, float]:
    """The four figures of the first ten places of lists: coverage, Gini, novelty, popularity @10.

    `items`, shape (m, n) with n >= 10, holds ids, best first, and -1 where a list has ended.
    `train` has the column item_id and user_id, and one row for each user and item. The catalogue is
    what `train` holds. An item that it does not hold can be in a list only when the list's model
    was trained on other events, as a champion may have been: such an item has no place in coverage
    and Gini, counts 0 ratings for popularity, and for novelty as much as one with a single rating.

    Without a single listed item coverage is 0 and the others are nan. Raises EvaluationError for
    an empty training part, for lists of another shape, and for more ratings of an item than users.
    """
    if items.ndim != 2 or items.shape[1] < LENGTH:
        raise EvaluationError(
            f"lists of shape {items.shape}: pass (m, n) with at least {LENGTH} places each"
        )
    shown = items[:, :LENGTH].ravel()
    shown = shown[shown != NO_ITEM]
    trained = train["item_id"].to_numpy(np.int64)
    every = np.sort(pd.unique(np.concatenate([pd.unique(trained), pd.unique(shown)])))
    places = Places(every)
    listed = np.bincount(places.of(shown), minlength=every.size)
    ratings = np.bincount(places.of(trained), minlength=every.size)
    catalogue = ratings > 0
    return {
        f"coverage@{LENGTH}": coverage(listed[catalogue]),
        f"gini@{LENGTH}": gini(listed[catalogue]),
        f"novelty@{LENGTH}": novelty(listed, np.maximum(ratings, 1), train["user_id"].nunique()),
        f"popularity@{LENGTH}": popularity(listed, ratings),
    }


def coverage(listed: Ids) -> float:
    """Share of the catalogue that stands in at least one list; in [0, 1].

    Source: Ge, Delgado-Battenfeld and Jannach, "Beyond accuracy: evaluating recommender systems by
    coverage and serendipity", RecSys 2010 (catalogue coverage).
    """
    return float(np.count_nonzero(_counts(listed)) / listed.size)


def gini(listed: Ids) -> float:
    """How unevenly the places of the lists are shared out: 0 all items alike, 1 one item has all.

    With x_j the counts in ascending order, j = 1..c: sum (2 j - c - 1) x_j / ((c - 1) sum x). For a
    catalogue of one item it is 0; nan when nothing is listed. Items that are never listed count.
    Source: Shani and Gunawardana, "Evaluating recommendation systems", in Recommender Systems
    Handbook, 2011, chapter 8 (item space coverage).
    """
    ordered = np.sort(_counts(listed))
    size, total = ordered.size, int(ordered.sum())
    if not total:
        return math.nan
    # In integers, so that no rounding depends on the order of summation.
    weighed = int((2 * np.arange(1, size + 1) - size - 1) @ ordered)
    return weighed / (max(size - 1, 1) * total)


def novelty(listed: Ids, ratings: Ids, users: int) -> float:
    """Mean self-information of what is listed, in bits: -log2 of the share of users who rated it.

    0 when everyone has rated all that is listed, log2(users) when each item has one rating.
    `ratings`, int64 (c,), is at least 1: an item that nobody has rated is in no training part, so
    it cannot be listed, and its self-information would be infinite. nan when nothing is listed.
    Sources: Zhou et al., PNAS 107(10), 2010; Vargas and Castells, RecSys 2011 (popularity-based
    item novelty, here without discount for the place).
    """
    known = _counts(ratings)
    wrong = np.flatnonzero((known < 1) | (known > users))
    if wrong.size:
        raise EvaluationError(
            f"the item at place {wrong[0]} has {known[wrong[0]]} ratings, and there are {users} "
            f"users ({wrong.size} such items): pass one training event for each user and item"
        )
    return _mean(-np.log2(known / users), listed)


def popularity(listed: Ids, ratings: Ids) -> float:
    """Mean number of training ratings of what is listed; nan when nothing is.

    `ratings`, int64 (c,). Sources: Yin et al., "Challenging the long tail recommendation", PVLDB
    5(9), 2012; Abdollahpouri, Burke and Mobasher, FLAIRS 2019 (average recommendation popularity).
    """
    return _mean(_counts(ratings).astype(np.float64), listed)


def _mean(values: Array, listed: Ids) -> float:
    weights = _counts(listed)
    if weights.shape != values.shape:
        raise EvaluationError(
            f"counts of shapes {weights.shape} and {values.shape}: pass one for each item"
        )
    shown = int(weights.sum())
    return float(weights @ values / shown) if shown else math.nan


def _counts(values: Ids) -> Ids:
    if values.ndim != 1 or not values.size:
        raise EvaluationError(
            f"counts of shape {values.shape}: pass one for each item of a catalogue that has some"
        )
    return values
