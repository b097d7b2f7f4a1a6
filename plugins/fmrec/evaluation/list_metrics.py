"""Metrics of ranked lists at a cutoff, as plain functions of where the hits are.

Every function takes

    hits      bool (m, n): whether place j of list i, best first, holds a relevant item
    relevant  int64 (m,): how many items are relevant for the user of list i, listed or not
    k         the cutoff, 1 <= k <= n: only the first k places count

and gives one value in [0, 1] for each list, float64 (m,). A place that was left empty is a miss, so
a list of fewer than k items is judged as if misses had filled it. Below, r_j is 1 for a hit at
place j (from 1) and 0 for a miss, R is the number of relevant items.

Each raises EvaluationError when the arrays do not fit together, there is no list, k is out of
range, a list has more hits than its user has relevant items (an item is in it twice), or a user
has no relevant item at all: recall and NDCG are 0/0 there, and such a user can neither be averaged
in nor dropped without a word.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fmrec.errors import EvaluationError

Array = NDArray[np.float64]
Ids = NDArray[np.int64]
Marks = NDArray[np.bool_]


def precision(hits: Marks, relevant: Ids, k: int) -> Array:
    """Share of the first k places that are hits: sum r_j / k.

    The divisor is k also where R < k, so that with few relevant items 1 is out of reach.
    Source: Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, section
    8.4. trec_eval calls it P_k.
    """
    return np.asarray(_first(hits, relevant, k).sum(axis=1) / k)


def recall(hits: Marks, relevant: Ids, k: int) -> Array:
    """Share of the relevant items that are among the first k: sum r_j / R.

    The divisor is R also where R > k, so that with many relevant items 1 is out of reach.
    Source: as for `precision`, section 8.3. trec_eval calls it recall_k.
    """
    return np.asarray(_first(hits, relevant, k).sum(axis=1) / relevant)


def ndcg(hits: Marks, relevant: Ids, k: int) -> Array:
    """Discounted gain of the hits over that of the best list: 1 for hits in the first min(k, R).

    sum r_j / log2(j + 1), divided by the same sum with the first min(k, R) places hit.
    Source: Järvelin and Kekäläinen, ACM TOIS 20(4), 2002, with binary gain and the discount of
    Burges et al., ICML 2005. trec_eval calls it ndcg_cut_k.
    """
    discounts = 1 / np.log2(np.arange(2, k + 2))
    gained = _first(hits, relevant, k) * discounts
    # Both sums are taken place by place, so that the best list gives 1 to the last bit.
    best = discounts.cumsum()[np.minimum(relevant, k) - 1]
    return np.asarray(gained.cumsum(axis=1)[:, -1] / best)


def average_precision(hits: Marks, relevant: Ids, k: int) -> Array:
    """Mean over min(k, R) of the precision at each hit; MAP@k is its mean over users.

    sum_j r_j P_j / min(k, R), where P_j is the precision of the first j places. A relevant item
    that is not among the first k adds 0.
    Source: as for `precision`, section 8.4, cut at k. trec_eval's map_cut_k divides by R instead,
    which no list can bring to 1 when R > k.
    """
    first = _first(hits, relevant, k)
    precisions = first.cumsum(axis=1) / np.arange(1, k + 1)
    return np.asarray((first * precisions).sum(axis=1) / np.minimum(relevant, k))


def reciprocal_rank(hits: Marks, relevant: Ids, k: int) -> Array:
    """1 / the place of the first hit, 0 without a hit in the first k; MRR@k is its mean over users.

    Source: Voorhees, "The TREC-8 question answering track report", 1999. trec_eval calls it
    recip_rank, of lists cut at k.
    """
    first = _first(hits, relevant, k)
    place: Ids = first.argmax(axis=1) + 1
    return np.asarray(first.any(axis=1) / place)


def hit_rate(hits: Marks, relevant: Ids, k: int) -> Array:
    """1 where the first k places hold a hit, else 0; its mean is the share of users with a hit.

    Source: Deshpande and Karypis, ACM TOIS 22(1), 2004, for one relevant item per user. trec_eval
    calls it success_k.
    """
    return np.asarray(_first(hits, relevant, k).any(axis=1), dtype=np.float64)


def _first(hits: Marks, relevant: Ids, k: int) -> Marks:
    """The first k places, (m, k), once all is found in order."""
    fits = hits.ndim == 2 and relevant.shape == hits.shape[:1]
    if not fits or hits.dtype != np.bool_ or relevant.dtype.kind != "i":
        raise EvaluationError(
            f"hits are {hits.dtype} of shape {hits.shape}, numbers of relevant items "
            f"{relevant.dtype} of shape {relevant.shape}: pass bool (m, n) and integers (m,)"
        )
    lists, places = hits.shape
    if not lists:
        raise EvaluationError("there are no lists to judge: choose another as_of or split")
    if not 1 <= k <= places:
        raise EvaluationError(
            f"cutoff {k} for lists of {places} places: choose one from 1 to {places}"
        )
    without = np.flatnonzero(relevant < 1)
    if without.size:
        raise EvaluationError(
            f"the user of row {without[0]} has {relevant[without[0]]} relevant items "
            f"({without.size} such rows): judge only users with at least one"
        )
    found = np.count_nonzero(hits, axis=1)
    over = np.flatnonzero(found > relevant)
    if over.size:
        row = over[0]
        raise EvaluationError(
            f"row {row} has {found[row]} hits and {relevant[row]} relevant items ({over.size} "
            "such rows): list each item once"
        )
    return hits[:, :k]
