"""The Amazon provider's own operators train, make a model and transform, with the real algorithm.

About 20 s: starting the server, importing Airflow, and one training on 4,000 records.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import boto3
import numpy as np
import pytest
import scipy.sparse
from botocore.exceptions import WaiterError

from fmrec import recordio
from fmrec.fm import artifact

pytestmark = pytest.mark.e2e

USERS, ITEMS = 40, 60

# Runs in a process of its own: Airflow reads its configuration when it is imported.
OPERATORS = """
import json, sys
from types import SimpleNamespace
from airflow.providers.amazon.aws.operators.sagemaker import (
    SageMakerModelOperator, SageMakerTrainingOperator, SageMakerTransformOperator)

training, model, transform = json.load(sys.stdin)
pushed = {}
context = {"ti": SimpleNamespace(xcom_push=lambda key, value, **_: pushed.update({key: value}))}
told = SageMakerTrainingOperator(
    task_id="train", config=training, check_interval=1, print_log=False).execute(context)
artifact = told["Training"]["ModelArtifacts"]["S3ModelArtifacts"]
model["PrimaryContainer"]["ModelDataUrl"] = artifact
SageMakerModelOperator(task_id="model", config=model).execute(context)
SageMakerTransformOperator(
    task_id="transform", config=transform, check_interval=1).execute(context)
again = SageMakerTrainingOperator(
    task_id="again", config=training, check_interval=1, print_log=False).execute(context)
