"""Compiled parts of a Gibbs sweep over a Factorization Machine.

One coordinate at a time: with e = prediction - target and h = d prediction / d theta, theta is
drawn from N((alpha sum h (h theta - e) + lambda mu) / p, 1 / p), p = alpha sum h^2 + lambda, and e
moves by h (theta' - theta) (Rendle, "Factorization Machines with libFM", ACM TIST 3(3), 2012).

Columns that belong to a user or an item alone are not touched row by row. For factor f, row r of
block row b has q = q_b + o_r, and h = x (q_b - x v + o_r); so sums over the rows of b need only its
sums of 1, o, o^2, e and o e (weighted by the precision of the rows' noise), and moving v moves
these in closed form. One pass over the rows before a block and one after it are all that its width
costs (Rendle, "Scaling Factorization Machines to Relational Data", VLDB 2013).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from fmrec.fm.machine_code import machine_code

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]

# What is known of a block row while its block is sampled; one cache line.
ROWS, O, OO, E, OE, Q, SHIFT, SLOPE = range(8)  # noqa: E741
FIELDS = 8

_COLUMNS = "i8[::1], i4[::1], f4[::1]"
_PRIOR = "f8[::1], f8[::1], f8, f8[::1]"
_NOISE = "i4[::1], f8[::1]"  # the user of each row, and the weight of each user's rows
_SIGNATURES = {
    "moments": "void(i4[::1], f8[::1], f8[:,::1])",
    "gather": f"void(i4[::1], {_NOISE}, f8[::1], f8[::1], f8[:,::1])",
    "scatter": "void(i4[::1], f8[:,::1], f8[::1], f8[::1])",
    "block_factor": f"void({_COLUMNS}, f8[::1], {_PRIOR}, f8[:,::1])",
    "block_linear": f"void({_COLUMNS}, f8[::1], {_PRIOR}, f8[:,::1])",
    "main_factor": f"void({_COLUMNS}, f8[::1], {_PRIOR}, {_NOISE}, f8[::1], f8[::1])",
    "main_linear": f"void({_COLUMNS}, f8[::1], {_PRIOR}, {_NOISE}, f8[::1])",
    "add_product": f"void({_COLUMNS}, f8[::1], f8[::1])",
    "add_rows": "void(i4[::1], f8[::1], f8[::1])",
}


def moments(user: Int32s, e: Doubles, sums: Doubles) -> None:
    """Add e and e^2 of each user's rows to ``sums`` (2, users)."""
    for r in range(user.size):
        sums[0, user[r]] += e[r]
        sums[1, user[r]] += e[r] * e[r]


def gather(
    owner: Int32s, user: Int32s, omega: Doubles, e: Doubles, q: Doubles, state: Doubles
) -> None:
    """Sum up, for each block row, what its rows hold; q_b of each must be in ``state``."""
    for b in range(state.shape[0]):
        state[b, O] = state[b, OO] = state[b, E] = state[b, OE] = 0.0
        state[b, SHIFT] = state[b, SLOPE] = state[b, ROWS] = 0.0
    for r in range(owner.size):
        b = owner[r]
        o = q[r] - state[b, Q]
        g = omega[user[r]]
        state[b, ROWS] += g
        state[b, O] += g * o
        state[b, OO] += g * o * o
        state[b, E] += g * e[r]
        state[b, OE] += g * o * e[r]


def scatter(owner: Int32s, state: Doubles, e: Doubles, q: Doubles) -> None:
    """Move e and q of each row as its block row has moved."""
    for r in range(owner.size):
        b = owner[r]
        slope = state[b, SLOPE]
        # o = q - q_b, with both as they were before the block moved.
        e[r] += state[b, SHIFT] + slope * (q[r] - (state[b, Q] - slope))
        q[r] += slope


