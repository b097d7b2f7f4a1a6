"""`python -m fmrec.cli.tied COMMAND…`: a command that does not outlive whoever started it.

It must lead a process group. When its standard input ends, which happens however its parent dies,
it kills that group. A request to end is passed on to the command. The exit code is the command's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def main(command: list[str]) -> int:
    """Run `command` until it ends or standard input does."""
    threading.Thread(target=_watch, daemon=True).start()
    process: subprocess.Popen[bytes] | None = None

    def pass_on(*_: object) -> None:
        # Before there is a command, there is nothing to wait for.
        if process is None:
            raise SystemExit(1)
        process.terminate()

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, pass_on)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    return process.wait()


def _watch() -> None:
    # The raw descriptor: a thread blocked inside sys.stdin would hold up the interpreter's end.
    while os.read(0, 1024):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
