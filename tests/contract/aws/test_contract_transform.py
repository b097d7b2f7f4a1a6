"""Models and batch transform as SageMaker documents them, on the local AWS or on AWS."""

from __future__ import annotations

import json

import contract_rows
import numpy as np
import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.e2e

RECORDIO = "application/x-recordio-protobuf"
GROUP = "/aws/sagemaker/TransformJobs"


def refusal(call, **parameters) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call(**parameters)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


@pytest.fixture
def request_of(target, prefix):
    """Build a CreateTransformJob request from <prefix>in/ to <prefix>out."""

    def build(name: str, model: str, given=(), wanted=(), **more) -> dict:
        place = f"s3://{target.bucket}/{prefix}"
        source = {"S3DataType": "S3Prefix", "S3Uri": f"{place}in/"}
        return {
            "TransformJobName": name,
            "ModelName": model,
            "TransformInput": {
                "DataSource": {"S3DataSource": source},
                "ContentType": RECORDIO,
                "SplitType": "RecordIO",
                **dict(given),
            },
            "TransformOutput": {"S3OutputPath": f"{place}out", **dict(wanted)},
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
            **more,
        }

    return build


@pytest.fixture
def put(target, s3, prefix):
    def write(name: str, body: bytes) -> None:
        s3.put_object(Bucket=target.bucket, Key=f"{prefix}in/{name}", Body=body)

    return write


@pytest.fixture
def outputs(target, s3, prefix):
    def read() -> dict[str, bytes]:
        listing = s3.list_objects_v2(Bucket=target.bucket, Prefix=f"{prefix}out/")
        return {
            item["Key"].removeprefix(f"{prefix}out/"): s3.get_object(
                Bucket=target.bucket, Key=item["Key"]
            )["Body"].read()
            for item in listing.get("Contents", [])
        }

    return read


def scores(body: bytes) -> np.ndarray:
    return np.array([json.loads(line)["score"] for line in body.splitlines()])


def test_every_object_becomes_an_output_in_its_own_order(
    sagemaker, cleaner, ended, trained, model_name, request_of, put, outputs, name
):
    first, _ = contract_rows.rows(3, 40)
    second, _ = contract_rows.rows(4, 7)
    put("part-0", contract_rows.records(first))
    put("deep/part-1", contract_rows.records(second))
    wanted = {"Accept": "application/jsonlines", "AssembleWith": "Line"}
    request = request_of(name, model_name, wanted=wanted, MaxPayloadInMB=1)
    cleaner.job("transform_job", name, delete=False)
    arn = sagemaker.create_transform_job(**request)["TransformJobArn"]
    assert arn.endswith(f":transform-job/{name}")
    job = ended("transform_job", name)
    assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
    assert job["CreationTime"] <= job["TransformStartTime"] <= job["TransformEndTime"]
    for member in ("TransformInput", "TransformOutput"):
        assert request[member].items() <= job[member].items()
    assert (job["ModelName"], job["MaxPayloadInMB"]) == (model_name, 1)
    written = outputs()
    assert set(written) == {"part-0.out", "deep/part-1.out"}
    for part, features in (("part-0.out", first), ("deep/part-1.out", second)):
        expected = contract_rows.probabilities(trained.archive, features)
        assert scores(written[part]) == pytest.approx(expected, abs=1e-5)
        labels = [json.loads(line)["predicted_label"] for line in written[part].splitlines()]
        assert labels == (expected >= 0.5).tolist()


def test_without_accept_a_built_in_algorithm_writes_json_lines(
    sagemaker, cleaner, ended, trained, model_name, request_of, put, outputs, name
):
    features, _ = contract_rows.rows(3, 12)
    put("rows", contract_rows.records(features))
    cleaner.job("transform_job", name, delete=False)
    sagemaker.create_transform_job(
        **request_of(name, model_name, MaxPayloadInMB=1, BatchStrategy="MultiRecord")
    )
    assert ended("transform_job", name)["TransformJobStatus"] == "Completed"
    expected = contract_rows.probabilities(trained.archive, features)
    assert scores(outputs()["rows.out"]) == pytest.approx(expected, abs=1e-5)