def block_factor(
    indptr: Int64s,
    rows: Int32s,
    values: Floats,
    v: Doubles,
    mean: Doubles,
    precision: Doubles,
    alpha: float,
    normal: Doubles,
    state: Doubles,
) -> None:
    """Draw one factor of each column of a block; mean, precision and normal are per column."""
    for j in range(v.size):
        old = v[j]
        hh = he = 0.0
        for p in range(indptr[j], indptr[j + 1]):
            b, x = rows[p], np.float64(values[p])
            t = state[b, Q] - x * old
            hh += x * x * (t * (state[b, ROWS] * t + 2.0 * state[b, O]) + state[b, OO])
            he += x * (t * state[b, E] + state[b, OE])
        p_j = alpha * hh + precision[j]
        new = (alpha * (hh * old - he) + precision[j] * mean[j]) / p_j + normal[j] / np.sqrt(p_j)
        v[j] = new
        step = new - old
        for p in range(indptr[j], indptr[j + 1]):
            b, x = rows[p], np.float64(values[p])
            t = state[b, Q] - x * old
            move = x * step
            state[b, E] += move * (state[b, ROWS] * t + state[b, O])
            state[b, OE] += move * (t * state[b, O] + state[b, OO])
            state[b, SHIFT] += move * t
            state[b, SLOPE] += move
            state[b, Q] += move


def block_linear(
    indptr: Int64s,
    rows: Int32s,
    values: Floats,
    w: Doubles,
    mean: Doubles,
    precision: Doubles,
    alpha: float,
    normal: Doubles,
    state: Doubles,
) -> None:
    """Draw the linear weight of each column of a block."""
    for j in range(w.size):
        old = w[j]
        hh = he = 0.0
        for p in range(indptr[j], indptr[j + 1]):
            b, x = rows[p], np.float64(values[p])
            hh += x * x * state[b, ROWS]
            he += x * state[b, E]
        p_j = alpha * hh + precision[j]
        new = (alpha * (hh * old - he) + precision[j] * mean[j]) / p_j + normal[j] / np.sqrt(p_j)
        w[j] = new
        for p in range(indptr[j], indptr[j + 1]):
            b, move = rows[p], np.float64(values[p]) * (new - old)
            state[b, E] += move * state[b, ROWS]
            state[b, SHIFT] += move


def main_factor(
    indptr: Int64s,
    rows: Int32s,
    values: Floats,
    v: Doubles,
    mean: Doubles,
    precision: Doubles,
    alpha: float,
    normal: Doubles,
    user: Int32s,
    omega: Doubles,
    e: Doubles,
    q: Doubles,
) -> None:
    """Draw one factor of each column that stands in rows of its own."""
    for j in range(v.size):
        old = v[j]
        hh = he = 0.0
        for p in range(indptr[j], indptr[j + 1]):
            r, x = rows[p], np.float64(values[p])
            h = x * (q[r] - x * old)
            g = omega[user[r]]
            hh += g * h * h
            he += g * h * e[r]
        p_j = alpha * hh + precision[j]
        new = (alpha * (hh * old - he) + precision[j] * mean[j]) / p_j + normal[j] / np.sqrt(p_j)
        v[j] = new
        step = new - old
        for p in range(indptr[j], indptr[j + 1]):
            r, x = rows[p], np.float64(values[p])
            e[r] += x * (q[r] - x * old) * step
            q[r] += x * step


def main_linear(
    indptr: Int64s,
    rows: Int32s,
    values: Floats,
    w: Doubles,
    mean: Doubles,
    precision: Doubles,
    alpha: float,
    normal: Doubles,
    user: Int32s,
    omega: Doubles,
    e: Doubles,
) -> None:
    """Draw the linear weight of each column that stands in rows of its own."""
    for j in range(w.size):
        old = w[j]
        hh = he = 0.0
        for p in range(indptr[j], indptr[j + 1]):
            r, x = rows[p], np.float64(values[p])
            g = omega[user[r]]
            hh += g * x * x
            he += g * x * e[r]
        p_j = alpha * hh + precision[j]
        new = (alpha * (hh * old - he) + precision[j] * mean[j]) / p_j + normal[j] / np.sqrt(p_j)
        w[j] = new
        for p in range(indptr[j], indptr[j + 1]):
            e[rows[p]] += np.float64(values[p]) * (new - old)


def add_product(indptr: Int64s, rows: Int32s, values: Floats, v: Doubles, out: Doubles) -> None:
    """Add X v to ``out``, X given by its columns."""
    for j in range(v.size):
        for p in range(indptr[j], indptr[j + 1]):
            out[rows[p]] += np.float64(values[p]) * v[j]


def add_rows(owner: Int32s, of_block: Doubles, out: Doubles) -> None:
    """Add to each row what its block row holds."""
    for r in range(owner.size):
        out[r] += of_block[owner[r]]


@functools.cache
def compiled() -> dict[str, Callable[..., None]]:
    """Return the machine code of each kernel by name."""
    return {
        name: machine_code(globals()[name], signature) for name, signature in _SIGNATURES.items()
    }
