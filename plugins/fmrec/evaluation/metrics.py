"""Error and classification metrics, as bare functions of two aligned arrays.

Every function takes float arrays of shape (n,), n >= 1, and raises ``EvaluationError`` when the
shapes differ, nothing is there to average, or a value is not finite: an average over whatever
happened to arrive is no metric. Where a metric is undefined the result is nan, and the docstring
says when.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from fmrec.errors import EvaluationError
from fmrec.evaluation import diagnostics

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


def f_beta(actual: ArrayLike, probability: ArrayLike, beta: float) -> float:
    """F measure of the positive class, (1 + b^2) TP / ((1 + b^2) TP + b^2 FN + FP); in [0, 1].

    It is the weighted harmonic mean of precision and recall in which recall counts `beta` times as
    much as precision. Positive means probability >= 0.5, as in `accuracy`. With no actual and no
    predicted positive the quotient is 0/0 and the result is nan.
    Source: van Rijsbergen, "Information Retrieval", 1979, chapter 7 (one minus his E measure).

    Raises EvaluationError also for a `beta` that is not a positive number.
    """
    if not 0 < beta < math.inf:
        raise EvaluationError(f"beta {beta} is not a positive number: 1 weighs both sides alike")
    truth, estimate = _binary(actual, probability)
    positive, liked = estimate >= DECISION_THRESHOLD, truth == 1
    found = (1 + beta**2) * np.count_nonzero(positive & liked)
    missed = beta**2 * np.count_nonzero(~positive & liked)
    total = found + missed + np.count_nonzero(positive & ~liked)
    return float(found / total) if total else math.nan


def f1(actual: ArrayLike, probability: ArrayLike) -> float:
    """`f_beta` with beta 1: 2 TP / (2 TP + FP + FN), precision and recall weighed alike."""
    return f_beta(actual, probability, 1)


def calibration_error(actual: ArrayLike, predicted: ArrayLike) -> float:
    """Expected calibration error: mean gap between prediction and truth over bins, by their size.

    The gap of a bin is |mean prediction - mean truth|, and each bin weighs as many rows as it has.
    It is in the unit of the truth: a difference of probabilities for labels, of stars for ratings.
    The bins are those of `diagnostics.calibration`: up to ten of about equal size, equal
    predictions together. It is 0 also for a constant prediction of the mean, so it says nothing of
    how well likes are told from the rest; with few rows in a bin chance alone makes it positive.
    Sources: Naeini, Cooper and Hauskrecht, AAAI 2015 (the error); Nguyen and O'Connor, EMNLP 2015
    (bins of equal size).
    """
    truth, estimate = _aligned(actual, predicted)
    rows = diagnostics.calibration(truth, estimate)
    gaps = [row["count"] * abs(row["predicted"] - row["actual"]) for row in rows]
    return math.fsum(gaps) / truth.size


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
        return math.nan
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
