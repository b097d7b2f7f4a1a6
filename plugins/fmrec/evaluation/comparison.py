"""Is one predictor better than another on the same events? A paired interval answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmrec.errors import EvaluationError

CONFIDENCE = 0.95
RESAMPLES = 2000
FEWEST_USERS = 30
"""With fewer users an interval is too narrow: over two, 23 in 100 lie above a zero that is true."""

Outcome = Literal["better", "worse", "undecided"]
Better = Literal["less", "more"]
Array = NDArray[np.float64]

# Users times resamples that are drawn at a time: some megabytes, whatever the number of users.
_BLOCK = 2**17
_MANTISSA = 53
_SPREAD = ("standard_error", "low", "high", "probability")


@dataclass(frozen=True)
class Comparison:
    """Candidate minus reference on a metric of which `better` says whether less or more is better.

    `low`..`high` is the 95 % interval of `difference`, and `probability` the share of resamples in
    which the candidate is better, where a tie counts half. These and `standard_error` are None with
    fewer than two users, where nothing can be resampled.
    """

    candidate: float
    reference: float
    difference: float
    standard_error: float | None
    low: float | None
    high: float | None
    users: int
    better: Better = "less"
    probability: float | None = None

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
    """Compare two predictors: `compare_all` with a single reference."""
    only = {"the reference": reference}
    found = compare_all(candidate, only, users, root=root, seed=seed, better=better)
    return found["the reference"]


def compare_all(
    candidate: ArrayLike,
    references: Mapping[str, ArrayLike],
    users: ArrayLike,
    *,
    root: bool,
    seed: int,
    better: Better = "less",
) -> dict[str, Comparison]:
    """Compare a predictor with each reference, by arrays of shape (n,) of losses, or of gains.

    Row i of all is the same event, or the same user where a metric has one value for each; gains
    go with better="more". The metric is the mean, or its square root with `root` (RMSE from squared
    errors). The interval is a percentile bootstrap that draws whole users with replacement, 2,000
    times: the events of one user err together, and drawing single events would make the interval
    too narrow. All predictors are judged on the same draws, so what they have in common cancels.

    The draws follow from `seed` and the number of users alone, and what they add up to is exact:
    an answer depends neither on which other references are asked about nor on the machine.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 13;
    Field and Welsh, "Bootstrapping clustered data", JRSS B 69(3), 2007; for `probability` Hastie,
    Tibshirani and Friedman, "The Elements of Statistical Learning", 2009, section 8.4.

    Raises EvaluationError when arrays are empty, not of one length, or hold NaN or infinity.
    """
    ours = np.asarray(candidate, dtype=np.float64)
    rivals = {name: np.asarray(each, dtype=np.float64) for name, each in references.items()}
    owner = np.asarray(users)
    for name, each in rivals.items():
        if not (ours.shape == each.shape == owner.shape) or ours.ndim != 1 or not ours.size:
            raise EvaluationError(
                f"values of shapes {ours.shape} (the candidate) and {each.shape} ({name}) with "
                f"users of shape {owner.shape}: a paired comparison needs one row per event, and "
                "at least one event"
            )
    for name, each in {"the candidate": ours, **rivals}.items():
        _check_finite(name, each, owner)
    people, index = np.unique(owner, return_inverse=True)
    sums = [np.bincount(index, weights=x).astype(np.float64) for x in (ours, *rivals.values())]
    figures = [_metric(float(each.sum()) / owner.size, root=root) for each in sums]
    spreads: list[dict[str, float | None]] = [dict.fromkeys(_SPREAD, None) for _ in rivals]
    if people.size > 1:
        draws = _differences(np.bincount(index), *sums, root=root, seed=seed)
        spreads = [_spread(each, better) for each in draws]
    return {
        name: Comparison(
            candidate=figures[0],
            reference=figure,
            difference=figures[0] - figure,
            users=int(people.size),
            better=better,
            **spread,
        )
        for name, figure, spread in zip(rivals, figures[1:], spreads, strict=True)
    }


def _check_finite(name: str, values: Array, owner: NDArray[np.generic]) -> None:
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        first = wrong[0]
        raise EvaluationError(
            f"{wrong.size} of {values.size} values of {name} are not finite, the first in row "
            f"{first} ({values[first]}, user {owner[first]}): no mean can be compared. Look for "
            "NaN or infinity in what it predicted."
        )


def _metric(mean: float, *, root: bool) -> float:
    return float(np.sqrt(mean)) if root else mean


def _differences(
    events: NDArray[np.intp], own: Array, *theirs: Array, root: bool, seed: int
) -> list[Array]:
    """Candidate minus reference in each resample, shape (RESAMPLES,), for each reference.

    Of the candidate and each reference the sum over each user's events, shape (users,).
    """
    size = own.size
    columns, exponents = _on_grid(
        [events.astype(np.float64), own, *(own - each for each in theirs)]
    )
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // size)
    totals = np.empty((RESAMPLES, len(columns)))
    for first in range(0, RESAMPLES, step):
        count = min(step, RESAMPLES - first)
        drawn = rng.integers(size, size=(count, size))
        drawn += np.arange(0, count * size, size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size)
        # Not a matrix product, whose threads spin longer than such a thin one takes.
        np.einsum("ru,cu->rc", times.astype(np.float64), columns, out=totals[first : first + count])
    weight, ours, *apart = np.ldexp(totals, exponents).T
    if not root:
        return [each / weight for each in apart]
    # sqrt(a) - sqrt(b) = (a - b) / (sqrt(a) + sqrt(b)), which is 0 where a and b are the same.
    return [
        np.divide(each, scale, out=np.zeros_like(each), where=scale > 0)
        for each in apart
        for scale in [np.sqrt(weight) * (np.sqrt(ours) + np.sqrt(np.maximum(ours - each, 0)))]
    ]


def _on_grid(columns: list[Array]) -> tuple[Array, NDArray[np.int32]]:
    """Each column rounded to whole multiples of a power of two; those, and the powers' exponents.

    The sum of as many multiples as there are users then has at most 53 bits: floating point adds
    them up exactly, in whatever order a library or a processor likes best. Rounding costs 2**-53 of
    the largest value times the number of users, which is far below what a resample tells.
    """
    values = np.stack(columns)
    _, largest = np.frexp(np.abs(values).max(axis=1))
    exponents = largest + np.frexp(float(values.shape[1]))[1] - _MANTISSA
    return np.rint(np.ldexp(values, -exponents[:, None])), exponents


def _spread(draws: Array, better: Better) -> dict[str, float | None]:
    """What the differences in all resamples say, by the names of `_SPREAD`."""
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(x) for x in np.quantile(draws, [tail, 1 - tail]))
    wins = np.count_nonzero(draws < 0 if better == "less" else draws > 0)
    ties = np.count_nonzero(draws == 0)
    values = float(draws.std(ddof=1)), low, high, (wins + ties / 2) / draws.size
    return dict(zip(_SPREAD, values, strict=True))
