"""The ``serve`` command of an algorithm container: an HTTP server around one model.

What a request holds and what is answered is the algorithm's own: a `Service`.
"""

from __future__ import annotations

import gc
import json
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple, Protocol

from fmrec import __version__
from fmrec.errors import ConfigurationError, DataError
from fmrec.fm.payloads import JSON, JSON_LINES

# SageMaker's largest payload is 100 MB (batch transform).
MAX_BODY_BYTES = 128 << 20


class MediaType(NamedTuple):
    """``text/csv;label_size=1`` as its name and its parameters, all in small letters."""

    name: str
    parameters: Mapping[str, str]

    @classmethod
    def of(cls, text: str) -> MediaType:
        """Take a media type apart."""
        name, *rest = text.split(";")
        pairs = [each.partition("=") for each in rest]
        given = {key.strip().lower(): value.strip(' "').lower() for key, _, value in pairs}
        return cls(name.strip().lower(), given)


class Service(Protocol):
    """What an algorithm answers. The names of media types are without parameters."""

    @property
    def kind(self) -> str:
        """What is served, for the line that says that the server is ready."""

    @property
    def content_types(self) -> Sequence[str]:
        """The names of the types that a request may have."""

    @property
    def accept_types(self) -> Sequence[str]:
        """The names of the types that an answer may have."""

    def answer(self, body: bytes, content_type: MediaType, accept: MediaType) -> bytes:
        """Answer a payload. Raises DataError for one that cannot be evaluated."""


class InferenceServer(ThreadingHTTPServer):
    """Answers ``GET /ping`` and ``POST /invocations`` for a service."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], service: Service, default_accept: MediaType
    ) -> None:
        """Bind ``address``; port 0 takes a free one."""
        super().__init__(address, _Handler)
        self.service = service
        self.default_accept = default_accept


class _Refusal(Exception):  # noqa: N818 - an answer, not a fault
    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = f"fmrec/{__version__}"
    # The last part of an answer would wait for the client to acknowledge what went before: 40 ms.
    disable_nagle_algorithm = True
    server: InferenceServer

    def do_GET(self) -> None:
        """Answer the health check."""
        if self.path == "/ping":
            self._answer(HTTPStatus.OK, b"\n", JSON)
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"Only /ping answers GET", "text/plain")

    def do_POST(self) -> None:
        """Answer an inference request."""
        service = self.server.service
        try:
            body = self._body()
            if self.path != "/invocations":
                raise _Refusal(HTTPStatus.NOT_FOUND, "Only /invocations answers POST")
            accept = self._accept(service.accept_types)
            content_type = self._content_type(service.content_types)
            try:
                answer = service.answer(body, content_type, accept)
            except DataError as error:
                text = f"Unable to evaluate payload provided: {error}"
                raise _Refusal(HTTPStatus.BAD_REQUEST, text) from error
            self._answer(HTTPStatus.OK, answer, accept.name)
        except _Refusal as refusal:
            self._answer(refusal.status, str(refusal).encode(), "text/plain; charset=utf-8")

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent: SageMaker pings every few seconds."""

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self.close_connection = True
            raise _Refusal(HTTPStatus.LENGTH_REQUIRED, "Send the payload with a Content-Length")
        if int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            text = f"The payload of {length} bytes is larger than {MAX_BODY_BYTES} bytes"
            raise _Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
        return self.rfile.read(int(length))

    def _content_type(self, known: Sequence[str]) -> MediaType:
        given = self.headers.get("Content-Type", JSON)
        found = MediaType.of(given)
        if found.name not in known:
            text = f"Content-type {given} not supported. Supported content-type is "
            raise _Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text + ", ".join(known))
        return found

    def _accept(self, known: Sequence[str]) -> MediaType:
        given = self.headers.get("Accept")
        if not given:
            return self.server.default_accept
        for choice in map(MediaType.of, given.split(",")):
            if choice.name in known:
                return choice
            if choice.name in ("*/*", "application/*"):
                return self.server.default_accept
        text = f"Accept type {given} not supported. Supported are {', '.join(known)}"
        raise _Refusal(HTTPStatus.NOT_ACCEPTABLE, text)

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        """Send an answer as one piece."""
        head = (
            f"{self.protocol_version} {status.value} {status.phrase}\r\n"
            f"Server: {self.server_version}\r\n"
            f"Date: {self.date_time_string()}\r\n"
            f"Content-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\n"
        )
        if self.close_connection:
            head += "Connection: close\r\n"
        self.wfile.write(f"{head}\r\n".encode("latin-1") + body)


def serve(load: Callable[[Path], Service], ml_root: Path, environ: Mapping[str, str]) -> int:
    """Serve what ``load`` makes of ``ml_root/model`` until SIGTERM or SIGINT; return the exit code.

    Reads ``SAGEMAKER_BIND_TO_PORT`` (8080), ``FMREC_BIND_HOST`` (127.0.0.1; a container needs
    0.0.0.0), ``SAGEMAKER_BATCH`` (``true`` in a transform job: JSON Lines when the request has no
    Accept, as the built-in answers) and ``SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT``.
    """
    try:
        service = load(ml_root / "model")
        server = InferenceServer(_address(environ), service, _default_accept(environ, service))
    except (ConfigurationError, DataError, OSError) as error:
        print(f"ClientError: {error}", flush=True)  # noqa: T201 - the container's log
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        # shutdown() waits for the loop that the handler interrupts, so it needs its own thread.
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    host, port = server.server_address[:2]
    # A JSON payload is some ten thousand lists and dictionaries, none of them in a cycle: looking
    # for cycles among them every 700 would take a third of the time of reading them.
    gc.freeze()
    gc.set_threshold(200_000, 10, 10)
    ready = {"serving": service.kind, "host": host, "port": port}
    print(json.dumps(ready), flush=True)  # noqa: T201
    with server:
        server.serve_forever(poll_interval=0.1)
    return 0


def _address(environ: Mapping[str, str]) -> tuple[str, int]:
    port = environ.get("SAGEMAKER_BIND_TO_PORT", "8080")
    if not port.isdecimal() or int(port) > 65_535:
        raise ConfigurationError(f"SAGEMAKER_BIND_TO_PORT is {port!r}: set a port, 0 to 65535")
    return environ.get("FMREC_BIND_HOST", "127.0.0.1"), int(port)


def _default_accept(environ: Mapping[str, str], service: Service) -> MediaType:
    batch = environ.get("SAGEMAKER_BATCH", "").lower() == "true"
    default = JSON_LINES if batch else JSON
    text = environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", default)
    accept = MediaType.of(text)
    if accept.name not in service.accept_types:
        raise ConfigurationError(
            f"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT is {text!r}: "
            f"set one of {', '.join(service.accept_types)}"
        )
    return accept
