"""Fit myFM to rows in an .npz file and predict its test rows: one whole process.

    var/bench-myfm/bin/python tools/bench_myfm.py FILE ITERATIONS BURN_IN FACTORS SEED

Runs in an environment of its own and so imports nothing of fmrec; tools/bench_fm_processes.py
starts it, tools/bench_fm_data.py writes the file. The last line of its output is JSON.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import numpy as np
import scipy
from scipy import sparse

# pkg_resources, which myFM 0.4 imports, warns of its own end.
warnings.simplefilter("ignore")

import myfm  # noqa: E402


def main() -> None:
    """Fit, predict, print the error of the test rows."""
    file = sys.argv[1]
    iterations, burn_in, factors, seed = map(int, sys.argv[2:])
    stored = dict(np.load(file))
    relational = "user_train" in stored
    model = myfm.MyFMRegressor(rank=factors, random_seed=seed)
    train, test = (blocks(stored, name) if relational else [] for name in ("train", "test"))
    model.fit(
        None if relational else matrix(stored, "train"),
        stored["y"],
        X_rel=train,
        n_iter=iterations,
        n_kept_samples=iterations - burn_in,
        grouping=np.unique(stored["groups"], return_inverse=True)[1].tolist(),
    )
    guessed = model.predict(None if relational else matrix(stored, "test"), X_rel=test)
    guessed = np.clip(guessed, stored["y"].min(), stored["y"].max())
    rmse = float(np.sqrt(np.mean((guessed - stored["y_test"]) ** 2)))
    versions = {"myfm": myfm.__version__, "numpy": np.__version__, "scipy": scipy.__version__}
    print("\n" + json.dumps({"rmse": rmse, "versions": versions}))


def matrix(stored: dict[str, Any], name: str) -> sparse.csr_matrix:
    """Return a matrix of the file."""
    parts = tuple(stored[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
    return sparse.csr_matrix(parts, shape=tuple(stored[f"{name}_shape"]))


def blocks(stored: dict[str, Any], name: str) -> list[Any]:
    """Return what users and films bring to the rows."""
    return [
        myfm.RelationBlock(stored[f"{side}_{name}"], matrix(stored, side))
        for side in ("user", "item")
    ]


if __name__ == "__main__":
    main()
