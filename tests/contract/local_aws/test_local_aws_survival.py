"""What S3 and Logs remember beside the objects: settings, tags, versions, uploads in parts, logs.

One state is filled by a server that is killed, changed by a second one that ends in order, and
looked at through a third.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import ROLE, Server, running

pytestmark = pytest.mark.e2e

POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
                "Action": "s3:GetObject",
                "Resource": "arn:aws:s3:::NAME/*",
            }
        ],
    }
)
LIFECYCLE = {
    "Rules": [
        {
            "ID": "old logs",
            "Status": "Enabled",
            "Filter": {"And": {"Prefix": "logs/", "Tags": [{"Key": "a", "Value": "b"}]}},
            "Expiration": {"Days": 7},
            "Transitions": [{"Days": 3, "StorageClass": "GLACIER"}],
            "NoncurrentVersionTransitions": [{"NoncurrentDays": 4, "StorageClass": "GLACIER"}],
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
        }
    ]
}
CORS = {
    "CORSRules": [
        {
            "AllowedMethods": ["GET", "PUT"],
            "AllowedOrigins": ["https://example.com"],
            "AllowedHeaders": ["*"],
            "ExposeHeaders": ["ETag"],
            "MaxAgeSeconds": 30,
        }
    ]
}
ENCRYPTION = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
BLOCKED = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": False,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": False,
}
OWNERSHIP = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
TAGS = [{"Key": "colour", "Value": "red"}, {"Key": "size", "Value": "1"}]
WEBSITE = {"IndexDocument": {"Suffix": "index.html"}}
READS = [
    *("get_bucket_versioning", "get_bucket_tagging", "get_bucket_policy", "get_bucket_cors"),
    *("get_bucket_lifecycle_configuration", "get_bucket_encryption", "get_bucket_website"),
    *("get_public_access_block", "get_bucket_ownership_controls", "get_bucket_acl"),
    *("get_bucket_request_payment", "get_bucket_notification_configuration", "list_objects_v2"),
]

PART = b"0123456789abcdef" * (5 << 16)
BIG = {"Bucket": "uploads", "Key": "big/file"}
GROUP = "/aws/sagemaker/TransformJobs"


def told(s3: Any, bucket: str) -> dict[str, Any]:
    answers = {name: getattr(s3, name)(Bucket=bucket) for name in READS}
    for answer in answers.values():
        del answer["ResponseMetadata"]
    return answers


def set_bucket(server: Server, bucket: str) -> None:
    s3, sqs = server.client("s3"), server.client("sqs")
    s3.create_bucket(Bucket=bucket)
    tags = {"TagSet": [{"Key": "team", "Value": "films"}, {"Key": "cost", "Value": "7"}]}
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_tagging(Bucket=bucket, Tagging=tags)
    s3.put_bucket_policy(Bucket=bucket, Policy=POLICY.replace("NAME", bucket))
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=LIFECYCLE)
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=CORS)
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=ENCRYPTION)
    s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration=WEBSITE)
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=BLOCKED)
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=OWNERSHIP)
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read")
    queue = sqs.create_queue(QueueName="events")["QueueUrl"]
    address = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    events = {
        "Id": "new",
        "QueueArn": address["Attributes"]["QueueArn"],
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "in/"}]}},
    }
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [events]}
    )


def tag_objects(s3: Any) -> None:
    s3.create_bucket(Bucket="tags")
    for key in ("tagged", "cleared"):
        s3.put_object(Bucket="tags", Key=key, Body=b"x", Tagging="colour=blue")
    s3.put_object_tagging(Bucket="tags", Key="tagged", Tagging={"TagSet": TAGS})
    s3.delete_object_tagging(Bucket="tags", Key="cleared")


def write_versions(s3: Any, bucket: str) -> None:
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="a", Body=b"before versioning")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for number in range(3):
        s3.put_object(Bucket=bucket, Key="a", Body=b"%d" % number, Metadata={"n": f"{number}"})
    s3.put_object(Bucket=bucket, Key="deleted", Body=b"still there")
    s3.delete_object(Bucket=bucket, Key="deleted")
    gone = s3.put_object(Bucket=bucket, Key="gone", Body=b"x")["VersionId"]
    s3.delete_object(Bucket=bucket, Key="gone", VersionId=gone)


def versions(s3: Any, bucket: str) -> list[tuple[str, str, bool, bytes | None]]:
    """Every version and delete marker: key, id, whether it is the latest, content."""
    answer = s3.list_object_versions(Bucket=bucket)
    kept = [
        (
            *(item["Key"], item["VersionId"], item["IsLatest"]),
            s3.get_object(Bucket=bucket, Key=item["Key"], VersionId=item["VersionId"])[
                "Body"
            ].read(),
        )
        for item in answer.get("Versions", [])
    ]
    markers = [
        (item["Key"], item["VersionId"], item["IsLatest"], None)
        for item in answer.get("DeleteMarkers", [])
    ]
    return [*kept, *markers]


def begin_uploads(s3: Any) -> list[str]:
    """Begin three uploads, the second of which is aborted; return their ids."""
    s3.create_bucket(Bucket="uploads")
    names = [
        s3.create_multipart_upload(
            **BIG, Metadata={"m": "1"}, Tagging="t=1", ContentType="text/plain"
        )["UploadId"]
        for _ in range(3)
    ]
    for number in (2, 1, 2):  # the second is replaced
        s3.upload_part(**BIG, UploadId=names[0], PartNumber=number, Body=PART)
    s3.upload_part(**BIG, UploadId=names[1], PartNumber=1, Body=PART)
    s3.abort_multipart_upload(**BIG, UploadId=names[1])
    return names


def transform(server: Server, job: str) -> None:
    """Run a job that writes an object to versioned/out and a log of its own."""
    s3, sagemaker = server.client("s3"), server.client("sagemaker")
    s3.put_object(Bucket="tags", Key="in/a", Body=b"12345")
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://tags/in/"}
    sagemaker.create_transform_job(
        TransformJobName=job,
        ModelName="m",
        TransformInput={"DataSource": {"S3DataSource": source}},
        TransformOutput={"S3OutputPath": "s3://versioned/out"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    end = time.monotonic() + 60
    while (
        sagemaker.describe_transform_job(TransformJobName=job)["TransformJobStatus"] != "Completed"
    ):
        assert time.monotonic() < end
        time.sleep(0.03)


def write_logs(logs: Any) -> float:
    """Fill groups; return when the one that stays was created."""
    for group in ("mine", "empty", "gone"):
        logs.create_log_group(logGroupName=group)
    logs.put_retention_policy(logGroupName="mine", retentionInDays=7)
    now = int(time.time() * 1000)
    for stream in ("a", "b"):
        logs.create_log_stream(logGroupName="mine", logStreamName=stream)
        logs.put_log_events(
            logGroupName="mine",
            logStreamName=stream,
            logEvents=[{"timestamp": now + n, "message": f"{stream} {n}"} for n in range(3)],
        )
    logs.delete_log_stream(logGroupName="mine", logStreamName="b")
    logs.create_log_stream(logGroupName="gone", logStreamName="x")
    logs.delete_log_group(logGroupName="gone")
    return logs.describe_log_groups(logGroupNamePrefix="mine")["logGroups"][0]["creationTime"]


def streams(logs: Any, group: str) -> list[str]:
    answer = logs.describe_log_streams(logGroupName=group)
    return [item["logStreamName"] for item in answer["logStreams"]]


def fill(server: Server, before: dict[str, Any]) -> None:
    """Fill a state, and note what has to be there again."""
    s3, logs = server.client("s3"), server.client("logs")
    for name in ("set", "changed", "anew"):
        set_bucket(server, name)
    tag_objects(s3)
    for name in ("versioned", "emptied"):
        write_versions(s3, name)
    before["uploads"] = begin_uploads(s3)
    container = {"Image": "toy"}
    server.client("sagemaker").create_model(
        ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=container
    )
    for job in ("first", "second"):
        transform(server, job)
    (stream,) = [
        name for name in streams(logs, GROUP) if name.startswith("first/") and "data" not in name
    ]
    logs.delete_log_stream(logGroupName=GROUP, logStreamName=stream)
    before["created"] = write_logs(logs)
    before["streams"] = streams(logs, GROUP)
    before["settings"] = told(s3, "set")
    before["versions"] = versions(s3, "versioned")


def change(server: Server) -> None:
    """Change what was put back."""
    s3 = server.client("s3")
    s3.delete_bucket_tagging(Bucket="changed")
    s3.delete_bucket_policy(Bucket="changed")
    s3.delete_bucket_cors(Bucket="changed")
    s3.put_bucket_versioning(Bucket="changed", VersioningConfiguration={"Status": "Suspended"})
    s3.delete_bucket(Bucket="anew")
    s3.create_bucket(Bucket="anew")
    (marker,) = [item for item in versions(s3, "emptied") if item[3] is None]
    s3.delete_object(Bucket="emptied", Key="deleted", VersionId=marker[1])
    assert s3.get_object(Bucket="emptied", Key="deleted")["Body"].read() == b"still there"
    for key, version, *_ in versions(s3, "emptied"):
        s3.delete_object(Bucket="emptied", Key=key, VersionId=version)


@pytest.fixture(scope="module")
def survived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, Any]]]:
    """The third server, and what the first one said."""
    state: Path = tmp_path_factory.mktemp("survival")
    before: dict[str, Any] = {}
    with running(state) as server:
        fill(server, before)
        server.kill()
    (state / "s3/.uploads/left-over").write_bytes(b"half of a part")
    with running(state) as server:
        change(server)
        assert server.terminate() == 0
    with running(state) as server:
        yield server, before


def test_settings_of_buckets(survived):
    server, before = survived
    s3 = server.client("s3")
    assert told(s3, "set") == before["settings"]
    assert before["settings"]["get_bucket_versioning"] == {"Status": "Enabled"}
    assert before["settings"]["get_bucket_notification_configuration"]["QueueConfigurations"]
    assert s3.get_bucket_versioning(Bucket="changed")["Status"] == "Suspended"
    for read, code in [
        (s3.get_bucket_tagging, "NoSuchTagSet"),
        (s3.get_bucket_policy, "NoSuchBucketPolicy"),
        (s3.get_bucket_cors, "NoSuchCORSConfiguration"),
    ]:
        with pytest.raises(s3.exceptions.ClientError, match=code):
            read(Bucket="changed")
    assert s3.get_bucket_website(Bucket="changed")["IndexDocument"] == WEBSITE["IndexDocument"]
    # A bucket of the same name is not the same bucket.
    assert "Status" not in s3.get_bucket_versioning(Bucket="anew")


def test_tags_that_an_object_got_later(survived):
    s3 = survived[0].client("s3")
    assert s3.get_object_tagging(Bucket="tags", Key="tagged")["TagSet"] == TAGS
    assert s3.get_object_tagging(Bucket="tags", Key="cleared")["TagSet"] == []
    assert s3.get_object(Bucket="tags", Key="tagged")["Body"].read() == b"x"


def test_earlier_versions(survived):
    server, before = survived
    s3 = server.client("s3")
    assert versions(s3, "versioned") == before["versions"]
    contents = [item[3] for item in before["versions"]]
    # What jobs write are versions as well: the output of two jobs under one key.
    assert contents == [
        *(b"2", b"1", b"0", b"before versioning", b"still there", b"5\n", b"5\n", None)
    ]
    second = before["versions"][1][1]
    found = s3.head_object(Bucket="versioned", Key="a", VersionId=second)
    assert found["Metadata"] == {"n": "1"}
    assert s3.get_object(Bucket="versioned", Key="a")["Body"].read() == b"2"
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket="versioned", Key="deleted")
    assert list((server.state / "s3/emptied").iterdir()) == []
    s3.delete_bucket(Bucket="emptied")


def test_uploads_in_parts(survived):
    server, before = survived
    s3, (continued, _, other) = server.client("s3"), before["uploads"]
    folder = server.state / "s3/.uploads"
    assert not (folder / "left-over").exists()
    listed = s3.list_multipart_uploads(Bucket="uploads")["Uploads"]
    assert {item["UploadId"] for item in listed} == {continued, other}
    parts = s3.list_parts(**BIG, UploadId=continued)["Parts"]
    assert [(item["PartNumber"], item["Size"]) for item in parts] == [
        (1, len(PART)),
        (2, len(PART)),
    ]
    last = s3.upload_part(**BIG, UploadId=continued, PartNumber=3, Body=b"the end")
    etags = [*(item["ETag"] for item in parts), last["ETag"]]
    s3.complete_multipart_upload(
        **BIG,
        UploadId=continued,
        MultipartUpload={
            "Parts": [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]
        },
    )
    s3.abort_multipart_upload(**BIG, UploadId=other)
    found = s3.get_object(**BIG)
    assert found["Body"].read() == PART + PART + b"the end"
    assert (found["Metadata"], found["ContentType"]) == ({"m": "1"}, "text/plain")
    assert s3.get_object_tagging(**BIG)["TagSet"] == [{"Key": "t", "Value": "1"}]
    assert list(folder.iterdir()) == []


def test_logs_of_clients(survived):
    server, before = survived
    logs = server.client("logs")
    groups = {item["logGroupName"]: item for item in logs.describe_log_groups()["logGroups"]}
    assert set(groups) == {GROUP, "mine", "empty"}
    assert groups["mine"]["creationTime"] == before["created"]
    assert groups["mine"]["retentionInDays"] == 7
    assert streams(logs, "mine") == ["a"]
    events = logs.get_log_events(logGroupName="mine", logStreamName="a", startFromHead=True)
    assert [event["message"] for event in events["events"]] == ["a 0", "a 1", "a 2"]
    # A stream of a job that a client deleted does not come back.
    assert streams(logs, GROUP) == before["streams"]
    assert len(before["streams"]) == 3
