from __future__ import annotations

import base64
import json
from types import SimpleNamespace

import pytest

from fmrec.local_aws.endpoints.capture import Captures, Exchange
from fmrec.local_aws.state.records import Identity

ENDPOINT = Identity("endpoint", "us-east-1", "e", "123456789012")
CONFIG = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": "s3://bucket/captured",
    "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
    "CaptureContentTypeHeader": {"JsonContentTypes": ["application/JSON"]},
}
# 2026-03-01 13:45:06.789 UTC
MOMENT = 1_772_372_706.789


class Stored:
    """The S3 of the test: keeps what is put."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], bytes] = {}

    def put(self, bucket, key, path, now):
        if bucket == "none":
            raise FileNotFoundError(f"There is no bucket {bucket!r}.")
        self.objects[bucket, key] = path.read_bytes()


def exchange(request: bytes = b"{}", request_type: str = "application/json", **more) -> Exchange:
    answer = {"answer": b"[1]", "answer_type": "application/json; charset=utf-8"}
    ids = {"custom_attributes": None, "inference_id": None, "seconds": MOMENT, "variant": "v"}
    return Exchange(request=request, request_type=request_type, **{**answer, **ids, **more})


@pytest.fixture
def capture(tmp_path):
    """Capture exchanges with a configuration; return S3's objects after the end."""

    def run(config: dict, *exchanges: Exchange) -> dict[tuple[str, str], bytes]:
        stored = Stored()
        captures = Captures(SimpleNamespace(folder=tmp_path / "jobs", s3=stored, now=lambda: 0.0))
        for each in exchanges:
            captures.take(ENDPOINT, {**CONFIG, **config}, each)
        captures.close()
        assert list(tmp_path.glob("jobs/*")) == []
        return stored.objects

    return run


def events(objects: dict[tuple[str, str], bytes]) -> list[dict]:
    return [json.loads(line) for body in objects.values() for line in body.splitlines()]


def test_a_file_of_lines_for_each_variant(capture):
    objects = capture({}, exchange(), exchange(), exchange(variant="w"))
    folders = {}
    for (bucket, key), body in objects.items():
        folder, _, name = key.rpartition("/")
        assert (bucket, name[:10]) == ("bucket", "45-06-789-")
        folders[folder] = folders.get(folder, 0) + body.count(b"\n")
    assert folders == {"captured/e/v/2026/03/01/13": 2, "captured/e/w/2026/03/01/13": 1}


def test_an_event(capture):
    told = exchange(b'{"a": "\xc3\xbc"}', custom_attributes="trace=1", inference_id="i-1")
    (event,) = events(capture({}, told))
    assert event["captureData"]["endpointInput"] == {
        "observedContentType": "application/json",
        "mode": "INPUT",
        "data": '{"a": "ü"}',
        "encoding": "JSON",
    }
    assert event["captureData"]["endpointOutput"]["observedContentType"] == told.answer_type
    del event["eventMetadata"]["eventId"]
    assert event["eventMetadata"] == {
        "customAttributes": ["trace=1"],
        "inferenceId": "i-1",
        "inferenceTime": "2026-03-01T13:45:06Z",
    }


@pytest.mark.parametrize(
    ("body", "content_type", "config"),
    [
        (b"1,2", "text/csv", {}),
        (b"\xff", "application/json", {}),
        (b"{}", "application/json", {"CaptureContentTypeHeader": {}}),
    ],
)
def test_what_is_not_known_as_text_is_base64(capture, body, content_type, config):
    (event,) = events(capture(config, exchange(body, content_type)))
    side = event["captureData"]["endpointInput"]
    assert (side["encoding"], base64.b64decode(side["data"])) == ("BASE64", body)


@pytest.mark.parametrize(
    ("modes", "sides"),
    [
        (["Input"], {"endpointInput"}),
        (["Output"], {"endpointOutput"}),
        (["Input", "Output"], {"endpointInput", "endpointOutput"}),
    ],
)
def test_only_what_is_asked_for(capture, modes, sides):
    options = [{"CaptureMode": mode} for mode in modes]
    (event,) = events(capture({"CaptureOptions": options}, exchange()))
    assert set(event["captureData"]) == sides


def test_a_sample(capture):
    assert capture({"InitialSamplingPercentage": 0}, *[exchange()] * 50) == {}
    assert capture({"EnableCapture": False}, exchange()) == {}
    half = events(capture({"InitialSamplingPercentage": 50}, *[exchange()] * 1000))
    # Five standard deviations of a binomial draw with 1/2.
    assert abs(len(half) - 500) < 80


def test_a_bucket_that_is_gone_hinders_nobody(capture, caplog):
    elsewhere = {"DestinationS3Uri": "s3://none/captured"}
    assert capture(elsewhere, exchange()) == {}
    assert "1 captured requests could not be written" in caplog.text
