"""The HTTP side of the server: connections that a client keeps and uses again.

werkzeug's own handler closes every connection after one answer. A client that sends hundreds of
small requests a second then spends its time on opening connections.
"""

from __future__ import annotations

import logging
import re
import socket
import threading
from collections.abc import Iterable
from io import BufferedIOBase
from typing import Any
from wsgiref.types import WSGIEnvironment

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.exceptions import InternalServerError

LOG = logging.getLogger(__name__)
_BLOCK = 1 << 20
_LENGTH = re.compile("[0-9]{1,15}")
_WITHOUT_BODY = (204, 304)


class OpenConnections:
    """The connections of a server, so that it can end those on which nothing is under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()

    def add(self, connection: socket.socket) -> None:
        """Remember a connection."""
        with self._lock:
            self._open.add(connection)

    def remove(self, connection: socket.socket) -> None:
        """Forget a connection."""
        with self._lock:
            self._open.discard(connection)

    def take_no_more(self) -> None:
        """Read nothing more: what waits for a request ends, what is being answered still is."""
        with self._lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RD)
                except OSError:
                    continue  # the client was faster


class KeepAliveHandler(MotoRequestHandler):
    """Answers one request after another on a connection, without a line of log for each."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60  # seconds without a byte, after which a client counts as gone
    connections = OpenConnections()  # of the process, which has one server

    def setup(self) -> None:
        """Begin a connection."""
        super().setup()
        self.connections.add(self.connection)

    def finish(self) -> None:
        """End a connection."""
        self.connections.remove(self.connection)
        super().finish()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing."""
        del code, size

    def handle_expect_100(self) -> bool:
        """Leave the interim answer to `run_wsgi`, or there would be two."""
        return True

    def run_wsgi(self) -> None:
        """Answer one request."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not _LENGTH.fullmatch(length):
            # Where such a body ends is the application's business: the connection ends with it.
            self.close_connection = True
            super().run_wsgi()
            return
        if self.headers.get("Expect", "").strip().lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = _Body(self.rfile, int(length))
        self.environ = environ = {**self.make_environ(), "wsgi.input": body}
        answer = _Answer(self)
        try:
            self._answer(self.server.app, environ, answer)
        except (ConnectionError, TimeoutError) as error:
            self.close_connection = True
            self.connection_dropped(error, environ)
            return
        except Exception:
            LOG.exception("%s %s", self.command, self.path)
            self.close_connection = True
            if not answer.begun:
                self._answer(InternalServerError(), environ, answer)
        body.discard()

    @staticmethod
    def _answer(application: Any, environ: WSGIEnvironment, answer: _Answer) -> None:
        chunks = application(environ, answer.start)
        try:
            answer.send(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()


class _Body:
    """The bytes of one request's body, and none of the next request's."""

    def __init__(self, stream: BufferedIOBase, length: int) -> None:
        self._stream = stream
        self._left = length

    def read(self, size: int | None = -1) -> bytes:
        """Return up to `size` bytes, all that are left when it is negative."""
        return self._taken(self._stream.read(self._at_most(size)))

    def readline(self, size: int | None = -1) -> bytes:
        """Return a line, or its first `size` bytes."""
        return self._taken(self._stream.readline(self._at_most(size)))

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer as far as bytes are left; return how many were."""
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)

    def discard(self) -> None:
        """Read what the application did not, or the next request would begin with it."""
        while self._left and self.read(_BLOCK):
            pass

    def _at_most(self, size: int | None) -> int:
        return self._left if size is None or size < 0 else min(size, self._left)

    def _taken(self, found: bytes) -> bytes:
        self._left -= len(found)
        return found


class _Answer:
    """One response, sent so that the client can tell where it ends."""

    def __init__(self, handler: KeepAliveHandler) -> None:
        self._handler = handler
        self._status = ""
        self._headers: list[tuple[str, str]] = []
        self.begun = False

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        """Take the status and the headers, as WSGI's start_response."""
        del exc_info
        self._status, self._headers = status, headers

    def send(self, chunks: Iterable[bytes]) -> None:
        """Send the whole response."""
        handler = self._handler
        lengths = [value for name, value in self._headers if name.lower() == "content-length"]
        without_body = handler.command == "HEAD" or int(self._status.split()[0]) in _WITHOUT_BODY
        in_chunks = not (without_body or lengths or handler.close_connection)
        # The head travels with the first bytes of the body: one packet for a small answer.
        unsent = self._head(in_chunks=in_chunks)
        written = 0
        for chunk in chunks:
            if without_body or not chunk:
                continue
            framed = b"%x\r\n%b\r\n" % (len(chunk), chunk) if in_chunks else chunk
            self._write(unsent + framed)
            unsent = b""
            written += len(chunk)
        if in_chunks:
            unsent += b"0\r\n\r\n"
        if unsent:
            self._write(unsent)
        if lengths and not without_body and written != int(lengths[0]):
            handler.close_connection = True  # or the client would take the next answer for the rest

    def _head(self, *, in_chunks: bool) -> bytes:
        handler = self._handler
        headers = [
            ("Server", handler.version_string()),
            ("Date", handler.date_time_string()),
            *self._headers,
        ]
        if in_chunks:
            headers.append(("Transfer-Encoding", "chunked"))
        if handler.close_connection:
            headers.append(("Connection", "close"))
        lines = [f"HTTP/1.1 {self._status}", *(f"{name}: {value}" for name, value in headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def _write(self, data: bytes) -> None:
        self.begun = True
        self._handler.wfile.write(data)
