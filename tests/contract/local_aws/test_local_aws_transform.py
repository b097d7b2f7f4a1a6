from __future__ import annotations

import gzip
import json
import re
import struct
import uuid

import pytest
from botocore.exceptions import ClientError

pytest_plugins = ["transform_fixtures"]
pytestmark = pytest.mark.e2e

ROLE = "arn:aws:iam::123456789012:role/fmrec-local"
MEGABYTE = 1 << 20


def frame(payload: bytes) -> bytes:
    padding = -len(payload) % 4
    return struct.pack("<II", 0xCED7230A, len(payload)) + payload + b"\0" * padding


def test_every_object_gets_its_output(s3, bucket, model, transform, outputs, log_lines):
    s3.put_object(Bucket=bucket, Key="in/a", Body=b"1\n22\n333\n")
    s3.put_object(Bucket=bucket, Key="in/deep/b", Body=b"4444")
    s3.put_object(Bucket=bucket, Key="in/empty", Body=b"")
    job = transform(
        model(),
        {"SplitType": "Line", "ContentType": "text/csv"},
        {"AssembleWith": "Line"},
        Environment={"X": "1"},
    )
    # "4444" is refused by the toy (400); that object has no output, the others have theirs.
    assert job["TransformJobStatus"] == "Failed"
    assert job["FailureReason"] == "ClientError: See job logs for more information"
    assert outputs() == {"out/a.out": b"1\n2\n3\n", "out/empty.out": b""}
    assert job["CreationTime"] <= job["TransformStartTime"] <= job["TransformEndTime"]
    told = log_lines(job["TransformJobName"], "data-log")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}:\[sagemaker logs\]: "
        r"MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD",
        told[0],
    )
    assert [line.partition(": ")[2] for line in told[1:]] == [
        f"{bucket}/in/deep/b: ClientError: 400",
        f"{bucket}/in/deep/b: ",
        f"{bucket}/in/deep/b: Message:",
        f"{bucket}/in/deep/b: refused",
    ]
    assert log_lines(job["TransformJobName"], "") == ["serving ['weights']"]


@pytest.mark.parametrize("strategy", ["MultiRecord", "SingleRecord"])
@pytest.mark.parametrize("at_once", [1, 4])
def test_lines_larger_than_one_payload_keep_their_order(
    s3, bucket, model, transform, outputs, strategy, at_once
):
    sizes = [1 + number * 7_919_000 % 300_007 for number in range(25)]
    body = b"".join(b"a" * size + b"\n" for size in sizes)
    assert len(body) > 3 * MEGABYTE
    s3.put_object(Bucket=bucket, Key="in/big", Body=body)
    job = transform(
        model(),
        {"SplitType": "Line"},
        {"AssembleWith": "Line"},
        MaxPayloadInMB=1,
        MaxConcurrentTransforms=at_once,
        BatchStrategy=strategy,
    )
    assert job["TransformJobStatus"] == "Completed"
    assert outputs()["out/big.out"] == b"".join(b"%d\n" % size for size in sizes)


def test_recordio_is_split_between_records(s3, bucket, model, transform, outputs):
    frames = [frame(bytes([65 + number % 3]) * (300_000 + number)) for number in range(9)]
    s3.put_object(Bucket=bucket, Key="in/part-0", Body=b"".join(frames))
    s3.put_object(Bucket=bucket, Key="in/part-1", Body=b"".join(frames[:2]))
    job = transform(
        model(TELL_HEADERS="1"),
        {"SplitType": "RecordIO", "ContentType": "application/x-recordio-protobuf"},
        {"AssembleWith": "Line", "Accept": "application/jsonlines"},
        MaxPayloadInMB=1,
    )
    assert job["TransformJobStatus"] == "Completed"
    answers = {
        key: [json.loads(line) for line in body.splitlines()] for key, body in outputs().items()
    }
    # Three records of about 300 kB fit into 1 MiB, four do not.
    in_threes = [sum(map(len, frames[start : start + 3])) for start in (0, 3, 6)]
    assert [answer["bytes"] for answer in answers["out/part-0.out"]] == in_threes
    assert [answer["bytes"] for answer in answers["out/part-1.out"]] == [sum(map(len, frames[:2]))]
    assert answers["out/part-0.out"][0]["Content-Type"] == "application/x-recordio-protobuf"
    assert answers["out/part-0.out"][0]["Accept"] == "application/jsonlines"


def test_built_in_algorithms_have_a_default_accept(s3, bucket, model, transform, outputs):
    s3.put_object(Bucket=bucket, Key="in/a", Body=b"abc")
    transform(model("built-in-toy", TELL_HEADERS="1"))
    assert json.loads(outputs()["out/a.out"])["Accept"] == "application/jsonlines"


def test_without_splitting_an_object_is_one_payload(s3, bucket, model, transform, outputs):
    s3.put_object(Bucket=bucket, Key="in/fits", Body=b"a" * MEGABYTE)
    s3.put_object(Bucket=bucket, Key="in/too-large", Body=b"a" * (MEGABYTE + 1))
    job = transform(model(TELL_HEADERS="1"), MaxPayloadInMB=1)
    assert job["FailureReason"] == "ClientError: See job logs for more information"
    assert [json.loads(body)["bytes"] for body in outputs().values()] == [MEGABYTE]


