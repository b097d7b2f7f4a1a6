"""The built-in algorithm's metrics, summed up batch by batch."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fmrec.fm.model import PredictorType

Array = npt.NDArray[np.floating]
Sums = npt.NDArray[np.float64]


class Score(Protocol):
    """Sums over rows seen so far."""

    def add(self, raw: Array, labels: Array) -> None:
        """Count rows: raw outputs and labels, both ``(n,)``."""

    def values(self) -> dict[str, float]:
        """Return the metrics over all rows counted, in the order the container logs them."""

    def sums(self) -> Sums:
        """Return what was summed up, the number of rows first."""

    def merge(self, sums: Sums) -> None:
        """Count the rows that another score has counted; ``sums`` is what it returned."""


class RegressorScore:
    """Root mean squared error, mean squared error and mean absolute error."""

    def __init__(self) -> None:
        self._sums = np.zeros(3)

    def add(self, raw: Array, labels: Array) -> None:
        """Count rows: predicted and true values."""
        error = raw.astype(np.float64) - labels
        # No dot product: BLAS would wake its threads for it, which costs more than the sum.
        self._sums += len(error), np.square(error).sum(), np.abs(error).sum()

    def values(self) -> dict[str, float]:
        """Return ``rmse``, ``mse`` and ``absolute_loss``; NaN without rows."""
        rows, squared, absolute = self._sums.tolist()
        mse = _ratio(squared, rows)
        return {"rmse": math.sqrt(mse), "mse": mse, "absolute_loss": _ratio(absolute, rows)}

    def sums(self) -> Sums:
        """Return rows, squared and absolute errors."""
        return self._sums.copy()

    def merge(self, sums: Sums) -> None:
        """Count the rows of another score."""
        self._sums += sums


class ClassifierScore:
    """Accuracy, cross-entropy and F1; a probability of 0.5 or more predicts the label 1."""

    def __init__(self) -> None:
        self._sums = np.zeros(6)

    def add(self, raw: Array, labels: Array) -> None:
        """Count rows: log-odds and labels that are 0 or 1."""
        odds = raw.astype(np.float64)
        predicted, actual = odds >= 0, labels > 0
        # log(1 + exp(odds)) without overflow.
        loss = np.maximum(odds, 0) + np.log1p(np.exp(-np.abs(odds))) - odds * labels
        hits, both = (predicted == actual).sum(), (predicted & actual).sum()
        self._sums += len(odds), hits, loss.sum(), predicted.sum(), actual.sum(), both

    def values(self) -> dict[str, float]:
        """Return accuracy, cross-entropy (nats) and F1 (0 when nothing is or should be 1)."""
        rows, hits, loss, predicted, actual, both = self._sums.tolist()
        positives = predicted + actual
        return {
            "binary_classification_accuracy": _ratio(hits, rows),
            "binary_classification_cross_entropy": _ratio(loss, rows),
            "binary_f_1.000": 2 * both / positives if positives else 0.0,
        }

    def sums(self) -> Sums:
        """Return rows, hits, loss, and rows: predicted to be 1, that are 1, both."""
        return self._sums.copy()

    def merge(self, sums: Sums) -> None:
        """Count the rows of another score."""
        self._sums += sums


def score_for(predictor_type: PredictorType) -> Score:
    """Return empty sums for a kind of model."""
    return RegressorScore() if predictor_type == "regressor" else ClassifierScore()


def _ratio(total: float, rows: float) -> float:
    return total / rows if rows else math.nan
