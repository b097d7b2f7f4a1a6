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

Several hosts exchange the gradient of each batch and all add it up in one order, so that all of
them hold the same parameters to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fmrec.fm.adam_kernels import Floats, Ints, compiled, compiled_in_parts
from fmrec.fm.batches import Batches, Index, whole
from fmrec.fm.hosts import Alone
from fmrec.fm.hyperparameters import Group, Hyperparameters
from fmrec.fm.job import Arrays, Hosts, Start
from fmrec.fm.model import Matrix, Model


class Adam:
    """The state of a training run: parameters, moments, and the number of batches done."""

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        X: Matrix,
        y: Floats,
        *,
        start: Start | None = None,
        plan: Batches | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        """Draw start values for rows ``X (n, d)`` with labels ``y (n,)``.

        What ``start`` knows is taken from it instead. ``plan`` says which rows make a batch, and
        is needed with more than one of ``hosts``; without it n is at least 1.
        """
        self._hp = hp = hyperparameters
        d, k = hp.feature_dim, hp.num_factors
        rng = np.random.default_rng(hp.seed)
        self._w0 = _start(hp.bias, (1,), rng)
        self._w = _start(hp.linear, (d,), rng)
        self._V = _start(hp.factors, (d, k), rng)
        if start is not None:
            self._take(start)
        self._m0 = np.zeros((2, 1), np.float32)
        self._mw = np.zeros((2, d), np.float32)
        self._mV = np.zeros((2, d, k), np.float32)
        self._steps = 0
        self._hosts = hosts or Alone()
        self._plan = plan or whole(len(y), hp.mini_batch_size)
        self._labels = np.ascontiguousarray(y, np.float32)
        indptr = X.indptr.astype(np.int64)
        self._rows = (
            indptr,
            X.indices.astype(np.int32, copy=False),
            np.ascontiguousarray(X.data, np.float32),
            self._labels,
        )
        groups = (hp.bias, hp.linear, hp.factors)
        self._rates = (
            hp.rescale_grad,
            np.array([g.learning_rate if g.used else 0.0 for g in groups]),
            np.array([g.weight_decay for g in groups]),
            math.inf if hp.clip_gradient is None else hp.clip_gradient,
            hp.eps,
        )
        self._classifier = hp.predictor_type == "binary_classifier"
        widest = _most_features_in_a_batch(self._plan, np.diff(indptr), d)
        self._slots = np.full(d, -1, np.int32)
        self._touched = np.empty(widest, np.int32)
        self._gradient_w = np.empty(widest, np.float32)
        self._gradient_V = np.empty((widest, k), np.float32)
        self._sums = np.empty(k, np.float32)

    @property
    def batches(self) -> int:
        """The number of batches in an epoch."""
        return self._plan.count

    @property
    def rows(self) -> int:
        """The number of rows that this host trains on in an epoch, without those that fill."""
        return self._plan.rows

    @property
    def steps(self) -> int:
        """The number of batches done, in all epochs."""
        return self._steps

    def train(self, first: int, last: int) -> tuple[Floats, Floats]:
        """Do batches ``first`` to ``last - 1`` of an epoch, one update each.

        Returns raw outputs, each computed before its batch's update, and labels, ``(rows,)``:
        those of this host.
        """
        bounds = self._plan.bounds[first : last + 1]
        order = self._plan.order[bounds[0] : bounds[-1]]
        bounds = bounds - bounds[0]
        raw = np.empty(len(order), np.float32)
        train = self._train_alone if self._hosts.size == 1 else self._train_together
        train(order, bounds, raw)
        self._steps += last - first
        return raw, self._labels[order]

    def model(self) -> Model:
        """Return a copy of the parameters as they are now."""
        return Model(float(self._w0[0]), self._w.copy(), self._V.copy(), self._hp.predictor_type)

    def state(self) -> Arrays:
        """Return all that another run needs to go on from here; valid until the next batch."""
        parameters = {"w0": self._w0, "w": self._w, "V": self._V}
        moments = {"m0": self._m0, "mw": self._mw, "mV": self._mV}
        return {**parameters, **moments, "steps": np.array(self._steps)}

    def restore(self, state: Arrays) -> None:
        """Go on from what ``state`` returned in a run of the same configuration."""
        for name, array in self.state().items():
            if name != "steps":
                np.copyto(array, state[name])
        self._steps = int(state["steps"])

    def _take(self, start: Start) -> None:
        known = start.known
        if self._hp.bias.used:
            self._w0[0] = start.model.w0
        if self._hp.linear.used:
            self._w[known] = start.model.w[known]
        self._V[known] = start.model.V[known]

    def _train_alone(self, order: Index, bounds: Index, raw: Floats) -> None:
        compiled()(
            order,
            bounds,
            *self._rows,
            *self._parameters(),
            *self._moments(),
            self._steps,
            *self._rates,
            self._classifier,
            *self._space(),
            raw,
        )

    def _train_together(self, order: Index, bounds: Index, raw: Floats) -> None:
        accumulate, update = compiled_in_parts()
        for batch in range(len(bounds) - 1):
            first, last = bounds[batch : batch + 2]
            used, gradient_0 = accumulate(
                order[first:last],
                *self._rows,
                *self._parameters(),
                self._classifier,
                *self._space(),
                raw[first:last],
            )
            touched = self._touched[:used]
            self._slots[touched] = -1
            gradient = (gradient_0, touched, self._gradient_w[:used], self._gradient_V[:used])
            parts = self._hosts.all_gather(_pack(*gradient))
            total_0, touched, total_w, total_V = _sum(parts, self._hp.num_factors)
            update(
                len(touched),
                total_0,
                total_w,
                total_V,
                touched,
                self._slots,
                *self._parameters(),
                *self._moments(),
                self._steps + batch + 1,
                *self._rates,
            )

    def _parameters(self) -> tuple[Floats, Floats, Floats]:
        return self._w0, self._w, self._V

    def _moments(self) -> tuple[Floats, Floats, Floats]:
        return self._m0, self._mw, self._mV

    def _space(self) -> tuple[npt.NDArray[np.generic], ...]:
        gradient = self._gradient_w, self._gradient_V
        return self._slots, self._touched, *gradient, self._sums


