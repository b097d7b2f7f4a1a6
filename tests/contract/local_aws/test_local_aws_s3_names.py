"""Names, uploads and digests that are out of order: stored as they are, or refused as S3 does."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import random
import socket
import string
import urllib.request
import zlib
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.e2e

# Odd keys as they stand in a request's path, and as S3 knows them.
ODD_KEYS = {
    "../../../escaped": "../../../escaped",
    "%2e%2e/%2e%2e/escaped": "../../escaped",
    "..": "..",
    ".": ".",
    "/tmp/absolute": "/tmp/absolute",  # noqa: S108
    "//double": "//double",
    "nul%00inside": "nul\0inside",
    "back%5Cslash%5C..%5C": "back\\slash\\..\\",
    "~/x": "~/x",
    ".incoming/x": ".incoming/x",
    "%E6%BC%A2%E5%AD%97/%F0%9F%98%80": "漢字/😀",
    "k" * 1024: "k" * 1024,
    "deep/" * 204 + "end": "deep/" * 204 + "end",
}
SIGNED = "AWS4-HMAC-SHA256 Credential=any/20261120/us-east-1/s3/aws4_request, Signature=0"
BAD_BUCKETS = [
    *("..", "...", ".incoming", ".uploads", "a..b", "ab", "x" * 64, "A-Upper", "under_score"),
    *("192.168.5.4", "-abc", "abc-", "xn--abc", "abc-s3alias", "nul%00nul", "a%5Cbc", "~~~"),
]


class Raw:
    """Requests whose path no client has tidied up."""

    def __init__(self, url: str) -> None:
        self.host = url.partition("//")[2]

    def __call__(self, method: str, path: str, body: bytes = b"", **headers: str):
        connection = http.client.HTTPConnection(self.host)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"Authorization": SIGNED, **names})
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        return response.status, answer


@pytest.fixture
def raw(server):
    return Raw(server.url)


def everything_below(folder: Path) -> set[str]:
    return {
        os.path.join(parent, name)  # noqa: PTH118 - names that are no tidy paths
        for parent, folders, files in os.walk(folder)
        for name in [*folders, *files]
    }


def test_odd_keys_come_back_and_never_leave_the_state_folder(tmp_path, start):
    parent = tmp_path / "parent"
    (parent / "beside").mkdir(parents=True)
    around = everything_below(tmp_path)
    with start(parent / "state") as server:
        raw, s3 = Raw(server.url), server.client("s3")
        s3.create_bucket(Bucket="bucket")
        for path, key in ODD_KEYS.items():
            assert raw("PUT", f"/bucket/{path}", key.encode())[0] == 200, key
        files = {name for name in everything_below(parent / "state") if Path(name).is_file()}
        lying = {name for name in files if name.startswith(f"{parent}/state/s3/")}
        assert len(lying) == len(ODD_KEYS)
        assert all(name.startswith(f"{parent}/state/s3/bucket/") for name in lying)
        server.kill()
    with start(parent / "state") as server:
        raw, s3 = Raw(server.url), server.client("s3")
        listed = [item["Key"] for item in s3.list_objects_v2(Bucket="bucket")["Contents"]]
        assert sorted(listed) == sorted(ODD_KEYS.values())
        for path, key in ODD_KEYS.items():
            assert raw("GET", f"/bucket/{path}") == (200, key.encode())
            assert raw("DELETE", f"/bucket/{path}")[0] == 204
        assert "Contents" not in s3.list_objects_v2(Bucket="bucket")
    left = {name for name in everything_below(tmp_path) if not name.startswith(f"{parent}/state")}
    assert left == around


def test_a_key_that_is_too_long(raw, s3, bucket):
    status, answer = raw("PUT", f"/{bucket}/{'k' * 1025}", b"x")
    assert (status, b"<Code>KeyTooLongError</Code>" in answer) == (400, True)
    with pytest.raises(ClientError, match="KeyTooLongError"):
        s3.create_multipart_upload(Bucket=bucket, Key="ä" * 513)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_bucket_names_that_s3_refuses(raw, s3, server):
    before = everything_below(server.state / "s3")
    for name in BAD_BUCKETS:
        for _ in range(2):  # a refused name is not taken
            status, answer = raw("PUT", f"/{name}")
            assert (name, status, b"<Code>InvalidBucketName</Code>" in answer) == (name, 400, True)
    # In the host's name too.
    status, answer = raw("PUT", "/", Host="abc-s3alias.localhost")
    assert (status, b"<Code>InvalidBucketName</Code>" in answer) == (400, True)
    assert everything_below(server.state / "s3") == before
    assert not {item["Name"] for item in s3.list_buckets()["Buckets"]} & set(BAD_BUCKETS)


def test_an_upload_that_breaks_off_leaves_what_was_there(server, s3, bucket, wait_for):
    s3.put_object(Bucket=bucket, Key="key", Body=b"former")
    host, port = server.url.partition("//")[2].split(":")
    for key in ("key", "new"):
        with socket.create_connection((host, int(port))) as connection:
            head = (
                f"PUT /{bucket}/{key} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3000000\r\n\r\n"
            )
            connection.sendall(f"{head}\r\n".encode() + b"y" * 2_000_000)
    incoming = server.state / "s3/.incoming"
    wait_for(lambda: not any(incoming.iterdir()))
    # A later request to the same key waits for its turn behind the one that broke off.
    s3.put_object(Bucket=bucket, Key="after", Body=b"x")
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == b"former"
    listed = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert listed == ["after", "key"]


def encoded(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


@pytest.mark.parametrize(
    ("header", "right", "code"),
    [
        ("Content-MD5", hashlib.md5(b"content").digest(), "BadDigest"),  # noqa: S324
        ("x-amz-checksum-sha256", hashlib.sha256(b"content").digest(), "BadDigest"),
        ("x-amz-checksum-sha1", hashlib.sha1(b"content").digest(), "BadDigest"),  # noqa: S324
        ("x-amz-checksum-crc32", zlib.crc32(b"content").to_bytes(4, "big"), "BadDigest"),
        ("Content-MD5", b"too short", "InvalidDigest"),
    ],
    ids=["md5", "sha256", "sha1", "crc32", "no-md5"],
)
def test_a_digest_that_does_not_match_is_refused(raw, s3, bucket, header, right, code):
    s3.put_object(Bucket=bucket, Key="key", Body=b"former")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="big")["UploadId"]
    for path in ("key", f"big?partNumber=1&uploadId={upload}"):
        status, answer = raw("PUT", f"/{bucket}/{path}", b"contend", **{header: encoded(right)})
        assert (status, f"<Code>{code}</Code>".encode() in answer) == (400, True)
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == b"former"
    assert "Parts" not in s3.list_parts(Bucket=bucket, Key="big", UploadId=upload)
    if code == "BadDigest":
        assert raw("PUT", f"/{bucket}/key", b"content", **{header: encoded(right)})[0] == 200
        assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == b"content"


def test_a_checksum_that_follows_the_body(raw, s3, bucket):
    def put(checksum: int):
        trailer = f"x-amz-checksum-crc32:{encoded(checksum.to_bytes(4, 'big'))}\r\n\r\n"
        return raw(
            "PUT",
            f"/{bucket}/key",
            b"7\r\ncontent\r\n0\r\n" + trailer.encode(),
            Content_Encoding="aws-chunked",
            x_amz_content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            x_amz_decoded_content_length="7",
            x_amz_sdk_checksum_algorithm="CRC32",
            x_amz_trailer="x-amz-checksum-crc32",
        )

    status, answer = put(zlib.crc32(b"contend"))
    assert (status, b"<Code>BadDigest</Code>" in answer) == (400, True)
    assert put(zlib.crc32(b"content"))[0] == 200
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == b"content"


def test_a_long_listing_is_complete_and_in_order(s3, bucket):
    letters = random.Random(7)  # noqa: S311
    keys = {
        "".join(letters.choices(string.ascii_letters + "/äß漢-_", k=letters.randint(1, 9)))
        for _ in range(400)
    }
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, PaginationConfig={"PageSize": 37}
    )
    assert [item["Key"] for page in pages for item in page["Contents"]] == sorted(keys)


def test_presigned_addresses(s3, bucket):
    for key in ("plain", "folder/with space/ä+&"):
        target = {"Bucket": bucket, "Key": key}
        put = s3.generate_presigned_url("put_object", Params=target)
        request = urllib.request.Request(put, b"body", {"Content-Type": "text/x"}, method="PUT")
        with urllib.request.urlopen(request):
            pass
        with urllib.request.urlopen(s3.generate_presigned_url("get_object", Params=target)) as got:
            assert got.read() == b"body"
