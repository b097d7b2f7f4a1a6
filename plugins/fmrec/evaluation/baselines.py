"""What a model has to beat: the mean, and one bias per user and per item.

Both are fitted on the training events alone and answer for every event they are asked about.
Damping and sweeps are fixed: they were chosen by five-fold cross-validation inside the training
part of ML-100K u1 and have seen no test event (docs/decisions/0009-baselines-and-clipping.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmrec.errors import EvaluationError

DAMPING = 5.0
SWEEPS = 10
PROBABILITY_RANGE = (0.05, 0.95)


@dataclass(frozen=True)
class BiasModel:
    """mean + user bias + item bias; ids sorted ascending, biases aligned with them, float64."""

    mean: float
    user_ids: NDArray[np.int64]
    user_bias: NDArray[np.float64]
    item_ids: NDArray[np.int64]
    item_bias: NDArray[np.float64]

    def predict(self, users: ArrayLike, items: ArrayLike) -> NDArray[np.float64]:
        """Predictions of shape (n,), not clipped; the bias of an unknown user or item is 0."""
        user_part = _looked_up(self.user_ids, self.user_bias, np.asarray(users))
        item_part = _looked_up(self.item_ids, self.item_bias, np.asarray(items))
        return self.mean + user_part + item_part


def fit_biases(users: ArrayLike, items: ArrayLike, labels: ArrayLike) -> BiasModel:
    """Fit the bias model to n training events; all three arrays have shape (n,).

    Minimises sum (r - mean - b_u - b_i)^2 + 5 sum b_u^2 + 5 sum b_i^2 in 10 alternating sweeps,
    items first. Each step is a damped mean of what the other side leaves unexplained, so an id seen
    once moves a sixth of the way. Sources: Koren, "Factor in the neighbors", ACM TKDD 4(1), 2010,
    section 2.1 (the model); Hu, Koren and Volinsky, ICDM 2008 (alternating least squares).

    Raises EvaluationError when the shapes differ or there are no training events.
    """
    truth = np.asarray(labels, dtype=np.float64)
    user_column, item_column = np.asarray(users), np.asarray(items)
    if not (truth.shape == user_column.shape == item_column.shape) or truth.ndim != 1:
        raise EvaluationError(
            f"users {user_column.shape}, items {item_column.shape} and labels {truth.shape} "
            "must be three columns of the same training events"
        )
    if not truth.size:
        raise EvaluationError("there are no training events to fit a baseline on")
    user_ids, user = np.unique(user_column, return_inverse=True)
    item_ids, item = np.unique(item_column, return_inverse=True)
    user_weight = np.bincount(user) + DAMPING
    item_weight = np.bincount(item) + DAMPING
    mean = float(truth.mean())
    rest = truth - mean
    user_bias = np.zeros(user_ids.size)
    item_bias = np.zeros(item_ids.size)
    for _ in range(SWEEPS):
        item_bias = np.bincount(item, weights=rest - user_bias[user]) / item_weight
        user_bias = np.bincount(user, weights=rest - item_bias[item]) / user_weight
    return BiasModel(mean, user_ids, user_bias, item_ids, item_bias)


def clip_to_probability(predicted: ArrayLike) -> NDArray[np.float64]:
    """Predictions of a 0/1 label brought into [0.05, 0.95]; shape (n,).

    The bias model is linear and may leave [0, 1], where cross-entropy is infinite; a bound near 0
    or 1 would make the baseline look worse than it is (the decision note has the figures).
    """
    return np.clip(np.asarray(predicted, dtype=np.float64), *PROBABILITY_RANGE)


def _looked_up(
    ids: NDArray[np.int64], values: NDArray[np.float64], wanted: NDArray[np.int64]
) -> NDArray[np.float64]:
    place = np.minimum(np.searchsorted(ids, wanted), ids.size - 1)
    return np.where(ids[place] == wanted, values[place], 0.0)
