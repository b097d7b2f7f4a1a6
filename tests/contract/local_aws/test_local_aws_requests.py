from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from fmrec.local_aws.__main__ import _parser

pytestmark = pytest.mark.e2e


def refusal(call, **parameters) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call(**parameters)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def post(url: str, target: str, body: bytes) -> tuple[int, dict]:
    """Send a request that boto3 would not let through."""
    request = urllib.request.Request(
        url, body, {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"}
    )
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_name_is_taken_once(sagemaker, bucket, name, training_request, finished):
    request = training_request(name, bucket)
    sagemaker.create_training_job(**request)
    code, message = refusal(sagemaker.create_training_job, **request)
    assert code == "ResourceInUse"
    assert "a training job with this name already exists (arn:aws:sagemaker:us-east-1:" in message
    finished(sagemaker, name)
    assert refusal(sagemaker.create_training_job, **request)[0] == "ResourceInUse"


def test_the_same_name_is_free_in_another_region(
    server, sagemaker, bucket, name, training_request, finished
):
    there = boto3.client("sagemaker", endpoint_url=server.url, region_name="eu-west-1")
    sagemaker.create_training_job(**training_request(name, bucket))
    arn = there.create_training_job(**training_request(name, bucket))["TrainingJobArn"]
    assert arn.split(":")[3] == "eu-west-1"
    finished(there, name)
    finished(sagemaker, name)


def test_what_is_missing_is_a_validation_exception(sagemaker, name):
    """The provider's operators take this code, and no other, for a name that is free."""
    assert refusal(sagemaker.describe_training_job, TrainingJobName=name) == (
        "ValidationException",
        "Requested resource not found.",
    )
    assert refusal(sagemaker.stop_training_job, TrainingJobName=name)[0] == "ValidationException"
    code, _ = refusal(sagemaker.describe_transform_job, TransformJobName=name)
    assert code == "ValidationException"
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:model/{name}"
    missing_model = ("ValidationException", f'Could not find model "{arn}".')
    assert refusal(sagemaker.describe_model, ModelName=name) == missing_model
    assert refusal(sagemaker.delete_model, ModelName=name) == missing_model
    assert refusal(sagemaker.list_tags, ResourceArn=arn)[0] == "ValidationException"


def test_an_unknown_image_is_refused_with_the_known_ones(sagemaker, bucket, name, training_request):
    request = training_request(name, bucket, image="1.dkr.ecr.us-east-1.amazonaws.com/knn:1")
    code, message = refusal(sagemaker.create_training_job, **request)
    assert code == "ValidationException"
    assert "knn:1" in message
    assert "Known image repositories: built-in-toy, toy." in message


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"TrainingJobName": "under_score"},
            "1 validation error detected: Value 'under_score' at 'trainingJobName' failed to "
            "satisfy constraint: Member must satisfy regular expression pattern: "
            "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
        ),
        (
            {"TrainingJobName": "x" * 64},
            "Member must have length less than or equal to 63",
        ),
        (
            {"RoleArn": None},
            "1 validation error detected: Value null at 'roleArn' failed to satisfy constraint: "
            "Member must not be null",
        ),
        ({"RoleArn": "arn:aws:iam::1:role/x"}, "at 'roleArn'"),
        ({"Surprise": 1}, "Unknown parameter 'surprise'"),
        ({"HyperParameters": {"epochs": 3}}, "at 'hyperParameters.epochs.member'"),
        ({"HyperParameters": {"k" * 257: "1"}}, "at 'hyperParameters.key'"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 0}}, "greater than or equal to 1"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": "60"}}, "must be of type integer"),
        ({"AlgorithmSpecification": None}, "at 'algorithmSpecification'"),
        (
            {"AlgorithmSpecification": {"TrainingImage": "toy", "TrainingInputMode": "Tape"}},
            "at 'algorithmSpecification.trainingInputMode' failed to satisfy constraint: "
            "Member must satisfy enum value set: [Pipe, File, FastFile]",
        ),
        (
            {"Tags": [{"Key": "ok", "Value": "1"}, {"Key": "bad|key", "Value": "1"}]},
            "at 'tags.2.member.key'",
        ),
        ({"TrainingJobName": "a_", "RoleArn": None}, "2 validation errors detected: "),
    ],
)
def test_bad_parameters_are_refused_in_the_words_of_aws(
    server, bucket, name, training_request, change, complaint
):
    request = {**training_request(name, bucket), **change}
    status, answer = post(server.url, "SageMaker.CreateTrainingJob", json.dumps(request).encode())
    assert (status, answer["__type"]) == (400, "ValidationException")
    assert complaint in answer["message"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff"])
def test_bytes_that_are_no_request(server, body):
    status, answer = post(server.url, "SageMaker.CreateModel", body)
    assert (status, answer["__type"]) == (400, "SerializationException")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            {"CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": "/opt/ml/../../etc"}},
            "LocalPath",
        ),
        ({"OutputDataConfig": {"S3OutputPath": "s3://b", "CompressionType": "NONE"}}, "NONE"),
        ({"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 99}}, "InstanceCount"),
        (
            {"AlgorithmSpecification": {"TrainingImage": "toy", "TrainingInputMode": "Pipe"}},
            "Pipe",
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused_not_ignored(
    sagemaker, bucket, name, training_request, change, what
):
    request = {**training_request(name, bucket), **change}
    code, message = refusal(sagemaker.create_training_job, **request)
    assert code == "ValidationException"
    assert "does not implement" in message
    assert what in message


def test_what_has_no_meaning_here_is_accepted_and_echoed(
    sagemaker, bucket, name, training_request, finished
):
    extra = {
        "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]},
        "EnableNetworkIsolation": True,
        "EnableManagedSpotTraining": True,
        "Environment": {"COLOUR": "blue"},
    }
    request = {**training_request(name, bucket), **extra}
    request["StoppingCondition"]["MaxWaitTimeInSeconds"] = 120
    request["OutputDataConfig"]["KmsKeyId"] = "alias/key"
    sagemaker.create_training_job(**request)
    job = finished(sagemaker, name)
    assert {member: job[member] for member in extra} == extra
    assert job["OutputDataConfig"]["KmsKeyId"] == "alias/key"
    assert job["StoppingCondition"] == request["StoppingCondition"]


def test_a_huge_request_is_refused_before_it_is_read(server):
    status, answer = post(server.url, "SageMaker.ListModels", b" " * (9 << 20))
    assert (status, answer["__type"]) == (413, "RequestEntityTooLargeException")


def test_deep_nesting_is_no_request(server):
    status, answer = post(server.url, "SageMaker.ListModels", b"[" * (7 << 20))
    assert (status, answer["__type"]) == (400, "SerializationException")


def test_a_hundred_thousand_faults_are_not_all_told(server):
    body = json.dumps({f"Wrong{number}": 1 for number in range(100_000)}).encode()
    status, answer = post(server.url, "SageMaker.ListModels", body)
    assert (status, answer["__type"]) == (400, "ValidationException")
    assert len(answer["message"]) < 100_000


def test_operations_that_are_not_implemented_say_so(server, sagemaker):
    code, message = refusal(sagemaker.list_notebook_instances)
    assert code == "NotImplementedException"
    assert "ListNotebookInstances" in message
    assert "CreateTrainingJob" in message
    status, answer = post(server.url, "SageMaker.Teleport", b"{}")
    assert (status, answer["__type"]) == (400, "UnknownOperationException")
    runtime = server.client("sagemaker-runtime")
    code, message = refusal(
        runtime.invoke_endpoint_async, EndpointName="e", InputLocation="s3://b/k"
    )
    assert code == "NotImplementedException"
    assert "InvokeEndpointAsync" in message
    # Other services that sign as SageMaker are not moto's to fake either.
    metrics = server.client("sagemaker-metrics")
    code, _ = refusal(
        metrics.batch_put_metrics,
        TrialComponentName="t",
        MetricData=[{"MetricName": "m", "Timestamp": 1, "Value": 1.0}],
    )
    assert code == "NotImplementedException"


def test_the_documentation_lists_every_operation_and_option(sagemaker):
    docs = Path(__file__).parents[3] / "docs"
    _, message = refusal(sagemaker.list_notebook_instances)
    operations = message.rpartition(": ")[2].rstrip(".").split(", ")
    assert len(operations) >= 40
    coverage = (docs / "local-aws-coverage.md").read_text(encoding="utf-8")
    assert [name for name in operations if name not in coverage] == []
    options = set(re.findall(r"--[a-z-]+", _parser().format_help())) - {"--help"}
    assert len(options) >= 7
    page = (docs / "local-aws.md").read_text(encoding="utf-8")
    assert [name for name in options if name not in page] == []


def test_lists_filter_sort_and_turn_pages(sagemaker, s3, bucket, name):
    s3.put_object(Bucket=bucket, Key="m.tar.gz", Body=b"")
    names = [f"{name}-{letter}" for letter in "cabed"]
    created = {}
    for each in names:
        sagemaker.create_model(
            ModelName=each,
            ExecutionRoleArn="arn:aws:iam::123456789012:role/r",
            PrimaryContainer={"Image": "toy", "ModelDataUrl": f"s3://{bucket}/m.tar.gz"},
        )
        created[each] = sagemaker.describe_model(ModelName=each)["CreationTime"]

    def pages(**parameters) -> list[list[str]]:
        paginator = sagemaker.get_paginator("list_models")
        found = paginator.paginate(NameContains=name.upper(), **parameters)
        return [[model["ModelName"] for model in page["Models"]] for page in found]

    assert pages() == [names[::-1]]
    assert pages(SortOrder="Ascending") == [names]
    by_name = pages(SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 2})
    assert by_name == [sorted(names)[:2], sorted(names)[2:4], sorted(names)[4:]]
    newest_first = pages(PaginationConfig={"PageSize": 3})
    assert newest_first == [names[:1:-1], names[1::-1]]
    middle = created[names[2]]
    after = pages(CreationTimeAfter=middle, SortOrder="Ascending")
    before = pages(CreationTimeBefore=middle, SortOrder="Ascending")
    assert before[0] + [names[2]] + after[0] == names
    assert pages(CreationTimeAfter=datetime.now(UTC) + timedelta(days=1)) == [[]]
    code, _ = refusal(sagemaker.list_models, NextToken="nonsense")
    assert code == "ValidationException"


def test_training_jobs_are_listed_by_status(sagemaker, bucket, name, training_request, finished):
    for suffix, exit_code in (("good", 0), ("bad", 1)):
        request = training_request(f"{name}-{suffix}", bucket, exit_code=exit_code)
        sagemaker.create_training_job(**request)
    for suffix in ("good", "bad"):
        finished(sagemaker, f"{name}-{suffix}")

    def listed(**filters) -> list[str]:
        page = sagemaker.list_training_jobs(NameContains=name, **filters)
        return [item["TrainingJobName"] for item in page["TrainingJobSummaries"]]

    assert listed() == [f"{name}-good", f"{name}-bad"]
    assert listed(StatusEquals="Failed") == [f"{name}-bad"]
    assert listed(StatusEquals="InProgress") == []
    assert listed(SortBy="Status", SortOrder="Descending") == [f"{name}-bad", f"{name}-good"]
    last = sagemaker.describe_training_job(TrainingJobName=f"{name}-bad")["LastModifiedTime"]
    assert listed(LastModifiedTimeAfter=last + timedelta(seconds=1)) == []


def test_models_check_their_image_and_artifact(sagemaker, s3, bucket, name):
    role = "arn:aws:iam::123456789012:role/r"
    address = f"s3://{bucket}/model.tar.gz"
    request = {
        "ModelName": name,
        "ExecutionRoleArn": role,
        "PrimaryContainer": {"Image": "toy:1", "ModelDataUrl": address},
    }
    assert refusal(sagemaker.create_model, **request) == (
        "ValidationException",
        f"Could not find model data at {address}.",
    )
    s3.put_object(Bucket=bucket, Key="model.tar.gz", Body=b"x")
    arn = sagemaker.create_model(**request)["ModelArn"]
    model = sagemaker.describe_model(ModelName=name)
    assert model["PrimaryContainer"]["ModelDataUrl"] == address
    assert (model["ModelArn"], model["ExecutionRoleArn"]) == (arn, role)
    assert refusal(sagemaker.create_model, **request) == (
        "ValidationException",
        f'Cannot create already existing model "{arn}".',
    )
    sagemaker.delete_model(ModelName=name)
    assert refusal(sagemaker.describe_model, ModelName=name)[0] == "ValidationException"
    sagemaker.create_model(**request)


def test_tags(sagemaker, s3, bucket, name):
    s3.put_object(Bucket=bucket, Key="m", Body=b"x")
    arn = sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn="arn:aws:iam::123456789012:role/r",
        PrimaryContainer={"Image": "toy", "ModelDataUrl": f"s3://{bucket}/m"},
        Tags=[{"Key": "one", "Value": "1"}],
    )["ModelArn"]
    sagemaker.add_tags(
        ResourceArn=arn, Tags=[{"Key": "two", "Value": "2"}, {"Key": "one", "Value": "ein"}]
    )
    expected = [{"Key": "one", "Value": "ein"}, {"Key": "two", "Value": "2"}]
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == expected
    first = sagemaker.list_tags(ResourceArn=arn, MaxResults=50)
    assert first["Tags"] == expected
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["one", "never"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == expected[1:]
    too_many = [{"Key": f"k{number}", "Value": ""} for number in range(50)]
    assert refusal(sagemaker.add_tags, ResourceArn=arn, Tags=too_many)[0] == "ValidationException"
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == expected[1:]


def test_what_the_provider_asks_of_other_services(server):
    role = server.client("iam").get_role(RoleName="fmrec-local")["Role"]
    assert role["Arn"] == "arn:aws:iam::123456789012:role/fmrec-local"
    assert server.client("sts").get_caller_identity()["Account"] == "123456789012"


def test_motos_own_controls_are_closed(server):
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(f"{server.url}/moto-api/reset", b"")
    with error.value:
        assert error.value.code == 404
