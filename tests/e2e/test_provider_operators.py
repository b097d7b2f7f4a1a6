"""All of the Amazon provider's SageMaker operators that make or end something, in both modes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from scipy import sparse

from fmrec import recordio

pytestmark = pytest.mark.e2e

SCRIPT = Path(__file__).with_name("provider_operators.py")
IMAGE = "382416733822.dkr.ecr.us-east-1.amazonaws.com/factorization-machines:1"
MINE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/count-lines:1"
COUNT = """
import os, pathlib
folder = pathlib.Path(os.environ["FMREC_ML_ROOT"], "processing")
lines = sum(len(path.read_bytes().splitlines()) for path in (folder / "in").iterdir())
(folder / "out/lines").write_text(str(lines))
"""
ONE = {"InstanceType": "ml.m5.large", "InstanceCount": 1}
HYPERPARAMETERS = {
    **{"feature_dim": "50", "num_factors": "2", "predictor_type": "binary_classifier"},
    **{"mini_batch_size": "100", "epochs": "2"},
}


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "count.py").write_text(COUNT)
    (tmp_path / "images.toml").write_text(
        '[images.count-lines]\nprocess = ["python", "count.py"]\n'
    )
    command = [sys.executable, "-m", "fmrec.local_aws", "--port", "0"]
    options = ["--state", str(tmp_path / "state"), "--images", str(tmp_path / "images.toml")]
    server = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield server.stdout.readline().split()[4].rstrip(",")
    finally:
        server.terminate()
        assert server.wait(30) == 0
        server.stdout.close()


def rows(seed: int) -> bytes:
    draw = np.random.default_rng(seed)
    keys = np.column_stack([draw.integers(0, 20, 300), 20 + draw.integers(0, 30, 300)])
    ends = np.arange(0, 601, 2)
    features = sparse.csr_matrix((np.ones(600), keys.ravel(), ends), shape=(300, 50))
    likes = np.sin(keys[:, 0]) + np.cos(keys[:, 1]) > 0
    return recordio.encode(features, likes.astype(np.float32))


def channels() -> list[dict[str, Any]]:
    return [
        {
            "ChannelName": name,
            "DataSource": {
                "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://films/{name}/"}
            },
        }
        for name in ("train", "test")
    ]


def requests() -> dict[str, Any]:
    specification = {"TrainingImage": IMAGE, "TrainingInputMode": "File"}
    shared = {
        "RoleArn": "fmrec-local",
        "InputDataConfig": channels(),
        "OutputDataConfig": {"S3OutputPath": "s3://films/models"},
        "ResourceConfig": {**ONE, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        "AlgorithmSpecification": specification,
    }
    rate = {"Name": "linear_lr", "MinValue": "0.001", "MaxValue": "0.1"}
    return {
        "image": IMAGE,
        "training": {"TrainingJobName": "likes", "HyperParameters": HYPERPARAMETERS, **shared},
        "tuning": {
            "HyperParameterTuningJobName": "tune-likes",
            "HyperParameterTuningJobConfig": {
                "Strategy": "Random",
                "HyperParameterTuningJobObjective": {
                    "Type": "Minimize",
                    "MetricName": "test:binary_classification_cross_entropy",
                },
                "ResourceLimits": {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 2},
                "ParameterRanges": {"ContinuousParameterRanges": [rate]},
            },
            "TrainingJobDefinition": {**shared, "StaticHyperParameters": HYPERPARAMETERS},
        },
        "processing": {
            "ProcessingJobName": "count",
            "RoleArn": "fmrec-local",
            "AppSpecification": {"ImageUri": MINE},
            "ProcessingResources": {"ClusterConfig": {**ONE, "VolumeSizeInGB": 1}},
            "ProcessingInputs": [
                {
                    "InputName": "in",
                    "S3Input": {
                        "S3Uri": "s3://films/text/",
                        "LocalPath": "/opt/ml/processing/in",
                        "S3DataType": "S3Prefix",
                        "S3InputMode": "File",
                    },
                }
            ],
            "ProcessingOutputConfig": {
                "Outputs": [
                    {
                        "OutputName": "out",
                        "S3Output": {
                            "S3Uri": "s3://films/counted",
                            "LocalPath": "/opt/ml/processing/out",
                            "S3UploadMode": "EndOfJob",
                        },
                    }
                ]
            },
        },
        "transform": {
            "TransformJobName": "score",
            "ModelName": "likes",
            "TransformInput": {
                "DataSource": {
                    "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://films/test/"}
                },
                "ContentType": "application/x-recordio-protobuf",
                "SplitType": "RecordIO",
            },
            "TransformOutput": {"S3OutputPath": "s3://films/scores", "AssembleWith": "Line"},
            "TransformResources": ONE,
        },
    }


@pytest.mark.parametrize("mode", [[], ["deferred"]])
def test_the_providers_operators(url: str, tmp_path: Path, mode: list[str]) -> None:
    s3 = boto3.client("s3", endpoint_url=url)
    s3.create_bucket(Bucket="films")
    for seed, name in enumerate(("train", "test")):
        s3.put_object(Bucket="films", Key=f"{name}/rows", Body=rows(seed))
    s3.put_object(Bucket="films", Key="text/lines", Body=b"a\nb\nc\n")
    connection = {
        "conn_type": "aws",
        "login": "local",
        "password": "local",
        "extra": {"endpoint_url": url, "region_name": "us-east-1"},
    }
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *mode],
        input=json.dumps(requests()),
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(connection),
        },
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["artifact"] == "s3://films/models/likes/output/model.tar.gz"
    assert told["tuned"]["Completed"] == 2
    group = "arn:aws:sagemaker:us-east-1:123456789012:model-package/films"
    assert told["versions"] == [f"{group}/1", f"{group}/2"]
    assert told["processed"] == "Completed"
    assert told["statuses"] == [["likes-1", "InService"], ["likes-2", "InService"]]
    assert s3.get_object(Bucket="films", Key="counted/lines")["Body"].read() == b"3"
    scored = s3.get_object(Bucket="films", Key="scores/rows.out")["Body"].read()
    assert len(scored.splitlines()) == 300
    sagemaker = boto3.client("sagemaker", endpoint_url=url)
    assert sagemaker.list_models()["Models"] == []
    # The endpoint answers though its model's record is gone.
    runtime = boto3.client("sagemaker-runtime", endpoint_url=url)
    body = json.dumps({"instances": [{"features": [0.0] * 50}]})
    answer = runtime.invoke_endpoint(
        EndpointName="likes", ContentType="application/json", Body=body
    )
    (prediction,) = json.load(answer["Body"])["predictions"]
    assert set(prediction) == {"score", "predicted_label"}
