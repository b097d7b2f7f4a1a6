"""The local AWS with the toy algorithm in place of the real ones; argv[1] is the stop grace."""

from __future__ import annotations

import sys
from pathlib import Path

from fmrec.local_aws.__main__ import main
from fmrec.local_aws.algorithms import Algorithm, Metric

TOY = str(Path(__file__).with_name("toy_algorithm.py"))
ALGORITHMS = {
    "toy": Algorithm(
        train=(sys.executable, TOY, "train"),
        serve=(sys.executable, TOY, "serve"),
        process=(sys.executable, TOY, "process"),
    ),
    "built-in-toy": Algorithm(
        train=(sys.executable, TOY, "train"),
        serve=(sys.executable, TOY, "serve"),
        built_in=True,
        metrics=(
            Metric("train:rmse:epoch", r"epoch=\S+, train rmse <loss>=(\S+)"),
            Metric("test:rmse", r"host=\S+, test rmse <loss>=(\S+)"),
        ),
        batch_accept="application/jsonlines",
    ),
}

if __name__ == "__main__":
    # Threads take turns a thousand times as often as usual, which brings races to light.
    sys.setswitchinterval(5e-6)
    sys.exit(main(sys.argv[2:], algorithms=ALGORITHMS, stop_grace=float(sys.argv[1])))
