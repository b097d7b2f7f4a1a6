"""Many requests on one connection: every answer ends where its header says."""

from __future__ import annotations

import http.client
import socket
import urllib.parse

import pytest

pytestmark = pytest.mark.e2e

S3 = {"Authorization": "AWS4-HMAC-SHA256 Credential=k/20261120/us-east-1/s3/aws4_request"}
SAGEMAKER = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=k/20261120/us-east-1/sagemaker/aws4_request"
}


class Kept:
    """One connection, which every request goes through."""

    def __init__(self, server) -> None:
        address = urllib.parse.urlsplit(server.url)
        self.address = (address.hostname, address.port)
        self.connection = http.client.HTTPConnection(*self.address, timeout=30)
        self.connection.connect()
        self.socket = self.connection.sock

    def send(self, method: str, path: str, body: bytes | None = None, headers=S3):
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        answer = response.read()
        return response.status, answer, response.headers

    @property
    def same(self) -> bool:
        return self.connection.sock is self.socket


@pytest.fixture
def kept(server):
    found = Kept(server)
    yield found
    found.connection.close()


def test_s3_answers_one_request_after_another(kept, bucket):
    large = bytes(range(256)) * 40_000  # 10 MB
    for key, body in (("small", b"abc"), ("empty", b""), ("large", large)):
        assert kept.send("PUT", f"/{bucket}/{key}", body)[0] == 200
        status, answer, headers = kept.send("HEAD", f"/{bucket}/{key}")
        assert (status, answer, headers["Content-Length"]) == (200, b"", str(len(body)))
        assert kept.send("GET", f"/{bucket}/{key}")[:2] == (200, body)
    ranged = {**S3, "Range": "bytes=1000-1999"}
    status, answer, headers = kept.send("GET", f"/{bucket}/large", headers=ranged)
    assert (status, answer, headers["Content-Length"]) == (206, large[1000:2000], "1000")
    etag = kept.send("HEAD", f"/{bucket}/small")[2]["ETag"]
    unchanged = {**S3, "If-None-Match": etag}
    assert kept.send("GET", f"/{bucket}/small", headers=unchanged)[:2] == (304, b"")
    status, answer, _ = kept.send("GET", f"/{bucket}/none")
    assert (status, b"NoSuchKey" in answer) == (404, True)
    status, answer, _ = kept.send("GET", f"/{bucket}?list-type=2")
    assert (status, answer.count(b"<Key>")) == (200, 3)
    for key in ("small", "empty", "large"):
        assert kept.send("DELETE", f"/{bucket}/{key}")[:2] == (204, b"")
    assert kept.send("GET", f"/{bucket}?list-type=2")[1].count(b"<Key>") == 0
    assert kept.same


def test_a_body_that_nobody_reads_is_not_taken_for_the_next_request(kept, bucket):
    trap = b"GET /trap HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 1000
    foreign = {**S3, "Origin": "https://evil.example"}
    assert kept.send("PUT", f"/{bucket}/key", trap, foreign)[0] == 403
    assert kept.send("POST", "/endpoints/none/invocations", trap, SAGEMAKER)[0] == 400
    assert kept.send("POST", "/endpoints/none/invocations", bytes(7 << 20), SAGEMAKER)[0] == 413
    assert kept.send("GET", f"/{bucket}/key")[0] == 404
    assert kept.same


def test_a_client_that_wants_to_close_is_told_so(kept, bucket):
    closing = {**S3, "Connection": "close"}
    status, _, headers = kept.send("GET", f"/{bucket}?list-type=2", headers=closing)
    assert (status, headers["Connection"]) == (200, "close")
    assert kept.connection.sock is None


def test_a_body_in_chunks_ends_the_connection(kept, bucket):
    chunks = iter([b"abc", b"def"])
    kept.connection.request("PUT", f"/{bucket}/key", chunks, S3, encode_chunked=True)
    response = kept.connection.getresponse()
    response.read()
    assert (response.status, response.headers["Connection"]) == (200, "close")
    assert kept.send("GET", f"/{bucket}/key")[:2] == (200, b"abcdef")


def test_one_interim_answer_to_who_waits_for_it(kept, bucket):
    head = (
        f"PUT /{bucket}/key HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\n"
        f"Expect: 100-continue\r\nAuthorization: {S3['Authorization']}\r\n\r\n"
    )
    with socket.create_connection(kept.address, timeout=30) as connection:
        connection.sendall(head.encode())
        with connection.makefile("rb") as answer:
            assert answer.readline() == b"HTTP/1.1 100 Continue\r\n"
            assert answer.readline() == b"\r\n"
            connection.sendall(b"abc")
            assert answer.readline() == b"HTTP/1.1 200 OK\r\n"


def test_an_idle_connection_does_not_keep_the_server(tmp_path, start):
    with start(tmp_path) as server:
        kept = Kept(server)
        assert kept.send("GET", "/")[0] == 200
        assert server.terminate() == 0
        assert kept.socket.recv(1) == b""
        kept.connection.close()
