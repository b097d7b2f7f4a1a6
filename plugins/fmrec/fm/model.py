"""The equation of a second-order Factorization Machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fmrec.errors import DataError

PredictorType = Literal["binary_classifier", "regressor"]
Matrix = sparse.csr_matrix[np.float32] | sparse.csr_array[np.float32, tuple[int, int]]

# Rows scored at a time: bounds the (rows, factors) intermediate.
BLOCK_ROWS = 16_384


@dataclass(frozen=True, eq=False)
class Model:
    """A Factorization Machine: bias, linear weights ``(d,)``, factors ``(d, k)``.

    Raises DataError when the shapes do not fit each other.
    """

    w0: float
    w: npt.NDArray[np.float32]
    V: npt.NDArray[np.float32]
    predictor_type: PredictorType

    def __post_init__(self) -> None:
        if self.w.ndim != 1 or self.V.ndim != 2 or len(self.w) != len(self.V):
            raise DataError(
                f"linear weights of shape {self.w.shape} and factors of shape {self.V.shape} "
                "are not (d,) and (d, k) of one d"
            )

    @property
    def feature_dim(self) -> int:
        """The number of columns ``d`` that rows must have."""
        return len(self.w)

    def raw(self, X: Matrix) -> npt.NDArray[np.float64]:
        """Return w0 + Xw + 1/2 sum_f [(XV)_f^2 - (X^2)(V^2)_f] for rows ``(n, d)``: ``(n,)``.

        This is a rating for a regressor and a log-odds for a classifier.
        Raises DataError when X has another number of columns than the model.
        """
        if X.shape[1] != self.feature_dim:
            raise DataError(
                f"rows have {X.shape[1]} features, but the model has {self.feature_dim}"
            )
        squares = np.square(self.V, dtype=np.float64).sum(axis=1)
        blocks = [self._raw_block(block, squares) for block in _blocks(X)]
        return np.concatenate(blocks) if blocks else np.empty(0)

    def _raw_block(self, X: Matrix, squares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        sums: npt.NDArray[np.float32] = X @ self.V
        pairs = np.einsum("nf,nf->n", sums, sums, dtype=np.float64) - X.multiply(X) @ squares
        total: npt.NDArray[np.float64] = self.w0 + X @ self.w.astype(np.float64) + 0.5 * pairs
        return total

    def score(self, X: Matrix) -> npt.NDArray[np.float64]:
        """Return predicted ratings, or for a classifier probabilities of the label 1: ``(n,)``."""
        raw = self.raw(X)
        return sigmoid(raw) if self.predictor_type == "binary_classifier" else raw


def sigmoid(raw: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return 1 / (1 + exp(-raw)), without overflow for any raw."""
    small = np.exp(-np.abs(raw))
    result: npt.NDArray[np.float64] = np.where(raw >= 0, 1.0, small) / (1.0 + small)
    return result


def _blocks(X: Matrix) -> Iterator[Matrix]:
    for first in range(0, X.shape[0], BLOCK_ROWS):
        yield X[first : first + BLOCK_ROWS]
