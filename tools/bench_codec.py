"""Measure the RecordIO codec against the SageMaker Python SDK 2.x, and write the figures down.

    python tools/bench_codec.py [--rounds N]

The SDK is not a dependency of the project: it is installed into var/bench-venv on first use.
Both sides run as processes of their own, in turn (A B A B ...), build the same matrix, and
write it to memory once untimed, then timed. The bytes must be equal.
Writes docs/benchmarks/codec.md. Needs Linux (peak memory is read from /proc).
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from scipy import sparse

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "docs" / "benchmarks" / "codec.md"
SDK_ENVIRONMENT = ROOT / "var" / "bench-venv"
SDK_REQUIREMENTS = ("sagemaker==2.257.7", "scipy")
WIDTH = 2625
PASSES = 3
CASES = {
    "one-hot": "2 non-zeros, all 1 (one-hot user and item)",
    "two": "2 non-zeros of any value",
    "many": "21 to 27 non-zeros of any value",
}
ROWS = {"one-hot": 100_000, "two": 100_000, "many": 20_000}
MEMORY_ROWS = {"ours": (250_000, 1_000_000, 4_000_000), "sdk": (25_000, 100_000, 400_000)}


def main() -> None:
    """Run one worker, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", choices=("ours", "sdk"), help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=tuple(CASES), help=argparse.SUPPRESS)
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(work(arguments)))
        return
    interpreters = {"ours": sys.executable, "sdk": sdk_interpreter()}
    results = measure(interpreters, arguments.rounds)
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text("\n".join(report(results, arguments.rounds)) + "\n", encoding="utf-8")
    print(f"wrote {REPORT}")


def sdk_interpreter() -> str:
    """Return the interpreter of the SDK's environment, made on first use."""
    python = SDK_ENVIRONMENT / "bin" / "python"
    done = SDK_ENVIRONMENT / ".complete"
    if not done.exists():
        print(f"installing {' '.join(SDK_REQUIREMENTS)} into {SDK_ENVIRONMENT}", flush=True)
        venv.create(SDK_ENVIRONMENT, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *SDK_REQUIREMENTS], check=True)
        done.touch()
    return str(python)


def measure(interpreters: dict[str, str], rounds: int) -> dict[str, Any]:
    """Run all workers, the two sides in turn."""
    results: dict[str, Any] = {"load": os.getloadavg()}
    for case, rows in ROWS.items():
        samples: dict[str, list[dict[str, Any]]] = {"ours": [], "sdk": []}
        for number in range(rounds):
            for side, python in interpreters.items():
                samples[side].append(run(python, side, rows, case))
                last = samples[side][-1]
                print(
                    f"{case}, round {number + 1}, {side}: "
                    f"{last['write']:,.0f} rows/s written, {last['read']:,.0f} rows/s read",
                    flush=True,
                )
        if len({sample["sha256"] for side in samples.values() for sample in side}) != 1:
            raise SystemExit(f"the two sides wrote different bytes for {case}")
        results[case] = samples
    results["memory"] = {
        side: {
            rows: run(interpreters[side], side, rows, "one-hot", "--memory")["peak"]
            for rows in MEMORY_ROWS[side]
        }
        for side in interpreters
    }
    return results


