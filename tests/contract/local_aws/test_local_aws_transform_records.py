"""Batch transform beyond the plain case: records joined, several hosts, what containers declare."""

from __future__ import annotations

import gzip
import json
import struct
import time

import pytest
from botocore.exceptions import ClientError

pytest_plugins = ["transform_fixtures"]
pytestmark = pytest.mark.e2e

MEGABYTE = 1 << 20


def test_csv_is_joined_over_many_payloads(s3, bucket, model, transform, outputs):
    rows = [f"id{number},{'a' * (number * 7919 % 90_001)},1" for number in range(60)]
    body = "".join(f"{row}\n" for row in rows).encode()
    assert len(body) > 2 * MEGABYTE
    s3.put_object(Bucket=bucket, Key="in/rows.csv", Body=body)
    job = transform(
        model(),
        {"SplitType": "Line", "ContentType": "text/csv"},
        {"AssembleWith": "Line", "Accept": "text/csv"},
        MaxPayloadInMB=1,
        MaxConcurrentTransforms=3,
        DataProcessing={"InputFilter": "$[1]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"},
    )
    assert job["TransformJobStatus"] == "Completed"
    assert job["DataProcessing"]["InputFilter"] == "$[1]"
    expected = [f"id{number},{number * 7919 % 90_001}" for number in range(60)]
    assert outputs()["out/rows.csv.out"].decode().splitlines() == expected


def test_one_object_that_cannot_be_joined_fails_alone(
    s3, bucket, model, transform, outputs, log_lines
):
    s3.put_object(Bucket=bucket, Key="in/one", Body=b'{"id": 1}\n')
    s3.put_object(Bucket=bucket, Key="in/two", Body=b'{"id": 1}\n{"id": 2}\n')
    job = transform(
        model(TELL_HEADERS="1"),  # answers once, however many records there are
        {"SplitType": "Line", "ContentType": "application/jsonlines"},
        {"AssembleWith": "Line"},
        DataProcessing={"JoinSource": "Input", "OutputFilter": "$.SageMakerOutput.bytes"},
    )
    assert job["TransformJobStatus"] == "Failed"
    assert job["FailureReason"] == "ClientError: See job logs for more information"
    assert outputs() == {"out/one.out": b"10\n"}
    told = log_lines(job["TransformJobName"], "data-log")
    assert told[-1].endswith(
        f"{bucket}/in/two: Failed to join the input with the output from the algorithm: "
        "2 input records and 1 output records"
    )


def test_tfrecords_come_one_by_one_without_their_framing(s3, bucket, model, transform, outputs):
    body = _tfrecord(b"abc") + _tfrecord(b"abcde")
    s3.put_object(Bucket=bucket, Key="in/a", Body=body)
    job = transform(model(), {"SplitType": "TFRecord"}, BatchStrategy="SingleRecord")
    assert job["TransformJobStatus"] == "Completed"
    assert outputs() == {"out/a.out": b"3\n5\n"}


def test_payloads_are_under_way_at_the_same_time(s3, bucket, model, transform, outputs):
    """Each of four requests is answered when all four have come."""
    s3.put_object(Bucket=bucket, Key="in/a", Body=b"m1\nm22\nm333\nm4444\n" * 3)
    job = transform(
        model(MEET="4"),
        {"SplitType": "Line"},
        BatchStrategy="SingleRecord",
        MaxConcurrentTransforms=4,
    )
    assert job["TransformJobStatus"] == "Completed"
    assert outputs() == {"out/a.out": b"2\n3\n4\n5\n" * 3}


def test_several_hosts_share_the_objects(server, s3, bucket, model, transform, outputs):
    for number in range(9):
        s3.put_object(Bucket=bucket, Key=f"in/{number}", Body=b"1" * number + b"\n")
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 3}
    job = transform(model(), TransformResources=resources)
    assert job["TransformJobStatus"] == "Completed"
    assert job["TransformResources"] == resources
    assert outputs() == {f"out/{number}.out": b"%d\n" % number for number in range(9)}
    streams = server.client("logs").describe_log_streams(
        logGroupName="/aws/sagemaker/TransformJobs",
        logStreamNamePrefix=f"{job['TransformJobName']}/",
    )["logStreams"]
    names = {item["logStreamName"].split("/", 1)[1] for item in streams}
    assert {name.rsplit("-", 1)[0] for name in names if "data-log" not in name} == {
        *("algo-1", "algo-2", "algo-3")
    }
    assert len(names) == 6


def test_a_host_that_breaks_ends_the_job(s3, bucket, model, transform, outputs):
    s3.put_object(Bucket=bucket, Key="in/a", Body=b"x")
    for number in range(3):
        s3.put_object(Bucket=bucket, Key=f"in/b{number}", Body=b"wait for ever")
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2}
    job = transform(model(), TransformResources=resources)
    assert job["FailureReason"] == "AlgorithmError: The serving container ended with exit code 3"
    assert outputs() == {}


