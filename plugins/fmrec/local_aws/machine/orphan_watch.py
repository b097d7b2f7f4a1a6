"""Ends the jobs' processes when the server is killed: a process that waits for the server's end.

It holds the reading side of a pipe and learns which process groups run. The pipe ends with the
server, however that ends; the groups that were not taken off the list by then are killed. This
file runs as a script, apart from the package, and needs the standard library alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterable

LOG = logging.getLogger(__name__)


class OrphanWatch:
    """The server's side. Without the watch, the next start on the state folder ends the groups."""

    def __init__(self) -> None:
        # A session of its own: what ends the server from its terminal must not end the watch.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )

    def add(self, group: int) -> None:
        """List a process group to be killed with the server."""
        self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        """Take a process group off the list."""
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """End the watch, and with it the groups still listed."""
        self._process.communicate()

    def _tell(self, line: str) -> None:
        if self._process.stdin is None:
            return
        try:
            self._process.stdin.write(line.encode())
        except BrokenPipeError:
            LOG.warning("%s is gone; jobs would outlive a server that is killed", __file__)


def end_groups(lines: Iterable[str]) -> None:
    """Follow the list to its end, then kill the process groups that are on it."""
    groups: set[int] = set()
    for line in lines:
        change = groups.add if line[0] == "+" else groups.discard
        change(int(line[1:]))
    for group in groups:
        # macOS answers PermissionError for a group of which only zombies are left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end_groups(sys.stdin)
