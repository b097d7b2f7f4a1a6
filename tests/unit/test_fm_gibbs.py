"""Each draw of the sampler against a loss that is written out.

With its random number at 0 a draw is the mean of the conditional distribution: the parameter that
makes the penalised squared error least while all others stand still. That error is quadratic in
each single parameter, so three values of it, each computed row by row, give the least one.
"""

from __future__ import annotations

import numpy as np
import pytest

from fmrec.fm import gibbs

ROWS, OWNERS, OWNED, FREE = 40, 6, 5, 4


class World:
    """Rows of one block, and columns of their own besides."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.owner = rng.integers(0, OWNERS, ROWS).astype(np.int32)
        self.block = rng.normal(size=(OWNERS, OWNED)) * rng.integers(0, 2, (OWNERS, OWNED))
        self.main = rng.normal(size=(ROWS, FREE)) * rng.integers(0, 2, (ROWS, FREE))
        self.block, self.main = (each.astype(np.float32) for each in (self.block, self.main))
        self.user = rng.integers(0, 3, ROWS).astype(np.int32)
        self.omega = rng.uniform(0.5, 2, 3)
        self.y = rng.normal(size=ROWS)
        self.alpha = 1.7
        d = OWNED + FREE
        self.w, self.V = rng.normal(size=d), rng.normal(size=(2, d))
        self.mean, self.precision = rng.normal(size=d), rng.uniform(0.1, 3, d)

    @property
    def X(self) -> np.ndarray:  # noqa: N802 - the name of the papers
        return np.hstack([self.block[self.owner], self.main]).astype(np.float64)

    def errors(self) -> np.ndarray:
        """Ten lines of FM, pair by pair."""
        X, out = self.X, np.zeros(ROWS)
        for r in range(ROWS):
            out[r] = X[r] @ self.w - self.y[r]
            for i in range(X.shape[1]):
                for j in range(i):
                    out[r] += X[r, i] * X[r, j] * (self.V[:, i] @ self.V[:, j])
        return out

    def loss(self, theta: np.ndarray, j: int) -> float:
        misfit = self.alpha * (self.omega[self.user] * self.errors() ** 2).sum()
        return float(misfit + self.precision[j] * (theta[j] - self.mean[j]) ** 2)

    def best(self, theta: np.ndarray, j: int) -> float:
        """The value of theta[j] that makes the loss least; theta is a view of w or of V."""
        at, values = theta[j], []
        for step in (-1.0, 0.0, 1.0):
            theta[j] = at + step
            values.append(self.loss(theta, j))
        theta[j] = at
        below, here, above = values
        return at - 0.5 * (above - below) / (above - 2 * here + below)

    def by_column(self, table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        counts = (table != 0).sum(axis=0)
        rows = np.concatenate([np.flatnonzero(column) for column in table.T])
        values = np.concatenate([column[column != 0] for column in table.T])
        indptr = np.concatenate([[0], counts.cumsum()])
        return indptr.astype(np.int64), rows.astype(np.int32), values.astype(np.float32)

    def part(self, theta: np.ndarray, owned: bool) -> tuple[object, ...]:
        at = slice(0, OWNED) if owned else slice(OWNED, None)
        part = self.by_column(self.block if owned else self.main)
        normal = np.zeros(len(theta[at]))
        return (*part, theta[at].copy(), self.mean[at], self.precision[at], self.alpha, normal)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("factor", [None, 0, 1])
@pytest.mark.parametrize("owned", [True, False])
def test_a_draw_without_chance_is_the_best_value(
    seed: int, factor: int | None, owned: bool
) -> None:
    world, run = World(seed), gibbs.compiled()
    theta = world.w if factor is None else world.V[factor]
    e, q = world.errors(), world.X @ (np.zeros(len(theta)) if factor is None else theta)
    arguments = world.part(theta, owned)
    kind = "linear" if factor is None else "factor"
    noise = world.user, world.omega
    if owned:
        state = np.zeros((OWNERS, gibbs.FIELDS))
        if factor is not None:
            state[:, gibbs.Q] = world.block.astype(np.float64) @ theta[:OWNED]
        run["gather"](world.owner, *noise, e, q, state)
        run[f"block_{kind}"](*arguments, state)
        run["scatter"](world.owner, state, e, q)
    else:
        run[f"main_{kind}"](*arguments, *noise, e, *(() if factor is None else (q,)))
    drawn = arguments[3]
    first = 0 if owned else OWNED
    for j, value in enumerate(drawn):
        theta[first + j] = world.best(theta, first + j)
        assert value == pytest.approx(theta[first + j], rel=1e-8, abs=1e-8), j
    assert e == pytest.approx(world.errors(), abs=1e-9)
    if factor is not None:
        assert q == pytest.approx(world.X @ theta, abs=1e-9)


def test_chance_has_the_spread_of_the_conditional_distribution() -> None:
    """The curvature of the loss is the precision: one unit of the normal is its root."""
    world, run = World(1), gibbs.compiled()
    steps = []
    for chance in (0.0, 1.0):
        arguments = list(world.part(world.w, False))
        arguments[-1] = np.full(FREE, chance)
        # Only the first column: those after it would answer to its move.
        arguments[0] = arguments[0][:2]
        arguments[3:6] = [each[:1].copy() for each in arguments[3:6]]
        run["main_linear"](*arguments, world.user, world.omega, world.errors())
        steps.append(float(arguments[3][0]))
    at = world.w[OWNED]
    losses = []
    for step in (-1.0, 0.0, 1.0):
        world.w[OWNED] = at + step
        losses.append(world.loss(world.w, OWNED))
    curvature = (losses[2] - 2 * losses[1] + losses[0]) / 2
    assert steps[1] - steps[0] == pytest.approx(curvature**-0.5)


def test_moments_are_sums_by_user() -> None:
    sums = np.zeros((2, 2))
    user, e = np.array([1, 0, 1], np.int32), np.array([2.0, 3.0, -1.0])
    gibbs.compiled()["moments"](user, e, sums)
    assert sums.tolist() == [[3, 1], [9, 5]]
