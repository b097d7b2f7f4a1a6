"""Data capture: what went through an endpoint, as JSON lines in S3."""

from __future__ import annotations

import base64
import json
import logging
import random
import tempfile
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.s3.sources import join_uri, parse_uri
from fmrec.local_aws.state.records import Identity
from fmrec.local_aws.workplace import Workplace

LOG = logging.getLogger(__name__)
_FLUSH_SECONDS = 1.0
_MOST_BYTES = 4 << 20  # of a file's lines, that more do not wait for their time


@dataclass(frozen=True)
class Exchange:
    """A request to a model and its answer; `seconds` is when it was made, in Unix seconds."""

    variant: str
    request: bytes
    request_type: str
    answer: bytes
    answer_type: str
    custom_attributes: str | None
    inference_id: str | None
    seconds: float


@dataclass
class _File:
    """The lines of the next file of one variant; `begun` is when the first one was captured."""

    begun: float
    lines: list[str] = field(default_factory=list)
    size: int = 0


class Captures:
    """Collects the exchanges of all endpoints and writes them to S3 every second.

    What a killed server had not written yet is lost.
    """

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._files: dict[str, _File] = {}
        self._due = threading.Event()
        self._closing = False
        self._writer: threading.Thread | None = None

    def take(self, identity: Identity, config: Document, exchange: Exchange) -> None:
        """Keep an exchange, if it is one of the sample that the DataCaptureConfig asks for."""
        if not config["EnableCapture"]:
            return
        if random.random() * 100 >= config["InitialSamplingPercentage"]:  # noqa: S311
            return
        line = json.dumps(_event(config, exchange), separators=(",", ":"))
        folder = join_uri(config["DestinationS3Uri"], f"{identity.name}/{exchange.variant}")
        with self._lock:
            file = self._files.setdefault(folder, _File(exchange.seconds))
            file.lines.append(line)
            file.size += len(line)
            if self._writer is None:
                self._writer = threading.Thread(
                    target=self._write_on, name="data-capture", daemon=True
                )
                self._writer.start()
        if file.size > _MOST_BYTES:
            self._due.set()

    def close(self) -> None:
        """Write what was collected, and end."""
        self._closing = True
        self._due.set()
        if self._writer is not None:
            self._writer.join()

    def _write_on(self) -> None:
        while True:
            self._due.wait(_FLUSH_SECONDS)
            self._due.clear()
            closing = self._closing
            with self._lock:
                files, self._files = self._files, {}
            for folder, file in files.items():
                try:
                    self._write(folder, file)
                except Exception:  # what one endpoint was told must not end the others' capture
                    LOG.exception("%d captured requests could not be written", len(file.lines))
            if closing:
                return

    def _write(self, folder: str, file: _File) -> None:
        moment = datetime.fromtimestamp(file.begun, UTC)
        name = f"{moment:%M-%S}-{moment.microsecond // 1000:03d}-{uuid.uuid4()}.jsonl"
        address = join_uri(folder, f"{moment:%Y/%m/%d/%H}/{name}")
        self._place.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._place.folder, suffix=".jsonl") as written:
            written.write("".join(f"{line}\n" for line in file.lines).encode())
            written.flush()
            self._place.s3.put(*parse_uri(address), Path(written.name), self._place.now())


def _event(config: Document, exchange: Exchange) -> Document:
    modes = {option["CaptureMode"] for option in config["CaptureOptions"]}
    types = config.get("CaptureContentTypeHeader", {})
    data: Document = {}
    if modes & {"Input", "InputAndOutput"}:
        data["endpointInput"] = _side("INPUT", exchange.request, exchange.request_type, types)
    if modes & {"Output", "InputAndOutput"}:
        data["endpointOutput"] = _side("OUTPUT", exchange.answer, exchange.answer_type, types)
    metadata: Document = {"eventId": str(uuid.uuid4())}
    if exchange.custom_attributes is not None:
        metadata["customAttributes"] = [exchange.custom_attributes]
    if exchange.inference_id is not None:
        metadata["inferenceId"] = exchange.inference_id
    moment = datetime.fromtimestamp(exchange.seconds, UTC)
    metadata["inferenceTime"] = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    return {"captureData": data, "eventMetadata": metadata, "eventVersion": "0"}


def _side(mode: str, body: bytes, content_type: str, types: Document) -> Document:
    """Return one side of an exchange; what is not known as text is written in base 64."""
    name = content_type.partition(";")[0].strip().lower()
    known = {
        "CSV": types.get("CsvContentTypes", ()),
        "JSON": types.get("JsonContentTypes", ()),
    }
    for encoding, names in known.items():
        if name in (given.lower() for given in names):
            try:
                return _told(mode, content_type, body.decode(), encoding)
            except UnicodeDecodeError:
                break
    return _told(mode, content_type, base64.b64encode(body).decode(), "BASE64")


def _told(mode: str, content_type: str, data: str, encoding: str) -> Document:
    return {
        "observedContentType": content_type,
        "mode": mode,
        "data": data,
        "encoding": encoding,
    }
