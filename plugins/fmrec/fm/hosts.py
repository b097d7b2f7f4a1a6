"""The instances of a training job, and how they exchange bytes.

All connect to the first of them (`fmrec.fm.meeting`): what each host gives goes there, and all
of it comes back. Nothing that arrives is executed or unpickled. A host that fails tells the
others why; one that vanishes is noticed by the end of its connection.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import socket
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
from scipy import sparse

from fmrec.errors import ConfigurationError
from fmrec.fm import meeting
from fmrec.fm.channels import Rows
from fmrec.fm.job import Arrays, Hosts
from fmrec.fm.meeting import DATA, HostsError, Meeting, frame

PORT, PATIENCE = 7777, 600.0


class Alone:
    """A job of one instance: what it gathers is what it gave."""

    rank = 0
    size = 1

    def __enter__(self) -> Alone:
        """Nothing to connect to."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to close."""

    def all_gather(self, data: bytes) -> list[bytes]:
        """Return ``[data]``."""
        return [data]


class Together:
    """Several instances, each connected to the first (which is connected to all others)."""

    def __init__(self, names: Sequence[str], rank: int, peers: Mapping[int, socket.socket]) -> None:
        """``peers`` are greeted connections by rank: all others on host 0, else host 0 alone."""
        self.rank = rank
        self.size = len(names)
        self._names = names
        self._peers = peers

    def __enter__(self) -> Together:
        """Nothing to do: the connections stand."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections; when this host failed, say why."""
        if isinstance(error, HostsError):
            meeting.tell(self._peers, str(error))
        elif error is not None:
            meeting.tell(self._peers, f"host {self._names[self.rank]} failed: {error}")
        meeting.close(self._peers)

    def all_gather(self, data: bytes) -> list[bytes]:
        """Give ``data`` to every host; return what each gave, by rank.

        Every host must call this equally often. Raises HostsError when another one failed.
        """
        if self.rank:
            self._send(0, frame(DATA, data))
            return meeting.split(self._receive(0), self.size)
        parts = [data, *(self._receive(rank) for rank in range(1, self.size))]
        everything = frame(DATA, b"".join(frame(DATA, part) for part in parts))
        for rank in range(1, self.size):
            self._send(rank, everything)
        return parts

    def _send(self, rank: int, data: bytes) -> None:
        try:
            self._peers[rank].sendall(data)
        except OSError as error:
            # What the host said before it went says more than that it went.
            with contextlib.suppress(EOFError, OSError):
                while True:
                    meeting.receive(self._peers[rank])
            self._vanished(rank, error)

    def _receive(self, rank: int) -> bytes:
        try:
            return meeting.receive(self._peers[rank])
        except (EOFError, OSError) as error:
            self._vanished(rank, error)

    def _vanished(self, rank: int, error: Exception) -> NoReturn:
        raise HostsError(
            f"host {self._names[rank]} vanished while the hosts trained together "
            f"({str(error) or 'its connection ended'}): its log says why, if it had the time"
        ) from error


def join(
    resources: Mapping[str, Any], environ: Mapping[str, str], stop: threading.Event
) -> Alone | Together | None:
    """Connect the hosts that ``resourceconfig.json`` names; None when ``stop`` came before.

    Reads ``FMREC_HOSTS_PORT`` (7777; the first host listens there), ``FMREC_HOSTS_PATIENCE``
    (seconds to wait for hosts that start later, 600) and ``TRAINING_JOB_NAME``. Raises
    HostsError when a host does not come, ConfigurationError for settings that cannot be.
    """
    names = [str(name) for name in resources.get("hosts", ())]
    if len(names) < 2:
        return Alone()
    current = resources.get("current_host")
    if current not in names or len(set(names)) < len(names):
        raise ConfigurationError(
            f"resourceconfig.json names the hosts {names} and the current_host {current!r}: "
            "each must be there once, the current one among them"
        )
    port = _number(environ, "FMREC_HOSTS_PORT", PORT)
    patience = _number(environ, "FMREC_HOSTS_PATIENCE", PATIENCE)
    known_to_all = "\n".join([environ.get("TRAINING_JOB_NAME", "fmrec"), *names])
    token = hashlib.sha256(known_to_all.encode()).digest()
    meet = Meeting(names, int(port), patience, token, stop)
    rank = names.index(current)
    peers = meet.for_the_others() if rank == 0 else meet.for_the_first(rank)
    return None if peers is None else Together(names, rank, peers)


def agreed(stop: threading.Event, hosts: Hosts) -> bool:
    """Return whether any host is asked to stop; all hosts ask at the same point."""
    if hosts.size == 1:
        return stop.is_set()
    return b"\1" in hosts.all_gather(b"\1" if stop.is_set() else b"\0")


def union(rows: Rows, hosts: Hosts, *, replicated: bool) -> Rows:
    """Return the rows of all hosts, one host after another; ``rows`` where every host has all.

    For solvers that need all rows at once. Raises HostsError when another host failed.
    """
    if replicated or hosts.size == 1:
        return rows
    X = rows.features
    own = {"indptr": X.indptr, "indices": X.indices, "data": X.data, "labels": rows.labels}
    parts: list[Mapping[str, Any]] = [unpack(each) for each in hosts.all_gather(pack(own))]
    matrices = [
        sparse.csr_matrix(
            (part["data"], part["indices"], part["indptr"]),
            shape=(len(part["labels"]), X.shape[1]),
            dtype=np.float32,
        )
        for part in parts
    ]
    labels = np.concatenate([part["labels"] for part in parts]).astype(np.float32)
    return Rows(sparse.vstack(matrices, format="csr"), labels)


def pack(arrays: Arrays) -> bytes:
    """Return arrays as bytes that can be sent, or kept."""
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **dict(arrays))
    return stream.getvalue()


def unpack(data: bytes) -> Arrays:
    """Return what ``pack`` was given."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = -1
    most = 65_535 if name.endswith("PORT") else float("inf")
    if not 0 < value <= most:
        raise ConfigurationError(f"{name} is {text!r}: set a number above 0")
    return value
