"""Implicit ALS against its loss written out, and on data whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from fmrec.fm import als

WEIGHT, REGULARISATION = 0.3, 0.05


def loss(G: np.ndarray, U: np.ndarray, V: np.ndarray) -> float:
    """The sum that the module's docstring states, pair by pair."""
    n, m = G.shape
    total = 0.0
    for u in range(n):
        for i in range(m):
            score = float(U[u] @ V[i])
            total += WEIGHT * score**2 + ((G[u, i] - score) ** 2 if G[u, i] else 0.0)
    total += REGULARISATION * sum(
        (np.count_nonzero(G[u]) + WEIGHT * m) * float(U[u] @ U[u]) for u in range(n)
    )
    total += REGULARISATION * sum(
        (np.count_nonzero(G[:, i]) + WEIGHT * n) * float(V[i] @ V[i]) for i in range(m)
    )
    return total


def grades(seed: int, n: int, m: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.choice([0.2, 0.3, 0.5, 0.8, 1.0], (n, m)) * (rng.random((n, m)) < 0.4)


def factorised(G: np.ndarray, V: np.ndarray, sweeps: int) -> tuple[np.ndarray, np.ndarray]:
    found = als.factorise(
        sparse.csr_matrix(G),
        V,
        sweeps=sweeps,
        regularisation=REGULARISATION,
        unobserved_weight=WEIGHT,
        stopped=lambda: False,
    )
    assert found is not None
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 6), st.integers(1, 3))
def test_no_step_from_what_was_solved_lowers_the_loss(seed: int, n: int, m: int, k: int) -> None:
    G = grades(seed, n, m)
    rng = np.random.default_rng(seed)
    V = rng.normal(size=(m, k))
    U = als.solve(sparse.csr_matrix(G), V, REGULARISATION, WEIGHT)
    least = loss(G, U, V)
    for _ in range(5):
        assert loss(G, U + 0.01 * rng.normal(size=U.shape), V) > least


def test_each_sweep_lowers_the_loss() -> None:
    G = grades(1, 30, 20)
    V = np.random.default_rng(1).normal(size=(20, 4))
    losses = [loss(G, *factorised(G, V, sweeps)) for sweeps in (1, 2, 4, 8)]
    assert losses == sorted(losses, reverse=True)


def test_blocks_of_rows_are_solved_as_one_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    G = sparse.csr_matrix(grades(2, 11, 6))
    V = np.random.default_rng(2).normal(size=(6, 3))
    whole = als.solve(G, V, REGULARISATION, WEIGHT)
    monkeypatch.setattr(als, "BLOCK_ROWS", 4)
    assert als.solve(G, V, REGULARISATION, WEIGHT) == pytest.approx(whole, rel=1e-12)


def test_two_groups_that_like_their_own_films_are_told_apart() -> None:
    """Even users like even films, odd ones odd; the diagonal is withheld and must come first."""
    n = 20
    board = (np.add.outer(np.arange(n), np.arange(n)) % 2 == 0).astype(float)
    np.fill_diagonal(board, 0)
    U, V = factorised(board, np.random.default_rng(3).normal(size=(n, 2)), 10)
    unseen = np.where(board > 0, -np.inf, U @ V.T)
    assert unseen.argmax(axis=1).tolist() == list(range(n))


def test_a_user_without_ratings_has_no_factors_and_zero_weights_do_no_harm() -> None:
    G = np.zeros((3, 4))
    G[0, 1] = 1
    V = np.random.default_rng(4).normal(size=(4, 2))
    assert not als.solve(sparse.csr_matrix(G), V, REGULARISATION, WEIGHT)[1:].any()
    assert np.isfinite(als.solve(sparse.csr_matrix(G), V, 0.0, 0.0)).all()


def test_a_stop_ends_it_between_sweeps() -> None:
    answers = iter([False, False, True])
    found = als.factorise(
        sparse.csr_matrix(grades(5, 4, 4)),
        np.ones((4, 1)),
        sweeps=10,
        regularisation=REGULARISATION,
        unobserved_weight=WEIGHT,
        stopped=lambda: next(answers),
    )
    assert found is None
    assert next(answers, "asked three times") == "asked three times"
