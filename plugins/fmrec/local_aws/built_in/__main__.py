"""``python -m fmrec.local_aws.built_in knn|kmeans train|serve``."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from pathlib import Path


def run(arguments: list[str]) -> int:
    """Run one command of a container and return its exit code."""
    match arguments:
        case [("knn" | "kmeans") as name, "train"]:
            # The imports take a while: a stop request must not find the process without a handler.
            stop = threading.Event()
            signal.signal(signal.SIGTERM, lambda *_: stop.set())
            from fmrec.local_aws.built_in import training  # noqa: PLC0415

            fit = importlib.import_module(f"fmrec.local_aws.built_in.{name}_training").fit
            return training.run(name, fit, _ml_root(), time.time, stop)
        case [("knn" | "kmeans") as name, "serve"]:
            from fmrec.fm import inference_server  # noqa: PLC0415

            load = importlib.import_module(f"fmrec.local_aws.built_in.{name}_service").load
            return inference_server.serve(load, _ml_root(), os.environ)
        case _:
            sys.stderr.write("usage: python -m fmrec.local_aws.built_in knn|kmeans train|serve\n")
            return 2


def _ml_root() -> Path:
    return Path(os.environ.get("FMREC_ML_ROOT", "/opt/ml"))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
