"""The model registry as SageMaker documents it, on the local AWS or on AWS."""

from __future__ import annotations

import contract_rows
import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.e2e

RECORDIO, LINES = "application/x-recordio-protobuf", "application/jsonlines"


def refusal(call, **parameters) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call(**parameters)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


@pytest.fixture
def group(sagemaker, cleaner, name):
    """A model package group of the test's own."""
    cleaner.call("delete_model_package_group", ModelPackageGroupName=name)
    arn = sagemaker.create_model_package_group(
        ModelPackageGroupName=name,
        ModelPackageGroupDescription="likes",
        Tags=[{"Key": "suite", "Value": "contract"}],
    )["ModelPackageGroupArn"]
    assert arn.endswith(f":model-package-group/{name}")
    return name


@pytest.fixture
def register(target, sagemaker, cleaner, trained, group):
    """Register the trained classifier as the group's next version and return its ARN."""

    def make(**more) -> str:
        arn = sagemaker.create_model_package(
            ModelPackageGroupName=group,
            InferenceSpecification={
                "Containers": [
                    {
                        "Image": target.image("factorization-machines"),
                        "ModelDataUrl": trained.description["ModelArtifacts"]["S3ModelArtifacts"],
                    }
                ],
                "SupportedContentTypes": [RECORDIO],
                "SupportedResponseMIMETypes": [LINES],
            },
            **more,
        )["ModelPackageArn"]
        cleaner.call("delete_model_package", ModelPackageName=arn)
        return arn

    return make


def test_versions_count_up_within_a_group(sagemaker, trained, group, register):
    told = sagemaker.describe_model_package_group(ModelPackageGroupName=group)
    assert told["ModelPackageGroupStatus"] == "Completed"
    assert told["ModelPackageGroupDescription"] == "likes"
    first = register(ModelPackageDescription="the first")
    second = register(
        ModelApprovalStatus="PendingManualApproval", CustomerMetadataProperties={"run": "7"}
    )
    assert first.endswith(f":model-package/{group}/1")
    assert second.endswith(f":model-package/{group}/2")
    one = sagemaker.describe_model_package(ModelPackageName=first)
    assert (one["ModelPackageGroupName"], one["ModelPackageVersion"]) == (group, 1)
    assert one["ModelPackageStatus"] == "Completed"
    assert one["ModelApprovalStatus"] == "PendingManualApproval"
    assert one["ModelPackageDescription"] == "the first"
    specification = one["InferenceSpecification"]
    assert specification["SupportedContentTypes"] == [RECORDIO]
    container = specification["Containers"][0]
    assert container["ModelDataUrl"] == trained.description["ModelArtifacts"]["S3ModelArtifacts"]
    two = sagemaker.describe_model_package(ModelPackageName=second)
    assert two["CustomerMetadataProperties"] == {"run": "7"}
    listed = sagemaker.list_model_packages(
        ModelPackageGroupName=group, SortBy="CreationTime", SortOrder="Ascending"
    )["ModelPackageSummaryList"]
    assert [each["ModelPackageVersion"] for each in listed] == [1, 2]
    assert [each["ModelPackageArn"] for each in listed] == [first, second]


def test_approval_is_given_and_asked_for(sagemaker, group, register):
    first, second = register(), register()
    sagemaker.update_model_package(
        ModelPackageArn=second, ModelApprovalStatus="Approved", ApprovalDescription="better"
    )
    told = sagemaker.describe_model_package(ModelPackageName=second)
    assert (told["ModelApprovalStatus"], told["ApprovalDescription"]) == ("Approved", "better")
    assert told["LastModifiedTime"] >= told["CreationTime"]

    def listed(status: str) -> list[str]:
        found = sagemaker.list_model_packages(
            ModelPackageGroupName=group, ModelApprovalStatus=status
        )
        return [each["ModelPackageArn"] for each in found["ModelPackageSummaryList"]]

    assert listed("Approved") == [second]
    assert listed("PendingManualApproval") == [first]
    assert listed("Rejected") == []


def test_a_model_of_a_package_scores(
    target, sagemaker, s3, cleaner, ended, trained, register, prefix, name
):
    features, _ = contract_rows.rows(5, 6)
    body = contract_rows.records(features)
    s3.put_object(Bucket=target.bucket, Key=f"{prefix}in/rows", Body=body)
    cleaner.call("delete_model", ModelName=name)
    sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=target.role,
        Containers=[{"ModelPackageName": register(ModelApprovalStatus="Approved")}],
    )
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{target.bucket}/{prefix}in/"}
    cleaner.job("transform_job", name, delete=False)
    sagemaker.create_transform_job(
        TransformJobName=name,
        ModelName=name,
        TransformInput={
            "DataSource": {"S3DataSource": source},
            "ContentType": RECORDIO,
            "SplitType": "RecordIO",
        },
        TransformOutput={"S3OutputPath": f"s3://{target.bucket}/{prefix}out", "Accept": LINES},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    job = ended("transform_job", name)
    assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
    found = s3.get_object(Bucket=target.bucket, Key=f"{prefix}out/rows.out")["Body"].read()
    assert len(found.splitlines()) == 6


def test_a_group_with_versions_is_not_deleted(sagemaker, group, register):
    arn = register()
    code, message = refusal(sagemaker.delete_model_package_group, ModelPackageGroupName=group)
    assert code in ("ValidationException", "ConflictException"), message
    sagemaker.delete_model_package(ModelPackageName=arn)
    assert refusal(sagemaker.describe_model_package, ModelPackageName=arn)[0] == (
        "ValidationException"
    )
    sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    code, _ = refusal(sagemaker.describe_model_package_group, ModelPackageGroupName=group)
    assert code == "ValidationException"


def test_groups_are_made_once_listed_and_tagged(sagemaker, group):
    code, message = refusal(sagemaker.create_model_package_group, ModelPackageGroupName=group)
    assert code == "ValidationException"
    assert group in message
    (listed,) = sagemaker.list_model_package_groups(NameContains=group)[
        "ModelPackageGroupSummaryList"
    ]
    assert listed["ModelPackageGroupName"] == group
    tags = sagemaker.list_tags(ResourceArn=listed["ModelPackageGroupArn"])["Tags"]
    assert tags == [{"Key": "suite", "Value": "contract"}]
