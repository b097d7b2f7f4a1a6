"""The equation of a second-order Factorization Machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fmrec.errors import DataError
from fmrec.fm import scoring

PredictorType = Literal["binary_classifier", "regressor"]
Matrix = sparse.csr_matrix[np.float32] | sparse.csr_array[np.float32, tuple[int, int]]


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
        """Return w0 + Xw + sum over i < j of <v_i, v_j> x_i x_j for rows ``(n, d)``: ``(n,)``.

        This is a rating for a regressor and a log-odds for a classifier. Sums are of float64.
        Raises DataError when X has another number of columns than the model.
        """
        if X.shape[1] != self.feature_dim:
            raise DataError(
                f"rows have {X.shape[1]} features, but the model has {self.feature_dim}"
            )
        return scoring.raw(X, self.w0, self.w, self.V)

    def score(self, X: Matrix) -> npt.NDArray[np.float64]:
        """Return predicted ratings, or for a classifier probabilities of the label 1: ``(n,)``."""
        raw = self.raw(X)
        return sigmoid(raw) if self.predictor_type == "binary_classifier" else raw


def sigmoid(raw: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return 1 / (1 + exp(-raw)), without overflow for any raw."""
    small = np.exp(-np.abs(raw))
    result: npt.NDArray[np.float64] = np.where(raw >= 0, 1.0, small) / (1.0 + small)
    return result
