"""Mini-batch training with Adam, as the built-in Factorization Machines container does it.

The rules, each confirmed against the container's published logs (docs/decisions/0005):

- Rows are taken in the order given, every epoch; nothing is shuffled.
- The last batch of an epoch is filled to full size with the rows that stood at the same
  positions of the batch before it. They count in the gradient and in the training metrics.
- The gradient of a batch is its sum times ``rescale_grad`` (1 / mini_batch_size unless set),
  plus weight decay times the parameter, then clipped.
- Adam (Kingma and Ba, 2015) with betas 0.9 and 0.999, epsilon outside the root, bias
  correction by the number of batches so far.
- Moments and weights of a feature change only in batches where it occurs ("lazy update").
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from fmrec.fm.hyperparameters import Group, Hyperparameters
from fmrec.fm.model import Matrix, Model

BETA1, BETA2 = 0.9, 0.999

Floats = npt.NDArray[np.float32]

# Reordering sums is what vector instructions need. Infinities and NaN keep their meaning, so
# that a diverging run is seen. One machine gives the same bits on every run.
_FASTMATH = {"reassoc", "contract", "arcp", "nsz"}

_SIGNATURE = (
    "void(i8[::1], i8, i8[::1], i4[::1], f4[::1], f4[::1],"  # rows
    " f4[::1], f4[::1], f4[:,::1], f4[:,::1], f4[:,::1], f4[:,:,::1],"  # parameters, moments
    " i8, f8, f8[::1], f8[::1], f8, f8, b1,"  # rates
    " i4[::1], i4[::1], f4[::1], f4[:,::1], f4[::1], f4[::1])"  # working space, output
)


class Adam:
    """The state of a training run: parameters, moments, and the number of batches done."""

    def __init__(self, hyperparameters: Hyperparameters, X: Matrix, y: Floats) -> None:
        """Draw start values for rows ``X (n, d)`` with labels ``y (n,)``; n is at least 1."""
        self._hp = hp = hyperparameters
        d, k = hp.feature_dim, hp.num_factors
        rng = np.random.default_rng(hp.seed)
        self._w0 = _start(hp.bias, (1,), rng)
        self._w = _start(hp.linear, (d,), rng)
        self._V = _start(hp.factors, (d, k), rng)
        self._m0 = np.zeros((2, 1), np.float32)
        self._mw = np.zeros((2, d), np.float32)
        self._mV = np.zeros((2, d, k), np.float32)
        self._steps = 0
        self._run = compiled()
        self._indptr = X.indptr.astype(np.int64)
        self._indices = X.indices.astype(np.int32, copy=False)
        self._values = np.ascontiguousarray(X.data, np.float32)
        self._labels = np.ascontiguousarray(y, np.float32)
        self._order = filled_order(len(y), hp.mini_batch_size)
        groups = (hp.bias, hp.linear, hp.factors)
        self._rates = np.array([g.learning_rate if g.used else 0.0 for g in groups])
        self._decays = np.array([g.weight_decay for g in groups])
        widest = self._most_features_in_a_batch()
        self._slots = np.full(d, -1, np.int32)
        self._touched = np.empty(widest, np.int32)
        self._gradient_w = np.empty(widest, np.float32)
        self._gradient_V = np.empty((widest, k), np.float32)
        self._sums = np.empty(k, np.float32)

    @property
    def batches(self) -> int:
        """The number of batches in an epoch."""
        return math.ceil(len(self._order) / self._hp.mini_batch_size)

    def train(self, first: int, last: int) -> tuple[Floats, Floats]:
        """Do batches ``first`` to ``last - 1`` of an epoch, one update each.

        Returns raw outputs, each computed before its batch's update, and labels, ``(rows,)``.
        """
        hp = self._hp
        order = self._order[first * hp.mini_batch_size : last * hp.mini_batch_size]
        raw = np.empty(len(order), np.float32)
        self._run(
            order,
            hp.mini_batch_size,
            self._indptr,
            self._indices,
            self._values,
            self._labels,
            self._w0,
            self._w,
            self._V,
            self._m0,
            self._mw,
            self._mV,
            self._steps,
            hp.rescale_grad,
            self._rates,
            self._decays,
            math.inf if hp.clip_gradient is None else hp.clip_gradient,
            hp.eps,
            hp.predictor_type == "binary_classifier",
            self._slots,
            self._touched,
            self._gradient_w,
            self._gradient_V,
            self._sums,
            raw,
        )
        self._steps += last - first
        return raw, self._labels[order]

    def model(self) -> Model:
        """Return a copy of the parameters as they are now."""
        return Model(float(self._w0[0]), self._w.copy(), self._V.copy(), self._hp.predictor_type)

    def _most_features_in_a_batch(self) -> int:
        per_row = np.diff(self._indptr)[self._order]
        per_batch = np.add.reduceat(per_row, np.arange(0, len(per_row), self._hp.mini_batch_size))
        return min(int(per_batch.max()), self._hp.feature_dim)


def filled_order(rows: int, batch_size: int) -> npt.NDArray[np.int64]:
    """Return the row at each position of an epoch's batches.

    A last batch that is short is filled with the rows at the same positions of the batch
    before it. A single short batch has none before it and stays short.
    """
    batches = math.ceil(rows / batch_size)
    order = np.arange(batches * batch_size if batches > 1 else rows)
    order[rows:] -= batch_size
    return order


def _start(group: Group, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    if not group.used:
        return np.zeros(shape, np.float32)
    if group.init_method == "constant":
        return np.full(shape, group.init_argument, np.float32)
    draw = rng.standard_normal(shape, np.float32)
    if group.init_method == "uniform":
        draw = rng.random(shape, np.float32) * 2 - 1
    return draw * np.float32(group.init_argument)


@functools.cache
def compiled() -> Callable[..., None]:
    """Return the machine code of ``_run``, from numba's cache folder where that is possible."""
    options: dict[str, Any] = {"fastmath": _FASTMATH, "nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(_SIGNATURE, cache=True, **options)(_run)
    except (RuntimeError, OSError):
        # No folder to write the cache to (read-only installation, no home): compile each time.
        return numba.njit(_SIGNATURE, **options)(_run)


def _run(  # noqa: PLR0915 - one loop nest, compiled as a whole
    order: npt.NDArray[np.int64],
    batch_size: int,
    indptr: npt.NDArray[np.int64],
    indices: npt.NDArray[np.int32],
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
    rates: npt.NDArray[np.float64],
    decays: npt.NDArray[np.float64],
    clip: float,
    eps: float,
    classifier: bool,
    slots: npt.NDArray[np.int32],
    touched: npt.NDArray[np.int32],
    gradient_w: Floats,
    gradient_V: Floats,
    sums: Floats,
    raw: Floats,
) -> None:
    f4 = np.float32
    factors = V.shape[1]
    b1, b2, one, half = f4(BETA1), f4(BETA2), f4(1), f4(0.5)
    scale, bound, tiny = f4(rescale), f4(clip), f4(eps)
    for first in range(0, len(order), batch_size):
        used = 0
        gradient_0 = f4(0)
        for position in range(first, min(first + batch_size, len(order))):
            row = order[position]
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
            if classifier:
                error = one / (one + np.exp(-output)) - labels[row]
            else:
                error = output - labels[row]
            gradient_0 += error
            for entry in range(indptr[row], indptr[row + 1]):
                feature, x = indices[entry], values[entry]
                slot = slots[feature]
                if slot < 0:
                    slot = used
                    slots[feature] = slot
                    touched[slot] = feature
                    gradient_w[slot] = f4(0)
                    gradient_V[slot, :] = f4(0)
                    used += 1
                slope = error * x
                gradient_w[slot] += slope
                for f in range(factors):
                    gradient_V[slot, f] += slope * (sums[f] - V[feature, f] * x)

        step += 1
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
