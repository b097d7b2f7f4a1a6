"""What S3 promises, and that a restart changes none of it."""

from __future__ import annotations

import hashlib
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

pytestmark = pytest.mark.e2e

KEYS = [
    "plain",
    "a",
    "a/b",
    "a/b/c",
    "a/",
    "folder/",
    "folder/x",
    "//double//slash",
    "./dot/../dots",
    "~",
    "~/home",
    "umlaut ä/漢字/😀",
    "white space/+plus&amp;?=",
    "tab\there",
    "back\\slash",
    "x" * 300,
    "deep/" * 150 + "end",
]


def keys_in(s3, bucket: str) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def body(s3, bucket: str, key: str) -> bytes:
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_everything_survives_kill(tmp_path, start):  # noqa: PLR0915 - one state, all of it
    contents = {key: f"content of {key}".encode() for key in KEYS}
    big = b"0123456789abcdef" * (1 << 20)
    with start(tmp_path) as server:
        s3 = server.client("s3")
        s3.create_bucket(Bucket="bucket")
        s3.create_bucket(
            Bucket="elsewhere", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        s3.create_bucket(Bucket="gone")
        s3.delete_bucket(Bucket="gone")
        for key, content in contents.items():
            s3.put_object(Bucket="bucket", Key=key, Body=content)
        s3.put_object(
            Bucket="bucket",
            Key="described",
            Body=b'{"a": 1}',
            ContentType="application/json",
            CacheControl="no-cache",
            Metadata={"origin": "test", "number": "7"},
            Tagging="colour=blue",
            ChecksumAlgorithm="SHA256",
        )
        s3.put_object(Bucket="bucket", Key="changed", Body=b"first")
        s3.put_object(Bucket="bucket", Key="changed", Body=b"second")
        s3.put_object(Bucket="bucket", Key="deleted", Body=b"x")
        s3.delete_object(Bucket="bucket", Key="deleted")
        for key in ("many/1", "many/2", "many/3"):
            s3.put_object(Bucket="bucket", Key=key, Body=b"x")
        s3.delete_objects(
            Bucket="bucket", Delete={"Objects": [{"Key": "many/1"}, {"Key": "many/3"}]}
        )
        s3.copy_object(Bucket="elsewhere", Key="copy", CopySource="bucket/described")
        (tmp_path / "big").write_bytes(big)
        s3.upload_file(
            str(tmp_path / "big"),
            "bucket",
            "big",
            Config=TransferConfig(multipart_threshold=6 << 20, multipart_chunksize=6 << 20),
        )
        before = {
            key: s3.head_object(Bucket="bucket", Key=key)
            for key in ("described", "big", "changed", "plain")
        }
        listing = s3.list_objects_v2(Bucket="bucket")["Contents"]
        created = {item["Name"]: item["CreationDate"] for item in s3.list_buckets()["Buckets"]}
        server.kill()

    with start(tmp_path) as server:
        s3 = server.client("s3")
        buckets = {item["Name"]: item["CreationDate"] for item in s3.list_buckets()["Buckets"]}
        assert buckets == created
        assert set(buckets) == {"bucket", "elsewhere"}
        location = s3.get_bucket_location(Bucket="elsewhere")["LocationConstraint"]
        assert location == "eu-west-1"
        assert keys_in(s3, "bucket") == sorted(
            [*KEYS, "described", "changed", "many/2", "big"], key=str.encode
        )
        assert s3.list_objects_v2(Bucket="bucket")["Contents"] == listing
        assert {key: body(s3, "bucket", key) for key in KEYS} == contents
        assert body(s3, "bucket", "changed") == b"second"
        assert hashlib.sha256(body(s3, "bucket", "big")).digest() == hashlib.sha256(big).digest()
        part = s3.get_object(Bucket="bucket", Key="big", Range="bytes=17-30")["Body"].read()
        assert part == big[17:31]
        for key, expected in before.items():
            found = s3.head_object(Bucket="bucket", Key=key)
            for answer in (found, expected):
                del answer["ResponseMetadata"]
            assert found == expected
        assert before["described"]["ContentType"] == "application/json"
        assert before["described"]["Metadata"] == {"origin": "test", "number": "7"}
        tags = s3.get_object_tagging(Bucket="bucket", Key="described")["TagSet"]
        assert tags == [{"Key": "colour", "Value": "blue"}]
        copy = s3.get_object(Bucket="elsewhere", Key="copy")
        assert copy["Body"].read() == b'{"a": 1}'
        assert copy["Metadata"] == {"origin": "test", "number": "7"}
        # What was put back can be changed and removed like anything else.
        s3.put_object(Bucket="bucket", Key="a/b", Body=b"anew")
        assert body(s3, "bucket", "a/b") == b"anew"
        for key in keys_in(s3, "bucket"):
            s3.delete_object(Bucket="bucket", Key=key)
        s3.delete_bucket(Bucket="bucket")
        assert not (server.state / "s3/bucket").exists()


def test_objects_lie_as_plain_files_and_go_when_they_are_deleted(tmp_path, start):
    with start(tmp_path) as server:
        s3 = server.client("s3")
        folder = tmp_path / "s3/bucket"
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="runs/7/report.json", Body=b"{}")
        assert (folder / "runs/7/report.json").read_bytes() == b"{}"
        for number in range(5):
            s3.put_object(Bucket="bucket", Key="again", Body=b"%d" % number)
        assert len(files_below(folder)) == 2
        s3.delete_object(Bucket="bucket", Key="runs/7/report.json")
        s3.delete_object(Bucket="bucket", Key="again")
        assert list(folder.iterdir()) == []
        assert files_below(tmp_path / "s3") == []


