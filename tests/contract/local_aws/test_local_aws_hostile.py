"""Requests that mean harm: to run code, to leave the state folder, to stop the server."""

from __future__ import annotations

import io
import json
import socket
import sqlite3
import tarfile
import urllib.error
import urllib.parse
import urllib.request

import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.e2e

TEMPLATE = "Resources: !!python/object/apply:os.system ['touch {}']"


def raw(server, operation: str, body: str, region: str = "us-east-1") -> tuple[int, dict]:
    signature = (
        f"AWS4-HMAC-SHA256 Credential=a/20261124/{region}/sagemaker/aws4_request, Signature=b"
    )
    headers = {"X-Amz-Target": f"SageMaker.{operation}", "Authorization": signature}
    request = urllib.request.Request(server.url, body.encode("utf-8", "surrogatepass"), headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.parametrize(
    ("service", "operation"),
    [
        ("cloudformation", "list_stacks"),
        ("sns", "list_topics"),
        ("stepfunctions", "list_state_machines"),
    ],
)
def test_services_that_run_what_they_are_given_do_not_answer(server, service, operation):
    with pytest.raises(ClientError, match="does not answer") as refused:
        getattr(server.client(service), operation)()
    assert refused.value.response["Error"]["Code"].startswith("NotImplemented")


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "cross-site"}])
def test_an_image_on_a_web_page_runs_nothing(server, tmp_path, headers):
    query = {
        "Action": "CreateStack",
        "StackName": "s",
        "TemplateBody": TEMPLATE.format(tmp_path / "ran"),
    }
    path = "/cloudformation_us-east-1/cfnresponse?" + urllib.parse.urlencode(query)
    request = urllib.request.Request(server.url + path, headers=headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    refused.value.close()
    assert refused.value.code in (400, 403)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("region", ["..", "local", "a" * 300])
def test_a_region_that_is_none_is_no_folder(server, region):
    status, answer = raw(server, "ListTrainingJobs", "{}", region)
    assert (status, answer["__type"]) == (400, "UnrecognizedClientException")


def test_code_in_a_checkpoint_or_a_channel_is_data(sagemaker, bucket, name, training_request):
    """The job runs in the folder where its channels lie: nothing is imported from there."""
    request = training_request(name, bucket)
    request["CheckpointConfig"] = {"S3Uri": f"s3://{bucket}/ck", "LocalPath": "/opt/ml/fmrec"}
    with pytest.raises(ClientError, match="LocalPath"):
        sagemaker.create_training_job(**request)


@pytest.mark.parametrize(
    "body",
    [
        '{"MaxResults": NaN}',
        '{"CreationTimeAfter": 1e999}',
        '{"CreationTimeAfter": ' + "9" * 400 + "}",
        '{"NameContains": "\\ud800"}',
    ],
)
def test_numbers_and_characters_that_are_none(server, body):
    assert raw(server, "ListModels", body)[0] == 400


@pytest.mark.parametrize("token", ["MTIz", "bnVsbA==", "WyJDcmVhdGlvblRpbWUiLHt9LDFd", "!"])
def test_tokens_that_nobody_gave(server, token):
    status, answer = raw(server, "ListModels", json.dumps({"NextToken": token}))
    assert (status, answer["__type"]) == (400, "ValidationException")


def test_a_regex_that_never_ends_holds_nobody_up(
    server, sagemaker, bucket, name, training_request, finished
):
    request = training_request(name, bucket, image="toy", lines=3)
    slow = {"Name": "slow", "Regex": r"(\S+\s*)+=([0-9.]+);"}
    quick = {"Name": "rmse", "Regex": r"test rmse <loss>=(\S+)"}
    request["AlgorithmSpecification"]["MetricDefinitions"] = [slow, quick]
    sagemaker.create_training_job(**request)
    job = finished(sagemaker, name)
    assert [item["MetricName"] for item in job["FinalMetricDataList"]] == ["rmse"]


def test_a_client_that_sends_nothing_holds_nobody_up(server, s3, bucket):
    host, port = server.url.removeprefix("http://").split(":")
    stalled = []
    for head in (
        f"PUT /{bucket}/key HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\n",
    ):
        connection = socket.create_connection((host, int(port)))
        connection.sendall(head.encode())
        stalled.append(connection)
    try:
        s3.put_object(Bucket=bucket, Key="key", Body=b"mine")
        assert server.client("sts").get_caller_identity()["Account"] == "123456789012"
    finally:
        for connection in stalled:
            connection.close()
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == b"mine"


def archive(*members: tarfile.TarInfo) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return packed.getvalue()


def link(kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo("link")
    member.type, member.linkname = kind, "/etc"
    return member


def damaged() -> bytes:
    member = tarfile.TarInfo("file")
    member.size = 100_000
    whole = bytearray(archive(member))
    whole[-6] ^= 0xFF  # in the checksum of the content
    return bytes(whole)


@pytest.mark.parametrize(
    "content",
    [archive(link(tarfile.SYMTYPE)), archive(link(tarfile.LNKTYPE)), damaged(), b"no archive"],
    ids=["symlink", "hard link", "damaged", "no archive"],
)
def test_an_archive_that_is_no_model(sagemaker, s3, bucket, name, finished, content):
    s3.put_object(Bucket=bucket, Key="model.tar.gz", Body=content)
    s3.put_object(Bucket=bucket, Key="in/rows", Body=b"row\n")
    role = "arn:aws:iam::123456789012:role/r"
    container = {"Image": "toy", "ModelDataUrl": f"s3://{bucket}/model.tar.gz"}
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=role, PrimaryContainer=container)
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/in/"}}
    sagemaker.create_transform_job(
        TransformJobName=name,
        ModelName=name,
        TransformInput={"DataSource": source},
        TransformOutput={"S3OutputPath": f"s3://{bucket}/out"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    job = finished(sagemaker, name, "transform")
    assert job["TransformJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: Failed to extract model data archive")


def test_a_folder_with_logs_of_no_region_still_opens(tmp_path, start):
    with start(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "sagemaker.sqlite3") as database:
        database.execute(
            "INSERT INTO log_streams (region, log_group, name, created) VALUES ('x', 'g', 'n', 0)"
        )
    database.close()
    with start(tmp_path) as server:
        assert server.client("sagemaker").list_models()["Models"] == []
