"""Two ways to score rows, against each other and against the equation written plainly."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from fmrec.fm import scoring
from fmrec.fm.model import Model

WAYS = [scoring._by_numpy, scoring._by_kernel]


def plain(model: Model, X: sparse.csr_matrix) -> np.ndarray:
    """A factorization machine in ten lines: every pair of columns, in double precision."""
    rows, w, V = (np.asarray(each, float) for each in (X.toarray(), model.w, model.V))
    inner = V @ V.T
    total = np.full(len(rows), float(model.w0))
    for n, x in enumerate(rows):
        total[n] += w @ x
        for i in range(len(x)):
            for j in range(i + 1, len(x)):
                total[n] += inner[i, j] * x[i] * x[j]
    return total


def a_model(d: int, k: int, seed: int = 0) -> Model:
    rng = np.random.default_rng(seed)
    w, V = rng.normal(size=d), rng.normal(size=(d, k))
    return Model(float(rng.normal()), w.astype(np.float32), V.astype(np.float32), "regressor")


def of_length(length: int, rows: int, d: int, seed: int = 0) -> sparse.csr_matrix:
    rng = np.random.default_rng(seed)
    keys = np.sort(np.array([rng.permutation(d)[:length] for _ in range(rows)], np.int32), axis=1)
    values = rng.normal(size=rows * length).astype(np.float32)
    pointers = length * np.arange(rows + 1)
    return sparse.csr_matrix((values, keys.ravel(), pointers), shape=(rows, d))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 9), st.integers(0, 7))
def test_both_ways_are_the_double_sum(seed: int, d: int, k: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    model = a_model(d, k, seed)
    dense = rng.normal(size=(n, d)) * (rng.random((n, d)) < rng.random((n, 1)))
    X = sparse.csr_matrix(dense.astype(np.float32))
    expected = plain(model, X)
    for way in WAYS:
        assert way(X, model.w0, model.w, model.V) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert model.raw(X) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 60])
@pytest.mark.parametrize("k", [1, 64, 320])
def test_many_rows_of_one_length(length: int, k: int) -> None:
    """More rows than numpy takes at a time, and more columns than they have or fewer."""
    for d in (61, 5000):
        model, X = a_model(d, k), of_length(length, 300, d)
        by_numpy, by_kernel = (way(X, model.w0, model.w, model.V) for way in WAYS)
        size = 1 + length**2 * np.sqrt(k)
        assert np.abs(by_numpy - by_kernel).max() < 1e-12 * size
        few = X[:3]
        dense = few.toarray().astype(float)
        sums, squares = dense @ model.V, dense**2 @ model.V.astype(float) ** 2
        expected = model.w0 + dense @ model.w + ((sums**2).sum(1) - squares.sum(1)) / 2
        assert np.abs(by_kernel[:3] - expected).max() < 1e-12 * size


@pytest.mark.parametrize("from_", [0, 10**12], ids=["kernel", "numpy"])
def test_entries_of_one_column_count_as_their_sum(
    from_: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "KERNEL_FROM", from_)
    model = a_model(6, 4)
    values, keys = np.array([1, 2, 3, -1], np.float32), np.array([4, 1, 4, 1])
    X = sparse.csr_matrix((values, keys, [0, 4]), shape=(1, 6))
    summed = sparse.csr_matrix(np.array([[0, 1, 0, 0, 4, 0]], np.float32))
    assert model.raw(X) == pytest.approx(plain(model, summed), rel=1e-9)
    assert X.indices.tolist() == [4, 1, 4, 1]  # the caller's rows stay as they are


def test_large_requests_take_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    model, X = a_model(9, 4), of_length(3, 10, 9)
    asked = []

    def kernel(X: sparse.csr_matrix, *_: object) -> np.ndarray:
        asked.append(X.nnz)
        return np.zeros(X.shape[0])

    monkeypatch.setattr(scoring, "_by_kernel", kernel)
    monkeypatch.setattr(scoring, "KERNEL_FROM", 121)
    assert model.raw(X).any()
    monkeypatch.setattr(scoring, "KERNEL_FROM", 120)
    assert not model.raw(X).any()
    assert asked == [30]


def test_models_and_rows_of_any_memory() -> None:
    """Read-only parameters, wide indices, a matrix stored by columns, a csr_array."""
    model, X = a_model(50, 8), of_length(5, 20, 50)
    expected = model.raw(X)
    w, V = model.w.copy(), np.asfortranarray(model.V)
    w.flags.writeable = V.flags.writeable = False
    parts = (X.data, X.indices.astype(np.int64), X.indptr.astype(np.int64))
    for rows in (sparse.csr_matrix(parts, shape=X.shape), sparse.csr_array(parts, shape=X.shape)):
        for way in WAYS:
            assert way(rows, model.w0, w, V) == pytest.approx(expected, rel=1e-12)


def test_rows_score_alike_alone_and_among_others() -> None:
    model, X = a_model(400, 16), of_length(30, 500, 400)
    whole = model.raw(X)
    alone = np.concatenate([model.raw(X[n : n + 1]) for n in range(0, 500, 50)])
    assert alone == pytest.approx(whole[::50], rel=1e-12, abs=1e-12)


@pytest.mark.e2e
def test_a_server_of_small_requests_does_not_wait_for_a_compiler() -> None:
    code = (
        "import sys, numpy as np; from scipy import sparse; from fmrec.fm import serve;"
        "from fmrec.fm.model import Model;"
        "m = Model(0.0, np.ones(4, np.float32), np.ones((4, 2), np.float32), 'regressor');"
        "assert m.raw(sparse.csr_matrix(np.eye(4, dtype=np.float32))).tolist() == [1] * 4;"
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
