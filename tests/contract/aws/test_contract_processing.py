"""Processing jobs as SageMaker documents them.

What runs needs an image of one's own, so the jobs run on the suite's own server alone.
"""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.e2e


def refusal(call, **parameters) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call(**parameters)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


@pytest.fixture
def request_of(target, prefix):
    """Build a CreateProcessingJob request from <prefix>in/ to <prefix>out."""
    if not target.own:
        pytest.skip("needs an image that processes, which only the suite's own server has")

    def build(name: str, *arguments: str) -> dict:
        place = f"s3://{target.bucket}/{prefix}"
        specification = {"ImageUri": "1.dkr.ecr.us-east-1.amazonaws.com/fmrec-contract:1"}
        if arguments:
            specification["ContainerArguments"] = list(arguments)
        return {
            "ProcessingJobName": name,
            "RoleArn": target.role,
            "AppSpecification": specification,
            "Environment": {"COLOUR": "blue"},
            "ProcessingInputs": [
                {
                    "InputName": "rows",
                    "S3Input": {
                        "S3Uri": f"{place}in/",
                        "S3DataType": "S3Prefix",
                        "S3InputMode": "File",
                        "LocalPath": "/opt/ml/processing/in",
                    },
                }
            ],
            "ProcessingOutputConfig": {
                "Outputs": [
                    {
                        "OutputName": "counts",
                        "S3Output": {
                            "S3Uri": f"{place}out",
                            "LocalPath": "/opt/ml/processing/out",
                            "S3UploadMode": "EndOfJob",
                        },
                    }
                ]
            },
            "ProcessingResources": {
                "ClusterConfig": {
                    "InstanceCount": 1,
                    "InstanceType": "ml.m5.large",
                    "VolumeSizeInGB": 5,
                }
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        }

    return build


@pytest.fixture
def put(target, s3, prefix):
    for name, body in (("a", b"1\n2\n3\n"), ("b", b"1\n")):
        s3.put_object(Bucket=target.bucket, Key=f"{prefix}in/{name}", Body=body)


def test_a_job_reads_its_inputs_and_leaves_its_outputs(
    target, sagemaker, s3, logs, cleaner, ended, request_of, put, prefix, name
):
    request = request_of(name, "one", "two")
    cleaner.job("processing_job", name)
    arn = sagemaker.create_processing_job(**request)["ProcessingJobArn"]
    assert arn.endswith(f":processing-job/{name}")
    job = ended("processing_job", name)
    assert job["ProcessingJobStatus"] == "Completed", job.get("FailureReason")
    assert job["CreationTime"] <= job["ProcessingStartTime"] <= job["ProcessingEndTime"]
    for member in ("AppSpecification", "Environment", "ProcessingResources"):
        assert job[member] == request[member]
    body = s3.get_object(Bucket=target.bucket, Key=f"{prefix}out/counts.json")["Body"].read()
    assert json.loads(body) == {"a": 3, "b": 1, "blue": 3}
    group = "/aws/sagemaker/ProcessingJobs"
    found = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")
    (stream,) = [item["logStreamName"] for item in found["logStreams"]]
    assert stream.startswith(f"{name}/algo-1-")
    events = logs.get_log_events(logGroupName=group, logStreamName=stream)["events"]
    assert [event["message"] for event in events] == ["counted 2 files"]
    code, message = refusal(sagemaker.create_processing_job, **request)
    assert (code, name in message) == ("ResourceInUse", True)
    (listed,) = sagemaker.list_processing_jobs(NameContains=name)["ProcessingJobSummaries"]
    assert (listed["ProcessingJobName"], listed["ProcessingJobStatus"]) == (name, "Completed")


def test_a_failure_tells_what_the_program_left(sagemaker, cleaner, ended, request_of, put, name):
    cleaner.job("processing_job", name)
    sagemaker.create_processing_job(**request_of(name, "fail"))
    job = ended("processing_job", name)
    assert job["ProcessingJobStatus"] == "Failed"
    assert job["ExitMessage"] == "no such user"
    assert "exit code: 3" in job["FailureReason"].lower()


def test_stop(sagemaker, cleaner, wait, ended, request_of, put, name):
    cleaner.job("processing_job", name)
    sagemaker.create_processing_job(**request_of(name, "wait"))
    wait(lambda: "ProcessingStartTime" in sagemaker.describe_processing_job(ProcessingJobName=name))
    sagemaker.stop_processing_job(ProcessingJobName=name)
    assert ended("processing_job", name)["ProcessingJobStatus"] == "Stopped"
    code, _ = refusal(sagemaker.stop_processing_job, ProcessingJobName=name)
    assert code == "ValidationException"


def test_what_does_not_exist(sagemaker, name):
    code, message = refusal(sagemaker.describe_processing_job, ProcessingJobName=name)
    assert code == "ValidationException"
    assert name in message
    listed = sagemaker.list_processing_jobs(NameContains=name)["ProcessingJobSummaries"]
    assert listed == []