def test_what_a_killed_server_left_half_written_is_swept(tmp_path, start):
    with start(tmp_path) as server:
        s3 = server.client("s3")
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="whole", Body=b"whole")
        server.kill()
    (tmp_path / "s3/.incoming/half").write_bytes(b"ha")
    (tmp_path / "s3/bucket/unnamed").mkdir()
    (tmp_path / "s3/bucket/unnamed/file").write_bytes(b"renamed, but not yet in the index")
    with start(tmp_path) as server:
        assert keys_in(server.client("s3"), "bucket") == ["whole"]
        assert files_below(tmp_path / "s3") == ["bucket/whole"]


def test_virtual_hosted_addresses_are_as_durable(tmp_path, start):
    with start(tmp_path) as server:
        server.client("s3").create_bucket(Bucket="bucket")
        port = server.url.rpartition(":")[2]
        request = urllib.request.Request(f"{server.url}/key", b"body", method="PUT")
        request.add_header("Content-Type", "text/plain")
        request.add_header("Host", f"bucket.s3.localhost:{port}")
        with urllib.request.urlopen(request):
            pass
        assert (tmp_path / "s3/bucket/key").read_bytes() == b"body"


def test_a_conditional_write_is_won_by_one(s3, bucket):
    contents = [b"%02d" % number * 500_000 for number in range(24)]

    def put(content: bytes) -> bool:
        try:
            s3.put_object(Bucket=bucket, Key="once", Body=content, IfNoneMatch="*")
        except ClientError as error:
            assert error.response["Error"]["Code"] == "PreconditionFailed"
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(put, contents))
    assert won.count(True) == 1
    assert body(s3, bucket, "once") == contents[won.index(True)]


def test_readers_never_see_a_mixture(s3, bucket):
    """While an object is overwritten, a reader gets one whole content or another."""
    versions = [bytes([65 + number]) * 200_000 for number in range(6)]
    s3.put_object(Bucket=bucket, Key="busy", Body=versions[0])

    def write(number: int) -> None:
        s3.put_object(Bucket=bucket, Key="busy", Body=versions[number % 6])

    with ThreadPoolExecutor(6) as pool:
        writes = [pool.submit(write, number) for number in range(40)]
        reads = [pool.submit(body, s3, bucket, "busy") for _ in range(120)]
        for future in writes:
            future.result()
        assert {future.result() for future in reads} <= set(versions)


def test_missing_things(s3, bucket):
    for call, code in [
        (lambda: s3.get_object(Bucket=bucket, Key="none"), "NoSuchKey"),
        (lambda: s3.head_object(Bucket=bucket, Key="none"), "404"),
        (lambda: s3.head_bucket(Bucket="no-such-bucket"), "404"),
        (lambda: s3.put_object(Bucket="no-such-bucket", Key="k", Body=b""), "NoSuchBucket"),
    ]:
        with pytest.raises(ClientError) as error:
            call()
        assert error.value.response["Error"]["Code"] == code


def test_a_bucket_with_objects_stays(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    with pytest.raises(ClientError) as error:
        s3.delete_bucket(Bucket=bucket)
    assert error.value.response["Error"]["Code"] == "BucketNotEmpty"
    assert body(s3, bucket, "k") == b"x"


def test_a_presigned_put_that_is_called_a_form_stores_its_bytes(s3, bucket):
    """curl and urllib name that content type unless they are told another."""
    url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "formed"})
    request = urllib.request.Request(url, b"a=1&b=2", method="PUT")
    assert request.get_header("Content-type") is None
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    assert s3.get_object(Bucket=bucket, Key="formed")["Body"].read() == b"a=1&b=2"
