"""The solver against a slow one written from the rules, and against answers known beforehand."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from fmrec.errors import DataError
from fmrec.fm import hyperparameters
from fmrec.fm.adam import Adam
from fmrec.fm.batches import filled_order
from fmrec.fm.hyperparameters import Hyperparameters
from fmrec.fm.metrics import ClassifierScore, RegressorScore
from fmrec.fm.model import Model, sigmoid


def configure(d: int, k: int, predictor_type: str = "regressor", **more: object) -> Hyperparameters:
    required = {"feature_dim": d, "num_factors": k, "predictor_type": predictor_type}
    return hyperparameters.parse(required | {name: str(value) for name, value in more.items()})


def naive(model: Model, row: np.ndarray) -> float:
    """The equation as Rendle prints it: all pairs i < j."""
    total = model.w0 + sum(float(w) * float(x) for w, x in zip(model.w, row, strict=True))
    for i in range(len(row)):
        for j in range(i + 1, len(row)):
            inner = float(np.dot(model.V[i].astype(float), model.V[j].astype(float)))
            total += inner * float(row[i]) * float(row[j])
    return total


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 5), st.integers(0, 6))
def test_the_equation_is_the_double_sum(seed: int, d: int, k: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    model = Model(
        float(rng.normal()),
        rng.normal(size=d).astype(np.float32),
        rng.normal(size=(d, k)).astype(np.float32),
        "binary_classifier",
    )
    rows = (rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.6)).astype(np.float32)
    expected = np.array([naive(model, row) for row in rows])
    X = sparse.csr_matrix(rows)
    assert model.raw(X) == pytest.approx(expected, abs=1e-4)
    assert model.score(X) == pytest.approx(1 / (1 + np.exp(-expected)), abs=1e-4)


def test_a_model_refuses_rows_of_another_width_and_shapes_that_do_not_fit() -> None:
    model = Model(0.0, np.zeros(4, np.float32), np.zeros((4, 2), np.float32), "regressor")
    with pytest.raises(DataError, match="rows have 5 features, but the model has 4"):
        model.raw(sparse.csr_matrix(np.eye(5, dtype=np.float32)))
    with pytest.raises(DataError, match=r"not \(d,\) and \(d, k\)"):
        Model(0.0, np.zeros(4, np.float32), np.zeros((3, 2), np.float32), "regressor")


def test_sigmoid_at_the_ends() -> None:
    assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]


class SlowAdam:
    """The rules in plain float64 loops over dense rows, feature by feature."""

    def __init__(self, hp: Hyperparameters, start: Model, X: np.ndarray, y: np.ndarray) -> None:
        self.hp, self.X, self.y = hp, X.astype(float), y.astype(float)
        self.w0, self.w, self.V = start.w0, start.w.astype(float), start.V.astype(float)
        self.moments: dict[object, tuple[float, float]] = {}
        self.t = 0
        self.buffer: list[int] = []

    def output(self, row: int) -> float:
        x = self.X[row]
        pairs = 0.0
        for f in range(self.V.shape[1]):
            pairs += sum(self.V[:, f] * x) ** 2 - sum(self.V[:, f] ** 2 * x**2)
        return self.w0 + float(self.w @ x) + pairs / 2

    def epoch(self) -> list[float]:
        size, outputs = self.hp.mini_batch_size, []
        for first in range(0, len(self.y), size):
            fresh = list(range(first, min(first + size, len(self.y))))
            self.buffer = fresh + self.buffer[len(fresh) :]  # what is not overwritten is stale
            outputs += self.step(self.buffer)
        return outputs

    def step(self, rows: list[int]) -> list[float]:
        outputs = [self.output(row) for row in rows]
        errors = []
        for row, raw in zip(rows, outputs, strict=True):
            classifier = self.hp.predictor_type == "binary_classifier"
            errors.append((1 / (1 + np.exp(-raw)) if classifier else raw) - self.y[row])
        self.t += 1
        present = [i for i in range(len(self.w)) if any(self.X[row, i] for row in rows)]
        new_w, new_V = self.w.copy(), self.V.copy()
        for i in present:
            pairs = list(zip(rows, errors, strict=True))
            g = sum(e * self.X[row, i] for row, e in pairs)
            new_w[i] = self.move(("w", i), self.w[i], g, self.hp.linear)
            for f in range(self.V.shape[1]):
                g = 0.0
                for row, e in pairs:
                    x = self.X[row]
                    g += e * x[i] * (float(self.V[:, f] @ x) - self.V[i, f] * x[i])
                new_V[i, f] = self.move(("V", i, f), self.V[i, f], g, self.hp.factors)
        self.w0 = self.move("w0", self.w0, sum(errors), self.hp.bias)
        self.w, self.V = new_w, new_V
        return outputs

    def move(
        self, key: object, value: float, gradient: float, group: hyperparameters.Group
    ) -> float:
        g = gradient * self.hp.rescale_grad + group.weight_decay * value
        if self.hp.clip_gradient is not None:
            g = min(max(g, -self.hp.clip_gradient), self.hp.clip_gradient)
        m, v = self.moments.get(key, (0.0, 0.0))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        self.moments[key] = (m, v)
        rate = group.learning_rate * np.sqrt(1 - 0.999**self.t) / (1 - 0.9**self.t)
        return value - rate * m / (np.sqrt(v) + self.hp.eps)


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
@pytest.mark.parametrize("rows", [12, 17, 3], ids=["even", "last batch filled", "one short batch"])
@pytest.mark.parametrize("more", [{}, {"clip_gradient": 0.05, "rescale_grad": 0.4, "eps": 1e-3}])
def test_three_epochs_equal_the_slow_solvers(
    predictor_type: str, rows: int, more: dict[str, float]
) -> None:
    rng = np.random.default_rng(rows)
    d, k = 6, 3
    X = (rng.random((rows, d)) < 0.4) * rng.normal(size=(rows, d))
    X[1] = 0  # a row without features still moves the bias
    y = (rng.random(rows) < 0.5).astype(np.float32)
    hp = configure(
        d, k, predictor_type, mini_batch_size=4, linear_lr=0.03, factors_lr=0.05, linear_wd=0.1,
        factors_wd=0.2, factors_init_sigma=0.5, _seed=3, **more,
    )  # fmt: skip
    fast = Adam(hp, sparse.csr_matrix(X.astype(np.float32)), y)
    slow = SlowAdam(hp, fast.model(), X.astype(np.float32), y)
    for _ in range(3):
        raw, labels = fast.train(0, fast.batches)
        expected = slow.epoch()
        assert raw == pytest.approx(expected, abs=2e-4)
        assert len(labels) == len(expected)
    model = fast.model()
    assert model.w0 == pytest.approx(slow.w0, abs=2e-4)
    assert model.w == pytest.approx(slow.w, abs=2e-4)
    assert np.abs(model.V - slow.V).max() < 2e-4


@given(st.integers(1, 60), st.integers(1, 20))
def test_the_last_batch_is_filled_from_the_batch_before(rows: int, size: int) -> None:
    order = filled_order(rows, size).tolist()
    assert order[:rows] == list(range(rows))
    if rows < size:
        assert len(order) == rows
    else:
        assert len(order) % size == 0
        assert len(order) - rows < size
        assert order[rows:] == [position - size for position in range(rows, len(order))]


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_the_batch_gradient_is_the_slope_of_the_loss(predictor_type: str) -> None:
    """With a huge eps the first update is minus the gradient times a known number."""
    rng = np.random.default_rng(8)
    rows, d, k = 9, 5, 2
    X = sparse.csr_matrix(rng.normal(size=(rows, d)).astype(np.float32))
    y = (rng.random(rows) < 0.5).astype(np.float32)
    eps = 1e5
    rate = eps / np.sqrt(1 - 0.999)  # then the update is exactly minus the gradient
    hp = configure(
        d, k, predictor_type, mini_batch_size=rows, eps=eps, bias_lr=rate, linear_lr=rate,
        factors_lr=rate, bias_wd=0, linear_wd=0, factors_wd=0, linear_init_sigma=0.3,
        factors_init_sigma=0.5,
    )  # fmt: skip
    trainer = Adam(hp, X, y)
    before = trainer.model()
    trainer.train(0, 1)
    after = trainer.model()

    def loss(w0: float, w: np.ndarray, V: np.ndarray) -> float:
        dense = X.toarray().astype(float)
        sums = dense @ V
        raw = w0 + dense @ w + ((sums**2).sum(1) - (dense**2 @ V**2).sum(1)) / 2
        if predictor_type == "regressor":
            return float(np.mean((raw - y) ** 2) / 2)
        return float(np.mean(np.logaddexp(0, raw) - raw * y))

    w0, w, V = before.w0, before.w.astype(float), before.V.astype(float)
    h = 1e-5
    assert w0 - after.w0 == pytest.approx(
        (loss(w0 + h, w, V) - loss(w0 - h, w, V)) / (2 * h), abs=1e-4
    )
    for i in range(d):
        e = np.eye(d)[i] * h
        slope = (loss(w0, w + e, V) - loss(w0, w - e, V)) / (2 * h)
        assert w[i] - after.w[i] == pytest.approx(slope, abs=1e-4)
        for f in range(k):
            E = np.zeros((d, k))
            E[i, f] = h
            slope = (loss(w0, w, V + E) - loss(w0, w, V - E)) / (2 * h)
            assert V[i, f] - after.V[i, f] == pytest.approx(slope, abs=1e-4)


def pairs(users: np.ndarray, items: np.ndarray, n_users: int, n_items: int) -> sparse.csr_matrix:
    keys = np.column_stack([users, n_users + items]).ravel()
    return sparse.csr_matrix(
        (np.ones(len(keys), np.float32), keys, np.arange(0, len(keys) + 1, 2)),
        shape=(len(users), n_users + n_items),
    )


FAST = {
    "mini_batch_size": 50,
    "epochs": 1,
    "bias_lr": 0.02,
    "linear_lr": 0.02,
    "factors_lr": 0.02,
    "bias_wd": 0,
    "linear_wd": 0,
    "factors_wd": 0,
    "factors_init_sigma": 0.3,
}


def fit(hp: Hyperparameters, X: sparse.csr_matrix, y: np.ndarray, epochs: int) -> Model:
    trainer = Adam(hp, X, y.astype(np.float32))
    for _ in range(epochs):
        trainer.train(0, trainer.batches)
    return trainer.model()


def test_a_checkerboard_is_completed() -> None:
    """Odd users like odd items, even users even ones: unseen cells follow from seen ones."""
    users, items = (axis.ravel() for axis in np.indices((40, 30)))
    likes = (users + items) % 2 == 0
    rng = np.random.default_rng(0)
    seen = rng.permutation(len(users)) < 600
    X = pairs(users, items, 40, 30)
    order = rng.permutation(np.flatnonzero(seen))
    classifier = fit(configure(70, 4, "binary_classifier", **FAST), X[order], likes[order], 150)
    assert ((classifier.score(X[~seen]) >= 0.5) == likes[~seen]).mean() > 0.99
    ratings = np.where(likes, 5.0, 1.0)
    regressor = fit(configure(70, 4, **FAST), X[order], ratings[order], 150)
    assert np.abs(regressor.score(X[~seen]) - ratings[~seen]).mean() < 0.1


def test_a_teachers_outputs_are_learnt() -> None:
    """Labels come from a known FM; the student must predict pairs it has not seen."""
    rng = np.random.default_rng(1)
    teacher = Model(
        3.5,
        rng.normal(scale=0.5, size=80).astype(np.float32),
        rng.normal(scale=0.7, size=(80, 2)).astype(np.float32),
        "regressor",
    )
    users, items = (axis.ravel() for axis in np.indices((40, 40)))
    order = rng.permutation(1600)
    X = pairs(users, items, 40, 40)[order]
    y = teacher.raw(X)
    for seed in (0, 1, 2):
        student = fit(configure(80, 2, **FAST, _seed=seed), X[:1280], y[:1280], 300)
        error = student.raw(X[1280:]) - y[1280:]
        assert np.sqrt(np.mean(error**2)) < 0.1 * np.std(y)


def test_the_parameters_of_a_known_machine_are_recovered() -> None:
    """20,000 rows with noise of 0.1. Factors are known up to a rotation: V V^T is compared.

    The least error that is possible here is about 0.1 / sqrt(20,000) = 0.0007 for w0 and w, and
    somewhat more for the products; the last steps of Adam still move by a part of its rate.
    """
    rng = np.random.default_rng(6)
    n, d, k = 20_000, 12, 2
    truth = Model(
        -0.7,
        rng.normal(size=d).astype(np.float32),
        rng.normal(size=(d, k)).astype(np.float32),
        "regressor",
    )
    X = sparse.random(n, d, 0.4, format="csr", dtype=np.float32, random_state=6)
    X.data[:] = rng.normal(size=X.nnz)
    y = truth.raw(X) + rng.normal(scale=0.1, size=n)
    rates = {"bias_lr": 0.003, "linear_lr": 0.003, "factors_lr": 0.003}
    found = fit(configure(d, k, **FAST | rates | {"mini_batch_size": 500}), X, y, 100)
    assert found.w0 == pytest.approx(truth.w0, abs=0.01)
    assert found.w == pytest.approx(truth.w, abs=0.01)
    pairs = ~np.eye(d, dtype=bool)
    assert (found.V @ found.V.T)[pairs] == pytest.approx((truth.V @ truth.V.T)[pairs], abs=0.03)


def test_a_seed_gives_the_same_bits_and_another_seed_other_ones() -> None:
    rng = np.random.default_rng(2)
    X = pairs(rng.integers(0, 9, 500), rng.integers(0, 7, 500), 9, 7)
    y = rng.normal(size=500)
    first, again, other = (fit(configure(16, 8, _seed=s), X, y, 4) for s in (1, 1, 2))
    assert first.V.tobytes() == again.V.tobytes()
    assert first.V.tobytes() != other.V.tobytes()


def test_training_in_segments_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    X = pairs(rng.integers(0, 9, 510), rng.integers(0, 7, 510), 9, 7)
    y = rng.normal(size=510).astype(np.float32)
    whole, parts = (Adam(configure(16, 8, mini_batch_size=20), X, y) for _ in range(2))
    raw, _ = whole.train(0, whole.batches)
    raws = [parts.train(first, min(first + 7, 26))[0] for first in range(0, 26, 7)]
    assert np.concatenate(raws).tobytes() == raw.tobytes()
    assert whole.model().V.tobytes() == parts.model().V.tobytes()


def test_switched_off_groups_stay_zero() -> None:
    rng = np.random.default_rng(2)
    X = pairs(rng.integers(0, 9, 100), rng.integers(0, 7, 100), 9, 7)
    model = fit(configure(16, 2, use_bias="false", use_linear="false"), X, rng.normal(size=100), 3)
    assert model.w0 == 0
    assert not model.w.any()
    assert model.V.all()


@settings(deadline=None)
@given(st.sampled_from(["normal", "uniform", "constant"]), st.integers(0, 1000))
def test_start_values_follow_their_method(method: str, seed: int) -> None:
    argument = {"normal": "sigma", "uniform": "scale", "constant": "value"}[method]
    hp = configure(
        200, 20, factors_init_method=method, _seed=seed, **{f"factors_init_{argument}": 0.2}
    )
    nothing = sparse.csr_matrix((1, 200), dtype=np.float32)
    drawn = Adam(hp, nothing, np.zeros(1, np.float32)).model().V
    if method == "constant":
        assert np.unique(drawn).tolist() == [np.float32(0.2)]
    else:
        spread = 0.2 if method == "normal" else 0.2 / np.sqrt(3)
        assert drawn.std() == pytest.approx(spread, rel=0.1)
        assert method == "normal" or np.abs(drawn).max() <= np.float32(0.2)


def test_metrics_by_hand() -> None:
    regressor = RegressorScore()
    regressor.add(np.array([1.0, 2.0]), np.array([2.0, 4.0]))
    regressor.add(np.array([5.0]), np.array([5.0]))
    assert regressor.values() == pytest.approx(
        {"rmse": np.sqrt(5 / 3), "mse": 5 / 3, "absolute_loss": 1.0}
    )
    classifier = ClassifierScore()
    logit = np.log(3)  # probability 0.75
    classifier.add(np.array([logit, logit, -logit, 0.0]), np.array([1.0, 0.0, 0.0, 1.0]))
    assert classifier.values() == pytest.approx(
        {
            "binary_classification_accuracy": 0.75,
            "binary_classification_cross_entropy": -np.log(0.75 * 0.25 * 0.75 * 0.5) / 4,
            "binary_f_1.000": 2 * 2 / (3 + 2),
        }
    )
    for score in (regressor, classifier):
        sums = score.sums()
        again = type(score)()
        again.merge(sums)
        again.merge(sums)
        assert again.values() == pytest.approx(score.values())
        assert again.sums()[0] == 2 * sums[0]
    silent = ClassifierScore()
    silent.add(np.array([-1.0]), np.array([0.0]))
    assert silent.values()["binary_f_1.000"] == 0
    certain = ClassifierScore()
    certain.add(np.array([1e4, -1e4, -1e4], np.float32), np.array([1.0, 0.0, 1.0], np.float32))
    assert certain.values()["binary_classification_cross_entropy"] == pytest.approx(1e4 / 3)


@pytest.mark.e2e
def test_training_works_where_no_machine_code_can_be_kept() -> None:
    """A read-only installation without a home: numba finds no folder for its cache."""
    code = (
        "from fmrec.fm import adam_kernels; f = adam_kernels.compiled(); "
        "from numba.core.caching import NullCache; assert isinstance(f._cache, NullCache), f._cache"
    )
    # No locator but the one that needs NUMBA_CACHE_DIR, which is not set.
    env = os.environ | {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    env.pop("NUMBA_CACHE_DIR", None)
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