def _pack(gradient_0: np.float32, touched: Ints, w: Floats, V: Floats) -> bytes:
    parts = (np.array([gradient_0], "<f4"), touched.astype("<i4"), w.astype("<f4"), V.astype("<f4"))
    return b"".join(part.tobytes() for part in parts)


def _sum(parts: Sequence[bytes], k: int) -> tuple[np.float32, Ints, Floats, Floats]:
    """Return the sum of packed gradients, in their order; its features are ascending."""
    unpacked = []
    for part in parts:
        n = (len(part) // 4 - 1) // (2 + k)
        gradient_0, w, V = (
            np.frombuffer(part, "<f4", count, 4 * at)
            for count, at in ((1, 0), (n, 1 + n), (n * k, 1 + 2 * n))
        )
        unpacked.append((gradient_0[0], np.frombuffer(part, "<i4", n, 4), w, V.reshape(n, k)))
    touched = np.unique(np.concatenate([features for _, features, _, _ in unpacked]))
    total_0 = np.float32(0)
    total_w = np.zeros(len(touched), np.float32)
    total_V = np.zeros((len(touched), k), np.float32)
    for gradient_0, features, w, V in unpacked:
        at = np.searchsorted(touched, features)
        total_0 += gradient_0
        total_w[at] += w
        total_V[at] += V
    return total_0, touched.astype(np.int32, copy=False), total_w, total_V


def _most_features_in_a_batch(plan: Batches, per_row: Index, dimension: int) -> int:
    ends = np.append(0, np.cumsum(per_row[plan.order]))
    return min(int(np.diff(ends[plan.bounds]).max(initial=0)), dimension)


def _start(group: Group, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    if not group.used:
        return np.zeros(shape, np.float32)
    if group.init_method == "constant":
        return np.full(shape, group.init_argument, np.float32)
    draw = rng.standard_normal(shape, np.float32)
    if group.init_method == "uniform":
        draw = rng.random(shape, np.float32) * 2 - 1
    return draw * np.float32(group.init_argument)
