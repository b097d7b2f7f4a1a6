"""Raw scores of many rows, every sum in double precision.

Two ways that agree to rounding: numpy and scipy, which are at hand, and machine code, which is
several times as fast but takes half a second to load. Large requests seldom come alone, so they
take the second; which one it is depends on the request alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fmrec.fm.machine_code import machine_code

if TYPE_CHECKING:
    from fmrec.fm.model import Matrix

# Non-zeros times factors from which machine code is taken: numpy does as much in about 25 ms.
KERNEL_FROM = 50_000_000
# Doubles in the (rows, factors) intermediate of numpy: half of a small second-level cache.
_BLOCK = 1 << 16

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

# Reordering sums is what vector instructions need; infinities and NaN keep their meaning.
_FASTMATH = {"reassoc", "contract", "arcp", "nsz"}


def raw(X: Matrix, w0: float, w: Floats, V: Floats) -> Doubles:
    """Return w0 + Xw + sum over i < j of <v_i, v_j> x_i x_j for rows ``(n, d)``: ``(n,)``.

    ``w`` is ``(d,)`` and ``V`` ``(d, k)``. Entries of one row and column count as their sum.
    """
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    large = X.nnz * V.shape[1] >= KERNEL_FROM
    return (_by_kernel if large else _by_numpy)(X, w0, w, V)


def _by_numpy(X: Matrix, w0: float, w: Floats, V: Floats) -> Doubles:
    """The sum over pairs as 1/2 sum_f [(XV)_f^2 - (X^2)(V^2)_f] (Rendle, ICDM 2010, lemma 3.1)."""
    columns: Any = slice(None)
    place: npt.NDArray[np.signedinteger] = X.indices
    if X.nnz < len(w):
        # A request of few rows must not cost a copy of the whole model.
        columns, place = np.unique(X.indices, return_inverse=True)
    weights, factors = w[columns].astype(np.float64), V[columns].astype(np.float64)
    rows = sparse.csr_matrix(
        (X.data.astype(np.float64), place, X.indptr), shape=(X.shape[0], len(weights))
    )
    total: Doubles = w0 + rows @ weights
    squares = np.einsum("df,df->d", factors, factors)
    total -= 0.5 * (rows.multiply(rows) @ squares)
    step = max(1, _BLOCK // max(1, V.shape[1]))
    for first in range(0, len(total), step):
        sums = rows[first : first + step] @ factors
        total[first : first + step] += 0.5 * np.einsum("nf,nf->n", sums, sums)
    return total


def _by_kernel(X: Matrix, w0: float, w: Floats, V: Floats) -> Doubles:
    total = np.empty(X.shape[0])
    compiled()(
        X.indptr.astype(np.int64, copy=False),
        X.indices.astype(np.int32, copy=False),
        X.data.astype(np.float64),
        w0,
        np.require(w, np.float32, ["C", "A"]),
        np.require(V, np.float32, ["C", "A"]),
        total,
    )
    return total


@functools.cache
def compiled() -> Callable[..., None]:
    """Return the machine code of ``_run``."""
    import numba  # noqa: PLC0415 - a server of small requests never needs it

    def given(kind: Any, axes: int = 1) -> Any:
        # A model read from a file, or shared between processes, may be read-only.
        return numba.types.Array(kind, axes, "C", readonly=True)

    f4, f8 = numba.types.float32, numba.types.float64
    signature = numba.types.void(
        given(numba.types.int64), given(numba.types.int32), given(f8),  # rows
        f8, given(f4), given(f4, 2),  # parameters
        f8[::1],  # output
    )  # fmt: skip
    code: Callable[..., None] = machine_code(_run, signature, fastmath=_FASTMATH)
    return code


def _run(
    indptr: npt.NDArray[np.int64],
    indices: npt.NDArray[np.int32],
    values: Doubles,
    w0: float,
    w: Floats,
    V: Floats,
    total: Doubles,
) -> None:
    """Each entry times all that stand before it in its row, two at a time.

    Nothing is subtracted, so nothing cancels; and two entries alone are one inner product.
    """
    factors = V.shape[1]
    sums = np.empty(factors)
    for row in range(len(total)):
        first, last = indptr[row], indptr[row + 1]
        score = w0
        for entry in range(first, last):
            score += w[indices[entry]] * values[entry]
        if last - first == 2:
            i, j = indices[first], indices[first + 1]
            inner = 0.0
            for f in range(factors):
                inner += np.float64(V[i, f]) * np.float64(V[j, f])
            total[row] = score + inner * values[first] * values[first + 1]
            continue
        sums[:] = 0.0
        for entry in range(first, last - 1, 2):
            i, j = indices[entry], indices[entry + 1]
            x, y = values[entry], values[entry + 1]
            for f in range(factors):
                a, b = V[i, f] * x, V[j, f] * y
                score += sums[f] * (a + b) + a * b
                sums[f] += a + b
        if (last - first) % 2:
            i, x = indices[last - 1], values[last - 1]
            for f in range(factors):
                score += sums[f] * (V[i, f] * x)
        total[row] = score