SENT = {"MaxConcurrentTransforms": 3, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 2}


@pytest.mark.parametrize(
    ("declared", "given", "used"),
    [
        (json.dumps(SENT), {}, "3, MaxPayloadInMB=2, BatchStrategy=SINGLE_RECORD"),
        (
            json.dumps(SENT),
            {"MaxPayloadInMB": 1, "BatchStrategy": "MultiRecord"},
            "3, MaxPayloadInMB=1, BatchStrategy=MULTI_RECORD",
        ),
        ("no JSON", {}, "1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD"),
        ("[1]", {}, "1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD"),
        (
            '{"MaxConcurrentTransforms": "9", "MaxPayloadInMB": -1}',
            {},
            "1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD",
        ),
    ],
)
def test_what_the_request_leaves_out_the_container_says(
    s3, bucket, model, transform, log_lines, declared, given, used
):
    s3.put_object(Bucket=bucket, Key="in/a", Body=b"1\n2\n")
    job = transform(model(EXECUTION_PARAMETERS=declared), {"SplitType": "Line"}, **given)
    assert job["TransformJobStatus"] == "Completed"
    told = log_lines(job["TransformJobName"], "data-log")[0]
    assert told.partition("MaxConcurrentTransforms=")[2] == used


def test_a_container_learns_what_the_request_says(s3, bucket, model, transform, outputs):
    s3.put_object(Bucket=bucket, Key="in/a", Body=b"1")
    given = {"MaxPayloadInMB": 7, "MaxConcurrentTransforms": 2, "BatchStrategy": "SingleRecord"}
    job = transform(model(TELL_HEADERS="1"), **given)
    told = json.loads(outputs()["out/a.out"])["settings"]
    assert job["TransformJobStatus"] == "Completed"
    assert told.pop("SAGEMAKER_BIND_TO_PORT").isdecimal()
    assert told == {
        "SAGEMAKER_BATCH": "true",
        "SAGEMAKER_BATCH_STRATEGY": "SINGLE_RECORD",
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "2",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "7",
    }
    transform(model(TELL_HEADERS="1"))
    told = json.loads(outputs()["out/a.out"])["settings"]
    assert set(told) == {"SAGEMAKER_BIND_TO_PORT", "SAGEMAKER_BATCH"}


@pytest.mark.parametrize("compression", ["None", "Gzip"])
def test_an_object_of_any_size_is_streamed_in_chunks(
    s3, bucket, model, transform, outputs, compression
):
    body = b"a" * (7 * MEGABYTE)
    whole = body if compression == "None" else gzip.compress(body)
    s3.put_object(Bucket=bucket, Key="in/big", Body=whole)
    job = transform(
        model(TELL_HEADERS="1"),
        {"CompressionType": compression},
        MaxPayloadInMB=0,
        MaxConcurrentTransforms=100,
    )
    assert job["TransformJobStatus"] == "Completed"
    answer = json.loads(outputs()["out/big.out"])
    assert (answer["Transfer-Encoding"], answer["bytes"]) == ("chunked", len(body))


def test_a_streamed_object_is_sent_again_from_its_beginning(s3, bucket, model, transform, outputs):
    s3.put_object(Bucket=bucket, Key="in/a", Body=b"flaky")
    job = transform(model(), MaxPayloadInMB=0, ModelClientConfig={"InvocationsMaxRetries": 2})
    assert job["TransformJobStatus"] == "Completed"
    assert outputs() == {"out/a.out": b"5\n"}


def test_an_answer_that_takes_too_long(s3, bucket, model, transform, log_lines):
    s3.put_object(Bucket=bucket, Key="in/a", Body=b"wait for ever")
    client = {"InvocationsTimeoutInSeconds": 1, "InvocationsMaxRetries": 0}
    job = transform(model(), ModelClientConfig=client)
    assert job["FailureReason"] == "AlgorithmError: See job logs for more information"
    told = log_lines(job["TransformJobName"], "data-log")
    assert "Unable to get response from algorithm" in told[-1]


def test_without_a_number_an_invocation_is_tried_four_times(s3, bucket, model, transform, outputs):
    s3.put_object(Bucket=bucket, Key="in/a", Body=b"flaky")  # 500 the first two times
    assert transform(model())["TransformJobStatus"] == "Completed"
    assert outputs() == {"out/a.out": b"5\n"}


