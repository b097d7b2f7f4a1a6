"""One Markov chain over the parameters of a Factorization Machine.

Model: target = FM(x) + noise, noise ~ N(0, 1 / (alpha omega_u)) with omega_u of the row's user;
w_j ~ N(mu_g, 1 / lambda_g) for a column j of group g, and likewise each factor with a mean and a
precision of its own for each group; normal-gamma hyperpriors, omega_u ~ Gamma(a / 2, a / 2). A
classifier is a probit: the target is a latent number, positive where the label is 1, and its noise
N(0, 1). Sources: Freudenthaler, Schmidt-Thieme, Rendle, "Bayesian Factorization Machines" (NIPS
workshop, 2011); Albert and Chib, JASA 88 (1993) for the probit; the users' precisions are our own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from fmrec.fm import gibbs
from fmrec.fm.blocks import Columns, Design

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

# Hyperpriors: alpha and lambda ~ Gamma(SHAPE / 2, RATE / 2), mu ~ N(0, 1 / (WEIGHT lambda)).
SHAPE, RATE, WEIGHT = 1.0, 1.0, 1.0
# Factors start here: at 0 a factor would stay there for long, as its partners are 0 too.
START_SIGMA = 0.1
# Of the users' precisions: where a starts, its exponential prior, the steps of its random walk.
START_A, RATE_A, STEPS_A, STEP_A = 10.0, 0.01, 5, 0.2


class Chain:
    """The state of one chain. Columns are those that are present in the design, p of them."""

    def __init__(
        self,
        design: Design,
        y: Floats,
        group: npt.NDArray[np.int64],
        *,
        num_factors: int,
        classifies: bool,
        rng: np.random.Generator,
    ) -> None:
        """Start at the mean of the labels ``y (n,)``; ``group (p,)`` numbers groups from 0."""
        self._design, self._y, self._rng, self._classifies = design, y, rng, classifies
        self._group = group
        groups, k = int(group.max(initial=-1)) + 1, num_factors
        self._sizes = np.bincount(group, minlength=groups).astype(np.float64)
        self._run = gibbs.compiled()
        owners = [block.owner for block in design.blocks if block.side == "user"]
        self._user = owners[0] if owners else np.zeros(design.rows, np.int32)
        self._counts = np.bincount(self._user).astype(np.float64)
        self.w0 = 0.0 if classifies else float(y.mean(dtype=np.float64))
        self.w = np.zeros(len(group))
        self.V = START_SIGMA * rng.standard_normal((k, len(group)))
        # Of the linear weights in row 0, of each factor in the rows after it.
        self._mean, self._precision = np.zeros((k + 1, groups)), np.ones((k + 1, groups))
        self._omega, self._a = np.ones(len(self._counts)), START_A
        self._alpha = 1.0
        self._q = np.zeros(design.rows)
        self._e = np.zeros(design.rows)
        self._z = np.zeros(design.rows if classifies else 0)
        self._states = [np.zeros((len(block.count), gibbs.FIELDS)) for block in design.blocks]
        self.begin(self.w0, self.w, self.V)

    def begin(self, w0: float, w: Doubles, V: Doubles) -> None:
        """Go on from these parameters: (p,), (k, p)."""
        self.w0, self.w, self.V = w0, w.copy(), V.copy()
        self._predict(self._e)
        if self._classifies:
            self._z[:] = self._latent(self._e)
            self._e -= self._z
        else:
            self._e -= self._y

    def raw(self, rows: slice = slice(None)) -> Doubles:
        """What the parameters as they are now say of training rows."""
        return self._e[rows] + (self._z if self._classifies else self._y)[rows]

    def sweep(self) -> None:
        """Draw every parameter once."""
        self._draw_noise()
        self._draw_bias()
        self._draw_hyperparameters()
        self._draw_weights()
        for f in range(len(self.V)):
            self._draw_factor(f)

    def _draw_noise(self) -> None:
        if self._classifies:
            raw = self.raw()
            self._z[:] = self._latent(raw)
            np.subtract(raw, self._z, out=self._e)
            return
        squares = self._moments()[1]
        rng = self._rng
        shape, rate = SHAPE + len(self._y), RATE + float((self._omega * squares).sum())
        self._alpha = 2 * rng.gamma(shape / 2) / rate
        if len(self._counts) > 1:
            self._omega = 2 * rng.gamma((self._a + self._counts) / 2)
            self._omega /= self._a + self._alpha * squares
            self._walk()

    def _walk(self) -> None:
        """Draw ``a``, by a random walk of its logarithm (Metropolis)."""
        n, omega = len(self._omega), self._omega
        known = float(np.log(omega).sum() - omega.sum())

        def density(a: float) -> float:
            half = a / 2
            fixed = n * (half * math.log(half) - math.lgamma(half)) + half * known
            return fixed - RATE_A * a + math.log(a)

        for _ in range(STEPS_A):
            proposed = self._a * math.exp(STEP_A * self._rng.standard_normal())
            if math.log(1 - self._rng.random()) < density(proposed) - density(self._a):
                self._a = proposed

    def _draw_bias(self) -> None:
        rows = float((self._omega * self._counts).sum())
        mean = float((self._omega * self._moments()[0]).sum()) / rows
        step = self._rng.standard_normal() / math.sqrt(self._alpha * rows) - mean
        self.w0 += step
        self._e += step

    def _moments(self) -> Doubles:
        """Sums of e and of e^2 over the rows of each user, (2, users)."""
        sums = np.zeros((2, len(self._counts)))
        self._run["moments"](self._user, self._e, sums)
        return sums

    def _draw_hyperparameters(self) -> None:
        """Draw mean and precision of each group."""
        rng, n, mean = self._rng, self._sizes, self._mean
        sums, squares = np.empty_like(mean), np.empty_like(mean)
        for row, theta in enumerate((self.w, *self.V)):
            sums[row] = np.bincount(self._group, theta, len(n))
            squares[row] = np.bincount(self._group, theta * theta, len(n))
        spread = squares - 2 * mean * sums + (n + WEIGHT) * mean * mean
        self._precision = 2 * rng.gamma((SHAPE + n + 1) / 2, size=mean.shape) / (RATE + spread)
        drawn = rng.standard_normal(mean.shape) / np.sqrt((n + WEIGHT) * self._precision)
        self._mean = sums / (n + WEIGHT) + drawn

    def _draw_weights(self) -> None:
        e, q, run = self._e, self._q, self._run
        noise = self._user, self._omega
        for block, state in zip(self._design.blocks, self._states, strict=True):
            q[:] = 0
            state[:, gibbs.Q] = 0
            run["gather"](block.owner, *noise, e, q, state)
            self._draw(block.columns, 0, self.w, "block_linear", state)
            run["scatter"](block.owner, state, e, q)
        self._draw(self._design.main, 0, self.w, "main_linear", *noise, e)

    def _draw_factor(self, f: int) -> None:
        e, q, run, V = self._e, self._q, self._run, self.V[f]
        noise = self._user, self._omega
        q[:] = 0
        self._add(self._design.main, V, q)
        for block, state in zip(self._design.blocks, self._states, strict=True):
            of_block = np.zeros(len(block.count))
            self._add(block.columns, V, of_block)
            state[:, gibbs.Q] = of_block
            run["add_rows"](block.owner, of_block, q)
        for block, state in zip(self._design.blocks, self._states, strict=True):
            run["gather"](block.owner, *noise, e, q, state)
            self._draw(block.columns, f + 1, V, "block_factor", state)
            run["scatter"](block.owner, state, e, q)
        self._draw(self._design.main, f + 1, V, "main_factor", *noise, e, q)

    def _draw(
        self, part: Columns, row: int, theta: Doubles, kernel: str, *state: npt.NDArray[np.generic]
    ) -> None:
        """Draw the parameters ``theta`` of a part's columns; ``row`` is that of their prior."""
        if not len(part.columns):
            return
        group = self._group[part.columns]
        mean, precision = self._mean[row, group], self._precision[row, group]
        drawn = theta[part.columns]
        normal = self._rng.standard_normal(len(group))
        self._run[kernel](*part.arrays, drawn, mean, precision, self._alpha, normal, *state)
        theta[part.columns] = drawn

    def _latent(self, raw: Doubles) -> Doubles:
        """Draw N(raw, 1), above 0 where the label is 1 and below 0 elsewhere."""
        # Half a second of imports that only a classifier needs.
        from scipy.special import ndtr, ndtri  # noqa: PLC0415

        sign = np.where(self._y > 0, 1.0, -1.0)
        # random() is in [0, 1): 1 minus it is never 0, whose quantile would be infinite.
        share = 1 - self._rng.random(len(raw))
        tail = np.maximum(share * ndtr(sign * raw), np.finfo(np.float64).tiny)
        drawn = raw - sign * ndtri(tail)
        # Beyond 37 deviations the tail is no number any more; there it is an exponential one.
        far = -np.log(share) / np.maximum(np.abs(raw), 1)
        right: Doubles = np.where(sign * drawn > 0, drawn, sign * far)
        return right

    def _predict(self, out: Doubles) -> None:
        out[:] = self.w0
        self._add_rows(self.w, out)
        for v in self.V:
            self._q[:] = 0
            self._add_rows(v, self._q)
            self._q *= self._q
            self._q *= 0.5
            out += self._q
        # sum over f of x^2 v^2, a linear term in the squares of the values.
        self._add_rows(-0.5 * np.square(self.V).sum(axis=0), out, squared=True)

    def _add_rows(self, theta: Doubles, out: Doubles, *, squared: bool = False) -> None:
        """Add X theta to ``out``, with x^2 in place of x if ``squared``."""
        for block in self._design.blocks:
            of_block = np.zeros(len(block.count))
            self._add(block.columns, theta, of_block, squared=squared)
            self._run["add_rows"](block.owner, of_block, out)
        self._add(self._design.main, theta, out, squared=squared)

    def _add(self, part: Columns, theta: Doubles, out: Doubles, *, squared: bool = False) -> None:
        values = np.square(part.values) if squared else part.values
        self._run["add_product"](part.indptr, part.rows, values, theta[part.columns], out)

    def state(self) -> dict[str, npt.NDArray[np.generic]]:
        """All that the chain needs to go on as if nothing had been."""
        draw = json.dumps(self._rng.bit_generator.state, default=int).encode()
        return {
            "w0": np.array(self.w0),
            "w": self.w,
            "V": self.V,
            "mean": self._mean,
            "precision": self._precision,
            "noise": np.array([self._alpha, self._a]),
            "omega": self._omega,
            "e": self._e,
            "z": self._z,
            "draw": np.frombuffer(draw, np.uint8),
        }

    def restore(self, state: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Take on a state."""
        given = {name: np.array(value, np.float64) for name, value in state.items()}
        self.w0, self.w, self.V = float(given["w0"]), given["w"], given["V"]
        self._mean, self._precision = given["mean"], given["precision"]
        self._alpha, self._a = given["noise"].tolist()
        self._omega, self._e, self._z = given["omega"], given["e"], given["z"]
        self._rng.bit_generator.state = json.loads(bytes(state["draw"]))
