"""Whole training jobs as processes: beside libFM and myFM, from cold to done, and their memory."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench_fm_data import Data, head, movielens, synthetic, write_job, write_libfm, write_myfm
from fmrec.fm import artifact

ROOT = Path(__file__).resolve().parent.parent
MYFM_ENVIRONMENT = ROOT / "var" / "bench-myfm"
MYFM_REQUIREMENTS = ("myfm==0.4.0", "setuptools<81")
STARTS = 11
MEMORY_ROWS = 5_000_000
MEMORY_USERS, MEMORY_ITEMS, MEMORY_FACTORS = 50_000, 10_000, 16

# Rates that suit these rows, so that the error is one that people would work with.
ADAM = {
    "predictor_type": "regressor",
    "num_factors": 64,
    "epochs": 30,
    "mini_batch_size": 200,
    "bias_lr": 0.0037,
    "linear_lr": 0.0016,
    "factors_lr": 0.0013,
    "bias_wd": 0,
    "linear_wd": 8.8e-05,
    "factors_wd": 0.00079,
    "factors_init_sigma": 0.13,
}
LIBFM_RATES = "-learn_rate 0.005 -regular 0,0.02,0.05"
CHAINS, SWEEPS, BURN_IN, FACTORS = 2, 100, 20, 10
MCMC = {
    "predictor_type": "regressor",
    "solver": "mcmc",
    "num_factors": FACTORS,
    "chains": CHAINS,
    "iterations": SWEEPS,
    "burn_in": BURN_IN,
}

# The peak that the kernel tells of a process begins with that of the process it was made from, so
# a small one makes it; it also holds the clock.
LAUNCHER = """
import json, os, sys, time
output, *command = sys.argv[1:]
files = [(os.POSIX_SPAWN_DUP2, int(output), number) for number in (1, 2)]
begun = time.perf_counter()
process = os.posix_spawnp(command[0], command, os.environ, file_actions=files)
_, status, used = os.wait4(process, 0)
seconds = time.perf_counter() - begun
print(json.dumps([seconds, used.ru_maxrss, os.waitstatus_to_exitcode(status)]))
"""

Sample = dict[str, Any]
Side = Callable[[int], Sample]
Keep = Callable[[str, dict[str, Any]], None]


class NotMeasuredError(Exception):
    """Why something cannot be measured."""


@dataclass(frozen=True)
class Finished:
    """A process that ended well: wall clock seconds, most memory in MiB, what it wrote."""

    seconds: float
    peak: float
    output: str


def run(command: list[str], **environment: str) -> Finished:
    """Run a process to its end.

    Raises NotMeasuredError with the end of its output when it fails.
    """
    with tempfile.TemporaryFile("w+") as output:
        launched = subprocess.run(
            [sys.executable, "-I", "-S", "-c", LAUNCHER, str(output.fileno()), *command],
            stdout=subprocess.PIPE,
            env=os.environ | environment,
            pass_fds=(output.fileno(),),
            text=True,
            check=True,
        )
        output.seek(0)
        text = output.read()
    seconds, kib, status = json.loads(launched.stdout)
    if status:
        end = "\n".join(text.splitlines()[-8:])
        raise NotMeasuredError(f"{' '.join(command[:4])} ended with {status}:\n{end}")
    return Finished(seconds, kib / 1024, text)


def rivals(rounds: int, libfm: Path | None, myfm: str | None, keep: Keep) -> None:
    """Measure every comparison whose rival is there, and hand each to ``keep``."""
    if "FMREC_DATA_DIR" not in os.environ:
        raise NotMeasuredError("rivals: set FMREC_DATA_DIR to the folder with ml-100k.zip")
    with tempfile.TemporaryDirectory(prefix="fmrec-fm-") as name:
        folder = Path(name)
        if libfm is not None:
            data = movielens("ua", preset="ids")
            ours = _ours(folder / "adam", data, ADAM, columns=False)
            theirs = _libfm(libfm, folder / "libfm-ua", data, "sgd", 64, 30)
            _compare("adam beside libFM SGD", {"ours": ours, "libFM": theirs}, rounds, keep)
        data = movielens("u1", preset="ids")
        ours = _ours(folder / "ids", data, MCMC, columns=True)
        if libfm is not None:
            theirs = _libfm(libfm, folder / "libfm-u1", data, "mcmc", FACTORS, CHAINS * SWEEPS)
            _compare("mcmc beside libFM MCMC", {"ours": ours, "libFM": theirs}, rounds, keep)
        if myfm is not None:
            theirs = _myfm(myfm, folder / "ids.npz", data)
            _compare("mcmc beside myFM, ids", {"ours": ours, "myFM": theirs}, rounds, keep)
            data = movielens("u1", preset="profile")
            ours = _ours(folder / "full", data, MCMC, columns=True)
            theirs = _myfm(myfm, folder / "full.npz", data)
            _compare("mcmc beside myFM, full", {"ours": ours, "myFM": theirs}, rounds, keep)


def _compare(title: str, sides: Mapping[str, Side], rounds: int, keep: Keep) -> None:
    """Run the sides in turn, once untimed and then for each round, whose number is the seed."""
    samples: dict[str, list[Sample]] = {side: [] for side in sides}
    load = os.getloadavg()[0]
    try:
        for number in range(rounds + 1):
            for side, measure in sides.items():
                sample = measure(number)
                if number:
                    samples[side].append(sample)
                    print(
                        f"{title}, round {number}, {side}: {sample['seconds']:.2f} s, "
                        f"{sample['peak']:.0f} MiB, RMSE {sample['rmse']:.4f}",
                        flush=True,
                    )
    except NotMeasuredError as error:
        print(f"{title}: not measured. {error}", flush=True)
        return
    keep(title, {"samples": samples, "load": load})


def _ours(root: Path, data: Data, hyperparameters: Mapping[str, object], *, columns: bool) -> Side:
    write_job(root, data, hyperparameters, columns=columns)
    assert data.test is not None  # noqa: S101 - these have one
    X = data.features.complete(data.test.X) if columns else data.test.X
    y, labels = data.test.y, data.train.y

    def measure(seed: int) -> Sample:
        finished = job(root, seed)
        guessed = artifact.load(root / "model").raw(X).clip(labels.min(), labels.max())
        return _sample(finished, float(np.sqrt(np.mean((guessed - y) ** 2))))

    return measure


def job(root: Path, seed: int) -> Finished:
    """Run ``python -m fmrec.fm train`` in a folder that `write_job` has made."""
    for left in ("model", "output"):
        shutil.rmtree(root / left, ignore_errors=True)
    path = root / "input" / "config" / "hyperparameters.json"
    texts = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(texts | {"_seed": str(seed)}), encoding="utf-8")
    return run(
        [sys.executable, "-m", "fmrec.fm", "train"],
        FMREC_ML_ROOT=str(root),
        PYTHONPATH=str(ROOT / "plugins"),
    )


def _libfm(
    binary: Path, folder: Path, data: Data, method: str, factors: int, iterations: int
) -> Side:
    write_libfm(folder, data)
    command = [str(binary), "-task", "r", "-method", method, "-iter", str(iterations)]
    command += ["-dim", f"1,1,{factors}", "-init_stdev", "0.1"]
    command += ["-train", str(folder / "train.txt"), "-test", str(folder / "test.txt")]
    if method == "sgd":
        command += LIBFM_RATES.split()
    else:
        command += ["-meta", str(folder / "groups.txt")]

    def measure(seed: int) -> Sample:
        finished = run([*command, "-seed", str(seed)])
        return _sample(finished, float(re.findall(r"Test=([0-9.]+)", finished.output)[-1]))

    return measure


def _myfm(python: str, file: Path, data: Data) -> Side:
    write_myfm(file, data)
    script = str(Path(__file__).with_name("bench_myfm.py"))
    sizes = [str(CHAINS * SWEEPS), str(BURN_IN), str(FACTORS)]

    def measure(seed: int) -> Sample:
        finished = run([python, script, str(file), *sizes, str(seed)])
        said = json.loads(finished.output.splitlines()[-1])
        return _sample(finished, said["rmse"]) | {"versions": said["versions"]}

    return measure


def _sample(finished: Finished, rmse: float) -> Sample:
    return {"seconds": finished.seconds, "peak": finished.peak, "rmse": rmse}


def libfm_binary(path: Path) -> Path:
    """Return libFM's binary, given it or its source tree.

    Raises NotMeasuredError when it is not there.
    """
    binary = (path / "bin" / "libFM" if path.is_dir() else path).resolve()
    if not os.access(binary, os.X_OK):
        raise NotMeasuredError(f"{binary} is no program: run `make` in libFM's source tree")
    return binary


def myfm_interpreter(*, install: bool) -> str | None:
    """Return the interpreter of myFM's environment; without ``install`` only one that is there.

    myFM 0.4 imports pkg_resources, which newer setuptools have no more.
    """
    python, done = MYFM_ENVIRONMENT / "bin" / "python", MYFM_ENVIRONMENT / ".complete"
    if not done.exists():
        if not install:
            return None
        print(f"installing {' '.join(MYFM_REQUIREMENTS)} into {MYFM_ENVIRONMENT}", flush=True)
        venv.create(MYFM_ENVIRONMENT, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *MYFM_REQUIREMENTS], check=True)
        done.touch()
    return str(python)


def start(keep: Keep) -> None:
    """Measure a job of one row and one epoch."""
    data = synthetic(1, users=10, items=10)
    with tempfile.TemporaryDirectory(prefix="fmrec-fm-") as name:
        root = Path(name, "one")
        write_job(root, data, {"predictor_type": "regressor", "num_factors": 2}, columns=False)
        job(root, 1)
        load = os.getloadavg()[0]
        samples = []
        for number in range(STARTS):
            finished = job(root, number)
            samples.append({"seconds": finished.seconds, "peak": finished.peak})
            print(f"start {number + 1}: {finished.seconds:.2f} s", flush=True)
    keep("start", {"samples": samples, "load": load})


def memory(keep: Keep, rows: int = MEMORY_ROWS) -> None:
    """Measure the most memory of a job of few epochs, and of the same job with one row."""
    data = synthetic(rows, users=MEMORY_USERS, items=MEMORY_ITEMS)
    cases: dict[str, dict[str, object]] = {
        "adam": {"predictor_type": "regressor", "num_factors": MEMORY_FACTORS, "epochs": 1},
        "mcmc": MCMC | {"iterations": 2, "burn_in": 1, "samples": 2},
    }
    for solver, hyperparameters in cases.items():
        peaks, written = [], 0
        with tempfile.TemporaryDirectory(prefix="fmrec-fm-") as name:
            try:
                for number in (1, rows):
                    part = Data(head(data.train, number), None, data.features)
                    root = Path(name, str(number))
                    written = write_job(root, part, hyperparameters, columns=solver == "mcmc")
                    peaks.append(job(root, 1).peak)
            except NotMeasuredError as error:
                print(f"memory of {solver}: not measured. {error}", flush=True)
                continue
        mib = written / 2**20
        print(f"memory of {solver}: {peaks[1]:.0f} MiB, channel {mib:.0f} MiB", flush=True)
        found = {"rows": rows, "channel": mib, "peak": peaks[1], "one row": peaks[0]}
        with contextlib.suppress(KeyError):
            found["chains"] = hyperparameters["chains"]
        keep(f"memory of {solver}", found)