def test_capture(s3, bucket, model, transform, outputs):
    for key in ("in/a", "in/deep/b"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"123,1\n45,1\n")
    job = transform(
        model(),
        {"SplitType": "Line", "ContentType": "text/csv"},
        {"AssembleWith": "Line"},
        DataCaptureConfig={
            "DestinationS3Uri": f"s3://{bucket}/captured",
            "GenerateInferenceId": True,
        },
        ExperimentConfig={"ExperimentName": "e", "TrialName": "t"},
    )
    assert job["TransformJobStatus"] == "Completed"
    assert job["ExperimentConfig"]["ExperimentName"] == "e"
    started = job["TransformStartTime"].astimezone(tz=None)
    hour = time.strftime("%Y/%m/%d/%H", time.gmtime(started.timestamp()))
    name = f"{hour}/{job['TransformJobName']}.json"
    manifests = {
        side: json.loads(s3.get_object(Bucket=bucket, Key=f"captured/{side}/{name}")["Body"].read())
        for side in ("input", "output")
    }
    assert manifests == {
        "input": [{"prefix": f"s3://{bucket}/in/"}, "a", "deep/b"],
        "output": [{"prefix": f"s3://{bucket}/out/"}, "a.out", "deep/b.out"],
    }
    rows = [line.split(",") for line in outputs()["out/a.out"].decode().splitlines()]
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started.timestamp()))
    assert [(row[0], row[2]) for row in rows] == [("5", stamp), ("4", stamp)]
    assert rows[0][1] != rows[1][1]


@pytest.mark.parametrize("phase", ["Downloading", "Transforming", "Uploading"])
def test_a_fault_on_purpose_in_a_phase(
    server, s3, bucket, model, transform, outputs, log_lines, phase
):
    s3.put_object(Bucket=bucket, Key="in/a", Body=b"1")
    known = model()
    rule = {"fault": "crash", "kind": "transform-job", "phase": phase, "times": 1}
    plan = server.state / "faults.json"
    plan.write_text(json.dumps({"faults": [rule]}))
    try:
        job = transform(known)
    finally:
        plan.unlink()
    assert job["TransformJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("InternalServerError: ")
    assert outputs() == {}
    group = server.client("logs").describe_log_streams(
        logGroupName="/aws/sagemaker/TransformJobs",
        logStreamNamePrefix=f"{job['TransformJobName']}/",
    )
    # The container ran once its data were there.
    assert bool(group["logStreams"]) == (phase != "Downloading")


def test_requests_that_do_not_go_together(sagemaker, model, name, transform):
    csv = {"SplitType": "Line", "ContentType": "text/csv"}
    lines = {"AssembleWith": "Line"}
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 17}
    toy, built_in = model(), model("built-in-toy")
    cases = [
        (toy, csv, lines, {"DataProcessing": {"InputFilter": "$.a"}}, 'Unexpected "."'),
        (toy, csv, {}, {"DataProcessing": {"JoinSource": "Input"}}, "AssembleWith must be Line"),
        (built_in, {}, {}, {"MaxPayloadInMB": 0}, "do not support HTTP chunked encoding"),
        (toy, {}, {}, {"MaxPayloadInMB": 0, "BatchStrategy": "SingleRecord"}, "not implement"),
        (
            toy,
            csv,
            lines,
            {"MaxPayloadInMB": 0, "DataProcessing": {"JoinSource": "Input"}},
            "MaxPayloadInMB must not be 0",
        ),
        (toy, {}, {}, {"TransformResources": resources}, "InstanceCount 17"),
    ]
    for known, given, wanted, more, complaint in cases:
        with pytest.raises(ClientError) as error:
            sagemaker.create_transform_job(**transform.request(name, known, given, wanted, **more))
        assert error.value.response["Error"]["Code"] == "ValidationException"
        assert complaint in error.value.response["Error"]["Message"]


def test_a_job_in_flight_fails_over_a_restart_and_its_outputs_stay(
    tmp_path, start, wait_for, finished
):
    import transform_fixtures

    with start(tmp_path) as server:
        s3, sagemaker = server.client("s3"), server.client("sagemaker")
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="in/a", Body=b"good")
        s3.put_object(Bucket="bucket", Key="in/b", Body=b"wait for ever")
        sagemaker.create_model(
            ModelName="m",
            ExecutionRoleArn=transform_fixtures.ROLE,
            PrimaryContainer={"Image": "toy"},
        )
        source = {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/in/"}
        sagemaker.create_transform_job(
            TransformJobName="job",
            ModelName="m",
            TransformInput={"DataSource": {"S3DataSource": source}},
            TransformOutput={"S3OutputPath": "s3://bucket/out"},
            TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
        )
        wait_for(lambda: s3.list_objects_v2(Bucket="bucket", Prefix="out/")["KeyCount"])
        server.kill()
    with start(tmp_path) as server:
        job = finished(server.client("sagemaker"), "job", "transform")
        assert job["TransformJobStatus"] == "Failed"
        assert job["FailureReason"].startswith("InternalServerError: the local AWS was restarted")
        body = server.client("s3").get_object(Bucket="bucket", Key="out/a.out")["Body"]
        assert body.read() == b"4\n"


def _tfrecord(content: bytes) -> bytes:
    from fmrec.local_aws.transform.tfrecord import masked_crc

    length = struct.pack("<Q", len(content))
    return length + struct.pack("<I", masked_crc(length)) + content + b"\0\0\0\0"
