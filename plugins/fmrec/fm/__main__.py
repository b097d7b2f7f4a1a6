"""``python -m fmrec.fm train``, ``python -m fmrec.fm serve`` and ``python -m fmrec.fm compile``."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from pathlib import Path


def run(arguments: list[str]) -> int:
    """Run one command of the container and return its exit code.

    ``compile`` is no part of SageMaker's contract: it makes the machine code ahead, so that the
    first job need not.
    """
    ml_root = Path(os.environ.get("FMREC_ML_ROOT", "/opt/ml"))
    # The imports take half a second: a stop request must not find the process without a handler.
    if arguments == ["train"]:
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        # A thousand modules are loaded to stay. To look for garbage among them every 700 objects
        # takes a fifth of the start, and to look for it at the exit another quarter second.
        gc.set_threshold(100_000)
        from fmrec.fm import train  # noqa: PLC0415

        code = train.main(ml_root, time.time, stop)
        gc.freeze()
        return code
    if arguments == ["serve"]:
        from fmrec.fm import serve  # noqa: PLC0415

        return serve.main(ml_root, os.environ)
    if arguments == ["compile"]:
        from fmrec.fm import kernels  # noqa: PLC0415

        kernels.compile_all()
        return 0
    sys.stderr.write("usage: python -m fmrec.fm train|serve|compile\n")
    return 2


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
