"""How the hosts of a job find each other, and what their connections carry.

Every host connects to the first one, which listens, and greets it with the job's token and its
own rank. When all have come the first host answers each with an empty frame. A frame is one byte
of kind, eight of length (little-endian), and that many bytes.

SageMaker keeps the hosts of a job in a network of their own. The token is there so that two jobs
on one machine cannot mix, not to keep a secret.
"""

from __future__ import annotations

import contextlib
import hmac
import socket
import struct
import threading
import time
from collections.abc import Mapping, Sequence

from fmrec.errors import FmrecError

DATA, FAILURE = 0, 1
_FRAME = struct.Struct("<BQ")
_GREETING = struct.Struct("<32sI")
_GREETING_SECONDS = 5.0
_PAUSE = 0.2
# A machine that is gone without a word is noticed after about a minute and a half.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 6))


class HostsError(FmrecError):
    """A host of the job did not come, failed or vanished."""


class Meeting:
    """Hosts start at different times: until all have come, or patience (seconds) ends."""

    def __init__(
        self,
        names: Sequence[str],
        port: int,
        patience: float,
        token: bytes,
        stop: threading.Event,
    ) -> None:
        """Meet at ``names[0]``; ``token`` (32 bytes) is what all hosts of the job know."""
        self._names, self._port, self._token, self._stop = names, port, token, stop
        self._patience = patience
        self._deadline = time.monotonic() + patience

    def for_the_others(self) -> dict[int, socket.socket] | None:
        """Return the connections of all other hosts by rank; None when a stop came first."""
        listener = self._listener()
        if listener is None:
            return None
        peers: dict[int, socket.socket] = {}
        try:
            with listener:
                listener.settimeout(_PAUSE)
                while len(peers) < len(self._names) - 1:
                    if self._stop.is_set():
                        close(peers)
                        return None
                    self._check_patience(peers)
                    self._accept(listener, peers)
            for peer in peers.values():
                peer.sendall(frame(DATA, b""))
        except BaseException as error:
            tell(peers, str(error))
            close(peers)
            raise
        return peers

    def for_the_first(self, rank: int) -> dict[int, socket.socket] | None:
        """Return the connection to the first host; None when a stop came first."""
        while not self._stop.is_set():
            try:
                peer = socket.create_connection((self._names[0], self._port), _GREETING_SECONDS)
            except OSError as error:
                # Not there yet, or its name is not known yet.
                if time.monotonic() > self._deadline:
                    raise HostsError(
                        f"host {self._names[0]} did not come within {self._patience:g} s: no "
                        f"answer on its port {self._port} ({error})"
                    ) from error
                self._stop.wait(_PAUSE)
                continue
            try:
                if self._greeted(peer, rank):
                    return {0: peer}
            except BaseException:
                peer.close()
                raise
            peer.close()
        return None

    def _listener(self) -> socket.socket | None:
        first = self._names[0]
        while not self._stop.is_set():
            try:
                # A name may take a moment to be known; nothing else gets better by waiting.
                address = socket.gethostbyname(first)
                return socket.create_server((address, self._port))
            except OSError as error:
                unknown = isinstance(error, socket.gaierror)
                if not unknown or time.monotonic() > self._deadline:
                    raise HostsError(
                        f"host {first} cannot listen on its port {self._port} ({error}): "
                        "set FMREC_HOSTS_PORT to a free one, the same on all hosts"
                    ) from error
                self._stop.wait(_PAUSE)
        return None

    def _accept(self, listener: socket.socket, peers: dict[int, socket.socket]) -> None:
        try:
            peer, _ = listener.accept()
        except TimeoutError:
            return
        known = False
        with contextlib.suppress(EOFError, OSError):
            _prepare(peer)
            peer.settimeout(_GREETING_SECONDS)
            token, rank = _GREETING.unpack(_exactly(peer, _GREETING.size))
            known = hmac.compare_digest(token, self._token) and 0 < rank < len(self._names)
        if not known:
            # A stranger: a scan of ports, or a host of another job.
            peer.close()
            return
        peer.settimeout(None)
        if rank in peers:
            # It greets again because it lost its first connection.
            peers[rank].close()
        peers[rank] = peer

    def _check_patience(self, peers: Mapping[int, socket.socket]) -> None:
        if time.monotonic() > self._deadline:
            missing = [name for rank, name in enumerate(self._names) if rank and rank not in peers]
            raise HostsError(
                f"host {', '.join(missing)} did not come within {self._patience:g} s: "
                "see its log, or raise FMREC_HOSTS_PATIENCE"
            )

    def _greeted(self, peer: socket.socket, rank: int) -> bool:
        """Return whether the first host has all others; False when it is to be asked again."""
        try:
            _prepare(peer)
            peer.sendall(_GREETING.pack(self._token, rank))
            while not self._stop.is_set():
                if _has_something(peer):
                    receive(peer)
                    return True
                # The first host may have come only just before the deadline of this one.
                if time.monotonic() > self._deadline + self._patience:
                    raise HostsError(
                        f"host {self._names[0]} has a port {self._port}, but nobody there answers "
                        "for this job: set FMREC_HOSTS_PORT to a free one, the same on all hosts"
                    )
        except (EOFError, OSError) as error:
            if time.monotonic() > self._deadline:
                raise HostsError(
                    f"host {self._names[0]} hung up before all hosts had come "
                    f"({error or 'its connection ended'}): see its log"
                ) from error
            self._stop.wait(_PAUSE)
        return False


def frame(kind: int, content: bytes) -> bytes:
    """Return what goes over the wire."""
    return _FRAME.pack(kind, len(content)) + content


def receive(peer: socket.socket) -> bytes:
    """Return the content of the next frame.

    Raises HostsError when it says that a host has failed, EOFError or OSError when the
    connection ends.
    """
    kind, length = _FRAME.unpack(_exactly(peer, _FRAME.size))
    content = _exactly(peer, length)
    if kind == FAILURE:
        raise HostsError(content.decode("utf-8", "replace"))
    return content


def split(content: bytes, count: int) -> list[bytes]:
    """Return the contents of ``count`` frames that follow each other."""
    parts, at = [], 0
    for _ in range(count):
        _, length = _FRAME.unpack_from(content, at)
        at += _FRAME.size
        parts.append(content[at : at + length])
        at += length
    return parts


def tell(peers: Mapping[int, socket.socket], text: str) -> None:
    """Say to all that can be reached that this host gives up, and why."""
    for peer in peers.values():
        with contextlib.suppress(OSError):
            peer.settimeout(_GREETING_SECONDS)
            peer.sendall(frame(FAILURE, text.encode()))


def close(peers: Mapping[int, socket.socket]) -> None:
    """Close all connections."""
    for peer in peers.values():
        peer.close()


def _prepare(peer: socket.socket) -> None:
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        peer.setsockopt(socket.IPPROTO_TCP, option, value)


def _has_something(peer: socket.socket) -> bool:
    """Wait a moment for a byte to read, and leave it there."""
    peer.settimeout(_PAUSE)
    try:
        if not peer.recv(1, socket.MSG_PEEK):
            raise EOFError
    except TimeoutError:
        return False
    peer.settimeout(None)
    return True


def _exactly(peer: socket.socket, length: int) -> bytes:
    buffer = bytearray(length)
    view = memoryview(buffer)
    while view:
        read = peer.recv_into(view)
        if not read:
            raise EOFError
        view = view[read:]
    return bytes(buffer)
