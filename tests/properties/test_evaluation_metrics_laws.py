"""Metrics against scikit-learn, and laws that hold for every input."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from fmrec.evaluation import metrics
from fmrec.evaluation.diagnostics import calibration

SIZES = st.integers(2, 60)
SEEDS = st.integers(0, 2**32 - 1)

LAW = settings(deadline=None, max_examples=50)

closely = partial(pytest.approx, rel=1e-12, abs=1e-12)


def binary_case(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=size).astype(float)
    labels[:2] = 0, 1
    # A coarse grid, so that ties and exact halves are common.
    return labels, rng.integers(1, 20, size=size) / 20


@LAW
@given(SIZES, SEEDS)
def test_rating_metrics_agree_with_scikit_learn(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    actual, predicted = rng.integers(1, 6, size=size).astype(float), rng.normal(3, 2, size=size)
    assert metrics.rmse(actual, predicted) == closely(
        reference.root_mean_squared_error(actual, predicted)
    )
    assert metrics.mae(actual, predicted) == closely(
        reference.mean_absolute_error(actual, predicted)
    )
    assert metrics.mae(actual, predicted) <= metrics.rmse(actual, predicted) + 1e-12


@LAW
@given(SIZES, SEEDS)
def test_classification_metrics_agree_with_scikit_learn(size: int, seed: int) -> None:
    labels, scores = binary_case(size, seed)
    decided = scores >= 0.5
    assert metrics.accuracy(labels, scores) == closely(reference.accuracy_score(labels, decided))
    assert metrics.f1(labels, scores) == closely(
        reference.f1_score(labels, decided, zero_division=np.nan)
    )
    for beta in (0.5, 2.0):
        assert metrics.f_beta(labels, scores, beta) == closely(
            reference.fbeta_score(labels, decided, beta=beta, zero_division=np.nan)
        )
    assert metrics.auc(labels, scores) == closely(reference.roc_auc_score(labels, scores))
    assert metrics.cross_entropy(labels, scores) == closely(reference.log_loss(labels, scores))


@LAW
@given(SIZES, SEEDS)
def test_auc_sees_only_the_order_and_turns_over_with_it(size: int, seed: int) -> None:
    labels, scores = binary_case(size, seed)
    assert metrics.auc(labels, scores**3) == closely(metrics.auc(labels, scores))
    assert metrics.auc(labels, 1 - scores) == closely(1 - metrics.auc(labels, scores))


@LAW
@given(SIZES, SEEDS)
def test_the_order_of_the_events_does_not_matter(size: int, seed: int) -> None:
    labels, scores = binary_case(size, seed)
    order = np.random.default_rng(seed).permutation(size)
    for metric in (
        metrics.accuracy,
        metrics.f1,
        metrics.auc,
        metrics.cross_entropy,
        metrics.rmse,
        metrics.calibration_error,
    ):
        assert metric(labels[order], scores[order]) == closely(metric(labels, scores))


@LAW
@given(st.integers(1, 12), SEEDS)
def test_bins_are_those_of_scikit_learn_and_the_error_their_mean_gap(tens: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = 10 * tens
    labels = rng.integers(2, size=size).astype(float)
    # All different, so that each of the ten bins holds a tenth.
    scores = rng.permutation(size) / size + rng.uniform(0, 1 / size)
    actual, predicted = calibration_curve(labels, scores, n_bins=10, strategy="quantile")
    made = calibration(labels, scores)
    assert [row["count"] for row in made] == [tens] * 10
    assert [row["actual"] for row in made] == closely(actual.tolist())
    assert [row["predicted"] for row in made] == closely(predicted.tolist())
    gap = float(np.abs(actual - predicted).mean())
    assert metrics.calibration_error(labels, scores) == closely(gap)


@LAW
@given(SIZES, SEEDS)
def test_bins_with_ties_are_those_of_scikit_learn(size: int, seed: int) -> None:
    labels, scores = binary_case(size, seed)
    actual, predicted = calibration_curve(labels, scores, n_bins=10, strategy="quantile")
    made = calibration(labels, scores)
    assert sum(row["count"] for row in made) == size
    assert [row["actual"] for row in made] == closely(actual.tolist())
    assert [row["predicted"] for row in made] == closely(predicted.tolist())


@LAW
@given(SIZES, SEEDS, st.floats(-0.4, 0.4))
def test_a_prediction_that_is_off_by_a_constant_has_it_as_calibration_error(
    size: int, seed: int, off: float
) -> None:
    ratings = np.random.default_rng(seed).integers(1, 6, size=size).astype(float)
    assert metrics.calibration_error(ratings, ratings + off) == closely(abs(off))
    assert metrics.calibration_error(ratings, np.full(size, ratings.mean())) == closely(0)


@LAW
@given(SIZES, SEEDS)
def test_calibration_error_lies_between_the_bias_and_the_mean_absolute_error(
    size: int, seed: int
) -> None:
    labels, scores = binary_case(size, seed)
    error = metrics.calibration_error(labels, scores)
    assert abs(scores.mean() - labels.mean()) <= error + 1e-12
    assert error <= metrics.mae(labels, scores) + 1e-12
