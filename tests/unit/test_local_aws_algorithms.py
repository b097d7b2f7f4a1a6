from __future__ import annotations

import pytest

from fmrec.local_aws.algorithms import (
    IMAGES,
    Algorithm,
    Metric,
    MetricReader,
    metrics_of,
    resolve,
)
from fmrec.local_aws.api.faults import ApiError

FM = IMAGES["factorization-machines"]

# Lines as the built-in container prints them (a job of 2023 on AWS).
REGRESSOR_LOG = """\
[04/21/2023 14:26:45 INFO 139893122135872] #quality_metric: host=algo-1, epoch=0, batch=0 train rmse <loss>=3.846082752497988
[04/21/2023 14:26:46 INFO 139893122135872] #quality_metric: host=algo-1, epoch=0, train rmse <loss>=1.8169458122088216
[04/21/2023 14:26:46 INFO 139893122135872] #progress_metric: host=algo-1, completed 2.0 % of epochs
[04/21/2023 14:26:46 INFO 139893122135872] #throughput_metric: host=algo-1, train throughput=215269.97 records/second
[04/21/2023 14:26:47 INFO 139893122135872] #quality_metric: host=algo-1, epoch=49, batch=0 train rmse <loss>=0.95
[04/21/2023 14:26:47 INFO 139893122135872] #quality_metric: host=algo-1, epoch=49, train rmse <loss>=0.9416578732870481
[04/21/2023 14:26:47 INFO 139893122135872] #progress_metric: host=algo-1, completed 100.0 % of epochs
[04/21/2023 14:26:47 INFO 139893122135872] #quality_metric: host=algo-1, train rmse <loss>=0.9416578732870481
[04/21/2023 14:26:48 INFO 139893122135872] #test_score (algo-1) : ('rmse', 1.0002629948968227)
[04/21/2023 14:26:48 INFO 139893122135872] #quality_metric: host=algo-1, test rmse <loss>=1.0002629948968227
[04/21/2023 14:26:48 INFO 139893122135872] #quality_metric: host=algo-1, test mse <loss>=1.0005260589
"""  # noqa: E501

CLASSIFIER_NAMES = {
    *("train:progress", "train:throughput"),
    *(
        f"{channel}:{measure}{suffix}"
        for measure in (
            *("binary_classification_accuracy", "binary_classification_cross_entropy"),
            "binary_f_beta",
        )
        for channel, suffixes in (("train", ("", ":epoch", ":batch")), ("test", ("",)))
        for suffix in suffixes
    ),
}


def final(lines: str) -> dict[str, float]:
    reader = MetricReader(FM.metrics)
    for number, line in enumerate(lines.splitlines()):
        reader.read(line, 1000.0 + number)
    return {item["MetricName"]: item["Value"] for item in reader.final()}


def test_the_log_of_a_regressor():
    found = final(REGRESSOR_LOG)
    assert set(found) == {
        *("train:rmse", "train:rmse:epoch", "train:rmse:batch", "test:rmse", "test:mse"),
        *("train:progress", "train:throughput"),
    }
    assert found["train:rmse:batch"] == pytest.approx(0.95, abs=1e-7)
    assert found["train:rmse"] == found["train:rmse:epoch"] == pytest.approx(0.94165787, abs=1e-7)
    assert found["test:rmse"] == pytest.approx(1.000263, abs=1e-7)
    assert found["train:progress"] == 100.0


def test_a_classifier_has_the_fourteen_metrics_seen_on_aws():
    line = "#quality_metric: host=algo-1, {place}{name}={value}"
    logged = {
        "binary_classification_accuracy <score>": 0.7,
        "binary_classification_cross_entropy <loss>": 0.6,
        "binary_f_1.000 <score>": 0.7624136805534363,
    }
    lines = [
        line.format(place=place, name=name, value=value)
        for place in ("epoch=3, batch=500 train ", "epoch=3, train ", "train ", "test ")
        for name, value in logged.items()
    ]
    lines += [
        "#progress_metric: host=algo-1, completed 100 %",
        "#throughput_metric: host=algo-1, train throughput=5.0 records/second",
    ]
    found = final("\n".join(lines))
    assert set(found) == CLASSIFIER_NAMES
    assert len(found) == 14
    # DescribeTrainingJob of that job on AWS gave this very value: single precision.
    assert found["test:binary_f_beta"] == 0.7624136805534363


@pytest.mark.parametrize(
    "image",
    [
        "382416733822.dkr.ecr.us-east-1.amazonaws.com/factorization-machines:1",
        "382416733822.dkr.ecr.us-east-1.amazonaws.com/factorization-machines",
        "factorization-machines:latest",
        "localhost:5000/team/factorization-machines@sha256:" + "0a" * 32,
    ],
)
def test_an_image_is_known_by_its_repository(image):
    assert resolve(image, IMAGES) is FM


@pytest.mark.parametrize("image", ["factorization-machines-2:1", "pca:1", "", "x/y:z"])
def test_an_unknown_image(image):
    with pytest.raises(ApiError, match="Known image repositories: factorization-machines"):
        resolve(image, IMAGES)


@pytest.mark.parametrize("regex", ["no group", "(unbalanced"])
def test_a_metric_needs_a_regex_with_a_group(regex):
    own = Algorithm(train=(), serve=())
    with pytest.raises(ApiError, match="'loss'"):
        metrics_of(own, [{"Name": "loss", "Regex": regex}])
    assert metrics_of(own, [{"Name": "loss", "Regex": "(x)"}]) == (Metric("loss", "(x)"),)


def test_values_that_are_no_numbers_are_passed_over():
    assert final("#quality_metric: host=algo-1, test rmse <loss>=oops") == {}
    assert final("#quality_metric: host=algo-1, test rmse <loss>=1e300") == {}
