"""EASE as a Factorization Machine against EASE as its paper has it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from fmrec.fm import ease
from fmrec.fm.model import Model


def published(X: np.ndarray, regularisation: float) -> np.ndarray:
    """Steck's pseudo-code: the weights are -P_ij / P_jj, and 0 on the diagonal."""
    P = np.linalg.inv(X.T @ X + regularisation * np.eye(X.shape[1]))
    B = P / -np.diag(P)
    np.fill_diagonal(B, 0)
    return X @ B


def grades(seed: int, n: int, m: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.choice([0.2, 0.3, 0.5, 0.8, 1.0], (n, m)) * (rng.random((n, m)) < 0.3)


def model_of(X: np.ndarray, rank: int, regularisation: float) -> tuple[Model, np.ndarray]:
    """The closed form, and its scores as a product of factors; columns stand in no order."""
    m = X.shape[1]
    columns = np.random.default_rng(0).permutation(2 * m + 3)
    rated, item = columns[:m], columns[m : 2 * m]
    model = ease.closed_form(
        sparse.csr_matrix(X),
        rated,
        item,
        feature_dim=2 * m + 3,
        rank=rank,
        regularisation=regularisation,
    )
    V = model.V.astype(np.float64)
    return model, (X @ V[rated]) @ V[item].T


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 25), st.floats(0.5, 50))
def test_at_full_rank_it_is_ease_on_films_not_rated(
    seed: int, n: int, m: int, regularisation: float
) -> None:
    X = grades(seed, n, m)
    _, scores = model_of(X, m, regularisation)
    unseen = X == 0
    assert scores[unseen] == pytest.approx(published(X, regularisation)[unseen], abs=1e-6)


def test_the_fm_equation_orders_films_as_ease_does() -> None:
    X = grades(1, 12, 20)
    m = X.shape[1]
    columns = np.random.default_rng(0).permutation(2 * m + 3)
    model, _ = model_of(X, m, 2.0)
    expected = published(X, 2.0)
    for user in range(len(X)):
        films = np.flatnonzero(X[user] == 0)
        rows = np.zeros((len(films), 2 * m + 3), np.float32)
        rows[:, columns[:m]] = X[user]
        rows[np.arange(len(films)), columns[m + films]] = 1
        raw = model.raw(sparse.csr_matrix(rows))
        assert raw - raw.mean() == pytest.approx(
            expected[user, films] - expected[user, films].mean(), abs=1e-5
        )


def test_a_lower_rank_comes_nearer_with_each_factor_and_leaves_other_columns_empty() -> None:
    X = grades(2, 40, 15)
    expected = published(X, 3.0)
    errors = []
    for rank in (1, 4, 8, 15):
        model, scores = model_of(X, rank, 3.0)
        assert model.V.shape == (33, rank)
        assert np.count_nonzero(model.V.any(axis=1)) == 30
        assert not model.w.any()
        errors.append(float(np.abs(scores - expected)[X == 0].mean()))
    assert errors == sorted(errors, reverse=True)


def test_films_nobody_rated_score_nothing() -> None:
    X = grades(3, 10, 6)
    X[:, 2] = 0
    _, scores = model_of(X, 6, 1.0)
    assert scores[:, 2] == pytest.approx(np.zeros(10), abs=1e-7)