def run(python: str, side: str, rows: int, case: str, *more: str) -> dict[str, Any]:
    """Return what one worker process measured."""
    arguments = ["--worker", side, "--rows", str(rows), "--case", case, *more]
    env = os.environ | {"OMP_NUM_THREADS": "1", "SAGEMAKER_SUPPRESS_V2_WARNING": "1"}
    if side == "ours":
        env["PYTHONPATH"] = str(ROOT / "plugins")
    done = subprocess.run(
        [python, __file__, *arguments], env=env, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def work(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one side in this process."""
    write, read = ours() if arguments.worker == "ours" else sdk()
    matrix, labels = rows_of(arguments.rows, arguments.case)
    if arguments.memory:
        write(io.BytesIO(), matrix[:1000], labels[:1000])
        ctypes.CDLL(None).malloc_trim(0)  # else freed memory would hide what is taken
        before = resident()
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        with Path(os.devnull).open("wb") as sink:
            write(sink, matrix, labels)
        return {"peak": peak() - before}
    # Untimed: imports on first use, and the pages of the memory written to.
    stream = io.BytesIO()
    write(stream, matrix, labels)
    write_rates, read_rates = [], []
    for _ in range(PASSES):
        stream.seek(0)
        started = time.perf_counter()
        write(stream, matrix, labels)
        write_rates.append(arguments.rows / (time.perf_counter() - started))
        stream.seek(0)
        started = time.perf_counter()
        read(stream)
        read_rates.append(arguments.rows / (time.perf_counter() - started))
    return {
        "write": statistics.median(write_rates),
        "read": statistics.median(read_rates),
        "sha256": hashlib.sha256(stream.getvalue()).hexdigest(),
        "bytes": len(stream.getvalue()),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "python": platform.python_version(),
    }


Writer = Callable[[Any, Any, np.ndarray], object]
Reader = Callable[[Any], object]


def ours() -> tuple[Writer, Reader]:
    """Return this project's writer and reader."""
    from fmrec import recordio  # noqa: PLC0415

    return recordio.write, lambda stream: list(recordio.read(stream))


def sdk() -> tuple[Writer, Reader]:
    """Return the SDK's writer, and its reader, which stops at parsed messages."""
    from sagemaker.amazon.common import (  # noqa: PLC0415
        read_records,
        write_spmatrix_to_sparse_tensor,
    )

    return write_spmatrix_to_sparse_tensor, read_records


def rows_of(rows: int, case: str) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Return the matrix and labels of a case."""
    rng = np.random.default_rng(0)
    if case != "many":
        counts = np.full(rows, 2)
        pairs = [rng.integers(0, 943, rows), rng.integers(943, WIDTH, rows)]
        keys = np.column_stack(pairs).ravel()
    else:
        counts = rng.integers(21, 28, rows)
        keys = rng.integers(0, WIDTH, counts.sum())
    indptr = np.concatenate([[0], np.cumsum(counts)])
    data = rng.normal(size=len(keys)).astype(np.float32)
    if case == "one-hot":
        data[:] = 1
    matrix = sparse.csr_matrix(
        (data, keys.astype(np.int32), indptr.astype(np.int32)), shape=(rows, WIDTH)
    )
    return matrix, rng.integers(1, 6, rows).astype(np.float32)


def resident() -> int:
    """Return the memory this process holds, in KiB."""
    return _status("VmRSS")


def peak() -> int:
    """Return the most memory this process has held since the mark was cleared, in KiB."""
    return _status("VmHWM")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise SystemExit(f"/proc/self/status has no {field}")


def report(results: dict[str, Any], rounds: int) -> list[str]:
    """Return the text of docs/benchmarks/codec.md."""
    lines = ["# RecordIO-protobuf codec against the SageMaker Python SDK 2.x", ""]
    lines += __doc__.split("\n\n")[2].strip().splitlines()[:3]
    versions = {side: results["one-hot"][side][0] for side in ("ours", "sdk")}
    lines += [
        "",
        f"- {datetime.now(UTC):%Y-%m-%d}, {processor()}, {os.cpu_count()} cores, "
        f"{memory_gib():.0f} GiB, load average at start {results['load'][0]:.1f}; one thread",
        f"- ours: Python {versions['ours']['python']}, numpy {versions['ours']['numpy']}, "
        f"scipy {versions['ours']['scipy']}",
        f"- SDK: {SDK_REQUIREMENTS[0]}, Python {versions['sdk']['python']}, "
        f"numpy {versions['sdk']['numpy']}, scipy {versions['sdk']['scipy']}",
        f"- {rounds} rounds; a round is the median of {PASSES} passes in one process; "
        "rates are medians of rounds (lowest to highest), in thousand rows/s",
        "",
        "| | ours | SDK 2.x | ratio, paired by round |",
        "|---|--:|--:|--:|",
    ]
    for case, label in CASES.items():
        samples = results[case]
        size = samples["ours"][0]["bytes"]
        for direction in ("write", "read"):
            rates = {side: [s[direction] for s in samples[side]] for side in ("ours", "sdk")}
            ratios = [a / b for a, b in zip(rates["ours"], rates["sdk"], strict=True)]
            name = f"{direction}, {label} ({size:,} bytes)"
            lines.append(
                f"| {name} | {spread(rates['ours'])} | {spread(rates['sdk'])} | "
                f"**{statistics.median(ratios):.0f}** ({min(ratios):.0f} to {max(ratios):.0f}) |"
            )
    lines += [
        "",
        "Reading ends in a matrix and labels on our side, in parsed messages on the SDK's.",
        "",
        "Memory that writing to `/dev/null` takes on top of the matrix, one-hot rows:",
        "",
        "| | rows | MiB |",
        "|---|--:|--:|",
    ]
    for side, name in (("ours", "ours"), ("sdk", "SDK 2.x")):
        for rows, kib in results["memory"][side].items():
            lines.append(f"| {name} | {rows:,} | {kib / 1024:.1f} |")
    return lines


def spread(rates: list[float]) -> str:
    """Return median and range in thousand rows/s."""
    low, middle, high = min(rates), statistics.median(rates), max(rates)
    return f"**{middle / 1e3:,.0f}** ({low / 1e3:,.0f} to {high / 1e3:,.0f})"


def processor() -> str:
    """Return the processor's model."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def memory_gib() -> float:
    """Return the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


if __name__ == "__main__":
    main()
