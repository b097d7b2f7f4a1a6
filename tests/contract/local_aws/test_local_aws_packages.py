from __future__ import annotations

import io
import tarfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.e2e

PREFIX = "arn:aws:sagemaker:us-east-1:123456789012"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/toy:1"
ROLE = "arn:aws:iam::123456789012:role/fmrec-local"


def refusal(error, code="ValidationException") -> str:
    assert error.value.response["Error"]["Code"] == code
    return error.value.response["Error"]["Message"]


def specification(url="s3://bucket/model.tar.gz", **members):
    return {
        "Containers": [{"Image": IMAGE, "ModelDataUrl": url, **members}],
        "SupportedContentTypes": ["text/csv"],
        "SupportedResponseMIMETypes": ["text/csv"],
    }


@pytest.fixture
def group(sagemaker, name):
    """A group of the test's own."""
    sagemaker.create_model_package_group(ModelPackageGroupName=name)
    return name


@pytest.fixture
def artifact(s3, bucket):
    """The address of a model.tar.gz."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("weights"))
    s3.put_object(Bucket=bucket, Key="model.tar.gz", Body=archive.getvalue())
    return f"s3://{bucket}/model.tar.gz"


def numbers(listing) -> list[int]:
    return [item["ModelPackageVersion"] for item in listing["ModelPackageSummaryList"]]


def test_a_group_is_created_once_described_and_listed(sagemaker, name):
    request = {
        "ModelPackageGroupName": name,
        "ModelPackageGroupDescription": "Fit («films»): 100 % + €!",
    }
    made = sagemaker.create_model_package_group(**request, Tags=[{"Key": "a", "Value": "b"}])
    arn = f"{PREFIX}:model-package-group/{name}"
    assert made["ModelPackageGroupArn"] == arn
    for named in (name, arn):
        found = sagemaker.describe_model_package_group(ModelPackageGroupName=named)
        assert found["ModelPackageGroupName"] == name
        assert found["ModelPackageGroupDescription"] == "Fit («films»): 100 % + €!"
        assert found["ModelPackageGroupStatus"] == "Completed"
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "b"}]
    (listed,) = sagemaker.list_model_package_groups(NameContains=name)[
        "ModelPackageGroupSummaryList"
    ]
    assert listed["ModelPackageGroupArn"] == arn
    with pytest.raises(ClientError) as error:
        sagemaker.create_model_package_group(**request)
    assert refusal(error).startswith("Model Package Group already exists")


def test_a_group_that_holds_packages_stays(sagemaker, group):
    arn = sagemaker.create_model_package(ModelPackageGroupName=group)["ModelPackageArn"]
    with pytest.raises(ClientError) as error:
        sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    assert "contains model packages" in refusal(error, "ConflictException")
    sagemaker.delete_model_package(ModelPackageName=arn)
    sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    with pytest.raises(ClientError) as error:
        sagemaker.describe_model_package_group(ModelPackageGroupName=group)
    assert (
        refusal(error) == f"ModelPackageGroup {PREFIX}:model-package-group/{group} does not exist."
    )


def test_a_version_is_described_with_everything_it_was_given(sagemaker, group):
    metrics = {
        "ModelQuality": {
            "Statistics": {"ContentType": "application/json", "S3Uri": "s3://bucket/quality.json"}
        }
    }
    given = {
        "ModelPackageDescription": "Second try (100 % better)",
        "InferenceSpecification": specification(Environment={"K": "10"}),
        "ModelMetrics": metrics,
        "CustomerMetadataProperties": {"run": "7"},
        "MetadataProperties": {"CommitId": "abc"},
        "Domain": "MACHINE_LEARNING",
    }
    sagemaker.create_model_package(ModelPackageGroupName=group)
    made = sagemaker.create_model_package(
        ModelPackageGroupName=f"{PREFIX}:model-package-group/{group}", **given
    )
    arn = f"{PREFIX}:model-package/{group}/2"
    assert made["ModelPackageArn"] == arn
    for named in (arn, f"{group}/2"):
        found = sagemaker.describe_model_package(ModelPackageName=named)
        assert {key: found[key] for key in given} == given
        assert found["ModelPackageArn"] == arn
        assert found["ModelPackageGroupName"] == group
        assert found["ModelPackageVersion"] == 2
        assert found["ModelPackageStatus"] == "Completed"
        assert found["ModelPackageStatusDetails"]["ValidationStatuses"] == []
        assert found["ModelApprovalStatus"] == "PendingManualApproval"
        assert "ClientToken" not in found


def test_a_version_is_updated(sagemaker, group):
    arn = sagemaker.create_model_package(
        ModelPackageGroupName=group, CustomerMetadataProperties={"keep": "1", "drop": "2"}
    )["ModelPackageArn"]
    extra = {"Name": "small", "Containers": [{"Image": IMAGE}]}
    updated = sagemaker.update_model_package(
        ModelPackageArn=arn,
        ModelApprovalStatus="Approved",
        ApprovalDescription="Better on the test set.",
        CustomerMetadataProperties={"new": "3"},
        CustomerMetadataPropertiesToRemove=["drop"],
        InferenceSpecification=specification(),
        AdditionalInferenceSpecificationsToAdd=[extra],
    )
    assert updated["ModelPackageArn"] == arn
    found = sagemaker.describe_model_package(ModelPackageName=arn)
    assert found["ModelApprovalStatus"] == "Approved"
    assert found["ApprovalDescription"] == "Better on the test set."
    assert found["CustomerMetadataProperties"] == {"keep": "1", "new": "3"}
    assert found["InferenceSpecification"] == specification()
    assert found["AdditionalInferenceSpecifications"] == [extra]
    assert found["LastModifiedTime"] >= found["CreationTime"]


def test_versions_are_listed_by_number_and_in_pages(sagemaker, group):
    for version in range(11):
        status = "Approved" if version % 5 == 0 else "Rejected"
        sagemaker.create_model_package(ModelPackageGroupName=group, ModelApprovalStatus=status)
    sagemaker.create_model_package(ModelPackageName=f"{group}-alone")
    about = {"ModelPackageGroupName": group, "SortBy": "Name"}
    first = sagemaker.list_model_packages(**about, MaxResults=6)
    rest = sagemaker.list_model_packages(**about, MaxResults=6, NextToken=first["NextToken"])
    assert numbers(first) + numbers(rest) == list(range(1, 12))
    assert "NextToken" not in rest
    approved = {**about, "ModelApprovalStatus": "Approved", "SortOrder": "Descending"}
    assert numbers(sagemaker.list_model_packages(**approved)) == [11, 6, 1]
    newest = sagemaker.list_model_packages(
        ModelPackageGroupName=group, SortBy="CreationTime", SortOrder="Descending", MaxResults=1
    )
    assert newest["ModelPackageSummaryList"][0]["ModelPackageArn"].endswith(f"{group}/11")
    assert "ModelPackageName" not in newest["ModelPackageSummaryList"][0]

    def arns(**filters):
        listed = sagemaker.list_model_packages(NameContains=group, MaxResults=100, **filters)
        return [item["ModelPackageArn"] for item in listed["ModelPackageSummaryList"]]

    alone = f"{PREFIX}:model-package/{group}-alone"
    assert arns() == [alone]
    assert len(arns(ModelPackageType="Versioned")) == 11
    assert set(arns(ModelPackageType="Both")) == {
        alone,
        *(f"{PREFIX}:model-package/{group}/{version}" for version in range(1, 12)),
    }


def test_a_package_by_itself(sagemaker, name):
    arn = sagemaker.create_model_package(
        ModelPackageName=name,
        InferenceSpecification=specification(),
        Tags=[{"Key": "a", "Value": "b"}],
    )["ModelPackageArn"]
    assert arn == f"{PREFIX}:model-package/{name}"
    for named in (name, arn):
        found = sagemaker.describe_model_package(ModelPackageName=named)
        assert found["ModelPackageName"] == name
        assert "ModelPackageVersion" not in found
        assert "ModelApprovalStatus" not in found
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "b"}]
    with pytest.raises(ClientError) as error:
        sagemaker.create_model_package(ModelPackageName=name)
    assert "already exists" in refusal(error)


def test_the_same_request_again_makes_no_second_version(sagemaker, group):
    request = {"ModelPackageGroupName": group, "ClientToken": "once"}
    first = sagemaker.create_model_package(**request)
    second = sagemaker.create_model_package(**request)
    assert first["ModelPackageArn"] == second["ModelPackageArn"]
    assert numbers(sagemaker.list_model_packages(ModelPackageGroupName=group)) == [1]


def test_versions_made_at_once_have_different_numbers(server, group):
    client = server.client("sagemaker", max_pool_connections=8)
    with ThreadPoolExecutor(8) as pool:
        made = list(
            pool.map(lambda _: client.create_model_package(ModelPackageGroupName=group), range(24))
        )
    arns = {item["ModelPackageArn"] for item in made}
    assert arns == {f"{PREFIX}:model-package/{group}/{number}" for number in range(1, 25)}


def test_a_number_is_never_given_twice_not_even_after_a_restart(start, tmp_path):
    with start(tmp_path) as server:
        client = server.client("sagemaker")
        client.create_model_package_group(ModelPackageGroupName="films")
        for _ in range(3):
            client.create_model_package(
                ModelPackageGroupName="films", InferenceSpecification=specification()
            )
        client.delete_model_package(ModelPackageName="films/3")
        client.delete_model_package(ModelPackageName="films/2")
        server.kill()
    with start(tmp_path) as server:
        client = server.client("sagemaker")
        made = client.create_model_package(ModelPackageGroupName="films")
        assert made["ModelPackageArn"] == f"{PREFIX}:model-package/films/4"
        listed = client.list_model_packages(ModelPackageGroupName="films", SortBy="Name")
        assert numbers(listed) == [1, 4]
        kept = client.describe_model_package(ModelPackageName="films/1")
        assert kept["InferenceSpecification"] == specification()


def test_many_packages_are_described_at_once(sagemaker, group):
    arn = sagemaker.create_model_package(
        ModelPackageGroupName=group, InferenceSpecification=specification()
    )["ModelPackageArn"]
    absent = f"{PREFIX}:model-package/{group}/7"
    foreign = arn.replace("us-east-1", "eu-west-1")
    found = sagemaker.batch_describe_model_package(ModelPackageArnList=[arn, absent, foreign])
    assert set(found["ModelPackageSummaries"]) == {arn}
    summary = found["ModelPackageSummaries"][arn]
    assert summary["ModelPackageGroupName"] == group
    assert summary["InferenceSpecification"] == specification()
    errors = found["BatchDescribeModelPackageErrorMap"]
    assert {key: item["ErrorResponse"] for key, item in errors.items()} == {
        each: f"ModelPackage {each} does not exist." for each in (absent, foreign)
    }


def test_a_model_is_made_of_an_approved_version(
    server, sagemaker, s3, bucket, name, group, artifact, finished
):
    arn = sagemaker.create_model_package(
        ModelPackageGroupName=group,
        InferenceSpecification=specification(artifact, Environment={"TELL_HEADERS": "", "A": "1"}),
    )["ModelPackageArn"]
    container = {"ModelPackageName": arn, "Environment": {"A": "2", "B": "3"}}
    request = {"ModelName": name, "ExecutionRoleArn": ROLE, "Containers": [container]}
    with pytest.raises(ClientError) as error:
        sagemaker.create_model(**request)
    assert "It must be set to Approved to deploy the model" in refusal(error)
    sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    sagemaker.create_model(**request)
    described = sagemaker.describe_model(ModelName=name)["PrimaryContainer"]
    assert described["ModelPackageName"] == arn
    assert described["Image"] == IMAGE
    assert described["ModelDataUrl"] == artifact
    assert described["Environment"] == {"TELL_HEADERS": "", "A": "2", "B": "3"}

    s3.put_object(Bucket=bucket, Key="in/lines", Body=b"abc\nde\n")
    sagemaker.create_transform_job(
        TransformJobName=name,
        ModelName=name,
        TransformInput={
            "DataSource": {
                "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/in/"}
            }
        },
        TransformOutput={"S3OutputPath": f"s3://{bucket}/scored"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    assert finished(sagemaker, name, "transform")["TransformJobStatus"] == "Completed"
    assert s3.get_object(Bucket=bucket, Key="scored/lines.out")["Body"].read() == b"3\n2\n"


def data_source(uri, kind="S3Object", compression="Gzip"):
    return {"S3DataSource": {"S3Uri": uri, "S3DataType": kind, "CompressionType": compression}}


def test_a_model_of_a_data_source_that_is_an_archive(sagemaker, name, artifact):
    source = data_source(artifact)
    sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": IMAGE, "ModelDataSource": source},
    )
    described = sagemaker.describe_model(ModelName=name)["PrimaryContainer"]
    assert described["ModelDataSource"] == source
    assert described["ModelDataUrl"] == artifact


@pytest.mark.parametrize(
    ("container", "told"),
    [
        (
            {"ModelPackageName": "{group}/1", "Image": IMAGE},
            "Specify one of either Image and Model",
        ),
        ({"ModelPackageName": "{group}/9"}, "model-package/{group}/9 does not exist."),
        ({"ModelPackageName": "{group}"}, "model-package/{group} does not exist."),
        ({"ModelPackageName": "{group}/1"}, "a model of the 0 containers"),
        (
            {"Image": IMAGE, "ModelDataSource": data_source("s3://b/m/", "S3Prefix", "None")},
            "a ModelDataSource that is no S3Object with CompressionType Gzip",
        ),
        (
            {
                "Image": IMAGE,
                "ModelDataUrl": "s3://b/m.tar.gz",
                "ModelDataSource": data_source("s3://b/m.tar.gz"),
            },
            "Specify one of ModelDataUrl and ModelDataSource",
        ),
        (
            {"Image": IMAGE, "ModelDataSource": data_source("s3://no-such/m.tar.gz")},
            "Could not find model data at s3://no-such/m.tar.gz.",
        ),
    ],
)
def test_models_that_cannot_be_made(sagemaker, name, group, container, told):
    sagemaker.create_model_package(ModelPackageGroupName=group, ModelApprovalStatus="Approved")
    if "ModelPackageName" in container:
        package = container["ModelPackageName"].format(group=group)
        container = {**container, "ModelPackageName": package}
    with pytest.raises(ClientError) as error:
        sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    assert told.format(group=group) in refusal(error)


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({}, "Missing ARN."),
        ({"ModelPackageGroupName": "no-such-group"}, "Model Package Group does not exist."),
        ({"ModelPackageGroupName": "a", "ModelPackageName": "b"}, "Cannot determine which one"),
        (
            {"ModelPackageGroupName": "a", "Tags": [{"Key": "a", "Value": "b"}]},
            "uses the tags of its group",
        ),
        ({"ModelPackageName": "b", "CertifyForMarketplace": True}, "CertifyForMarketplace"),
        (
            {
                "ModelPackageName": "b",
                "SourceAlgorithmSpecification": {"SourceAlgorithms": [{"AlgorithmName": "a"}]},
            },
            "SourceAlgorithmSpecification",
        ),
    ],
)
def test_packages_that_cannot_be_made(sagemaker, request_, told):
    with pytest.raises(ClientError) as error:
        sagemaker.create_model_package(**request_)
    assert told in refusal(error)


def test_packages_that_are_not_there(sagemaker, group):
    arn = f"{PREFIX}:model-package/{group}/1"
    absent = f"ModelPackage {arn} does not exist."
    for call in (
        lambda: sagemaker.describe_model_package(ModelPackageName=arn),
        lambda: sagemaker.delete_model_package(ModelPackageName=f"{group}/1"),
        lambda: sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved"),
    ):
        with pytest.raises(ClientError) as error:
            call()
        assert refusal(error) == absent
