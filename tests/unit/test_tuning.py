"""A tuning job is asked for as AWS's own service model accepts, and as the run's own job is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from fmrec import jobs, tuning
from fmrec.layout import Run
from fmrec.settings import Deployment, RunSettings

CHANNELS = {
    "feature_dim": 2625,
    "bias": 3.52835,
    "training": {"train": "s3://b/t/", "test": "s3://b/v/", "features": "s3://b/f/"},
    "score": "s3://b/s/",
}
DEPLOYMENT = Deployment(
    bucket="b", role_arn="arn:aws:iam::111122223333:role/jobs", image_uri="1.dkr.ecr/fmrec-fm:1"
)
DAY = datetime(1998, 3, 8, tzinfo=UTC)


def run(**params: Any) -> Run:
    return Run.of("r", DAY, RunSettings.of({"mode": "tune"} | params), DEPLOYMENT)


def request(*parents: str, tuned: Any = None, **params: Any) -> dict[str, Any]:
    made = replace(run(**params), tuned=tuned)
    return tuning.tuning_request(made, DEPLOYMENT, CHANNELS, 1, parents)


OWN = {"image": "fmrec"}
LISTS = OWN | {"objective": "ranking", "features": "history"}
CROSS_ENTROPY = "test:binary_classification_cross_entropy"


@pytest.mark.parametrize(
    "params",
    [{}, {"objective": "like"}, {"objective": "ranking"}, {"spot": True}, OWN,
     OWN | {"spot": True}, OWN | {"solver": "adam", "tuning_strategy": "Random"},
     LISTS],
)  # fmt: skip
def test_requests_fit_the_service_model(params: dict[str, Any]) -> None:
    model = botocore.session.get_session().get_service_model("sagemaker")
    shape = model.operation_model("CreateHyperParameterTuningJob").input_shape
    for parents in ((), ("a-1", "b-1")):
        report = ParamValidator().validate(request(*parents, **params), shape)
        assert not report.has_errors(), report.generate_report()


def test_its_training_jobs_are_the_runs_own_but_for_what_is_searched() -> None:
    for params in ({}, {"spot": True}, OWN, OWN | {"spot": True}):
        made = request(**params)
        one = jobs.training_request(run(**params), DEPLOYMENT, CHANNELS, 1)
        definition = dict(made["TrainingJobDefinition"])
        fixed = definition.pop("StaticHyperParameters")
        ranges = made["HyperParameterTuningJobConfig"]["ParameterRanges"]
        searched = [each["Name"] for kind in ranges.values() for each in kind]
        assert definition == {
            name: value
            for name, value in one.items()
            if name not in {"TrainingJobName", "HyperParameters", "Tags"}
        }
        assert made["Tags"] == one["Tags"]
        assert sorted([*fixed, *searched]) == sorted(one["HyperParameters"])
        changed = {name for name in fixed if fixed[name] != one["HyperParameters"][name]}
        # A mean that moves a little every day is no change to SageMaker.
        assert changed <= {"bias_init_value"}
        assert fixed.get("bias_init_value", "3.5") == "3.5"


def test_the_search_is_what_the_run_says() -> None:
    made = request(
        tuning_jobs=20,
        tuning_parallel=3,
        tuning_strategy="Random",
        seed=7,
        tuning_ranges="factors_lr=0.0001..0.01 log, epochs=10..60",
    )
    config = made["HyperParameterTuningJobConfig"]
    assert made["HyperParameterTuningJobName"] == run(
        tuning_jobs=20, tuning_parallel=3, tuning_strategy="Random", seed=7,
        tuning_ranges="factors_lr=0.0001..0.01 log, epochs=10..60",
    ).layout.tuning_job(1)  # fmt: skip
    assert config["Strategy"] == "Random"
    assert config["RandomSeed"] == 7
    limits = {"MaxNumberOfTrainingJobs": 20, "MaxParallelTrainingJobs": 3}
    assert config["ResourceLimits"] == limits
    assert config["ParameterRanges"] == {
        "ContinuousParameterRanges": [
            {"Name": "factors_lr", "MinValue": "0.0001", "MaxValue": "0.01",
             "ScalingType": "Logarithmic"}
        ],
        "IntegerParameterRanges": [
            {"Name": "epochs", "MinValue": "10", "MaxValue": "60", "ScalingType": "Linear"}
        ],
        "CategoricalParameterRanges": [],
    }  # fmt: skip
    assert "WarmStartConfig" not in made


def test_no_more_run_at_once_than_there_are() -> None:
    limits = request(tuning_jobs=1)["HyperParameterTuningJobConfig"]["ResourceLimits"]
    assert limits == {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1}


def test_earlier_tunings_are_learnt_from() -> None:
    assert request("a-1", "b-1")["WarmStartConfig"] == {
        "ParentHyperParameterTuningJobs": [
            {"HyperParameterTuningJobName": "a-1"},
            {"HyperParameterTuningJobName": "b-1"},
        ],
        "WarmStartType": "TransferLearning",
    }


@pytest.mark.parametrize(
    ("params", "kind", "metric"),
    [
        ({}, "Minimize", "test:rmse"),
        (OWN, "Minimize", "test:rmse"),
        ({"objective": "like"}, "Minimize", CROSS_ENTROPY),
        (OWN | {"objective": "like"}, "Minimize", CROSS_ENTROPY),
        ({"objective": "ranking"}, "Minimize", CROSS_ENTROPY),
        (LISTS, "Maximize", "test:ndcg@10"),
    ],
)
def test_what_it_goes_by_is_read_from_the_log(
    params: dict[str, Any], kind: str, metric: str
) -> None:
    made = request(**params)
    objective = {"Type": kind, "MetricName": metric}
    assert made["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"] == objective
    told = made["TrainingJobDefinition"]["AlgorithmSpecification"].get("MetricDefinitions")
    # SageMaker's own image brings its metrics, and refuses others.
    assert (told is None) == (params.get("image") != "fmrec")
    assert told is None or metric in [each["Name"] for each in told]


def test_what_was_tuned_before_stands_where_nothing_is_searched() -> None:
    tuned = {"job": "t", "hyperparameters": {"epochs": "33", "factors_lr": "0.5"}}
    made = request(tuned=tuned, tuning_ranges="factors_lr=0.0001..0.01")
    fixed = made["TrainingJobDefinition"]["StaticHyperParameters"]
    assert fixed["epochs"] == "33"
    assert "factors_lr" not in fixed
