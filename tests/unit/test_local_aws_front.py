from __future__ import annotations

import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from werkzeug.test import Client

from fmrec.local_aws.s3.durable_s3 import DurableS3
from fmrec.local_aws.s3.object_files import ObjectFiles
from fmrec.local_aws.state.database import Database
from fmrec.local_aws.wire.front import Front

SIGNED = "AWS4-HMAC-SHA256 Credential=k/20261120/eu-west-1/{}/aws4_request, SignedHeaders=host"


@pytest.fixture
def storage(tmp_path):
    database = Database(tmp_path / "s3.sqlite3", power_safe=False)
    yield DurableS3("123456789012", ObjectFiles(tmp_path / "s3", database))
    database.close()


class Overlap:
    """Stands in for moto: counts the requests that are inside it at the same time."""

    def __init__(self) -> None:
        self.inside: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._meeting = threading.Condition(self._lock)

    def __call__(self, environ, start_response):
        kind = environ["REQUEST_METHOD"]
        with self._meeting:
            self.inside[kind] += 1
            self.most[kind] = max(self.most[kind], self.inside[kind])
            self._meeting.notify_all()
            # Long enough for any other request to come in, if it can.
            self._meeting.wait_for(lambda: self.inside[kind] > 1, timeout=0.05)
            self.inside[kind] -= 1
        start_response("200 OK", [])
        return [b""]


def test_writers_of_one_object_take_turns(storage):
    """S3 checks If-None-Match and If-Match, then writes: moto does so in two steps."""
    front = Front({}, storage)
    front._moto = moto = Overlap()

    def send(method: str) -> int:
        return Client(front).open("/bucket/key", method=method).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, ["PUT"] * 4 + ["GET"] * 4)) == {200}
    assert moto.most["PUT"] == 1
    assert moto.most["GET"] > 1


def test_the_region_is_read_from_the_signature(storage):
    asked = []

    def describe(region, request):
        asked.append((region, request))
        return {"ModelName": "m", "ModelArn": "arn"}

    client = Client(Front({"DescribeModel": describe}, storage))
    answer = client.post(
        "/",
        data=b'{"ModelName": "m"}',
        headers={
            "X-Amz-Target": "SageMaker.DescribeModel",
            "Authorization": SIGNED.format("sagemaker"),
        },
    )
    assert json.loads(answer.data) == {"ModelName": "m", "ModelArn": "arn"}
    assert asked == [("eu-west-1", {"ModelName": "m"})]


def test_a_fault_of_the_server_is_told_as_such_and_not_shown(storage, caplog):
    def broken(region, request):
        raise RuntimeError("secret")

    client = Client(Front({"ListModels": broken}, storage))
    answer = client.post("/", data=b"{}", headers={"X-Amz-Target": "SageMaker.ListModels"})
    assert answer.status_code == 500
    assert answer.headers["x-amzn-ErrorType"] == "InternalFailure"
    assert "secret" not in answer.text
    assert "secret" in caplog.text


def test_nothing_signed_for_sagemaker_reaches_moto(storage):
    front = Front({}, storage)
    front._moto = None  # would fail if called
    for method, path in [("POST", "/endpoints/e/invocations"), ("PUT", "/BatchPutMetrics")]:
        answer = Client(front).open(
            path, method=method, headers={"Authorization": SIGNED.format("sagemaker")}
        )
        assert json.loads(answer.data)["__type"] == "NotImplementedException"


def test_a_disk_that_refuses_is_an_error_to_the_client(storage, monkeypatch):
    def full(respond):
        respond()
        raise OSError(28, "No space left on device")

    front = Front({}, storage)
    front._moto = Overlap()
    monkeypatch.setattr(storage, "settled", full)
    answer = Client(front).put("/bucket/key", data=b"x")
    assert answer.status_code == 500
    assert "<Code>InternalError</Code>" in answer.text
    assert "No space left on device" in answer.text
