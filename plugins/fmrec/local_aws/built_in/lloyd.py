"""Lloyd's algorithm over weighted points, with random or k-means++ start.

Sources: Lloyd, "Least squares quantization in PCM", 1982; Arthur and Vassilvitskii, "k-means++: The
Advantages of Careful Seeding", SODA 2007.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

# Distances computed at a time: 32 MiB.
CELLS = 1 << 22

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Start = Literal["random", "kmeans++"]


@dataclass(frozen=True)
class Lloyd:
    """How to iterate: until the loss falls by less than ``tol`` of itself, or ``most`` times."""

    start: Start
    most: int
    tol: float


def nearest(X: npt.NDArray[np.floating], centers: Array) -> tuple[Index, Array]:
    """Return for each row of ``X`` ``(n, d)`` the closest center and the squared distance to it.

    Of centers at the same distance the first counts. Sums are of float64 and made from the
    differences, so that they do not suffer from the size of the coordinates.
    """
    # Coordinates far from zero would hide small distances in |x|^2 - 2xc + |c|^2.
    middle = centers.mean(axis=0)
    moved = centers - middle
    squares = np.square(moved).sum(axis=1)
    closest = np.empty(len(X), np.int64)
    distances = np.empty(len(X))
    step = max(1, CELLS // max(centers.shape))
    for first in range(0, len(X), step):
        part = X[first : first + step] - middle
        found = np.argmin(squares - 2 * part @ moved.T, axis=1)
        closest[first : first + step] = found
        distances[first : first + step] = np.square(part - moved[found]).sum(axis=1)
    return closest, distances


def start(points: Array, weights: Array, k: int, how: Start, rng: np.random.Generator) -> Array:
    """Return ``k`` of the points ``(n, d)``, n at least k, to begin with."""
    if how == "random":
        return points[rng.choice(len(points), k, replace=False)].copy()
    taken = [int(rng.choice(len(points), p=weights / weights.sum()))]
    distances = np.square(points - points[taken[0]]).sum(axis=1)
    while len(taken) < k:
        chances = weights * distances
        total = chances.sum()
        if total <= 0:
            # Every point coincides with one that was taken.
            left = np.setdiff1d(np.arange(len(points)), taken)
            taken += rng.choice(left, k - len(taken), replace=False).tolist()
            break
        taken.append(int(rng.choice(len(points), p=chances / total)))
        np.minimum(distances, np.square(points - points[taken[-1]]).sum(axis=1), out=distances)
    return points[taken].copy()


def lloyd(
    points: Array,
    weights: Array,
    k: int,
    how: Lloyd,
    rng: np.random.Generator,
    stop: threading.Event,
) -> tuple[Array, float]:
    """Return ``k`` centers of the points and the weighted mean of the squared distances to them.

    ``weights`` ``(n,)`` are positive. A stop ends it with the centers of that moment.
    """
    centers = start(points, weights, k, how.start, rng)
    closest, distances = nearest(points, centers)
    loss = float(weights @ distances / weights.sum())
    for _ in range(how.most):
        if stop.is_set():
            break
        centers = _means(points, weights, closest, weights * distances, k)
        closest, distances = nearest(points, centers)
        before, loss = loss, float(weights @ distances / weights.sum())
        if before - loss <= how.tol * before:
            break
    return centers, loss


def _means(points: Array, weights: Array, closest: Index, losses: Array, k: int) -> Array:
    """Return the mean of each cluster; an empty one goes to a point that costs most."""
    totals = np.bincount(closest, weights, minlength=k)
    members = sparse.csr_array((weights, (closest, np.arange(len(points)))), (k, len(points)))
    means: Array = (members @ points) / np.maximum(totals, np.finfo(np.float64).tiny)[:, None]
    empty = np.flatnonzero(totals == 0)
    if empty.size:
        means[empty] = points[np.argsort(-losses, kind="stable")[: empty.size]]
    return means
