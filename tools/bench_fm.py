"""Measure training and scoring of the algorithm, beside other programs and by size.

    python tools/bench_fm.py [--only SECTION,...] [--rounds N] [--libfm PATH] [--myfm]
    python tools/bench_fm.py --guard [--record]

Sections: rivals, start, memory, scale, scoring. Each result is kept in var/bench-fm.json as soon as
it is there; docs/benchmarks/fm.md is written when all are. libFM is compared with when its binary
or built source tree is given, myFM when its environment, var/bench-myfm, is there (--myfm makes
it); both need FMREC_DATA_DIR with ml-100k.zip. --guard measures a few figures that need no other
program and compares them with docs/benchmarks/guard.json; --record writes that file anew.
Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numba
import numpy as np
import scipy

import bench_fm_inside as inside
import bench_fm_page as page
import bench_fm_processes as processes
from bench_codec import processor

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "docs" / "benchmarks" / "fm.md"
GUARD = ROOT / "docs" / "benchmarks" / "guard.json"
RESULTS = ROOT / "var" / "bench-fm.json"
SECTIONS = ("rivals", "start", "memory", "scale", "scoring")
# How many times the recorded ratio a figure may be; other work on the machine alone moves it by
# a quarter.
FACTOR = 1.5


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--libfm", type=Path, help="libFM's binary, or its built source tree")
    parser.add_argument("--myfm", action="store_true", help="install myFM if it is not there")
    parser.add_argument("--guard", action="store_true", help="fail if something has become slow")
    parser.add_argument("--record", action="store_true", help="with --guard: write guard.json")
    arguments = parser.parse_args()
    unknown = set(arguments.only.split(",")) - set(SECTIONS)
    if unknown:
        parser.error(f"unknown sections {', '.join(sorted(unknown))}")
    if arguments.guard:
        sys.exit(guard(record=arguments.record))
    begun = time.perf_counter()
    for section in arguments.only.split(","):
        try:
            measure(section, arguments)
        except processes.NotMeasuredError as error:
            print(error, flush=True)
    print(f"measured in {time.perf_counter() - begun:.0f} s")
    write_page()


def measure(section: str, arguments: argparse.Namespace) -> None:
    """Measure one section."""
    match section:
        case "rivals":
            libfm = arguments.libfm and processes.libfm_binary(arguments.libfm)
            myfm = processes.myfm_interpreter(install=arguments.myfm)
            processes.rivals(arguments.rounds, libfm, myfm, keep)
        case "start":
            processes.start(keep)
        case "memory":
            processes.memory(keep)
        case "scale":
            # Sizes differ by far more than rounds do: three of them tell enough.
            for solver in inside.PASSES:
                rounds(f"scale of {solver}", solver, min(arguments.rounds, 3))
        case "scoring":
            rounds("scoring", "scoring", min(arguments.rounds, 3))


def rounds(name: str, worker: str, number: int) -> None:
    """Run a worker process for each round."""
    load, found = os.getloadavg()[0], []
    for _ in range(number):
        done = subprocess.run(
            [sys.executable, inside.__file__, worker],
            env=os.environ | {"PYTHONPATH": str(ROOT / "plugins")},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            print(f"{name}: not measured", flush=True)
            return
        found.append(json.loads(done.stdout.splitlines()[-1]))
    keep(name, {"rounds": found, "load": load})


def keep(name: str, found: dict[str, Any]) -> None:
    """Put a result in the place of the one before."""
    results = stored()
    results[name] = found | {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "versions": {
            "Python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "numba": numba.__version__,
        },
    }
    RESULTS.parent.mkdir(exist_ok=True)
    unfinished = RESULTS.with_suffix(".part")
    unfinished.write_text(json.dumps(results, indent=1), encoding="utf-8")
    unfinished.replace(RESULTS)


def stored() -> dict[str, Any]:
    """Return all results so far."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def write_page() -> None:
    """Write the page if nothing is missing, else print what there is."""
    results = stored()
    text = "\n".join(page.lines(results)) + "\n"
    missing = [name for name in page.PARTS if name not in results]
    if missing:
        print(text)
        print(f"{REPORT.name} is left as it was: not measured yet: {', '.join(missing)}")
        return
    REPORT.write_text(text, encoding="utf-8")
    print(f"wrote {REPORT}")


def guard(*, record: bool) -> int:
    """Measure the guarded figures; return 1 and name those that have become slow."""
    measured = inside.guard()
    if record:
        body = {
            "measured": f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, {os.cpu_count()} cores",
            "ratios": {name: round(ratio, 2) for name, ratio in measured.items()},
        }
        GUARD.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
        print(f"wrote {GUARD}")
        return 0
    recorded = json.loads(GUARD.read_text(encoding="utf-8"))["ratios"]
    if inside.regressions(recorded, measured, FACTOR):
        # Once more: a neighbour on the machine slows one figure, a fault in the code both.
        again = inside.guard()
        measured = {name: min(ratio, again[name]) for name, ratio in measured.items()}
    worse = inside.regressions(recorded, measured, FACTOR)
    for name, ratio in recorded.items():
        verdict = f"{worse[name]:.2f} times as slow" if name in worse else "holds"
        print(f"{name}: {measured.get(name, float('nan')):.2f}, recorded {ratio:.2f}: {verdict}")
    if worse:
        print(f"slower than {FACTOR} times what was recorded: {', '.join(worse)}")
    return 1 if worse else 0


if __name__ == "__main__":
    main()
