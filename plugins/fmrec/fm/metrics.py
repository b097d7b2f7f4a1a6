"""The built-in algorithm's metrics, summed up batch by batch."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fmrec.fm.model import PredictorType

Array = npt.NDArray[np.floating]


class Score(Protocol):
    """Sums over rows seen so far."""

    def add(self, raw: Array, labels: Array) -> None:
        """Count rows: raw outputs and labels, both ``(n,)``."""

    def values(self) -> dict[str, float]:
        """Return the metrics over all rows counted, in the order the container logs them."""


class RegressorScore:
    """Root mean squared error, mean squared error and mean absolute error."""

    def __init__(self) -> None:
        self._rows, self._squared, self._absolute = 0, 0.0, 0.0

    def add(self, raw: Array, labels: Array) -> None:
        """Count rows: predicted and true values."""
        error = raw.astype(np.float64) - labels
        self._rows += len(error)
        self._squared += float(error @ error)
        self._absolute += float(np.abs(error).sum())

    def values(self) -> dict[str, float]:
        """Return ``rmse``, ``mse`` and ``absolute_loss``; NaN without rows."""
        mse = _ratio(self._squared, self._rows)
        absolute = _ratio(self._absolute, self._rows)
        return {"rmse": math.sqrt(mse), "mse": mse, "absolute_loss": absolute}


class ClassifierScore:
    """Accuracy, cross-entropy and F1; a probability of 0.5 or more predicts the label 1."""

    def __init__(self) -> None:
        self._rows, self._hits, self._loss = 0, 0, 0.0
        self._predicted, self._actual, self._both = 0, 0, 0

    def add(self, raw: Array, labels: Array) -> None:
        """Count rows: log-odds and labels that are 0 or 1."""
        odds = raw.astype(np.float64)
        predicted, actual = odds >= 0, labels > 0
        self._rows += len(odds)
        self._hits += int((predicted == actual).sum())
        self._loss += float((np.logaddexp(0, odds) - odds * labels).sum())
        self._predicted += int(predicted.sum())
        self._actual += int(actual.sum())
        self._both += int((predicted & actual).sum())

    def values(self) -> dict[str, float]:
        """Return accuracy, cross-entropy (nats) and F1 (0 when nothing is or should be 1)."""
        positives = self._predicted + self._actual
        return {
            "binary_classification_accuracy": _ratio(self._hits, self._rows),
            "binary_classification_cross_entropy": _ratio(self._loss, self._rows),
            "binary_f_1.000": 2 * self._both / positives if positives else 0.0,
        }


def score_for(predictor_type: PredictorType) -> Score:
    """Return empty sums for a kind of model."""
    return RegressorScore() if predictor_type == "regressor" else ClassifierScore()


def tag(metric: str) -> str:
    """Return how the container marks a metric in its log: as a loss or as a score."""
    higher_is_better = metric in ("binary_classification_accuracy", "binary_f_1.000")
    return "<score>" if higher_is_better else "<loss>"


def _ratio(total: float, rows: int) -> float:
    return total / rows if rows else math.nan
