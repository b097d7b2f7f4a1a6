"""Metrics against scikit-learn, and laws that hold for every input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from fmrec.evaluation import metrics

SIZES = st.integers(2, 60)
SEEDS = st.integers(0, 2**32 - 1)


def binary_case(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=size).astype(float)
    labels[:2] = 0, 1
    # A coarse grid, so that ties and exact halves are common.
    return labels, rng.integers(1, 20, size=size) / 20


@given(SIZES, SEEDS)
def test_rating_metrics_agree_with_scikit_learn(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    actual, predicted = rng.integers(1, 6, size=size).astype(float), rng.normal(3, 2, size=size)
    assert metrics.rmse(actual, predicted) == pytest.approx(
        reference.root_mean_squared_error(actual, predicted)
    )
    assert metrics.mae(actual, predicted) == pytest.approx(
        reference.mean_absolute_error(actual, predicted)
    )
    assert metrics.mae(actual, predicted) <= metrics.rmse(actual, predicted) + 1e-12


@given(SIZES, SEEDS)
def test_classification_metrics_agree_with_scikit_learn(size: int, seed: int) -> None:
    labels, scores = binary_case(size, seed)
    decided = scores >= 0.5
    assert metrics.accuracy(labels, scores) == pytest.approx(
        reference.accuracy_score(labels, decided)
    )
    assert metrics.f1(labels, scores) == pytest.approx(
        reference.f1_score(labels, decided, zero_division=np.nan)
    )
    assert metrics.auc(labels, scores) == pytest.approx(reference.roc_auc_score(labels, scores))
    assert metrics.cross_entropy(labels, scores) == pytest.approx(
        reference.log_loss(labels, scores)
    )


@given(SIZES, SEEDS)
def test_auc_sees_only_the_order_and_turns_over_with_it(size: int, seed: int) -> None:
    labels, scores = binary_case(size, seed)
    assert metrics.auc(labels, scores**3) == pytest.approx(metrics.auc(labels, scores))
    assert metrics.auc(labels, 1 - scores) == pytest.approx(1 - metrics.auc(labels, scores))


@given(SIZES, SEEDS)
def test_the_order_of_the_events_does_not_matter(size: int, seed: int) -> None:
    labels, scores = binary_case(size, seed)
    order = np.random.default_rng(seed).permutation(size)
    for metric in (metrics.accuracy, metrics.f1, metrics.auc, metrics.cross_entropy, metrics.rmse):
        assert metric(labels[order], scores[order]) == pytest.approx(metric(labels, scores))