def test_an_object_that_fails_has_no_output_and_does_not_hinder_the_others(
    sagemaker, logs, wait, cleaner, ended, model_name, request_of, put, outputs, name
):
    put("a-good", contract_rows.records(contract_rows.rows(3, 5)[0]))
    put("b-bad", b'{"instances": [{"features": [1.0, 2.0]}]}')
    put("c-good", contract_rows.records(contract_rows.rows(4, 5)[0]))
    given = {"SplitType": "None"}
    cleaner.job("transform_job", name, delete=False)
    sagemaker.create_transform_job(**request_of(name, model_name, given))
    job = ended("transform_job", name)
    assert job["TransformJobStatus"] == "Failed"
    assert job["FailureReason"].endswith("See job logs for more information")
    assert set(outputs()) == {"a-good.out", "c-good.out"}

    def told() -> list[str]:
        streams = logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=f"{name}/")
        return [
            event["message"]
            for stream in streams["logStreams"]
            if stream["logStreamName"].endswith("/data-log")
            for event in logs.get_log_events(
                logGroupName=GROUP, logStreamName=stream["logStreamName"], startFromHead=True
            )["events"]
        ]

    lines = wait(told)
    assert any("MaxConcurrentTransforms=" in line for line in lines)
    assert any("in/b-bad" in line for line in lines)


def test_a_transform_job_is_stopped(
    sagemaker, cleaner, ended, wait, model_name, request_of, put, name
):
    for part in range(20):
        put(f"{part:02d}", contract_rows.records(contract_rows.rows(part, 2)[0]))
    cleaner.job("transform_job", name, delete=False)
    sagemaker.create_transform_job(**request_of(name, model_name))
    sagemaker.stop_transform_job(TransformJobName=name)
    assert ended("transform_job", name)["TransformJobStatus"] == "Stopped"
    code, message = refusal(sagemaker.stop_transform_job, TransformJobName=name)
    assert code == "ValidationException"
    assert "Stopped" in message


def test_names_lists_and_what_is_missing(
    sagemaker, cleaner, ended, model_name, request_of, put, name
):
    put("rows", contract_rows.records(contract_rows.rows(3, 5)[0]))
    names = [f"{name}-{letter}" for letter in "ba"]
    for each in names:
        cleaner.job("transform_job", each, delete=False)
        sagemaker.create_transform_job(**request_of(each, model_name))
    code, message = refusal(sagemaker.create_transform_job, **request_of(names[0], model_name))
    assert code == "ResourceInUse"
    assert names[0] in message
    for each in names:
        assert ended("transform_job", each)["TransformJobStatus"] == "Completed"

    def listed(**filters) -> list[str]:
        pages = sagemaker.get_paginator("list_transform_jobs").paginate(
            NameContains=name, **filters
        )
        return [
            item["TransformJobName"] for page in pages for item in page["TransformJobSummaries"]
        ]

    by_name = {"SortBy": "Name", "SortOrder": "Ascending"}
    assert listed(**by_name, PaginationConfig={"PageSize": 1}) == sorted(names)
    assert sorted(listed(StatusEquals="Completed")) == sorted(names)
    assert listed(StatusEquals="Failed") == []
    missing = f"{name}-never"
    code, message = refusal(sagemaker.describe_transform_job, TransformJobName=missing)
    assert code == "ValidationException"
    assert missing in message
    code, message = refusal(
        sagemaker.create_transform_job, **request_of(f"{name}-c", f"{name}-no-model")
    )
    assert code == "ValidationException"
    assert "Could not find model" in message


def test_models_are_made_once_listed_and_deleted(sagemaker, cleaner, trained, model_name, name):
    known = sagemaker.describe_model(ModelName=model_name)
    request = {
        "ModelName": name,
        "ExecutionRoleArn": known["ExecutionRoleArn"],
        "PrimaryContainer": {
            **{member: known["PrimaryContainer"][member] for member in ("Image", "ModelDataUrl")},
            "Environment": {"COLOUR": "blue"},
        },
        "Tags": [{"Key": "k", "Value": "v"}],
    }
    cleaner.call("delete_model", ModelName=name)
    arn = sagemaker.create_model(**request)["ModelArn"]
    assert arn.endswith(f":model/{name}")
    described = sagemaker.describe_model(ModelName=name)
    container = described["PrimaryContainer"]
    assert container["ModelDataUrl"] == trained.description["ModelArtifacts"]["S3ModelArtifacts"]
    assert (container["Mode"], container["Environment"]) == ("SingleModel", {"COLOUR": "blue"})
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == request["Tags"]
    code, message = refusal(sagemaker.create_model, **request)
    assert code == "ValidationException"
    assert message.startswith("Cannot create already existing model")
    (listed,) = sagemaker.list_models(NameContains=name)["Models"]
    assert (listed["ModelName"], listed["ModelArn"]) == (name, arn)
    sagemaker.delete_model(ModelName=name)
    missing = ("ValidationException", f'Could not find model "{arn}".')
    assert refusal(sagemaker.describe_model, ModelName=name) == missing
    assert refusal(sagemaker.delete_model, ModelName=name)[0] == "ValidationException"
    assert sagemaker.list_models(NameContains=name)["Models"] == []
