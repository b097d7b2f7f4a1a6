"""Measure the way from a ratings.csv to RecordIO shards at up to 32 million rows.

    python tools/bench_scale.py [--rows {1,4,32}] [--rounds N]

The ratings are made by tools/synthetic_ratings.py in a temporary folder. What is timed is the work
of the pipeline without its object store: read and check every row, keep the latest of each pair,
split by time, shuffle, make the design matrix, write RecordIO files. Beside it stands what
`pyarrow.csv.read_csv` takes to merely read the same file, just before and just after. Each run is
a process of its own, warmed by a run on few rows: imports and compiling are not in the figures.
Writes docs/benchmarks/scale.md if all sizes are run. Needs Linux (peak memory is read from /proc).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import scipy
from pyarrow import csv

import synthetic_ratings
from bench_codec import memory_gib, peak, processor
from fmrec import recordio
from fmrec.events.design import Design
from fmrec.events.encoders import PRESETS
from fmrec.events.objectives import labels
from fmrec.events.prepare import Choices, prepare
from fmrec.events.space import FeatureSpace
from fmrec.ratings import Scale
from fmrec.ratings.stream import CSV, read_stream
from fmrec.steps import events as events_step
from fmrec.steps import recordio as recordio_step

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "docs" / "benchmarks" / "scale.md"
SEED = 1
HISTORY = 30
SIZES = (1, 4, 32)
MILLION = 1_000_000
FEW = 20_000
BARS = {"ratio": 6.0, "peak": 2048.0, "linear": 1.5, "full": 8.0}

Sample = dict[str, float]


def main() -> None:
    """Run one worker, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--rows", type=int, choices=SIZES, default=4, help="largest size, in millions"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", choices=("read", "ids", "full"), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(work(arguments.worker, arguments.file, arguments.rows)))
        return
    with tempfile.TemporaryDirectory(prefix="fmrec-scale-") as folder:
        sizes = [size for size in SIZES if size <= arguments.rows]
        results = measure(Path(folder), sizes, arguments.rounds)
    text = "\n".join(report(results, arguments.rounds)) + "\n"
    if arguments.rows < max(SIZES):
        print(text)
        return
    REPORT.write_text(text, encoding="utf-8")
    print(f"wrote {REPORT}")


def measure(folder: Path, sizes: list[int], rounds: int) -> dict[str, Any]:
    """Run all workers: reading, the way, reading, for each size and round."""
    results: dict[str, Any] = {"load": os.getloadavg(), "ids": {}, "full": []}
    for size in sizes:
        file = folder / f"ratings-{size}.csv"
        synthetic_ratings.write_ratings(file, size * MILLION, SEED)
        samples = []
        for worker in ("read", "ids"):  # untimed: the machine's memory may have gone cold
            run(worker, file, size)
        for number in range(rounds):
            load = os.getloadavg()[0]
            before = run("read", file, size)
            sample = run("ids", file, size)
            after = run("read", file, size)
            sample["read"] = (before["seconds"] + after["seconds"]) / 2
            sample["load"] = load
            samples.append(sample)
            print(
                f"{size} M, round {number + 1}: {sample['seconds']:.2f} s, reading alone "
                f"{before['seconds']:.2f} and {after['seconds']:.2f} s, {sample['peak']:.0f} MiB",
                flush=True,
            )
            if size == 1:
                full = run("full", file, size)
                again = run("ids", file, size)
                full["ids"] = (sample["seconds"] + again["seconds"]) / 2
                results["full"].append(full)
                print(f"full: {full['seconds']:.2f} s, ids {full['ids']:.2f} s", flush=True)
        results["ids"][size] = samples
        results["csv"] = file.stat().st_size
        file.unlink()
    return results


def run(worker: str, file: Path, size: int) -> Sample:
    """Return what one worker process measured."""
    arguments = ["--worker", worker, "--file", str(file), "--rows", str(size)]
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT / "plugins")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def work(worker: str, file: Path, size: int) -> Sample:
    """Measure one thing in this process."""
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        few = Path(folder, "few.csv")
        synthetic_ratings.write_ratings(few, FEW, SEED)
        if worker == "read":
            csv.read_csv(few)
            return timed(lambda: csv.read_csv(file).nbytes)
        tables = synthetic_ratings.users_and_films(size * MILLION, SEED)
        to_shards(few, worker, tables, Path(folder, "warm"))
        sample = timed(lambda: to_shards(file, worker, tables, Path(folder, "shards")))
        written = sorted(Path(folder, "shards").glob("*.pbr"))
        if sample["result"] != size * MILLION:
            raise SystemExit(f"{sample['result']:,} rows came out of {size:,} million")
        return sample | {
            "peak": peak() / 1024,
            "bytes": sum(each.stat().st_size for each in written),
            "files": len(written),
        }


def timed(job: Callable[[], int]) -> Sample:
    """Return what a job returns and the seconds it takes, of the clock and of the processor."""
    started, used = time.perf_counter(), os.times()
    result = job()
    seconds, now = time.perf_counter() - started, os.times()
    return {
        "result": result,
        "seconds": seconds,
        "user": now.user - used.user,
        "system": now.system - used.system,
    }


