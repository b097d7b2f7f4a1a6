"""Implicit alternating least squares: user and item factors of a whole catalogue.

Minimises, over the factors ``U (n, k)`` and ``V (m, k)``,

    sum over rated (u,i) of (g_ui - <U_u, V_i>)^2  +  a sum over all (u,i) of <U_u, V_i>^2
    +  r ( sum_u (n_u + a m) |U_u|^2  +  sum_i (n_i + a n) |V_i|^2 )

where g is the graded target, n_u and n_i count ratings, a is the weight of what was not rated and
r the regularisation, scaled by frequency (Hu, Koren, Volinsky, "Collaborative Filtering for
Implicit Feedback Datasets", ICDM 2008; Rendle, Krichene, Zhang, Koren, "Revisiting the Performance
of iALS on Item Recommendation Benchmarks", RecSys 2022, with their exponent at 1).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from fmrec.fm.model import Matrix

Doubles = npt.NDArray[np.float64]

# Rows solved at a time: bounds the (rows, k, k) systems.
BLOCK_ROWS = 256


def factorise(
    targets: Matrix,
    V: Doubles,
    *,
    sweeps: int,
    regularisation: float,
    unobserved_weight: float,
    stopped: Callable[[], bool],
) -> tuple[Doubles, Doubles] | None:
    """Return U ``(n, k)`` and V ``(m, k)`` after ``sweeps`` of solving for one, then the other.

    ``targets`` is (n, m) with the grades of what was rated; ``V`` (m, k) is where to start. None
    when ``stopped()`` was true before the end, asked once a sweep.
    """
    by_user: Matrix = targets.tocsr()
    by_item: Matrix = targets.T.tocsr()
    U = np.zeros((by_user.shape[0], V.shape[1]))
    for _ in range(sweeps):
        if stopped():
            return None
        U = solve(by_user, V, regularisation, unobserved_weight)
        V = solve(by_item, U, regularisation, unobserved_weight)
    return U, V


def solve(targets: Matrix, V: Doubles, regularisation: float, unobserved_weight: float) -> Doubles:
    """Return the best factors ``(n, k)`` of the rows of ``targets`` (n, m), given those of columns.

    A row without entries gets zeros, as does every row while ``V`` is zero.
    """
    n, m = targets.shape
    k = V.shape[1]
    counts = np.diff(targets.indptr)
    everywhere = unobserved_weight * (V.T @ V)
    diagonal = np.arange(k)
    found = np.zeros((n, k))
    for first in range(0, n, BLOCK_ROWS):
        last = min(first + BLOCK_ROWS, n)
        systems = np.empty((last - first, k, k))
        right = np.empty((last - first, k, 1))
        for row in range(first, last):
            entries = slice(targets.indptr[row], targets.indptr[row + 1])
            rated = V[targets.indices[entries]]
            systems[row - first] = rated.T @ rated
            right[row - first, :, 0] = targets.data[entries] @ rated
        systems += everywhere
        penalties = regularisation * (counts[first:last] + unobserved_weight * m)
        # Without any regularisation a system of few ratings would be singular.
        systems[:, diagonal, diagonal] += np.maximum(penalties, 1e-9)[:, None]
        found[first:last] = np.linalg.solve(systems, right)[:, :, 0]
    return found
