"""Other recommenders, fitted to the same ratings: where the model stands among its peers.

`item_knn`  Item-based nearest neighbours. A film scores the similarity to what the user rated, over
    those of its nearest neighbours that are among it (Deshpande and Karypis, "Item-Based Top-N
    Recommendation Algorithms", ACM TOIS 22(1), 2004).
`implicit_als`  A factor for each user and film, fitted by alternating least squares to "rated" and
    "not rated" with a confidence in each (Hu, Koren, Volinsky, "Collaborative Filtering for
    Implicit Feedback Datasets", ICDM 2008), by the library `implicit`.
`ease`  A weight from each film to each other, which ridge regression has in closed form (Steck,
    "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019).

None of them is the algorithm under test in another guise: each is written down, or taken from a
library, apart from `fmrec.fm`. All see ratings as grades of how much a film belongs into a list.
Their settings are constants, chosen on training files alone: docs/benchmarks/peers.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import lapack
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fmrec.errors import ConfigurationError, EvaluationError
from fmrec.evaluation.ranking import NO_ITEM
from fmrec.events.places import Places

# EASE's matrix of items x items takes 1.2 GB there.
EASE_MOST_ITEMS = 12_000

Array = NDArray[np.float64]
Ids = NDArray[np.int64]
Grades = tuple[float, float, float, float, float, float]
# Scores (len(rows), films) of the users in these rows of the matrix that was fitted.
Scorer = Callable[[Ids], Array]

_STARS = (0, 1, 2, 3, 4, 5)
# Scores held at a time: 16 MiB in double precision.
_CELLS = 1 << 21


class Peer(Protocol):
    """A recommender with its settings."""

    @property
    def grades(self) -> Grades:
        """What 0 to 5 stars count, linear between; a rating that counts 0 is left out."""

    def fit(self, given: sparse.csr_matrix, seed: int) -> Scorer:
        """Learn from grades (users, films)."""


@dataclass(frozen=True)
class ItemKnn:
    """Nearest neighbours by the asymmetric cosine of two films' columns of grades.

    s_ij = <x_i, x_j> / (|x_i|^(2 - 2a) |x_j|^(2 a) + shrinkage) for a film i that is scored and a
    film j that was rated, with a the `asymmetry`: 1/2 is the cosine, more leaves i more of its
    popularity (Aiolli, "Efficient Top-N Recommendation for Very Large Scale Binary Rated Datasets",
    RecSys 2013). Shrinkage doubts what few users say. Each film i keeps its nearest `neighbours`,
    ties by ascending id, and the score is sum_j x_uj s_ij over them.
    """

    grades: Grades
    neighbours: int
    shrinkage: float
    asymmetry: float

    def fit(self, given: sparse.csr_matrix, seed: int) -> Scorer:
        """Find the neighbours, some films at a time: memory is that of what is kept."""
        films = given.shape[1]
        by_film = given.T.tocsr()
        squares = np.asarray(by_film.multiply(by_film).sum(axis=1)).ravel()
        scored, rated = squares ** (1 - self.asymmetry), squares**self.asymmetry
        blocks = []
        for start in range(0, films, _rows(films)):
            products = (by_film[start : start + _rows(films)] @ given).tocoo()
            films_here = products.row + start
            products.data /= scored[films_here] * rated[products.col] + self.shrinkage
            products.data[films_here == products.col] = 0
            similarities = products.toarray()
            similarities[similarities == 0] = -np.inf
            row, film, value, _ = _greatest(similarities, self.neighbours)
            blocks.append(sparse.csr_matrix((value, (row, film)), shape=products.shape))
        weights = sparse.vstack(blocks, format="csr").T.tocsr()
        return lambda rows: np.asarray((given[rows] @ weights).toarray())


@dataclass(frozen=True)
class ImplicitAls:
    """Alternating least squares on what was and was not rated.

    Minimises sum over all (u, i) of c_ui (p_ui - <U_u, V_i>)^2 + regularisation (|U|^2 + |V|^2),
    where p is 1 and c is `confidence` times the grade for what was rated, else 0 and 1. The score
    is <U_u, V_i>.
    """

    grades: Grades
    factors: int
    regularisation: float
    confidence: float
    sweeps: int

    def fit(self, given: sparse.csr_matrix, seed: int) -> Scorer:
        """Fit with one thread, so that on a busy machine none waits for another.

        Raises ConfigurationError where the library cannot be loaded.
        """
        with threadpool_limits(1, user_api="blas"):
            model = _als_of_the_library()(
                factors=self.factors,
                regularization=self.regularisation,
                alpha=self.confidence,
                iterations=self.sweeps,
                num_threads=1,
                random_state=seed,
            )
            model.fit(given.astype(np.float32), show_progress=False)
        U, V = model.user_factors.astype(np.float64), model.item_factors.astype(np.float64)
        return lambda rows: np.asarray(U[rows] @ V.T)


@dataclass(frozen=True)
class Ease:
    """Ridge regression of each film on all others, in closed form.

    Minimises |X - X B|^2 + regularisation |B|^2 with a diagonal of 0: B_ij = -P_ij / P_jj with
    P = (X'X + regularisation)^-1. The scores are X B. Time grows with films^3.
    """

    grades: Grades
    regularisation: float

    def fit(self, given: sparse.csr_matrix, seed: int) -> Scorer:
        """Solve it; raises ConfigurationError for more than EASE_MOST_ITEMS films."""
        films = given.shape[1]
        if films > EASE_MOST_ITEMS:
            raise ConfigurationError(
                f"peer ease needs a matrix of items x items, which for {films:,} items takes "
                f"{8e-9 * films**2:.1f} GB. More than {EASE_MOST_ITEMS:,} items are refused: set "
                "peers to none, item_knn or implicit_als"
            )
        B = np.empty((films, films))
        by_film = given.T.tocsr()
        blocks = [slice(start, start + _rows(films)) for start in range(0, films, _rows(films))]
        for rows in blocks:
            B[rows] = (by_film[rows] @ given).toarray()
        B[np.diag_indices(films)] += self.regularisation
        # LAPACK keeps matrices by columns: the mirror image of B is inverted in B's own memory,
        # and of the result one half alone is written, the upper one of B.
        factor, _ = lapack.dpotrf(B.T, lower=True, overwrite_a=True)
        inverse, _ = lapack.dpotri(factor, lower=True, overwrite_c=True)
        B = inverse.T
        for rows in blocks:
            B[rows.stop :, rows] = B[rows, rows.stop :].T
            B[rows, rows] = np.triu(B[rows, rows]) + np.triu(B[rows, rows], 1).T
        B /= -B.diagonal()
        np.fill_diagonal(B, 0)
        return lambda rows: np.asarray(given[rows] @ B)


CHOSEN: dict[str, Peer] = {
    "item_knn": ItemKnn(
        grades=(0, 0.1, 0.2, 0.5, 0.9, 1), neighbours=100, shrinkage=10.0, asymmetry=0.8
    ),
    "implicit_als": ImplicitAls(
        grades=(0, 0, 0.1, 0.4, 0.8, 1),
        factors=64,
        regularisation=40.0,
        confidence=8.0,
        sweeps=15,
    ),
    "ease": Ease(grades=(0, 0.2, 0.3, 0.5, 0.8, 1), regularisation=300.0),
}
NAMES = tuple(CHOSEN)


def lists(name: str, train: pd.DataFrame, users: Ids, seen: pd.DataFrame, n: int, seed: int) -> Ids:
    """The n best items of a peer for each user, best first, shape (len(users), n).

    The peer, one of NAMES, is fitted to `train` (columns user_id, item_id, rating). Ranked are the
    items of `train` without those that the user has in `seen` (columns user_id, item_id); equal
    scores by ascending id; -1 where fewer than n are left.

    Raises ConfigurationError for another name and where EASE has too many items, EvaluationError
    for a user without a training event: no peer knows anything of such a user.
    """
    if name not in CHOSEN:
        raise ConfigurationError(f"peer {name!r} is not known: choose one of {', '.join(NAMES)}")
    return lists_of(CHOSEN[name], train, users, seen, n, seed)


def lists_of(
    peer: Peer, train: pd.DataFrame, users: Ids, seen: pd.DataFrame, n: int, seed: int
) -> Ids:
    """The lists of a peer with settings of one's own; the rest is as for `lists`."""
    # Of several events of a user with an item the last one counts.
    latest = train.drop_duplicates(["user_id", "item_id"], keep="last")
    known, user = np.unique(latest["user_id"].to_numpy(np.int64), return_inverse=True)
    items, item = np.unique(latest["item_id"].to_numpy(np.int64), return_inverse=True)
    row_of = Places(known).of(users).astype(np.int64)
    strange = users[row_of < 0]
    if strange.size:
        raise EvaluationError(
            f"user {strange[0]} has no event in the training part ({strange.size} such users): "
            "peers rank only for users that they were fitted to"
        )
    grade = np.interp(latest["rating"].to_numpy(np.float64), _STARS, peer.grades)
    given = sparse.csr_matrix((grade, (user, item)), shape=(known.size, items.size))
    given.eliminate_zeros()
    scores_of = peer.fit(given, seed)
    taken = _taken(users, items, seen)
    ranked = np.full((users.size, n), NO_ITEM, np.int64)
    size = _rows(items.size)
    for start in range(0, users.size, size):
        scores = scores_of(row_of[start : start + size])
        scores[taken[start : start + size].nonzero()] = -np.inf
        row, place, _, rank = _greatest(scores, n)
        ranked[start + row, rank] = items[place]
    return ranked


def _als_of_the_library() -> Any:
    """The class, imported late: the other peers do without it and its system library."""
    try:
        from implicit.cpu.als import (  # type: ignore[import-untyped] # noqa: PLC0415
            AlternatingLeastSquares,
        )
    except ImportError as error:
        raise ConfigurationError(
            f"peer implicit_als cannot be loaded ({error}): on Linux the library implicit needs "
            "the system's libgomp (apt-get install libgomp1); or set peers to item_knn, ease or "
            "none"
        ) from error
    return AlternatingLeastSquares


def _rows(width: int) -> int:
    """How many rows of so many numbers are worked on at a time."""
    return max(1, _CELLS // width)


def _taken(users: Ids, items: Ids, seen: pd.DataFrame) -> sparse.csr_matrix:
    """What each user has seen, (users, items)."""
    user = Places(users).of(seen["user_id"].to_numpy(np.int64))
    item = Places(items).of(seen["item_id"].to_numpy(np.int64))
    kept = (user >= 0) & (item >= 0)
    marks = np.ones(np.count_nonzero(kept), np.int32)
    shape = (users.size, items.size)
    return sparse.csr_matrix((marks, (user[kept], item[kept])), shape=shape)


def _greatest(table: Array, n: int) -> tuple[Ids, Ids, Array, Ids]:
    """The n greatest values of each row, ties by ascending column: row, column, value, rank.

    -inf stands for no value.
    """
    least = np.full((len(table), 1), -np.inf)
    if n < table.shape[1]:
        least = np.partition(table, -n, axis=1)[:, [-n]]
    row, column = np.nonzero((table >= least) & (table > -np.inf))
    value = table[row, column]
    order = np.lexsort((column, -value, row))
    rank = np.arange(row.size) - np.searchsorted(row, row)
    kept = rank < n
    order = order[kept]
    return row[kept], column[order], value[order], rank[kept]
