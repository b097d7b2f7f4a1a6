"""A job's container without Docker: a subprocess in its own process group."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from fmrec.local_aws.machine.orphan_watch import OrphanWatch
from fmrec.local_aws.state.database import Database

# A bar of progress goes back to the start of its line, again and again.
_LINE_END = re.compile(rb"\r\n|\r|\n")
_LONGEST_LINE = 1 << 18  # bytes of a line that are delivered before its end has come
Lines = Callable[[list[str]], None]

_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ", "LD_LIBRARY_PATH")
_THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS"),
)


class ContainerLedger:
    """Remembers the process groups that run, so that none outlives a server that is killed.

    The watch ends them at once; the next start ends those that are left over even so.
    """

    def __init__(self, database: Database, watch: OrphanWatch) -> None:
        self._database = database
        self._watch = watch
        database.create(
            "CREATE TABLE IF NOT EXISTS containers (pid INTEGER PRIMARY KEY, started REAL)"
        )

    def add(self, pid: int) -> None:
        """Remember a process that leads its own group."""
        self._watch.add(pid)
        try:
            started = psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            return
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO containers VALUES (?, ?)", (pid, started))

    def remove(self, pid: int) -> None:
        """Forget a process that has ended."""
        self._watch.remove(pid)
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM containers WHERE pid = ?", (pid,))

    def end_left_over(self) -> list[int]:
        """Kill the groups whose leader still runs, and return their ids.

        A process id that meanwhile belongs to another process, told by its start time, is left
        alone.
        """
        ended = []
        for row in self._database.rows("SELECT pid, started FROM containers"):
            pid = row["pid"]
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
                process = psutil.Process(pid)
                # Both times derive from the clock at boot, which may be adjusted by fractions.
                if abs(process.create_time() - row["started"]) < 1:
                    os.killpg(pid, signal.SIGKILL)
                    _wait_until_ended(process)
                    ended.append(pid)
            self.remove(pid)
        return ended


def end_strays(folder: Path) -> list[int]:
    """Kill every process whose job's folder is this one, or below; return their ids.

    These are the ones that left their group, or began in the moment in which the server was killed.
    """
    ended = []
    for process in psutil.process_iter():
        try:
            root = process.environ().get("FMREC_ML_ROOT")
            if (
                root is not None
                and Path(root).is_relative_to(folder)
                and process.pid != os.getpid()
            ):
                process.kill()
                ended.append(process.pid)
        except (psutil.Error, OSError, ValueError):
            continue  # it has ended, or is another user's
    return ended


def free_port() -> int:
    """Return a loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(ml_root: Path, threads: int, given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a container: no credentials, nothing of the server's own settings.

    `threads` limits the pools of BLAS and numba; `given` has the last word.
    """
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    package_folder = str(Path(__file__).parents[3])
    inherited = os.environ.get("PYTHONPATH")
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([package_folder, *([inherited] if inherited else [])]),
        "PYTHONUNBUFFERED": "1",
        **{name: str(threads) for name in _THREAD_VARIABLES},
        "FMREC_ML_ROOT": str(ml_root),
        **given,
    }


class Container:
    """A running command. Its output, both streams, goes line by line to `lines`."""

    def __init__(
        self,
        command: Sequence[str],
        variables: Mapping[str, str],
        folder: Path,
        ledger: ContainerLedger,
        lines: Lines,
    ) -> None:
        self._ledger = ledger
        self._folder = folder
        self._process = subprocess.Popen(
            list(command),
            cwd=folder,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        ledger.add(self._process.pid)
        self._reader = threading.Thread(target=self._read, args=(lines,), daemon=True)
        self._reader.start()

    def exit_code(self) -> int | None:
        """Return the exit code, negative for a signal, or None while the command runs."""
        return self._process.poll()

    def wait(self, seconds: float) -> int | None:
        """Wait for the command, at most so long, and return its exit code or None."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def ask_to_end(self) -> None:
        """Send SIGTERM to the command, as SageMaker does to a container's first process."""
        self._process.terminate()

    def kill(self) -> None:
        """Kill whatever of the process group still runs, and wait for the command's end."""
        # macOS answers PermissionError for a group of which only zombies are left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Kill whatever of the process group still runs and take in the last output."""
        self.kill()
        # At once, for the id is free to become another process's.
        self._ledger.remove(self._process.pid)
        self._reader.join(timeout=0.5)
        if self._reader.is_alive():
            # A process that left the group holds the output open.
            end_strays(self._folder)
            self._reader.join(timeout=10)

    def _read(self, lines: Lines) -> None:
        pipe = self._process.stdout
        if pipe is None:
            return
        rest = b""
        with pipe:
            # Whatever has been written by now is one batch, so a busy log costs few transactions.
            while block := os.read(pipe.fileno(), 1 << 16):
                # The line break of a last carriage return may be still to come.
                data, held = rest + block, b""
                if data.endswith(b"\r"):
                    data, held = data[:-1], b"\r"
                *whole, rest = _LINE_END.split(data)
                rest += held
                if len(rest) > _LONGEST_LINE:
                    whole, rest = [*whole, rest], b""
                _deliver(whole, lines)
        if rest:
            _deliver([rest], lines)


def _deliver(raw: list[bytes], lines: Lines) -> None:
    if raw:
        lines([line.decode("utf-8", "replace").rstrip("\r") for line in raw])


def _wait_until_ended(process: psutil.Process) -> None:
    # A zombie has ended; whether it is reaped depends on the init process of this machine.
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
