"""``python -m fmrec.fm train`` and ``python -m fmrec.fm serve``."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path


def run(arguments: list[str]) -> int:
    """Run one command of the container and return its exit code."""
    ml_root = Path(os.environ.get("FMREC_ML_ROOT", "/opt/ml"))
    # The imports take a second: a stop request must not find the process without a handler.
    if arguments == ["train"]:
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        from fmrec.fm import train  # noqa: PLC0415

        return train.main(ml_root, time.time, stop)
    if arguments == ["serve"]:
        from fmrec.fm import serve  # noqa: PLC0415

        return serve.main(ml_root, os.environ)
    sys.stderr.write("usage: python -m fmrec.fm train|serve\n")
    return 2


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