def test_compressed_input(s3, bucket, model, transform, outputs, log_lines):
    whole = gzip.compress(b"a\nbb\n" * 1000)
    s3.put_object(Bucket=bucket, Key="in/good.gz", Body=whole)
    s3.put_object(Bucket=bucket, Key="in/short.gz", Body=whole[:-12])
    s3.put_object(Bucket=bucket, Key="in/wrong.gz", Body=b"not compressed")
    job = transform(model(), {"CompressionType": "Gzip", "SplitType": "Line"})
    assert job["TransformJobStatus"] == "Failed"
    assert outputs() == {"out/good.gz.out": b"1\n2\n" * 1000}
    told = "\n".join(log_lines(job["TransformJobName"], "data-log"))
    assert f"{bucket}/in/short.gz: " in told
    assert f"{bucket}/in/wrong.gz: " in told


def test_damaged_recordio_is_named(s3, bucket, model, transform, outputs, log_lines):
    s3.put_object(Bucket=bucket, Key="in/bad", Body=frame(b"abcd") + b"junkjunk")
    s3.put_object(Bucket=bucket, Key="in/good", Body=frame(b"abcd"))
    job = transform(model(), {"SplitType": "RecordIO"})
    assert list(outputs()) == ["out/good.out"]
    told = log_lines(job["TransformJobName"], "data-log")
    assert any("in/bad" in line and "record 1" in line for line in told)


@pytest.mark.parametrize(
    ("body", "reason", "line"),
    [
        (b"5", "AlgorithmError: See job logs for more information", "received from algorithm: 500"),
        (b"x", "AlgorithmError: The serving container ended with exit code 3", "Unable to get"),
    ],
)
def test_an_algorithm_that_breaks(
    s3, bucket, model, transform, outputs, log_lines, body, reason, line
):
    s3.put_object(Bucket=bucket, Key="in/a", Body=body)
    job = transform(model())
    assert job["TransformJobStatus"] == "Failed"
    assert job["FailureReason"] == reason
    assert outputs() == {}
    assert any(line in told for told in log_lines(job["TransformJobName"], "data-log"))


@pytest.mark.parametrize(("retries", "status"), [(1, "Failed"), (2, "Completed")])
def test_retries(s3, bucket, model, transform, outputs, retries, status):
    s3.put_object(Bucket=bucket, Key="in/a", Body=b"flaky")
    job = transform(model(), ModelClientConfig={"InvocationsMaxRetries": retries})
    assert job["TransformJobStatus"] == status
    assert outputs() == ({"out/a.out": b"5\n"} if status == "Completed" else {})


def test_stop(sagemaker, s3, bucket, model, transform, outputs, finished, wait_for, log_lines):
    s3.put_object(Bucket=bucket, Key="in/a", Body=b"good")
    s3.put_object(Bucket=bucket, Key="in/b", Body=b"wait forever")
    name = f"t-{uuid.uuid4().hex[:12]}"
    sagemaker.create_transform_job(**transform.request(name, model()))
    wait_for(outputs)
    sagemaker.stop_transform_job(TransformJobName=name)
    job = finished(sagemaker, name, "transform")
    assert job["TransformJobStatus"] == "Stopped"
    assert list(outputs()) == ["out/a.out"]
    with pytest.raises(ClientError, match="the transform job is in status Stopped"):
        sagemaker.stop_transform_job(TransformJobName=name)


def test_nothing_to_transform(bucket, model, transform):
    job = transform(model())
    assert job["FailureReason"].startswith(
        f'ClientError: No S3 objects found under S3 URL "s3://{bucket}/in/"'
    )


def test_a_model_that_is_no_archive(sagemaker, s3, bucket, name, transform):
    s3.put_object(Bucket=bucket, Key="broken.tar.gz", Body=b"not an archive")
    s3.put_object(Bucket=bucket, Key="in/a", Body=b"x")
    sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": "toy", "ModelDataUrl": f"s3://{bucket}/broken.tar.gz"},
    )
    assert "Failed to extract model data archive" in transform(name)["FailureReason"]


def test_requests_that_are_refused(sagemaker, model, name, transform):
    known = model()
    cases = [
        ({"DataProcessing": {"JoinSource": "Input"}}, "ContentType must be one of text/csv, "),
        ({"MaxPayloadInMB": 20, "MaxConcurrentTransforms": 6}, "must not exceed 100"),
        ({"MaxPayloadInMB": 101}, "must not exceed 100"),
        ({"ModelName": "no-such-model"}, 'Could not find model "arn:aws:sagemaker'),
    ]
    for change, complaint in cases:
        with pytest.raises(ClientError) as error:
            sagemaker.create_transform_job(**{**transform.request(name, known), **change})
        assert error.value.response["Error"]["Code"] == "ValidationException"
        assert complaint in error.value.response["Error"]["Message"]
    listed = sagemaker.list_transform_jobs(NameContains=name)["TransformJobSummaries"]
    assert listed == []


def test_a_name_is_taken_once(sagemaker, s3, bucket, model, name, transform, finished):
    s3.put_object(Bucket=bucket, Key="in/a", Body=b"abc")
    request = transform.request(name, model())
    sagemaker.create_transform_job(**request)
    with pytest.raises(ClientError) as error:
        sagemaker.create_transform_job(**request)
    assert error.value.response["Error"]["Code"] == "ResourceInUse"
    finished(sagemaker, name, "transform")
    page = sagemaker.list_transform_jobs(NameContains=name, StatusEquals="Completed")
    assert [item["TransformJobName"] for item in page["TransformJobSummaries"]] == [name]
