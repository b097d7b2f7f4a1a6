"""Where predictions go wrong: calibration by predicted value, residuals by actual rating."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CALIBRATION_BINS = 10


def calibration(
    actual: NDArray[np.float64], predicted: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Mean prediction beside mean truth in up to ten bins of about equal size, ascending.

    Bin edges are the deciles of the predictions; equal predictions share a bin, so a constant
    predictor has one. A calibrated model has both means equal in every bin.
    Source: DeGroot and Fienberg, "The comparison and evaluation of forecasters", 1983.
    """
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, predicted, side="left")
    counts = np.bincount(bins)
    predicted_sums = np.bincount(bins, weights=predicted)
    actual_sums = np.bincount(bins, weights=actual)
    return [
        {
            "count": int(counts[b]),
            "predicted": float(predicted_sums[b] / counts[b]),
            "actual": float(actual_sums[b] / counts[b]),
        }
        for b in np.flatnonzero(counts)
    ]


def residuals_by_rating(
    ratings: NDArray[np.float64], actual: NDArray[np.float64], predicted: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Spread of predicted - actual for each rating that was given, ascending.

    `actual` is the label: the rating itself, or 0/1. Each row has the count, the mean, and the
    5 %, 25 %, 50 %, 75 % and 95 % quantiles; a positive residual is a prediction that is too high.
    """
    rows = []
    for rating in np.unique(ratings):
        residual = (predicted - actual)[ratings == rating]
        q05, q25, median, q75, q95 = (
            float(q) for q in np.quantile(residual, [0.05, 0.25, 0.5, 0.75, 0.95])
        )
        rows.append(
            {
                "rating": float(rating),
                "count": int(residual.size),
                "mean": float(residual.mean()),
                "q05": q05,
                "q25": q25,
                "median": median,
                "q75": q75,
                "q95": q95,
            }
        )
    return rows
