"""Models and transform jobs of the toy algorithm, for the tests of batch transform."""

from __future__ import annotations

import io
import tarfile
import uuid

import pytest

ROLE = "arn:aws:iam::123456789012:role/fmrec-local"
GROUP = "/aws/sagemaker/TransformJobs"


@pytest.fixture
def model(sagemaker, s3, bucket):
    """Create models; the image and the container's environment are given by keyword."""

    def create(image: str = "toy", **environment: str) -> str:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            tar.addfile(tarfile.TarInfo("weights"))
        s3.put_object(Bucket=bucket, Key="m/model.tar.gz", Body=archive.getvalue())
        name = f"m-{uuid.uuid4().hex[:12]}"
        container = {
            "Image": image,
            "ModelDataUrl": f"s3://{bucket}/m/model.tar.gz",
            "Environment": environment,
        }
        sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
        return name

    return create


@pytest.fixture
def transform(sagemaker, bucket, finished):
    """Run a transform job over <bucket>/in/ to <bucket>/out/ and return its description."""

    def request(name: str, model: str, given=(), wanted=(), **more) -> dict:
        source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/in/"}
        return {
            "TransformJobName": name,
            "ModelName": model,
            "TransformInput": {"DataSource": {"S3DataSource": source}, **dict(given)},
            "TransformOutput": {"S3OutputPath": f"s3://{bucket}/out", **dict(wanted)},
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
            **more,
        }

    def run(model: str, given=(), wanted=(), **more) -> dict:
        name = f"t-{uuid.uuid4().hex[:12]}"
        sagemaker.create_transform_job(**request(name, model, given, wanted, **more))
        return finished(sagemaker, name, "transform")

    run.request = request
    return run


@pytest.fixture
def outputs(s3, bucket):
    def read() -> dict[str, bytes]:
        listing = s3.list_objects_v2(Bucket=bucket, Prefix="out/").get("Contents", [])
        return {
            item["Key"]: s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
            for item in listing
        }

    return read


@pytest.fixture
def log_lines(server):
    def read(job: str, suffix: str) -> list[str]:
        logs = server.client("logs")
        streams = logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=f"{job}/")
        return [
            event["message"]
            for stream in streams["logStreams"]
            if stream["logStreamName"].endswith("/data-log") == bool(suffix)
            for event in logs.get_log_events(
                logGroupName=GROUP, logStreamName=stream["logStreamName"], startFromHead=True
            )["events"]
        ]

    return read
