"""Requests are what AWS's own service model accepts, and say what the run says."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from fmrec import jobs
from fmrec.errors import ConfigurationError
from fmrec.layout import Run
from fmrec.settings import Deployment, RunSettings

CHANNELS = {
    "feature_dim": 2625,
    "bias": 3.52835,
    "training": {"train": "s3://b/t/", "test": "s3://b/v/"},
    "score": "s3://b/s/",
}
DEPLOYMENT = Deployment(bucket="b", role_arn="arn:aws:iam::111122223333:role/jobs")


def run(**params: object) -> Run:
    return Run.of("r", datetime(1998, 3, 8, tzinfo=UTC), RunSettings.of(params), DEPLOYMENT)


def requests() -> dict[str, dict[str, Any]]:
    return {
        "CreateTrainingJob": jobs.training_request(run(), DEPLOYMENT, CHANNELS, 1),
        "CreateModel": jobs.model_request(run(), DEPLOYMENT, {"artifact": "s3://b/m.tar.gz"}, 1),
        "CreateTransformJob": jobs.transform_request(run(), CHANNELS, {"name": "m"}, 1),
    }


def fits(operation: str, request: dict[str, Any]) -> bool:
    model = botocore.session.get_session().get_service_model("sagemaker")
    shape = model.operation_model(operation).input_shape
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()
    return True


@pytest.mark.parametrize("operation", ["CreateTrainingJob", "CreateModel", "CreateTransformJob"])
def test_requests_fit_the_service_model(operation: str) -> None:
    assert fits(operation, requests()[operation])


def test_training_asks_for_what_the_run_was_told() -> None:
    request = jobs.training_request(
        run(objective="like", epochs=3, instance_type="ml.c5.xlarge", max_runtime_minutes=5),
        DEPLOYMENT,
        CHANNELS,
        2,
    )
    assert request["TrainingJobName"].endswith("-2")
    assert request["HyperParameters"]["predictor_type"] == "binary_classifier"
    assert request["HyperParameters"]["epochs"] == "3"
    assert request["HyperParameters"]["feature_dim"] == "2625"
    assert request["HyperParameters"]["bias_init_method"] == "constant"
    assert request["HyperParameters"]["bias_init_value"] == "3.52835"
    assert request["ResourceConfig"]["InstanceType"] == "ml.c5.xlarge"
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 300}
    uris = {
        each["ChannelName"]: each["DataSource"]["S3DataSource"]["S3Uri"]
        for each in request["InputDataConfig"]
    }
    assert uris == CHANNELS["training"]


def test_a_transform_has_the_instance_type_of_the_training_unless_told() -> None:
    model = {"name": "m"}
    told = run(instance_type="ml.c5.xlarge")
    both = run(instance_type="ml.c5.xlarge", transform_instance_type="ml.m5.large")
    types = [
        jobs.transform_request(each, CHANNELS, model, 1)["TransformResources"]["InstanceType"]
        for each in (told, both)
    ]
    assert types == ["ml.c5.xlarge", "ml.m5.large"]


def test_spot_capacity_with_our_own_image_goes_on_from_checkpoints() -> None:
    this = run(spot=True, image="fmrec", max_runtime_minutes=120)
    deployment = replace(DEPLOYMENT, image_uri="1.dkr.ecr.us-east-1.amazonaws.com/fmrec-fm:1")
    request = jobs.training_request(this, deployment, CHANNELS, 2)
    assert fits("CreateTrainingJob", request)
    assert request["EnableManagedSpotTraining"]
    limits = request["StoppingCondition"]
    assert limits["MaxWaitTimeInSeconds"] > limits["MaxRuntimeInSeconds"] == 7200
    # The same for every job of the run: one goes on where another was taken from.
    assert request["CheckpointConfig"]["S3Uri"] == f"s3://b/{this.layout.checkpoints}"
    assert this.layout.run in this.layout.checkpoints


def test_spot_capacity_with_the_built_in_algorithm_has_the_hour_that_aws_allows() -> None:
    request = jobs.training_request(run(spot=True), DEPLOYMENT, CHANNELS, 1)
    assert fits("CreateTrainingJob", request)
    assert request["EnableManagedSpotTraining"]
    assert "CheckpointConfig" not in request
    limits = {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 3600}
    assert request["StoppingCondition"] == limits
    with pytest.raises(ConfigurationError, match="max_runtime_minutes: 61 is too long"):
        run(spot=True, max_runtime_minutes=61)


def test_without_spot_nothing_is_said_of_it() -> None:
    request = jobs.training_request(run(), DEPLOYMENT, CHANNELS, 1)
    assert not {"EnableManagedSpotTraining", "CheckpointConfig"} & set(request)


def test_what_a_job_does_is_told_by_its_request_and_by_its_description_alike() -> None:
    request = jobs.training_request(run(), DEPLOYMENT, CHANNELS, 1)
    described = {
        **request,
        "TrainingJobName": "another",
        "TrainingJobStatus": "Completed",
        "AlgorithmSpecification": {**request["AlgorithmSpecification"], "MetricDefinitions": []},
        "InputDataConfig": [
            {**each, "CompressionType": "None"} for each in request["InputDataConfig"][::-1]
        ],
    }
    assert jobs.training_work(described) == jobs.training_work(request)
    other = jobs.training_request(run(epochs=99), DEPLOYMENT, CHANNELS, 1)
    assert jobs.training_work(other) != jobs.training_work(request)


def test_built_in_images() -> None:
    assert jobs.built_in_image("eu-west-1") == (
        "438346466558.dkr.ecr.eu-west-1.amazonaws.com/factorization-machines:1"
    )
    with pytest.raises(ConfigurationError, match=r"no Factorization Machines image .*'mars-1'"):
        jobs.built_in_image("mars-1")


def test_our_table_of_accounts_is_the_sdk_s(monkeypatch: pytest.MonkeyPatch) -> None:
    package = importlib.util.find_spec("sagemaker")
    if package is None or not package.submodule_search_locations:
        pytest.skip("the SageMaker SDK installs beside Airflow on Python 3.11 only")
    folder = Path(next(iter(package.submodule_search_locations)))
    table = folder / "core" / "image_uri_config" / "factorization-machines.json"
    theirs = json.loads(table.read_text())["versions"]["1"]["registries"]
    assert jobs._ACCOUNTS.items() <= theirs.items()
    monkeypatch.setattr(jobs, "_sdk_accounts", dict)
    assert jobs.built_in_image("us-west-2").startswith(theirs["us-west-2"])
