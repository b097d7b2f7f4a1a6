"""The loops of solver ``adam``, compiled: the gradient of a batch, and the step along it.

Gradient rows are compact: one slot for each feature that occurs in the batch, none for the rest.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numba
import numpy as np
import numpy.typing as npt

from fmrec.fm.machine_code import machine_code

BETA1, BETA2 = 0.9, 0.999

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
Index = npt.NDArray[np.int64]

# Reordering sums is what vector instructions need. Infinities and NaN keep their meaning, so
# that a diverging run is seen. One machine gives the same bits on every run.
_FASTMATH = {"reassoc", "contract", "arcp", "nsz"}


def _accumulate(
    rows: Index,
    indptr: Index,
    indices: Ints,
    values: Floats,
    labels: Floats,
    w0: Floats,
    w: Floats,
    V: Floats,
    classifier: bool,
    slots: Ints,
    touched: Ints,
    gradient_w: Floats,
    gradient_V: Floats,
    sums: Floats,
    raw: Floats,
) -> tuple[int, np.float32]:
    """Sum the gradient of ``rows``; return how many slots it has, and that of the bias.

    ``slots`` (d,) is -1 everywhere before, and holds the slot of each touched feature after.
    """
    f4 = np.float32
    factors = V.shape[1]
    one, half = f4(1), f4(0.5)
    used = 0
    gradient_0 = f4(0)
    for position in range(len(rows)):
        row = rows[position]
        linear, squares, pairs = w0[0], f4(0), f4(0)
        sums[:] = f4(0)
        for entry in range(indptr[row], indptr[row + 1]):
            feature, x = indices[entry], values[entry]
            linear += w[feature] * x
            for f in range(factors):
                term = V[feature, f] * x
                sums[f] += term
                squares += term * term
        for f in range(factors):
            pairs += sums[f] * sums[f]
        output = linear + half * (pairs - squares)
        raw[position] = output
        expected = one / (one + np.exp(-output)) if classifier else output
        error = expected - labels[row]
        gradient_0 += error
        for entry in range(indptr[row], indptr[row + 1]):
            feature, x = indices[entry], values[entry]
            slope = error * x
            slot = slots[feature]
            if slot < 0:
                slot = used
                slots[feature] = slot
                touched[slot] = feature
                used += 1
                gradient_w[slot] = slope
                for f in range(factors):
                    gradient_V[slot, f] = slope * (sums[f] - V[feature, f] * x)
            else:
                gradient_w[slot] += slope
                for f in range(factors):
                    gradient_V[slot, f] += slope * (sums[f] - V[feature, f] * x)
    return used, gradient_0


def _update(
    used: int,
    gradient_0: np.float32,
    gradient_w: Floats,
    gradient_V: Floats,
    touched: Ints,
    slots: Ints,
    w0: Floats,
    w: Floats,
    V: Floats,
    m0: Floats,
    mw: Floats,
    mV: Floats,
    step: int,
    rescale: float,
    rates: Doubles,
    decays: Doubles,
    clip: float,
    eps: float,
) -> None:
    """Do step number ``step`` (from 1) along a gradient; ``slots`` is -1 everywhere after."""
    f4 = np.float32
    factors = V.shape[1]
    b1, b2, one = f4(BETA1), f4(BETA2), f4(1)
    scale, bound, tiny = f4(rescale), f4(clip), f4(eps)
    correction = math.sqrt(1 - BETA2**step) / (1 - BETA1**step)
    rate_0, rate_w, rate_V = (
        f4(rates[0] * correction),
        f4(rates[1] * correction),
        f4(rates[2] * correction),
    )
    decay_0, decay_w, decay_V = f4(decays[0]), f4(decays[1]), f4(decays[2])
    g = min(max(scale * gradient_0 + decay_0 * w0[0], -bound), bound)
    m0[0, 0] = b1 * m0[0, 0] + (one - b1) * g
    m0[1, 0] = b2 * m0[1, 0] + (one - b2) * g * g
    w0[0] -= rate_0 * m0[0, 0] / (np.sqrt(m0[1, 0]) + tiny)
    for slot in range(used):
        i = touched[slot]
        slots[i] = -1
        g = min(max(scale * gradient_w[slot] + decay_w * w[i], -bound), bound)
        mw[0, i] = b1 * mw[0, i] + (one - b1) * g
        mw[1, i] = b2 * mw[1, i] + (one - b2) * g * g
        w[i] -= rate_w * mw[0, i] / (np.sqrt(mw[1, i]) + tiny)
        for f in range(factors):
            g = min(max(scale * gradient_V[slot, f] + decay_V * V[i, f], -bound), bound)
            mV[0, i, f] = b1 * mV[0, i, f] + (one - b1) * g
            mV[1, i, f] = b2 * mV[1, i, f] + (one - b2) * g * g
            V[i, f] -= rate_V * mV[0, i, f] / (np.sqrt(mV[1, i, f]) + tiny)


# As parts of `_run`: compiled into it, not by themselves.
_accumulate_here = numba.njit(fastmath=_FASTMATH, error_model="numpy")(_accumulate)
_update_here = numba.njit(fastmath=_FASTMATH, error_model="numpy")(_update)


def _run(
    order: Index,
    bounds: Index,
    indptr: Index,
    indices: Ints,
    values: Floats,
    labels: Floats,
    w0: Floats,
    w: Floats,
    V: Floats,
    m0: Floats,
    mw: Floats,
    mV: Floats,
    step: int,
    rescale: float,
    rates: Doubles,
    decays: Doubles,
    clip: float,
    eps: float,
    classifier: bool,
    slots: Ints,
    touched: Ints,
    gradient_w: Floats,
    gradient_V: Floats,
    sums: Floats,
    raw: Floats,
) -> None:
    """Train on batches: batch b has the rows ``order[bounds[b] : bounds[b + 1]]``."""
    for batch in range(len(bounds) - 1):
        first, last = bounds[batch], bounds[batch + 1]
        used, gradient_0 = _accumulate_here(
            order[first:last],
            indptr,
            indices,
            values,
            labels,
            w0,
            w,
            V,
            classifier,
            slots,
            touched,
            gradient_w,
            gradient_V,
            sums,
            raw[first:last],
        )
        step += 1
        _update_here(
            used,
            gradient_0,
            gradient_w,
            gradient_V,
            touched,
            slots,
            w0,
            w,
            V,
            m0,
            mw,
            mV,
            step,
            rescale,
            rates,
            decays,
            clip,
            eps,
        )


_ROWS = "i8[::1], i4[::1], f4[::1], f4[::1]"
_PARAMETERS = "f4[::1], f4[::1], f4[:,::1]"
_MOMENTS = "f4[:,::1], f4[:,::1], f4[:,:,::1]"
_RATES = "i8, f8, f8[::1], f8[::1], f8, f8"
_SPACE = "i4[::1], i4[::1], f4[::1], f4[:,::1], f4[::1]"


@functools.cache
def compiled() -> Callable[..., None]:
    """Return the machine code that trains on batches by itself."""
    signature = (
        f"void(i8[::1], i8[::1], {_ROWS}, {_PARAMETERS}, {_MOMENTS}, {_RATES}, b1, {_SPACE}, "
        "f4[::1])"
    )
    code: Callable[..., None] = machine_code(_run, signature, fastmath=_FASTMATH)
    return code


@functools.cache
def compiled_in_parts() -> tuple[Callable[..., tuple[int, np.float32]], Callable[..., None]]:
    """Return the machine code of the gradient and of the step, for several hosts."""
    accumulate = f"Tuple((i8, f4))(i8[::1], {_ROWS}, {_PARAMETERS}, b1, {_SPACE}, f4[::1])"
    update = (
        f"void(i8, f4, f4[::1], f4[:,::1], i4[::1], i4[::1], {_PARAMETERS}, {_MOMENTS}, {_RATES})"
    )
    return (
        machine_code(_accumulate, accumulate, fastmath=_FASTMATH),
        machine_code(_update, update, fastmath=_FASTMATH),
    )
