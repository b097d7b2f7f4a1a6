"""Requests are what AWS's own service model accepts, and say what the run says."""

from __future__ import annotations

import importlib.util
import json
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


@pytest.mark.parametrize("operation", ["CreateTrainingJob", "CreateModel", "CreateTransformJob"])
def test_requests_fit_the_service_model(operation: str) -> None:
    model = botocore.session.get_session().get_service_model("sagemaker")
    shape = model.operation_model(operation).input_shape
    report = ParamValidator().validate(requests()[operation], shape)
    assert not report.has_errors(), report.generate_report()


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
