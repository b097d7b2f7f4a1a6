"""Start a process that owns its session, and end all of that session."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from fmrec.errors import FmrecError

# Less than the shortest time after which a task is retried.
_LAST_SECONDS = 4.0


def start(
    command: Sequence[str], environ: Mapping[str, str], log: Path, *, piped: bool = False
) -> subprocess.Popen[bytes]:
    """Start `python -m command…` in a session of its own, its output appended to the file `log`.

    `piped`: its standard input and output are pipes of this process instead.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            env=dict(environ),
            start_new_session=True,
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else output,
            stderr=output,
        )


@contextmanager
def tied(
    command: Sequence[str], environ: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m command…` for the time of a `with` block, its output in `log`.

    However the block is left, all of the command's session is ended, also when this process is
    killed outright. It is asked once, and has a few seconds.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "fmrec.cli.tied", sys.executable, "-m", *command],
            env=dict(environ),
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        ask(process.pid)
        if not _gone(process.pid, _LAST_SECONDS):
            kill(process.pid)
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


@dataclass(frozen=True)
class LocalAws:
    """A local AWS of our own: where it answers, and whether it still does."""

    endpoint: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise FmrecError with the end of its log when it has ended."""
        if self.process.poll() is not None:
            raise FmrecError("\n".join(["the local AWS ended:", *_tail(self.log)]))


@contextmanager
def private_local_aws(state: Path, environ: Mapping[str, str]) -> Iterator[LocalAws]:
    """A local AWS for the time of a `with` block.

    It watches its standard input, so it ends even when this process is killed outright.
    """
    log = state.with_name(state.name + ".log")
    command = ["fmrec.local_aws", "--port", "0", "--exit-with-parent", "--state", str(state)]
    process = start(command, environ, log, piped=True)
    try:
        yield LocalAws(_endpoint(process, log), process, log)
    finally:
        end(process.pid)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def _endpoint(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address in the ready line of a local AWS that was just started."""
    line = process.stdout.readline().decode() if process.stdout else ""
    for word in line.replace(",", " ").split():
        if word.startswith("http://"):
            return word
    raise FmrecError("\n".join(["the local AWS did not start:", *_tail(log)]))


def _tail(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-15:]


def started_at(pid: int) -> float:
    """When a process began, in seconds since the epoch: with its id, enough to know it again."""
    return float(psutil.Process(pid).create_time())


def alive(session: int, began: float) -> bool:
    """Whether the session that a process of that id and time leads still has a living member."""
    if began < psutil.boot_time() - 2:  # its number has been given away since
        return False
    living = members(session)
    # Start times derive from the clock at boot, which may be adjusted by fractions. A session
    # whose leader has ended keeps its number from being given away.
    leaders = [process for process in living if process.pid == session]
    return bool(living) and all(abs(each.create_time() - began) < 2 for each in leaders)


def leads(pid: int, began: float) -> bool:
    """Whether the very process of that id and time runs, whatever else is left of its session."""
    leader = [each for each in members(pid) if each.pid == pid]
    return any(abs(each.create_time() - began) < 2 for each in leader)


def members(session: int) -> list[psutil.Process]:
    """Every living process of a session, whoever its parent is now."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            continue
    return found


def ask(pid: int) -> None:
    """Ask a process to end, if it is still there."""
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).terminate()


def kill(session: int, *, grace: float = 15.0) -> None:
    """End every process of a session at once, without asking; returns when none is left.

    Raises FmrecError naming the processes that are still there.
    """
    _send(session, signal.SIGKILL)
    if not _gone(session, grace):
        left = ", ".join(str(process.pid) for process in members(session))
        raise FmrecError(f"processes {left} did not end; end them by hand")


def end(session: int, *, grace: float = 15.0) -> None:
    """End every process of a session: the leader is asked, then all are, then all are killed.

    Raises FmrecError naming the processes that are still there.
    """
    if any(process.pid == session for process in members(session)):
        _send(session, signal.SIGTERM, leader=True)
        _gone(session, grace)
    _send(session, signal.SIGTERM)
    if _gone(session, grace):
        return
    kill(session, grace=grace)


def _send(session: int, number: signal.Signals, *, leader: bool = False) -> None:
    """Signal the processes of a session, or its leader alone."""
    for process in members(session):
        if not leader or process.pid == session:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)


def _gone(session: int, grace: float) -> bool:
    """Whether all of a session ends within `grace` seconds."""
    until = time.monotonic() + grace
    while members(session) and time.monotonic() < until:
        time.sleep(0.1)
    return not members(session)
