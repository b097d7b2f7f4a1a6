"""Error and classification metrics, as bare functions of two aligned arrays.

Every function takes float arrays of shape (n,), n >= 1, and raises ``EvaluationError`` when the
shapes differ, nothing is there to average, or a value is not finite: an average over whatever
happened to arrive is no metric. Where a metric is undefined the result is nan, and the docstring
says when.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from fmrec.errors import EvaluationError

DECISION_THRESHOLD = 0.5
PROBABILITY_FLOOR = 1e-15


def rmse(actual: ArrayLike, predicted: ArrayLike) -> float:
    """Root mean squared error, sqrt(mean((predicted - actual)^2)), in the unit of the ratings.

    Source: Herlocker et al., "Evaluating collaborative filtering recommender systems",
    ACM TOIS 22(1), 2004. SageMaker FM logs it as ``rmse``.
    """
    return float(np.sqrt(np.mean(squared_errors(actual, predicted))))


def mae(actual: ArrayLike, predicted: ArrayLike) -> float:
    """Mean absolute error, mean(|predicted - actual|), in the unit of the ratings.

    Source: as for `rmse`. SageMaker FM logs it as ``absolute_loss``.
    """
    truth, estimate = _aligned(actual, predicted)
    return float(np.mean(np.abs(estimate - truth)))


def accuracy(actual: ArrayLike, probability: ArrayLike) -> float:
    """Share of rows whose predicted class is the actual one; in [0, 1].

    A row is predicted positive when its probability is >= 0.5, as the SageMaker container
    labels it (``predicted_label``), so a probability of exactly 0.5 counts as positive.
    """
    truth, estimate = _binary(actual, probability)
    return float(np.mean((estimate >= DECISION_THRESHOLD) == (truth == 1)))


def cross_entropy(actual: ArrayLike, probability: ArrayLike) -> float:
    """Mean of -(y ln p + (1 - y) ln(1 - p)), in nats; 0 is perfect, ln 2 is a fair coin.

    p is clipped into [1e-15, 1 - 1e-15] first: a saturated single-precision sigmoid gives
    exactly 0 or 1, and one such row on the wrong side would make the mean infinite.
    Source: Murphy, "Machine Learning: a Probabilistic Perspective", 2012, section 8.3.
    """
    return float(np.mean(log_losses(actual, probability)))


def f1(actual: ArrayLike, probability: ArrayLike) -> float:
    """Harmonic mean of precision and recall of the positive class, 2 TP / (2 TP + FP + FN).

    Positive means probability >= 0.5, as in `accuracy`. With no actual and no predicted positive
    the quotient is 0/0 and the result is nan.
    Source: van Rijsbergen, "Information Retrieval", 1979, chapter 7 (E measure, beta = 1).
    """
    truth, estimate = _binary(actual, probability)
    positive = estimate >= DECISION_THRESHOLD
    hits = int(np.count_nonzero(positive & (truth == 1)))
    claims = int(np.count_nonzero(positive)) + int(np.count_nonzero(truth == 1))
    return 2 * hits / claims if claims else float("nan")


def auc(actual: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a random positive outscores a random negative.

    Only the order of the scores counts, so they need not be probabilities.

    Computed from ranks, (R - P (P + 1) / 2) / (P N), where R is the sum of the positives' ranks and
    tied scores share their mid-rank, so a tie counts one half. When every label is the same there
    is no pair to compare and the result is nan.
    Source: Hanley and McNeil, Radiology 143(1), 1982; Mann and Whitney, 1947.
    """
    truth, estimate = _labelled(actual, score)
    positives = int(np.count_nonzero(truth == 1))
    negatives = truth.size - positives
    if not positives or not negatives:
        return float("nan")
    rank_sum = float(rankdata(estimate)[truth == 1].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def squared_errors(actual: ArrayLike, predicted: ArrayLike) -> NDArray[np.float64]:
    """(predicted - actual)^2 per row; shape (n,). The terms whose mean `rmse` takes the root of."""
    truth, estimate = _aligned(actual, predicted)
    return np.square(estimate - truth)


def log_losses(actual: ArrayLike, probability: ArrayLike) -> NDArray[np.float64]:
    """-ln of the probability given to what happened, per row; shape (n,). See `cross_entropy`."""
    truth, estimate = _binary(actual, probability)
    clipped = np.clip(estimate, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    return -np.where(truth == 1, np.log(clipped), np.log1p(-clipped))


def clip_to_scale(predicted: ArrayLike, scale: tuple[float, float]) -> NDArray[np.float64]:
    """Ratings brought into the scale (low, high) on which the truth lies; shape (n,)."""
    return np.clip(np.asarray(predicted, dtype=np.float64), *scale)


def _aligned(
    actual: ArrayLike, predicted: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    truth = np.asarray(actual, dtype=np.float64)
    estimate = np.asarray(predicted, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != estimate.shape:
        raise EvaluationError(
            f"actual values have shape {truth.shape}, predictions {estimate.shape}: "
            "pass one prediction for each event"
        )
    if not truth.size:
        raise EvaluationError("there are no events to evaluate: widen the test window")
    for name, values in (("actual value", truth), ("prediction", estimate)):
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise EvaluationError(
                f"{name} {values[bad[0]]} in row {bad[0]} is not a finite number "
                f"({bad.size} such rows): repair them before evaluating"
            )
    return truth, estimate


def _labelled(
    actual: ArrayLike, score: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    truth, estimate = _aligned(actual, score)
    wrong = np.flatnonzero((truth != 0) & (truth != 1))
    if wrong.size:
        raise EvaluationError(
            f"label {truth[wrong[0]]} in row {wrong[0]} is neither 0 nor 1: "
            "classification metrics need binary labels"
        )
    return truth, estimate


def _binary(
    actual: ArrayLike, probability: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    truth, estimate = _labelled(actual, probability)
    outside = np.flatnonzero((estimate < 0) | (estimate > 1))
    if outside.size:
        raise EvaluationError(
            f"score {estimate[outside[0]]} in row {outside[0]} is not a probability: "
            "was the model trained as a regressor?"
        )
    return truth, estimate
