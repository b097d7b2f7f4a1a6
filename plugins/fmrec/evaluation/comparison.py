"""Is one predictor better than another on the same events? A paired interval answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmrec.errors import EvaluationError

CONFIDENCE = 0.95
RESAMPLES = 2000

Outcome = Literal["better", "worse", "undecided"]
Better = Literal["less", "more"]


@dataclass(frozen=True)
class Comparison:
    """Candidate minus reference on a metric of which `better` says whether less or more is better.

    `low`..`high` is the 95 % interval of `difference`; all three of it and `standard_error` are
    None with fewer than two users, where nothing can be resampled.
    """

    candidate: float
    reference: float
    difference: float
    standard_error: float | None
    low: float | None
    high: float | None
    users: int
    better: Better = "less"

    @property
    def outcome(self) -> Outcome:
        """Better or worse only when the whole interval lies on one side of zero."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return "undecided"
        return "better" if (self.high < 0) == (self.better == "less") else "worse"


def compare(
    candidate: ArrayLike,
    reference: ArrayLike,
    users: ArrayLike,
    *,
    root: bool,
    seed: int,
    better: Better = "less",
) -> Comparison:
    """Compare two arrays of shape (n,) of losses, or of gains with better="more".

    Row i of both is the same event, or the same user where a metric has one value for each. The
    metric is the mean, or its square root with `root` (RMSE from squared errors). The
    interval is a percentile bootstrap that draws whole users with replacement, 2,000 times: the
    events of one user err together, and drawing single events would make the interval too narrow.
    Both predictors are judged on each draw, so what they have in common cancels.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 13;
    Field and Welsh, "Bootstrapping clustered data", JRSS B 69(3), 2007.

    Raises EvaluationError when the three arrays are not of one length or are empty.
    """
    ours = np.asarray(candidate, dtype=np.float64)
    theirs = np.asarray(reference, dtype=np.float64)
    owner = np.asarray(users)
    if not (ours.shape == theirs.shape == owner.shape) or ours.ndim != 1 or not ours.size:
        raise EvaluationError(
            f"values of shapes {ours.shape} and {theirs.shape} with users of shape {owner.shape}: "
            "a paired comparison needs one row per event, and at least one event"
        )
    names, index = np.unique(owner, return_inverse=True)
    sums = np.array(
        [np.bincount(index, weights=x) for x in (ours, theirs, np.ones_like(ours))],
        dtype=np.float64,
    )
    whole = _metrics(sums.sum(axis=1), root=root)
    error = low = high = None
    if names.size > 1:
        draws = _differences(sums, root=root, rng=np.random.default_rng(seed))
        error = float(draws.std(ddof=1))
        tail = (1 - CONFIDENCE) / 2
        low, high = (float(x) for x in np.quantile(draws, [tail, 1 - tail]))
    return Comparison(
        candidate=float(whole[0]),
        reference=float(whole[1]),
        difference=float(whole[0] - whole[1]),
        standard_error=error,
        low=low,
        high=high,
        users=int(names.size),
        better=better,
    )


def _differences(
    sums: NDArray[np.float64], *, root: bool, rng: np.random.Generator
) -> NDArray[np.float64]:
    size = sums.shape[1]
    draws = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        times = np.bincount(rng.integers(size, size=size), minlength=size)
        ours, theirs = _metrics(sums @ times, root=root)
        draws[i] = ours - theirs
    return draws


def _metrics(totals: NDArray[np.float64], *, root: bool) -> NDArray[np.float64]:
    means: NDArray[np.float64] = totals[:2] / totals[2]
    return np.sqrt(means) if root else means