print(json.dumps([artifact, again["Training"]["TrainingJobName"]]))
"""


def ratings(rng: np.random.Generator, rows: int) -> tuple[scipy.sparse.csr_matrix, np.ndarray]:
    """Return one-hot user and item columns, and ratings that depend on both."""
    users, items = rng.integers(0, USERS, rows), rng.integers(0, ITEMS, rows)
    columns = np.stack([users, USERS + items], axis=1).ravel()
    features = scipy.sparse.csr_matrix(
        (np.ones(2 * rows, np.float32), columns, np.arange(0, 2 * rows + 1, 2)),
        shape=(rows, USERS + ITEMS),
    )
    labels = 3 + np.sin(users) + np.cos(items)
    return features, labels.astype(np.float32)


@pytest.fixture
def url(tmp_path):
    command = [sys.executable, "-m", "fmrec.local_aws", "--port", "0", "--state"]
    server = subprocess.Popen(
        [*command, str(tmp_path / "state")], stdout=subprocess.PIPE, text=True
    )
    try:
        yield server.stdout.readline().split()[4].rstrip(",")
    finally:
        server.terminate()
        assert server.wait(30) == 0
        server.stdout.close()


def test_the_providers_operators_with_the_real_algorithm(url, tmp_path):
    rng = np.random.default_rng(7)
    client = {
        name: boto3.client(name, endpoint_url=url, region_name="us-east-1")
        for name in ("s3", "sagemaker", "logs")
    }
    s3, sagemaker, logs = client["s3"], client["sagemaker"], client["logs"]
    s3.create_bucket(Bucket="fmrec")
    parts = [ratings(rng, 2000) for _ in range(3)]
    for number, (features, labels) in enumerate(parts):
        channel = "test" if number == 2 else "train"
        body = recordio.encode(features, labels)
        s3.put_object(Bucket="fmrec", Key=f"{channel}/part-{number}", Body=body)

    image = "382416733822.dkr.ecr.us-east-1.amazonaws.com/factorization-machines:1"
    training = {
        "TrainingJobName": "e2e",
        "RoleArn": "fmrec-local",
        "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
        "HyperParameters": {
            **{"feature_dim": str(USERS + ITEMS), "num_factors": "4"},
            **{"predictor_type": "regressor", "epochs": "20", "mini_batch_size": "100"},
            **{"linear_lr": "0.05", "bias_lr": "0.5", "factors_lr": "0.01"},
        },
        "InputDataConfig": [
            {
                "ChannelName": channel,
                "ContentType": "application/x-recordio-protobuf",
                "DataSource": {
                    "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://fmrec/{channel}/"}
                },
            }
            for channel in ("train", "test")
        ],
        "OutputDataConfig": {"S3OutputPath": "s3://fmrec/models/"},
        "ResourceConfig": {
            "InstanceType": "ml.m5.large",
            "InstanceCount": 1,
            "VolumeSizeInGB": 10,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    }
    model = {
        "ModelName": "e2e",
        "ExecutionRoleArn": "fmrec-local",
        "PrimaryContainer": {"Image": image},
    }
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://fmrec/test/"}
    transform = {
        "TransformJobName": "e2e",
        "ModelName": "e2e",
        "BatchStrategy": "MultiRecord",
        "MaxPayloadInMB": 1,
        "TransformInput": {
            "DataSource": {"S3DataSource": source},
            "ContentType": "application/x-recordio-protobuf",
            "SplitType": "RecordIO",
        },
        "TransformOutput": {
            "S3OutputPath": "s3://fmrec/scores/",
            "Accept": "application/jsonlines",
            "AssembleWith": "Line",
        },
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    }
    connection = {
        "conn_type": "aws",
        "login": "local",
        "password": "local",
        "extra": {"endpoint_url": url, "region_name": "us-east-1"},
    }
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(connection),
        "AWS_ENDPOINT_URL": url,
    }
    done = subprocess.run(
        [sys.executable, "-c", OPERATORS],
        input=json.dumps([training, model, transform]),
        capture_output=True,
        text=True,
        env=environment,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    address, second = json.loads(done.stdout.splitlines()[-1])

    # The operator found the name taken (a ValidationException would have meant free).
    assert second != "e2e"
    assert second.startswith("e2e-")
    assert address == "s3://fmrec/models/e2e/output/model.tar.gz"
    job = sagemaker.describe_training_job(TrainingJobName="e2e")
    metrics = {item["MetricName"]: item["Value"] for item in job["FinalMetricDataList"]}
    assert job["RoleArn"] == "arn:aws:iam::123456789012:role/fmrec-local"

    # What the served model answered is what the artifact says, computed here by itself.
    s3.download_file("fmrec", "models/e2e/output/model.tar.gz", str(tmp_path / "model.tar.gz"))
    features, labels = parts[2]
    expected = artifact.load(tmp_path / "model.tar.gz").score(features)
    out = s3.get_object(Bucket="fmrec", Key="scores/part-2.out")["Body"].read()
    scores = np.array([json.loads(line)["score"] for line in out.splitlines()])
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    rmse = float(np.sqrt(np.mean((expected - labels) ** 2)))
    assert metrics["test:rmse"] == pytest.approx(rmse, rel=1e-4)
    assert rmse < 0.5 * np.std(labels)

    group = "/aws/sagemaker/TrainingJobs"
    stream = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix="e2e/")
    name = stream["logStreams"][0]["logStreamName"]
    events = logs.get_log_events(logGroupName=group, logStreamName=name, startFromHead=True)
    assert any("test rmse <loss>=" in event["message"] for event in events["events"])


def test_a_wrong_hyperparameter_is_the_failure_reason(url):
    s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
    sagemaker = boto3.client("sagemaker", endpoint_url=url, region_name="us-east-1")
    s3.create_bucket(Bucket="fmrec")
    features, labels = ratings(np.random.default_rng(1), 10)
    s3.put_object(Bucket="fmrec", Key="train/p", Body=recordio.encode(features, labels))
    sagemaker.create_training_job(
        TrainingJobName="bad",
        RoleArn="arn:aws:iam::123456789012:role/fmrec-local",
        AlgorithmSpecification={
            "TrainingImage": "factorization-machines:1",
            "TrainingInputMode": "File",
        },
        HyperParameters={
            "feature_dim": "abc",
            "num_factors": "4",
            "predictor_type": "regressor",
        },
        InputDataConfig=[
            {
                "ChannelName": "train",
                "DataSource": {
                    "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://fmrec/train/"}
                },
            }
        ],
        OutputDataConfig={"S3OutputPath": "s3://fmrec/out"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )
    waiter = sagemaker.get_waiter("training_job_completed_or_stopped")
    waiter.config.delay, waiter.config.max_attempts = 1, 60
    with pytest.raises(WaiterError):
        waiter.wait(TrainingJobName="bad")
    job = sagemaker.describe_training_job(TrainingJobName="bad")
    assert job["FailureReason"].startswith(("AlgorithmError", "ClientError"))
    assert "feature_dim" in job["FailureReason"]
    assert "abc" in job["FailureReason"]
