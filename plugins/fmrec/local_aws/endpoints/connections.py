"""Connections to one model server, kept open between invocations."""

from __future__ import annotations

import http.client
import select
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from fmrec.errors import FmrecError

_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux alone has it


class UnreachableError(FmrecError):
    """The model server took no connection: it has read nothing of the request."""


class BrokenOffError(FmrecError):
    """The model server took the request and then closed the connection without an answer."""


@dataclass(frozen=True)
class Answer:
    """What a model server answered; `headers` are case-insensitive."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Connections:
    """POST /invocations of the model server on a loopback port; used by many threads at once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[http.client.HTTPConnection] = []

    def post(self, body: bytes, headers: Mapping[str, str], timeout: float) -> Answer:
        """Send a request and return the answer.

        `timeout` is in seconds. Raises UnreachableError, BrokenOffError, TimeoutError.
        """
        connection = self._take(timeout)
        try:
            connection.request("POST", "/invocations", body, headers)
            if _QUICK_ACK is not None:
                # A server that sends the head and the body of its answer apart waits, between the
                # two, for the acknowledgement that Linux would delay by 40 milliseconds.
                connection.sock.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        except TimeoutError:
            connection.close()
            raise
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise BrokenOffError(repr(error)) from None
        if response.will_close:
            connection.close()
        else:
            self._idle.append(connection)
        return answer

    def close(self) -> None:
        """Close the connections that nobody uses."""
        while self._idle:
            self._idle.pop().close()

    def _take(self, timeout: float) -> http.client.HTTPConnection:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:
                break  # another thread took the last one
            # Something to read before anything was sent is the end of the connection.
            if not select.select([connection.sock], [], [], 0)[0]:
                return connection
            connection.close()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout)
        try:
            connection.connect()
        except OSError as error:
            raise UnreachableError(repr(error)) from None
        return connection
