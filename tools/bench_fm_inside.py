"""Time of training and scoring inside one process, without its start.

    python tools/bench_fm_inside.py {adam,mcmc,scoring}

One round, printed as JSON in the last line; tools/bench_fm.py starts these.
"""

from __future__ import annotations

import importlib
import io
import json
import math
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bench_fm_data import Data, head, synthetic
from fmrec import recordio
from fmrec.fm import hyperparameters, payloads
from fmrec.fm.channels import Rows
from fmrec.fm.hosts import Alone
from fmrec.fm.job import Arrays, Job
from fmrec.fm.joblog import JobLog
from fmrec.fm.model import Model
from fmrec.fm.train import SOLVERS

# Epochs of adam, iterations of one chain of mcmc.
PASSES = {"adam": 1, "mcmc": 3}
ROWS = (100_000, 316_000, 1_000_000, 3_160_000, 10_000_000)
FACTORS = (8, 16, 32, 64, 128)
WIDTHS = (2, 4, 8, 16, 32)
# How many rows where their number stays the same, and how many factors where theirs does.
FIXED_ROWS = {"adam": 1_000_000, "mcmc": 200_000}
FIXED_FACTORS = {"adam": 16, "mcmc": 8}
# Rows and non-zeros: a body as large as an endpoint takes, and files.
SCORED = ((90_000, 2), (1_000_000, 2), (100_000, 50))
SCORING_FACTORS = (64, 320)
SCORING_PASSES = 5
GUARD_PAIRS = 11
GUARD_ROWS, GUARD_FACTORS = 200_000, 64


class _Nowhere:
    """Checkpoints of a job that keeps none."""

    def save(self, state: Arrays) -> None:
        """Keep nothing."""

    def load(self) -> Arrays | None:
        """Find nothing."""


def fit(solver: str, data: Data, factors: int, passes: int, *, columns: bool) -> float:
    """Train as a job does once it has read its rows; return the seconds."""
    texts: dict[str, object] = {
        "solver": solver,
        "predictor_type": "regressor",
        "num_factors": factors,
        "feature_dim": data.width,
    }
    if solver == "mcmc":
        texts |= {"iterations": passes, "burn_in": 1, "chains": 1, "samples": 2}
    else:
        texts |= {"epochs": passes}
    module = importlib.import_module(SOLVERS[solver])
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        job = Job(
            hp=hyperparameters.parse(texts),
            train=Rows(data.train.X, data.train.y),
            features=data.features if columns else None,
            start=None,
            hosts=Alone(),
            checkpoints=_Nowhere(),
            log=JobLog(nowhere, time.time),
            stop=threading.Event(),
        )
        begun = time.perf_counter()
        module.fit(job)
        return time.perf_counter() - begun


def steady(work: Callable[[], float]) -> float:
    """Return the median of as many calls as make up a second, at most five."""
    spent = [work()]
    while sum(spent) < 1 and len(spent) < 5:
        spent.append(work())
    return statistics.median(spent)


def scale(solver: str) -> Iterator[tuple[str, int, float]]:
    """Yield what varies, its value, and the seconds of training."""
    passes, k = PASSES[solver], FIXED_FACTORS[solver]

    def spent(data: Data, factors: int, *, columns: bool = True) -> float:
        return steady(lambda: fit(solver, data, factors, passes, columns=columns))

    data = synthetic(max(ROWS))
    fit(solver, _first(data, 1_000), k, passes, columns=True)
    for rows in ROWS:
        yield "rows", rows, spent(_first(data, rows), k)
    data = _first(data, FIXED_ROWS[solver])
    for factors in FACTORS:
        yield "factors", factors, spent(data, factors)
    for width in WIDTHS:
        # Without the channel, so that all columns are of one kind.
        data = synthetic(FIXED_ROWS[solver], nnz=width)
        yield "non-zeros", width, spent(data, k, columns=False)


def _first(data: Data, rows: int) -> Data:
    return Data(head(data.train, rows), None, data.features)


def scoring() -> Iterator[tuple[int, int, int, float, float, float]]:
    """Yield rows, non-zeros, factors, and rows/s of decoding, with scores, with JSON lines too."""
    for rows, width in SCORED:
        data = synthetic(rows, nnz=width)
        body = recordio.encode(data.train.X, None)
        for factors in SCORING_FACTORS:
            model = _model(data.width, factors)
            _score(body, model)
            passes = [_score(body, model) for _ in range(SCORING_PASSES)]
            decode, score, answer = map(statistics.median, zip(*passes, strict=True))
            spent = (decode, decode + score, decode + answer)
            yield (rows, width, factors, *(rows / each for each in spent))


def _score(body: bytes, model: Model) -> tuple[float, float, float]:
    """Return the seconds of reading rows, of scoring them, and of scoring and writing JSON."""
    begun = time.perf_counter()
    X = payloads.parse(body, payloads.RECORDIO, model.feature_dim)
    decode = time.perf_counter() - begun
    score = seconds(lambda: model.raw(X))
    return decode, score, seconds(lambda: payloads.render(model, X, payloads.JSON_LINES))


def _model(width: int, factors: int) -> Model:
    rng = np.random.default_rng(1)
    V = rng.normal(0, 0.1, (width, factors)).astype(np.float32)
    return Model(3.5, rng.normal(0, 0.1, width).astype(np.float32), V, "regressor")


def seconds(work: Callable[[], object]) -> float:
    """Return what a call takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def slope(sizes: list[float], spent: list[float]) -> float:
    """Return b of the curve a x size^b that fits best: 1 where cost grows linearly."""
    x, y = (np.log(np.array(each, np.float64)) for each in (sizes, spent))
    x -= x.mean()
    return float(x @ (y - y.mean()) / (x @ x))


def guard() -> dict[str, float]:
    """Return each figure: seconds of our work for one of a product by scipy, side by side."""
    data = synthetic(GUARD_ROWS)
    model = _model(data.width, GUARD_FACTORS)
    few = _first(data, GUARD_ROWS // 4)
    body = recordio.encode(data.train.X, data.train.y)

    def reference() -> object:
        return data.train.X @ model.V

    subjects: dict[str, Callable[[], object]] = {
        "encode": lambda: recordio.write(io.BytesIO(), data.train.X, data.train.y),
        "decode": lambda: recordio.decode(body),
        "score": lambda: model.raw(data.train.X),
        "adam, an epoch": lambda: fit("adam", data, GUARD_FACTORS, 1, columns=False),
        "mcmc, three sweeps": lambda: fit("mcmc", few, 8, 3, columns=True),
    }
    return {name: beside(subject, reference) for name, subject in subjects.items()}


def beside(subject: Callable[[], object], reference: Callable[[], object]) -> float:
    """Return the median ratio of a subject's time to the reference's just before and after."""
    subject(), reference()
    before, ratios = seconds(reference), []
    for _ in range(GUARD_PAIRS):
        spent, after = seconds(subject), seconds(reference)
        ratios.append(spent / math.sqrt(before * after))
        before = after
    return statistics.median(ratios)


def regressions(
    recorded: dict[str, float], measured: dict[str, float], factor: float
) -> dict[str, float]:
    """Return the figures that are worse than ``factor`` times the recorded ones, and how much.

    A figure that could not be measured is infinitely worse.
    """
    worse = {name: measured.get(name, math.inf) / ratio for name, ratio in recorded.items()}
    return {name: times for name, times in worse.items() if times > factor}


def main() -> None:
    """Measure one round of what the command line names."""
    what = sys.argv[1]
    found = []
    for each in scoring() if what == "scoring" else scale(what):
        found.append(each)
        print(what, *each, file=sys.stderr, flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
