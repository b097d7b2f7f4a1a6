"""What the scores of single events are judged by, objective by objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmrec.errors import EvaluationError
from fmrec.evaluation import baselines, metrics

Array = NDArray[np.float64]
Metric = Callable[[ArrayLike, ArrayLike], float]
Scale = tuple[float, float]

RANKING = "ranking"
"""The objective that is judged by lists: `fmrec.evaluation.ranking`."""


@dataclass(frozen=True)
class Objective:
    """The metrics of an objective, its main one first, and the range that predictions may take.

    `losses` are the main metric's terms per event; the metric is their mean or, with `root`, the
    square root of it. `clip` takes predictions and the rating scale.
    """

    metrics: Mapping[str, Metric]
    losses: Callable[[ArrayLike, ArrayLike], Array]
    root: bool
    clip: Callable[[ArrayLike, Scale], Array]
    clip_baseline: Callable[[ArrayLike, Scale], Array]

    @property
    def main_metric(self) -> str:
        """The metric that decides the verdict; less is better."""
        return next(iter(self.metrics))

    def measure(self, actual: ArrayLike, predicted: ArrayLike) -> dict[str, float]:
        """Every metric of the objective; predictions already within their range."""
        return {name: metric(actual, predicted) for name, metric in self.metrics.items()}


def _as_given(predicted: ArrayLike, scale: Scale) -> Array:
    return np.asarray(predicted, dtype=np.float64)


def _to_probability(predicted: ArrayLike, scale: Scale) -> Array:
    return baselines.clip_to_probability(predicted)


OBJECTIVES: Mapping[str, Objective] = {
    "rating": Objective(
        metrics={
            "rmse": metrics.rmse,
            "mae": metrics.mae,
            "calibration_error": metrics.calibration_error,
        },
        losses=metrics.squared_errors,
        root=True,
        clip=metrics.clip_to_scale,
        clip_baseline=metrics.clip_to_scale,
    ),
    "like": Objective(
        metrics={
            "cross_entropy": metrics.cross_entropy,
            "accuracy": metrics.accuracy,
            "f1": metrics.f1,
            "calibration_error": metrics.calibration_error,
            "auc": metrics.auc,
        },
        losses=metrics.log_losses,
        root=False,
        clip=_as_given,
        clip_baseline=_to_probability,
    ),
}


def objective(name: str) -> Objective:
    """The objective of that name; EvaluationError when it has no metrics."""
    try:
        return OBJECTIVES[name]
    except KeyError:
        known = ", ".join(repr(key) for key in (*OBJECTIVES, RANKING))
        raise EvaluationError(f"objective {name!r} has no metrics here: use {known}") from None