def to_shards(file: Path, preset: str, tables: tuple[pa.Table, pa.Table], folder: Path) -> int:
    """Go the way, from a csv file to RecordIO files in a new folder, and return the rows written.

    Sizes and threads are those of the steps.
    """
    folder.mkdir()
    choices = Choices(
        as_of=2**31,
        split="time",
        validation_fraction=0.1,
        test_fraction=0.1,
        leave_last=1,
        user_least=1,
        item_least=1,
        order="shuffled",
        seed=SEED,
        history_length=HISTORY if "rated" in PRESETS[preset] else 0,
        negatives=0,
        negative_exponent=0,
        shard_rows=events_step.FILE_ROWS_OF_IDS if preset == "ids" else events_step.FILE_ROWS,
        visits="visit" in PRESETS[preset],
    )
    with file.open("rb") as stream:
        chunks = read_stream(stream, CSV, scale=Scale(0.5, 5, 0.5), file=file.name)
        prepared = prepare((chunk.ratings for chunk in chunks), choices, folder / "work")
    users, films = tables
    space = FeatureSpace.from_facts(prepared.facts, users, films, preset=preset)
    design = Design(
        space,
        prepared.facts,
        users,
        films,
        history_length=HISTORY,
        graded=False,
        leave_own_out=True,
    )

    def write(job: tuple[Path, Callable[[], pa.Table]]) -> int:
        path, shard = job
        rows = shard().to_pandas()
        with path.open("wb") as stream:
            for chunk in recordio_step.chunks(rows):
                recordio.write(stream, design.encode(chunk), labels(chunk, "rating"))
        return len(rows)

    jobs = [
        (folder / f"{part}-{number:05d}.pbr", shard)
        for part in ("train", "validation", "test")
        for number, shard in enumerate(prepared.shards(part))
    ]
    with ThreadPoolExecutor(recordio_step.THREADS) as pool:
        return sum(pool.map(write, jobs))


def report(results: dict[str, Any], rounds: int) -> list[str]:
    """Return the text of docs/benchmarks/scale.md."""
    largest = max(results["ids"])
    last = results["ids"][largest][-1]
    versions = f"Python {platform.python_version()}, pyarrow {pa.__version__}, "
    versions += f"numpy {np.__version__}, pandas {pd.__version__}, scipy {scipy.__version__}"
    lines = ["# From ratings.csv to RecordIO shards", ""]
    lines += __doc__.split("\n\n")[2].strip().splitlines()[:-1]
    lines += [
        "",
        f"- {datetime.now(UTC):%Y-%m-%d}, {processor()}, {os.cpu_count()} cores, "
        f"{memory_gib():.0f} GiB, load average at start {results['load'][0]:.1f}; "
        f"{recordio_step.THREADS} threads",
        f"- {versions}",
        f"- {rounds} rounds after an untimed one: reading, the way, reading; figures are medians "
        "(lowest to highest), ratios are paired by round; load average before each round "
        f"{spread([each['load'] for every in results['ids'].values() for each in every], 1)}",
        f"- {largest} million rows are {results['csv'] / 1e6:,.0f} MB of csv and become "
        f"{last['files']} files of {last['bytes'] / 1e6:,.0f} MB together",
        "",
        "Preset `ids`:",
        "",
        "| million rows | seconds | reading alone | ratio | seconds per million | peak MiB |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    for size, samples in results["ids"].items():
        seconds = [each["seconds"] for each in samples]
        lines.append(
            f"| {size} | {spread(seconds)} | {spread([each['read'] for each in samples])} | "
            f"{spread([each['seconds'] / each['read'] for each in samples])} | "
            f"{spread([each / size for each in seconds])} | "
            f"{spread([each['peak'] for each in samples], 0)} |"
        )
    if largest == max(SIZES):
        lines += ["", "| asked for | measured | holds |", "|---|--:|---|"]
        for name, measured, bar, digits in bars(results):
            holds = "yes" if measured <= bar else "**no**"
            lines.append(f"| {name} | {measured:,.{digits}f} | {holds} |")
    lines += [
        "",
        f"Preset `full` at 1 million rows, histories of {HISTORY}: "
        f"{spread([each['seconds'] for each in results['full']])} s, "
        f"{spread([each['seconds'] / each['ids'] for each in results['full']])} times `ids`, "
        f"peak {spread([each['peak'] for each in results['full']], 0)} MiB, "
        f"{results['full'][-1]['bytes'] / 1e6:,.0f} MB.",
        "",
        f"Processor time of the last run of {largest} million: {last['user']:.1f} s of our own, "
        f"{last['system']:.1f} s of the system's.",
    ]
    return lines


def bars(results: dict[str, Any]) -> list[tuple[str, float, float, int]]:
    """Return what was asked for: in words, the median measured, the most it may be, decimals."""
    ids, largest = results["ids"], max(results["ids"])
    ratio = statistics.median(each["seconds"] / each["read"] for each in ids[largest])
    most = max(each["peak"] for samples in ids.values() for each in samples)
    each = {
        size: statistics.median(sample["seconds"] for sample in samples) / size
        for size, samples in ids.items()
    }
    full = statistics.median(each["seconds"] / each["ids"] for each in results["full"])
    return [
        (
            f"{largest} million rows within {BARS['ratio']:.0f} times reading alone",
            ratio,
            BARS["ratio"],
            2,
        ),
        (f"highest peak under {BARS['peak']:,.0f} MiB", most, BARS["peak"], 0),
        (
            f"a row among {largest} million within {BARS['linear']} times a row among 1 million",
            each[largest] / each[1],
            BARS["linear"],
            2,
        ),
        (
            f"1 million rows with `full` within {BARS['full']:.0f} times `ids`",
            full,
            BARS["full"],
            2,
        ),
    ]


def spread(values: list[float], digits: int = 2) -> str:
    """Return median and range."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"**{middle:,.{digits}f}** ({low:,.{digits}f} to {high:,.{digits}f})"


if __name__ == "__main__":
    main()
