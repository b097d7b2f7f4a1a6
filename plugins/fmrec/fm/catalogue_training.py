"""Adam on the squared loss over the whole catalogue, some users at a time.

For user u and film i of the catalogue the model says

    s_ui = w_i + <S_u, S_i> - (what film i itself adds in the user's history)

with S the sums x V over what belongs to a side, and w_i the linear weight of the item side. The
last term takes a rated film out of its own history: without it the solver would learn to find
again what it is told. Minimised is the mean over users of 1/2 sum_i (s_ui - g_ui)^2, g being the
grade of a rated film and 0 for every other, plus 1/2 decay |V|^2. A batch of b users takes three
products of the size b x films x factors, and no sampling. docs/benchmarks/ranking.md has what
it reaches.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fmrec.errors import ConfigurationError
from fmrec.fm.catalogue_sides import Floats, Longs, Sides
from fmrec.fm.hyperparameters import Group, Hyperparameters
from fmrec.fm.job import Arrays
from fmrec.fm.model import Matrix

BETA1, BETA2 = np.float32(0.9), np.float32(0.999)
# Parameters of a group updated at a time: their moments then stay in the processor's cache.
CHUNK = 1 << 16


class Batch(NamedTuple):
    """What some users have, (b, p) over the p columns of the user side, and gave, (b, m)."""

    sides: Matrix
    grades: Matrix


class Slopes(NamedTuple):
    """Sum of squared errors of a batch, and the gradient of half of it for each parameter."""

    loss: float
    user: npt.NDArray[Any]
    item: npt.NDArray[Any]
    linear: npt.NDArray[Any]
    sums: npt.NDArray[Any]


def slopes(
    batch: Batch,
    own: npt.NDArray[Any] | None,
    user: npt.NDArray[Any],
    item: npt.NDArray[Any],
    linear: npt.NDArray[Any],
    item_sides: Matrix,
    film: Longs,
) -> Slopes:
    """Return loss and gradient, summed over the users of the batch and all films.

    ``user`` (p, k) and ``item`` (q, k) are factors, ``linear`` (q,) the weights of the item side,
    ``own`` (b, k) what the users' own columns add to their sums, ``item_sides`` (m, q). ``film``
    (p,) is the film that a column lists, or -1. ``sums`` of the result is the gradient for ``own``.
    """
    users, films = batch.grades.shape
    listing = np.flatnonzero(film >= 0)
    sums_u = batch.sides @ user
    if own is not None:
        sums_u += own
    sums_i = item_sides @ item
    error = sums_u @ sums_i.T
    error += item_sides @ linear
    # The film's own part: x <v of its column in the history, S_i>.
    row = np.repeat(np.arange(users), np.diff(batch.sides.indptr))
    listed = film[batch.sides.indices] >= 0
    row, column, x = row[listed], batch.sides.indices[listed], batch.sides.data[listed]
    itself = np.zeros(len(film), user.dtype)
    itself[listing] = np.einsum("pk,pk->p", user[listing], sums_i[film[listing]])
    np.subtract.at(error, (row, film[column]), x * itself[column])
    row_of_grade = np.repeat(np.arange(users), np.diff(batch.grades.indptr))
    error[row_of_grade, batch.grades.indices] -= batch.grades.data

    d_sums_u = error @ sums_i
    d_sums_i = error.T @ sums_u
    weight = np.bincount(column, x * error[row, film[column]], len(film)).astype(user.dtype)
    own_part = sparse.csr_matrix(
        (weight[listing], (film[listing], listing)), shape=(films, len(film))
    )
    d_sums_i -= own_part @ user
    d_user = batch.sides.T @ d_sums_u
    d_user -= own_part.T @ sums_i
    flat = error.ravel()
    return Slopes(
        float(flat @ flat),
        d_user,
        item_sides.T @ d_sums_i,
        item_sides.T @ error.sum(axis=0),
        d_sums_u,
    )


class Parameters:
    """Values and their moments (Adam: Kingma and Ba, 2015)."""

    def __init__(self, value: Floats, group: Group, hp: Hyperparameters) -> None:
        """Take ``value``, which is changed in place."""
        self.value = value
        self._first, self._second = np.zeros_like(value), np.zeros_like(value)
        self._decay = np.float32(group.weight_decay)
        self._rate = group.learning_rate if group.used else 0.0
        self._clip, self._eps = hp.clip_gradient, np.float32(hp.eps)

    def update(self, slope: Floats, scale: float, at: Longs | None = None) -> None:
        """Move against ``slope``, which is overwritten; ``scale`` multiplies the learning rate.

        With ``at`` only the rows it names have a slope, and only they and their moments change.
        """
        if at is not None:
            rows = self.value[at], self._first[at], self._second[at]
            self._step(slope, *rows, scale)
            self.value[at], self._first[at], self._second[at] = rows
            return
        flat = [each.reshape(-1) for each in (slope, self.value, self._first, self._second)]
        for start in range(0, self.value.size, CHUNK):
            g, value, first, second = (each[start : start + CHUNK] for each in flat)
            self._step(g, value, first, second, scale)

    def _step(self, g: Floats, value: Floats, first: Floats, second: Floats, scale: float) -> None:
        g += self._decay * value
        if self._clip is not None:
            np.clip(g, -self._clip, self._clip, out=g)
        first *= BETA1
        first += (1 - BETA1) * g
        np.square(g, out=g)
        g *= 1 - BETA2
        second *= BETA2
        second += g
        np.sqrt(second, out=g)
        g += self._eps
        np.divide(first, g, out=g)
        g *= np.float32(self._rate * scale)
        value -= g

    def state(self, name: str) -> dict[str, Floats]:
        """Return the arrays, for `restore`."""
        return {name: self.value, f"{name}.first": self._first, f"{name}.second": self._second}

    def restore(self, name: str, state: Arrays) -> None:
        """Go on from what ``state`` returned."""
        for each, mine in self.state(name).items():
            mine[...] = state[each]


class Trainer:
    """The state of a training run: parameters, moments, batches and epochs done."""

    def __init__(self, hp: Hyperparameters, sides: Sides, w: Floats, V: Floats) -> None:
        """Start from linear weights ``w`` (d,) and factors ``V`` (d, num_factors).

        Columns without a training row keep what they have there. So do users' own columns where
        there are histories: trained beside them they learn the training data by heart (on inner
        splits of u1.base NDCG@10 fell from .45 to .29 after 35 epochs).
        """
        self._hp, self._w, self._V = hp, w, V
        mine = sides.users.owners[sides.users.trained]
        self._columns = shared, films, _ = sides.shared, sides.of_items, mine
        self._users = sides.users.rows[:, shared]
        self._items = sides.items.rows[:, films]
        self._film = sides.film[shared]
        self._targets = sides.targets
        self.user = Parameters(V[shared], hp.factors, hp)
        self.item = Parameters(V[films], hp.factors, hp)
        self.linear = Parameters(w[films], hp.linear, hp)
        self.own = None if sides.has_history else Parameters(V[mine], hp.factors, hp)
        self.steps, self.epoch = 0, 0
        self.squared = math.nan

    @property
    def batches(self) -> int:
        """The number of batches in an epoch."""
        return math.ceil(self._targets.shape[0] / self._hp.mini_batch_size)

    @property
    def pairs(self) -> int:
        """The number of pairs of a user and a film, which an epoch's squared errors are of."""
        return math.prod(self._targets.shape)

    def order(self) -> tuple[Longs, np.random.Generator]:
        """Return the users of this epoch in order, and the source of its other draws.

        Each epoch has its own: so what comes of it does not depend on where a run was taken up.
        """
        rng = np.random.default_rng([self._hp.seed, self.epoch + 1])
        return rng.permutation(self._targets.shape[0]), rng

    def train(self, users: Longs, rng: np.random.Generator) -> float:
        """Do one batch, and return the sum of its squared errors, before the update."""
        hp = self._hp
        sides = self._users[users]
        if hp.catalogue.dropout:
            kept = rng.random(len(sides.data), np.float32) >= np.float32(hp.catalogue.dropout)
            sides.data = sides.data * kept * np.float32(1 / (1 - hp.catalogue.dropout))
        own = None if self.own is None else self.own.value[users]
        with np.errstate(over="ignore", invalid="ignore"):
            found = slopes(
                Batch(sides, self._targets[users]),
                own,
                self.user.value,
                self.item.value,
                self.linear.value,
                self._items,
                self._film,
            )
            self.steps += 1
            scale = self._scale()
            rescale = np.float32(hp.rescale_grad)
            for parameters, slope in (
                (self.user, found.user),
                (self.item, found.item),
                (self.linear, found.linear),
            ):
                parameters.update(slope * rescale, scale)
            if self.own is not None:
                self.own.update(found.sums * rescale, scale, users)
        return found.loss

    def _scale(self) -> float:
        """Adam's correction of young moments, and a rate that falls to 0 with the last batch."""
        left = 1 - (self.steps - 1) / (self._hp.epochs * self.batches)
        return left * math.sqrt(1 - float(BETA2) ** self.steps) / (1 - float(BETA1) ** self.steps)

    def end_epoch(self, squared: float) -> None:
        """Count an epoch with this sum of squared errors."""
        self.epoch += 1
        self.squared = squared

    def parameters(self) -> tuple[Floats, Floats]:
        """Return linear weights ``(d,)`` and factors ``(d, num_factors)`` as they are now."""
        w, V = self._w.copy(), self._V.copy()
        shared, films, mine = self._columns
        V[shared], V[films], w[films] = self.user.value, self.item.value, self.linear.value
        if self.own is not None:
            V[mine] = self.own.value
        return w, V

    def state(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return what another run of the same job needs to go on with the next epoch."""
        state: dict[str, npt.NDArray[np.generic]] = {
            "progress": np.array([self.steps, self.epoch]),
            "squared": np.array([self.squared]),
        }
        for name, parameters in self._named():
            state |= parameters.state(name)
        return state

    def restore(self, state: Arrays) -> None:
        """Go on from what ``state`` returned."""
        self.steps, self.epoch = (int(each) for each in state["progress"])
        self.squared = float(state["squared"][0])
        for name, parameters in self._named():
            parameters.restore(name, state)

    def _named(self) -> list[tuple[str, Parameters]]:
        named = [("user", self.user), ("item", self.item), ("linear", self.linear)]
        return named if self.own is None else [*named, ("own", self.own)]


def start_factors(group: Group, shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Draw the factors (d, k) of new columns.

    Raises ConfigurationError for a constant, from which all factors would stay equal.
    """
    if group.init_method == "constant":
        raise ConfigurationError(
            "factors_init_method is 'constant': solver catalogue would keep all factors of a "
            "column equal; use 'normal' or 'uniform'"
        )
    draw = rng.standard_normal(shape, np.float32)
    if group.init_method == "uniform":
        draw = rng.random(shape, np.float32) * 2 - 1
    return draw * np.float32(group.init_argument)
