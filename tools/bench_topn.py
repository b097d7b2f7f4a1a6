"""Measure the top-N engine beside the bare matrix product, and write the figures down.

    python tools/bench_topn.py [--rounds N] [--users N]

Ten of 20,000 films for each of 100,000 users who have seen 50, from a factorization machine of ids
with 64 factors. The engine is `fmrec.topn.best`, whole, from model and design to lists. The bare
product is that of the users' and the films' factors, 64 wide, in single precision, by
`numpy.matmul` into one buffer, in blocks of as many users as make it fastest; the engine's own
product is one column wider, for the films' weights. Both run in one process that is bound to its
cores, after a warm-up, in turn: product, engine, product. A ratio is the engine's users/s over the
mean of the two products' beside it, so a load from outside falls on both. The product has a BLAS
thread for each core; the engine takes one BLAS thread and ranks blocks in as many threads as cores.

All lists are compared with a full sort of every user's films: scores in double precision, what was
seen at minus infinity, stable, so that equal scores stay in the order of their ids. The model's
numbers are multiples of 1/4096: sums are exact in double precision in whatever order, but not in
single precision. A tenth of the films are twins of others, so that there are ties.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy
from scipy import sparse
from threadpoolctl import threadpool_info

from bench_codec import memory_gib, peak, processor, resident
from bench_scale import spread
from fmrec import topn
from fmrec.fm.model import Model

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "docs" / "benchmarks" / "topn.md"
USERS, ITEMS, FACTORS, SEEN, LENGTH = 100_000, 20_000, 64, 50, 10
TWINS = ITEMS // 10
ID_STEP = 7
WARM_UP = 4_096
SEED = 1
GRID = 4096
BLOCKS = (52, 104, 209, 418, 836, 4096)
SORTED_AT_ONCE = 250
BARS = {"ratio": 0.5, "peak": 1024.0}

Results = dict[str, Any]


def main() -> None:
    """Run one worker, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--users", type=int, default=USERS, help="fewer for a first look")
    parser.add_argument("--worker", choices=("race", "memory", "equality"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work = {"race": race, "memory": memory, "equality": equality}[arguments.worker]
        print(json.dumps(work(arguments.users, arguments.rounds)))
        return
    results = measure(arguments.users, arguments.rounds)
    text = "\n".join(report(results, arguments.users, arguments.rounds)) + "\n"
    if arguments.users == USERS:
        REPORT.write_text(text, encoding="utf-8")
        print(f"wrote {REPORT}")
    else:
        print(text)
    failed = [name for name, _, holds in bars(results) if not holds]
    if failed:
        raise SystemExit(f"does not hold: {'; '.join(failed)}")


def measure(users: int, rounds: int) -> Results:
    """Run all workers, on one core and on all."""
    cores = sorted(os.sched_getaffinity(0))
    results: Results = {"load": os.getloadavg(), "races": {}}
    for some in [cores[-1:], cores] if len(cores) > 1 else [cores]:
        found = run("race", some, users, rounds)
        results["races"][len(some)] = found
        for number, each in enumerate(found["rounds"], 1):
            print(
                f"{len(some)} cores, round {number}: {each['ours']:,.0f} users/s, the product "
                f"{each['bare']:,.0f}, load average {each['load']:.1f}",
                flush=True,
            )
    results["memory"] = run("memory", cores, users, rounds)
    print(f"peak {results['memory']['peak']:,.0f} MiB", flush=True)
    results["equality"] = run("equality", cores, users, rounds)
    print(f"{results['equality']['different']:,} lists are different", flush=True)
    return results


def run(worker: str, cores: list[int], users: int, rounds: int) -> Results:
    """Return what one worker process measured, which has these cores and no others."""
    arguments = ["--worker", worker, "--users", str(users), "--rounds", str(rounds)]
    kept = {name: value for name, value in os.environ.items() if not name.endswith("NUM_THREADS")}
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)  # what a process starts has the same
    try:
        done = subprocess.run(
            [sys.executable, __file__, *arguments],
            env=kept | {"PYTHONPATH": str(ROOT / "plugins"), "OMP_NUM_THREADS": str(len(cores))},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    finally:
        os.sched_setaffinity(0, mine)
    return json.loads(done.stdout.splitlines()[-1])


class Ids:
    """A design of ids alone: a column for each user, then one for each item."""

    def __init__(self, users: int) -> None:
        self.space = self
        self.trained_users = np.arange(1, users + 1)
        self.trained_items = np.arange(1, ITEMS + 1) * ID_STEP
        self.dimension = users + ITEMS

    def user_side(self, user_ids: np.ndarray, at: int) -> sparse.csr_matrix:
        """Rows of these users."""
        del at
        return self._rows(user_ids - 1)

    def item_side(self, item_ids: np.ndarray) -> sparse.csr_matrix:
        """Rows of these items."""
        return self._rows(self.trained_users.size + item_ids // ID_STEP - 1)

    def _rows(self, columns: np.ndarray) -> sparse.csr_matrix:
        ones = np.ones(columns.size, np.float32)
        shape = columns.size, self.dimension
        return sparse.csr_matrix((ones, columns, np.arange(columns.size + 1)), shape=shape)


def world(users: int) -> tuple[Model, Ids, pd.DataFrame]:
    """Return model, design and what each user has seen."""
    rng = np.random.default_rng(SEED)
    design = Ids(users)
    w = (np.round(rng.normal(0, 0.05, design.dimension) * GRID) / GRID).astype(np.float32)
    V = np.empty((design.dimension, FACTORS), np.float32)
    for start in range(0, design.dimension, 10_000):
        part = V[start : start + 10_000]
        part[:] = np.round(rng.normal(0, 0.1, part.shape) * GRID) / GRID
    twins, others = np.split(users + rng.permutation(ITEMS)[: 2 * TWINS], 2)
    V[twins], w[twins] = V[others], w[others]
    seen = pd.DataFrame(
        {
            "user_id": np.repeat(design.trained_users, SEEN),
            "item_id": rng.choice(design.trained_items, users * SEEN),
        }
    )
    return Model(3.5, w, V, "regressor"), design, seen


def race(users: int, rounds: int) -> Results:
    """Return users/s of the product and of the engine, round by round."""
    model, design, seen = world(users)
    warm_up = min(WARM_UP, users)
    block = max(BLOCKS, key=lambda size: max(bare(model, warm_up, size) for _ in range(3)))
    engine(model, design, seen, warm_up)
    found = []
    for _ in range(rounds):
        load = os.getloadavg()[0]
        before = bare(model, users, block)
        ours = engine(model, design, seen, users)
        after = bare(model, users, block)
        found.append({"bare": (before + after) / 2, "ours": ours, "load": load})
    return {"rounds": found, "block": block}


def bare(model: Model, users: int, block: int) -> float:
    """Return users/s of the product alone."""
    left, right = np.split(model.V, [len(model.V) - ITEMS])
    buffer = np.empty((block, ITEMS), np.float32)
    buffer[:] = 0  # its pages are there before the clock starts
    started = time.perf_counter()
    for start in range(0, users, block):
        part = left[start : min(start + block, users)]
        np.matmul(part, right.T, out=buffer[: len(part)])
    return users / (time.perf_counter() - started)


def engine(model: Model, design: Ids, seen: pd.DataFrame, users: int) -> float:
    """Return users/s of the engine."""
    started = time.perf_counter()
    topn.best(model, design, design.trained_users[:users], seen, LENGTH, at=0)
    return users / (time.perf_counter() - started)


def memory(users: int, rounds: int) -> Results:
    """Return the most memory of a process that makes the lists, and what it had before, in MiB."""
    del rounds
    model, design, seen = world(users)
    before = resident() / 1024
    topn.best(model, design, design.trained_users, seen, LENGTH, at=0)
    return {"peak": peak() / 1024, "before": before}


def equality(users: int, rounds: int) -> Results:
    """Return how many lists are not those of a full sort, and how many hold equal scores."""
    del rounds
    model, design, seen = world(users)
    listed, scores = topn.best(model, design, design.trained_users, seen, LENGTH, at=0)
    V, w = model.V.astype(np.float64), model.w.astype(np.float64)
    taken = seen["item_id"].to_numpy().reshape(users, SEEN) // ID_STEP - 1
    different = tied = 0
    for start in range(0, users, SORTED_AT_ONCE):
        part = slice(start, min(start + SORTED_AT_ONCE, users))
        full = V[part] @ V[users:].T + w[users:] + (w[part, None] + model.w0)
        np.put_along_axis(full, taken[part], -np.inf, axis=1)
        order = np.argsort(-full, axis=1, kind="stable")[:, :LENGTH]
        best = np.take_along_axis(full, order, axis=1)
        same = (listed[part] == design.trained_items[order]) & (scores[part] == best)
        different += int(np.count_nonzero(~same.all(axis=1)))
        tied += int(np.count_nonzero((np.diff(best, axis=1) == 0).any(axis=1)))
    return {"different": different, "tied": tied}


def report(results: Results, users: int, rounds: int) -> list[str]:
    """Return the text of docs/benchmarks/topn.md."""
    lines = ["# The best ten of 20,000 films beside the bare matrix product", ""]
    lines += ["```sh", "python tools/bench_topn.py", "```", ""]
    lines += __doc__.split("\n\n", 2)[2].strip().splitlines()
    lines += [
        "",
        f"- {datetime.now(UTC):%Y-%m-%d}, {processor()}, {os.cpu_count()} cores, "
        f"{memory_gib():.0f} GiB, load average at start {results['load'][0]:.1f}",
        f"- Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}, "
        f"pandas {pd.__version__}; {blas()}",
        f"- {rounds} rounds; figures are medians (lowest to highest), ratios are those of a round",
        "",
        "| cores | engine, users/s | bare product, users/s | its block | ratio | load average |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    for cores, found in results["races"].items():
        samples = found["rounds"]
        ours, product = ([each[name] for each in samples] for name in ("ours", "bare"))
        lines.append(
            f"| {cores} | {spread(ours, 0)} | {spread(product, 0)} | {found['block']} | "
            f"{spread(ratios(found))} | {spread([each['load'] for each in samples], 1)} |"
        )
    lines += ["", "| asked for | measured | holds |", "|---|--:|---|"]
    for name, measured, holds in bars(results):
        lines.append(f"| {name} | {measured} | {'yes' if holds else '**no**'} |")
    lines += [
        "",
        f"The peak is that of the whole process: interpreter, model, design, what was seen and all "
        f"lists. Before it ranked it held {results['memory']['before']:,.0f} MiB.",
        f"Of the {users:,} lists {results['equality']['tied']:,} hold equal scores.",
    ]
    return lines


def bars(results: Results) -> list[tuple[str, str, bool]]:
    """Return what was asked for in words, what was measured, and whether it holds."""
    found = []
    for cores, each in results["races"].items():
        ratio = statistics.median(ratios(each))
        name = f"at least half the users/s of the bare product, {cores} core{'s' * (cores > 1)}"
        found.append((name, f"{ratio:.2f}", ratio >= BARS["ratio"]))
    most, different = results["memory"]["peak"], results["equality"]["different"]
    found.append(("peak memory under 1 GiB", f"{most:,.0f} MiB", most < BARS["peak"]))
    found.append(("every list that of a full sort", f"{different:,} lists differ", different == 0))
    return found


def ratios(race: Results) -> list[float]:
    """Return the engine's users/s over the product's, round by round."""
    return [each["ours"] / each["bare"] for each in race["rounds"]]


def blas() -> str:
    """Return name and version of the library that multiplies."""
    found = next(each for each in threadpool_info() if each["user_api"] == "blas")
    return f"{found['internal_api']} {found['version']} ({found.get('architecture')})"


if __name__ == "__main__":
    main()
