"""The ``serve`` command of the container: an HTTP server around one model."""

from __future__ import annotations

import gc
import json
import signal
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from fmrec import __version__
from fmrec.errors import ConfigurationError, DataError
from fmrec.fm import artifact, payloads
from fmrec.fm.model import Model

# SageMaker's largest payload is 100 MB (batch transform).
MAX_BODY_BYTES = 128 << 20


class InferenceServer(ThreadingHTTPServer):
    """Answers ``GET /ping`` and ``POST /invocations`` for a model."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], model: Model, default_accept: str) -> None:
        """Bind ``address``; port 0 takes a free one."""
        super().__init__(address, _Handler)
        self.model = model
        self.default_accept = default_accept


class _Refusal(Exception):  # noqa: N818 - an answer, not a fault
    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = f"fmrec/{__version__}"
    server: InferenceServer

    def do_GET(self) -> None:
        """Answer the health check."""
        if self.path == "/ping":
            self._answer(HTTPStatus.OK, b"\n", "application/json")
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"Only /ping answers GET", "text/plain")

    def do_POST(self) -> None:
        """Answer an inference request."""
        try:
            body = self._body()
            if self.path != "/invocations":
                raise _Refusal(HTTPStatus.NOT_FOUND, "Only /invocations answers POST")
            accept = self._accept()
            content_type = self._content_type()
            try:
                X = payloads.parse(body, content_type, self.server.model.feature_dim)
            except DataError as error:
                text = f"Unable to evaluate payload provided: {error}"
                raise _Refusal(HTTPStatus.BAD_REQUEST, text) from error
            self._answer(HTTPStatus.OK, payloads.render(self.server.model, X, accept), accept)
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

    def _content_type(self) -> str:
        given = self.headers.get("Content-Type", payloads.JSON)
        name = given.split(";")[0].strip().lower()
        if name not in payloads.CONTENT_TYPES:
            known = ", ".join(payloads.CONTENT_TYPES)
            text = f"Content-type {given} not supported. Supported content-type is {known}"
            raise _Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text)
        return name

    def _accept(self) -> str:
        given = self.headers.get("Accept") or self.server.default_accept
        for choice in given.split(","):
            name = choice.split(";")[0].strip().lower()
            if name in payloads.CONTENT_TYPES:
                return name
            if name in ("*/*", "application/*"):
                return self.server.default_accept
        known = ", ".join(payloads.CONTENT_TYPES)
        raise _Refusal(
            HTTPStatus.NOT_ACCEPTABLE, f"Accept type {given} not supported. Supported are {known}"
        )

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(ml_root: Path, environ: Mapping[str, str]) -> int:
    """Serve the model in ``ml_root/model`` until SIGTERM or SIGINT; return the exit code.

    Reads ``SAGEMAKER_BIND_TO_PORT`` (8080), ``FMREC_BIND_HOST`` (127.0.0.1; a container needs
    0.0.0.0), ``SAGEMAKER_BATCH`` (``true`` in a transform job: JSON Lines when the request has no
    Accept, as the built-in answers) and ``SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT``.
    """
    try:
        model = artifact.load(ml_root / "model")
        server = InferenceServer(_address(environ), model, _default_accept(environ))
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
    ready = {"serving": model.predictor_type, "host": host, "port": port}
    print(json.dumps(ready), flush=True)  # noqa: T201
    with server:
        server.serve_forever(poll_interval=0.1)
    return 0


def _address(environ: Mapping[str, str]) -> tuple[str, int]:
    port = environ.get("SAGEMAKER_BIND_TO_PORT", "8080")
    if not port.isdecimal() or int(port) > 65_535:
        raise ConfigurationError(f"SAGEMAKER_BIND_TO_PORT is {port!r}: set a port, 0 to 65535")
    return environ.get("FMREC_BIND_HOST", "127.0.0.1"), int(port)


def _default_accept(environ: Mapping[str, str]) -> str:
    batch = environ.get("SAGEMAKER_BATCH", "").lower() == "true"
    default = payloads.JSON_LINES if batch else payloads.JSON
    accept = environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", default)
    if accept not in payloads.CONTENT_TYPES:
        raise ConfigurationError(
            f"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT is {accept!r}: "
            f"set one of {', '.join(payloads.CONTENT_TYPES)}"
        )
    return accept
