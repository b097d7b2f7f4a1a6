"""A local AWS as a process of its own, for tests that talk to it as to AWS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(state: Path) -> Iterator[str]:
    """Its address, while it runs on a state folder; it must end well."""
    command = [sys.executable, "-m", "fmrec.local_aws", "--port", "0", "--state", str(state)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environ
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[4].rstrip(",")
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
