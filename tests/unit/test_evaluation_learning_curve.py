"""Learning curves read from lines as the container prints them."""

from __future__ import annotations

import json
import math

import pytest

from fmrec.evaluation.learning_curve import Point, parse

STAMP = "[04/21/2023 14:26:45 INFO 139893122135872] "


def test_epochs_and_the_finished_model_are_read_and_the_rest_left() -> None:
    lines = [
        "Docker entrypoint called with argument(s): train",
        f"{STAMP}#quality_metric: host=algo-1, epoch=0, batch=0 train rmse <loss>=3.846",
        f"{STAMP}#quality_metric: host=algo-1, epoch=0, train rmse <loss>=1.8169458122088216",
        f"{STAMP}#quality_metric: host=algo-1, epoch=0, train absolute_loss <loss>=1.25\n",
        f"{STAMP}#progress_metric: host=algo-1, completed 2.0 % of epochs",
        f"{STAMP}#quality_metric: host=algo-1, epoch=1, train rmse <loss>=1.09",
        f"{STAMP}#quality_metric: host=algo-1, train rmse <loss>=1.09",
        f"{STAMP}#test_score (algo-1) : ('rmse', 1.0002629948968227)",
        f"{STAMP}#quality_metric: host=algo-1, test rmse <loss>=1.0002629948968227",
    ]
    assert parse(lines) == [
        Point("train", "rmse", 0, 1.8169458122088216),
        Point("train", "mae", 0, 1.25),
        Point("train", "rmse", 1, 1.09),
        Point("train", "rmse", None, 1.09),
        Point("test", "rmse", None, 1.0002629948968227),
    ]


def test_a_classifiers_metrics_get_the_names_of_the_report() -> None:
    prefix = "#quality_metric: host=algo-1, epoch=7, train "
    points = parse(
        [
            prefix + "binary_classification_accuracy <score>=0.67",
            prefix + "binary_classification_cross_entropy <loss>=0.63",
            prefix + "binary_f_1.000 <score>=0.72",
        ]
    )
    assert [(p.metric, p.epoch) for p in points] == [
        ("accuracy", 7),
        ("cross_entropy", 7),
        ("f1", 7),
    ]


def test_a_resumed_job_counts_with_its_later_value_and_other_hosts_do_not() -> None:
    line = "#quality_metric: host={}, epoch=0, train rmse <loss>={}"
    points = parse(
        [line.format("algo-1", 2.0), line.format("algo-1", 1.5), line.format("algo-2", 3.0)]
    )
    assert points == [Point("train", "rmse", 0, 1.5)]


def test_single_batches_are_no_epoch() -> None:
    line = "#quality_metric: host=algo-1, epoch=0, batch=500 train rmse <loss>=2.0"
    assert parse([line]) == []


def test_a_diverged_training_keeps_its_nan() -> None:
    (point,) = parse(["#quality_metric: host=algo-1, epoch=0, train rmse <loss>=nan"])
    assert math.isnan(point.value)


@pytest.mark.parametrize("rest", ["epoch=0, train rmse <loss>=abc", "epoch=0, train rmse", ""])
def test_an_unreadable_metric_line_is_reported_not_fatal(rest, caplog) -> None:
    assert parse([f"#quality_metric: host=algo-1, {rest}"]) == []
    assert "cannot be read" in caplog.text


@pytest.mark.data
def test_a_published_log_gives_back_its_thirty_epochs(data_dir) -> None:
    published = json.loads((data_dir / "published-fm-logs.json").read_text())["classifier"]
    curves = published["train_epoch"]
    lines = [
        f"{STAMP}#quality_metric: host=algo-1, epoch={epoch}, train {name} <loss>={value!r}"
        for name, curve in curves.items()
        for epoch, value in curve.items()
    ]
    points = {(p.metric, p.epoch): p.value for p in parse(lines)}
    assert len(points) == 90
    for epoch, value in curves["binary_classification_cross_entropy"].items():
        assert points["cross_entropy", int(epoch)] == value
