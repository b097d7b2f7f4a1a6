"""Metrics against numbers worked by hand."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

from fmrec.errors import EvaluationError
from fmrec.evaluation import metrics

BINARY = [metrics.accuracy, metrics.cross_entropy, metrics.f1, metrics.auc]
ALL = [metrics.rmse, metrics.mae, metrics.calibration_error, *BINARY]

exactly = partial(pytest.approx, rel=0, abs=1e-12)


def test_rmse_and_mae_of_errors_one_two_and_two() -> None:
    actual, predicted = [3.0, 1.0, 5.0], [4.0, 3.0, 3.0]
    assert metrics.rmse(actual, predicted) == exactly(math.sqrt((1 + 4 + 4) / 3))
    assert metrics.mae(actual, predicted) == exactly(5 / 3)


def test_a_probability_of_one_half_is_a_positive_prediction() -> None:
    assert metrics.accuracy([1, 0, 1, 0], [0.5, 0.5, 0.49, 0.1]) == 0.5
    # TP 1, FP 1, FN 1
    assert metrics.f1([1, 0, 1, 0], [0.5, 0.5, 0.49, 0.1]) == exactly(2 / 4)


def test_f_beta_weighs_recall_beta_times_as_much_as_precision() -> None:
    # TP 2, FP 1, FN 3: precision 2/3, recall 2/5
    actual, probability = [1, 1, 1, 1, 1, 0, 0], [0.9, 0.5, 0.1, 0.2, 0.3, 0.8, 0.4]
    assert metrics.f_beta(actual, probability, 2) == exactly(5 * 2 / (5 * 2 + 4 * 3 + 1))
    assert metrics.f_beta(actual, probability, 0.5) == exactly(2.5 / (2.5 + 0.25 * 3 + 1))
    assert metrics.f_beta(actual, probability, 1) == exactly(
        2 * (2 / 3) * (2 / 5) / (2 / 3 + 2 / 5)
    )
    assert metrics.f1(actual, probability) == metrics.f_beta(actual, probability, 1)


@pytest.mark.parametrize("beta", [0, -1.0, math.inf, math.nan])
def test_a_beta_that_weighs_nothing_is_refused(beta: float) -> None:
    with pytest.raises(EvaluationError, match=f"beta {beta} is not a positive number"):
        metrics.f_beta([1, 0], [0.5, 0.1], beta)


def test_calibration_error_is_the_mean_gap_of_the_bins_by_their_size() -> None:
    # Twenty predictions make ten bins of two; the first two bins are off, the others right.
    predicted = np.arange(1, 21) / 20
    actual = predicted.copy()
    actual[:4] = [0, 0, 0, 1]
    first, second = abs(0 - 0.075), abs(0.5 - 0.175)
    assert metrics.calibration_error(actual, predicted) == exactly((2 * first + 2 * second) / 20)
    # Ratings: all in one bin, which is half a star too high.
    assert metrics.calibration_error([3.0, 4.0, 5.0], [4.5, 4.5, 4.5]) == exactly(0.5)


def test_bins_weigh_as_many_rows_as_they_have() -> None:
    # Three rows share a bin whose mean is 1/3 for a prediction of .2; the other bin holds one row.
    predicted, actual = [0.2, 0.2, 0.2, 0.9], [1, 0, 0, 1]
    assert metrics.calibration_error(actual, predicted) == exactly(
        (3 * (1 / 3 - 0.2) + 1 * 0.1) / 4
    )


def test_errors_within_a_bin_that_cancel_are_no_calibration_error() -> None:
    assert metrics.calibration_error([1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5]) == 0


def test_cross_entropy_in_nats() -> None:
    expected = -(math.log(0.8) + math.log(1 - 0.25)) / 2
    assert metrics.cross_entropy([1, 0], [0.8, 0.25]) == exactly(expected)
    assert metrics.cross_entropy([1, 0], [0.5, 0.5]) == exactly(math.log(2))


def test_cross_entropy_of_a_saturated_score_is_large_but_finite() -> None:
    assert metrics.cross_entropy([1], [0.0]) == exactly(-math.log(1e-15))
    assert metrics.cross_entropy([0], [1.0]) == pytest.approx(-math.log(1e-15), rel=1e-2)
    assert metrics.cross_entropy([1, 0], [1.0, 0.0]) == pytest.approx(0.0, abs=1e-14)


def test_auc_counts_ordered_pairs_and_half_of_the_ties() -> None:
    # positives .9 and .4 against negatives .4 and .1: 1 + 1 + 1/2 + 1 of 4 pairs
    assert metrics.auc([1, 1, 0, 0], [0.9, 0.4, 0.4, 0.1]) == exactly(3.5 / 4)
    assert metrics.auc([1, 0, 1], [0.3, 0.3, 0.3]) == 0.5


def test_undefined_metrics_are_nan() -> None:
    assert math.isnan(metrics.auc([1, 1], [0.2, 0.9]))
    assert math.isnan(metrics.auc([0], [0.2]))
    assert math.isnan(metrics.f1([0, 0], [0.1, 0.2]))
    assert metrics.f1([0, 0], [0.9, 0.2]) == 0.0


@pytest.mark.parametrize("metric", ALL)
def test_unequal_lengths_and_nothing_at_all_are_errors(metric) -> None:
    with pytest.raises(EvaluationError, match=r"\(2,\), predictions \(1,\)"):
        metric([1.0, 0.0], [0.5])
    with pytest.raises(EvaluationError, match="no events"):
        metric([], [])
    with pytest.raises(EvaluationError, match="shape"):
        metric([[1.0]], [[1.0]])


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_names_its_row(metric, bad: float) -> None:
    with pytest.raises(EvaluationError, match=r"prediction .* in row 1 "):
        metric([1.0, 0.0], [0.5, bad])
    with pytest.raises(EvaluationError, match=r"actual value .* in row 0 "):
        metric([bad, 0.0], [0.5, 0.5])


@pytest.mark.parametrize("metric", BINARY)
def test_labels_of_a_regressor_are_refused(metric) -> None:
    with pytest.raises(EvaluationError, match=r"label 4\.0 in row 1"):
        metric([1.0, 4.0], [0.5, 0.5])


@pytest.mark.parametrize("metric", [each for each in BINARY if each is not metrics.auc])
def test_scores_of_a_regressor_are_refused_where_a_probability_is_meant(metric) -> None:
    with pytest.raises(EvaluationError, match=r"score 3\.5 in row 0 is not a probability"):
        metric([1.0, 0.0], [3.5, 0.5])


def test_clipping_touches_only_what_leaves_the_scale() -> None:
    assert metrics.clip_to_scale([0.2, 1.0, 3.3, 5.0, 7.0], (1, 5)).tolist() == [1, 1, 3.3, 5, 5]
    assert metrics.clip_to_scale([0.2, 0.7, 6.0], (0.5, 5)).tolist() == [0.5, 0.7, 5]


def test_arguments_are_left_alone() -> None:
    actual, predicted = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    for metric in ALL:
        metric(actual, predicted)
    assert actual.tolist() == [1, 0]
    assert predicted.tolist() == [0, 1]
