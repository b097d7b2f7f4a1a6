"""Script images: jobs and models whose commands stand in a file of their own."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.e2e

TRAIN = """
import json, os, sys
from pathlib import Path
from beside import SUFFIX

root = Path(os.environ["FMREC_ML_ROOT"])
seen = {"arguments": sys.argv[1:], "level": os.environ["LEVEL"], "kept": os.environ["KEPT"]}
(root / "model/seen.json").write_text(json.dumps(seen))
print("loss=0.25" + SUFFIX)
"""
PROCESS = """
import os, sys
from pathlib import Path

given, made = map(Path, sys.argv[1:])
made.joinpath("upper.txt").write_text(
    os.environ["LEVEL"] + given.joinpath("text.txt").read_text().upper()
)
"""
SERVE = """
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        payload = self.rfile.read(int(self.headers["Content-Length"]))
        body = (os.environ["LEVEL"] + ":" + payload.decode()[::-1]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

HTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""
IMAGES = """
[images.script]
train = ["python", "train.py", "--settings", "settings.json"]
serve = ["python", "serve.py"]
process = ["python", "process.py"]
environment = { LEVEL = "image", KEPT = "image" }

[images.only-process]
process = ["python", "process.py"]
"""
REPOSITORY = "123456789012.dkr.ecr.us-east-1.amazonaws.com/team"
ROLE = "arn:aws:iam::123456789012:role/fmrec-local"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The folder of the images file and its scripts."""
    folder = tmp_path_factory.mktemp("images")
    scripts = {"train": TRAIN, "process": PROCESS, "serve": SERVE, "beside": "SUFFIX = ';'"}
    for name, text in scripts.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    (folder / "settings.json").write_text("{}")
    (folder / "images.toml").write_text(IMAGES)
    return folder


@pytest.fixture
def scripted(start, tmp_path, folder):
    """A server with the images of the file, and a bucket."""
    with start(tmp_path / "state", "--images", str(folder / "images.toml")) as server:
        server.client("s3").create_bucket(Bucket="bucket")
        yield server


def test_a_script_trains_serves_and_processes(
    scripted, folder, name, training_request, finished, wait_for
):
    sagemaker, s3 = scripted.client("sagemaker"), scripted.client("s3")
    request = training_request(name, "bucket", image=f"{REPOSITORY}/script:7")
    request["AlgorithmSpecification"]["MetricDefinitions"] = [
        {"Name": "loss", "Regex": r"loss=(\S+);"}
    ]
    request["Environment"] = {"LEVEL": "job"}
    sagemaker.create_training_job(**request)
    job = finished(sagemaker, name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert [item["Value"] for item in job["FinalMetricDataList"]] == [0.25]
    body = s3.get_object(Bucket="bucket", Key=f"out/{name}/output/model.tar.gz")["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        seen = json.loads(archive.extractfile("seen.json").read())
    assert seen == {
        "arguments": ["--settings", str(folder / "settings.json")],
        "level": "job",
        "kept": "image",
    }

    sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=ROLE,
        PrimaryContainer={
            "Image": f"{REPOSITORY}/script:7",
            "ModelDataUrl": job["ModelArtifacts"]["S3ModelArtifacts"],
        },
    )
    s3.put_object(Bucket="bucket", Key="in/text.txt", Body=b"abc")
    sagemaker.create_transform_job(
        TransformJobName=name,
        ModelName=name,
        TransformInput={
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/in/"}}
        },
        TransformOutput={"S3OutputPath": "s3://bucket/scored"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    transform = finished(sagemaker, name, "transform")
    assert transform["TransformJobStatus"] == "Completed", transform.get("FailureReason")
    scored = s3.get_object(Bucket="bucket", Key="scored/text.txt.out")["Body"].read()
    assert scored == b"image:cba"

    sagemaker.create_processing_job(
        ProcessingJobName=name,
        RoleArn=ROLE,
        AppSpecification={
            "ImageUri": f"{REPOSITORY}/script:7",
            "ContainerArguments": ["/opt/ml/processing/in", "/opt/ml/processing/out"],
        },
        ProcessingResources={"ClusterConfig": {"InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}},
        ProcessingInputs=[
            {
                "InputName": "in",
                "S3Input": {
                    "S3Uri": "s3://bucket/in/",
                    "LocalPath": "/opt/ml/processing/in",
                    "S3DataType": "S3Prefix",
                },
            }
        ],
        ProcessingOutputConfig={
            "Outputs": [
                {
                    "OutputName": "out",
                    "S3Output": {
                        "S3Uri": "s3://bucket/made",
                        "LocalPath": "/opt/ml/processing/out",
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ]
        },
    )
    wait_for(
        lambda: (
            sagemaker.describe_processing_job(ProcessingJobName=name)["ProcessingJobStatus"]
            == "Completed"
        )
    )
    made = s3.get_object(Bucket="bucket", Key="made/upper.txt")["Body"].read()
    assert made == b"imageABC"


def test_an_image_is_refused_for_what_it_cannot_do(scripted, name, training_request):
    sagemaker = scripted.client("sagemaker")
    image = f"{REPOSITORY}/only-process"
    with pytest.raises(ClientError) as error:
        sagemaker.create_training_job(**training_request(name, "bucket", image=image))
    assert error.value.response["Error"]["Code"] == "ValidationException"
    assert "cannot be used for training jobs" in error.value.response["Error"]["Message"]
    with pytest.raises(ClientError) as error:
        sagemaker.create_model(
            ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": image}
        )
    assert "cannot be used for models" in error.value.response["Error"]["Message"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[images.mine]", "image 'mine' has no command"),
        ('[images.toy]\ntrain = ["env"]', "image 'toy': the local AWS brings an image"),
        ("not TOML", "is not TOML"),
        (None, "Cannot read the images file"),
    ],
)
def test_the_server_does_not_start_with_a_bad_file(tmp_path, text, told):
    path = tmp_path / "images.toml"
    if text is not None:
        path.write_text(text)
    server = Path(__file__).with_name("toy_server.py")
    state = tmp_path / "state"
    ended = subprocess.run(
        [sys.executable, server, "2", "--port", "0", "--state", state, "--images", path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert told in ended.stderr
    assert str(path) in ended.stderr
    assert not state.exists()
