"""Why a score is what it is: bias, linear and pairwise terms of one row, by named column.

The equation is a sum of one term for the bias, one for each column that is not zero, and one for
each pair of them (Rendle, "Factorization Machines", ICDM 2010, equation 1), so the explanation is
the score itself and not an approximation of it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fmrec.errors import DataError
from fmrec.fm.model import Matrix, Model, PredictorType, sigmoid

Doubles = npt.NDArray[np.float64]


class Term(NamedTuple):
    """A part of a score: of no name (the bias), of one, or of two together.

    ``contribution`` is in the unit of the raw score: stars, or log-odds of a classifier.
    """

    names: tuple[str, ...]
    contribution: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """One score, taken apart over the m columns that are not zero in its row.

    ``values`` (m,) are the row's values, ``linear`` (m,) the terms w_i x_i, and ``pairs`` (m, m)
    holds <v_i, v_j> x_i x_j where i < j and zero elsewhere.
    """

    names: tuple[str, ...]
    values: Doubles
    bias: float
    linear: Doubles
    pairs: Doubles
    predictor_type: PredictorType

    @functools.cached_property
    def raw(self) -> float:
        """The sum of all terms: a rating, or the log-odds of a classifier."""
        return self.bias + float(self.linear.sum()) + float(self.pairs.sum())

    @property
    def score(self) -> float:
        """What the model answers: a rating, or the probability of the label 1."""
        if self.predictor_type == "regressor":
            return self.raw
        return float(sigmoid(np.array([self.raw]))[0])

    @property
    def count(self) -> int:
        """The number of terms: 1 + m + m (m - 1) / 2."""
        m = len(self.names)
        return 1 + m + m * (m - 1) // 2

    def linear_terms(self) -> list[Term]:
        """One term for each column, in column order."""
        return _terms([(name,) for name in self.names], self.linear)

    def pair_terms(self) -> list[Term]:
        """One term for each pair of columns, in column order."""
        first, second = np.triu_indices(len(self.names), 1)
        return self._pair_terms(first, second)

    def largest(self, n: int) -> list[Term]:
        """The n terms, without the bias, that move the score most, either way; largest first.

        Equal ones in column order, linear terms before pairs.
        """
        m = len(self.names)
        first, second = np.triu_indices(m, 1)
        size = np.abs(np.concatenate([self.linear, self.pairs[first, second]]))
        chosen = np.argsort(-size, kind="stable")[: max(0, n)]
        terms = self.linear_terms()
        places = chosen[chosen >= m] - m
        pairs = iter(self._pair_terms(first[places], second[places]))
        return [terms[place] if place < m else next(pairs) for place in chosen.tolist()]

    def groups(self) -> list[Term]:
        """All terms added up by feature, the part of a name before the first colon.

        The bias, then each feature alone, then each two features together (also one with itself,
        when a row has several columns of it), in column order. They sum to ``raw``.
        """
        features = [name.partition(":")[0] for name in self.names]
        distinct = list(dict.fromkeys(features))
        member = np.array([[name == each for each in distinct] for name in features], np.float64)
        member = member.reshape(len(features), len(distinct))
        both = member.T @ self.pairs @ member
        both = np.triu(both + np.tril(both, -1).T)
        occurs = member.sum(axis=0)
        first, second = np.triu_indices(len(distinct))
        meets = (first != second) | (occurs[first] > 1)
        first, second = first[meets], second[meets]
        alone = _terms([(name,) for name in distinct], member.T @ self.linear)
        names = [(distinct[i], distinct[j]) for i, j in zip(first, second, strict=True)]
        return [Term((), self.bias), *alone, *_terms(names, both[first, second])]

    def _pair_terms(
        self, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
    ) -> list[Term]:
        pairs = zip(first.tolist(), second.tolist(), strict=True)
        names = [(self.names[i], self.names[j]) for i, j in pairs]
        return _terms(names, self.pairs[first, second])


def explain(model: Model, row: Matrix, names: Sequence[str]) -> Explanation:
    """Take the score of one row ``(1, d)`` apart; ``names`` has one name for each column.

    Raises DataError when the row or the names do not fit the model.
    """
    d = model.feature_dim
    if row.shape != (1, d) or len(names) != d:
        raise DataError(
            f"a row of shape {row.shape} and {len(names)} names do not fit a model of {d} "
            "features: take row, names and model from one run"
        )
    columns, place = np.unique(row.indices, return_inverse=True)
    values = np.bincount(place, row.data.astype(np.float64), len(columns))
    columns, values = columns[values != 0], values[values != 0]
    factors = model.V[columns].astype(np.float64) * values[:, None]
    return Explanation(
        names=tuple(names[column] for column in columns.tolist()),
        values=values,
        bias=float(model.w0),
        linear=model.w[columns].astype(np.float64) * values,
        pairs=np.triu(factors @ factors.T, 1),
        predictor_type=model.predictor_type,
    )


def _terms(names: Sequence[tuple[str, ...]], contributions: Doubles) -> list[Term]:
    return [Term(*each) for each in zip(names, contributions.tolist(), strict=True)]
