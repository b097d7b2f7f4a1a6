"""Training jobs of several hosts, each a real process with an address of its own. About 20 s."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from fmrec import recordio
from fmrec.fm import artifact
from fmrec.fm.batches import interleaved
from fmrec.fm.model import Model

pytestmark = pytest.mark.e2e

NAMES = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
D, ROWS = 12, 95
# The last batch of 95 rows in tens is filled.
CONFIGURATION = {
    "feature_dim": str(D),
    "num_factors": "3",
    "predictor_type": "regressor",
    "mini_batch_size": "10",
    "epochs": "3",
    "linear_lr": "0.05",
    "factors_lr": "0.05",
    "factors_init_sigma": "0.3",
}
FOREVER = {"epochs": "100000000"}


def rows(count: int, seed: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    rng = np.random.default_rng(seed)
    keys = np.column_stack([rng.integers(0, 5, count), rng.integers(5, D, count)]).ravel()
    values = rng.uniform(0.5, 1.5, 2 * count)
    X = sparse.csr_matrix((values, keys, np.arange(0, 2 * count + 1, 2)), shape=(count, D))
    return X, rng.normal(3, 1, count).astype(np.float32)


X, Y = rows(ROWS, 0)
TEST = rows(20, 1)
PARTS = [slice(0, 40), slice(40, 70), slice(70, 95)]


@pytest.fixture
def port() -> str:
    with socket.create_server((NAMES[0], 0)) as server:
        return str(server.getsockname()[1])


def lay_out(
    ml_root: Path,
    parts: dict[str, tuple[sparse.csr_matrix, np.ndarray]],
    test: tuple[sparse.csr_matrix, np.ndarray] | None = TEST,
    resources: dict[str, object] | None = None,
    distribution: str = "FullyReplicated",
    **more: str,
) -> None:
    config = ml_root / "input" / "config"
    config.mkdir(parents=True)
    (config / "hyperparameters.json").write_text(json.dumps(CONFIGURATION | more))
    channels = {name: {"S3DistributionType": distribution} for name in ("train", "test")}
    (config / "inputdataconfig.json").write_text(json.dumps(channels))
    (config / "resourceconfig.json").write_text(json.dumps(resources or {}))
    for name, (features, labels) in parts.items():
        path = ml_root / "input" / "data" / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(recordio.encode(features, labels))
    if test is not None:
        path = ml_root / "input" / "data" / "test" / "part"
        path.parent.mkdir(parents=True)
        path.write_bytes(recordio.encode(*test))


def start(ml_root: Path, port: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fmrec.fm", "train"],
        env=os.environ | {"FMREC_ML_ROOT": str(ml_root), "FMREC_HOSTS_PORT": port} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    log, _ = process.communicate(timeout=120)
    return log


def together(
    folder: Path, hosts: int, parts: list[dict[str, object]], port: str, **more: str
) -> list[str]:
    """Lay out and run a job whose hosts have the files of ``parts``; return their logs."""
    for name, files in zip(NAMES[:hosts], parts, strict=True):
        resources = {"hosts": NAMES[:hosts], "current_host": name}
        lay_out(folder / name, files, resources=resources, **more)
    # The first host comes last: the others have to wait for it.
    processes = [start(folder / name, port) for name in reversed(NAMES[:hosts])]
    logs = [finish(process) for process in processes]
    assert [process.returncode for process in processes] == [0] * hosts, logs
    return logs[::-1]


def alone(folder: Path, order: np.ndarray) -> tuple[Model, str]:
    lay_out(folder, {"all": (X[order], Y[order])})
    process = start(folder, "0")
    log = finish(process)
    assert process.returncode == 0, log
    return artifact.load(folder / "model"), log


def assert_same(first: Model, second: Model) -> None:
    assert first.w0 == pytest.approx(second.w0, rel=1e-5)
    np.testing.assert_allclose(first.w, second.w, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(first.V, second.V, rtol=1e-5, atol=1e-6)


def values(log: str, what: str) -> list[float]:
    return [float(value) for value in re.findall(rf"{what} <loss>=(\S+)", log)]


@pytest.mark.parametrize("hosts", [2, 3])
def test_hosts_that_all_have_all_rows_train_what_one_host_trains(
    tmp_path: Path, port: str, hosts: int
) -> None:
    files = {f"part-{n}": (X[part], Y[part]) for n, part in enumerate(PARTS)}
    logs = together(tmp_path, hosts, [files] * hosts, port)
    model, log = alone(tmp_path / "alone", np.arange(ROWS))
    assert_same(artifact.load(tmp_path / NAMES[0] / "model"), model)
    assert all("All hosts hold the same parameters" in each for each in logs)
    # The first host alone saves, and reports on the test rows.
    assert not any((tmp_path / name / "model").exists() for name in NAMES[1:hosts])
    assert [len(values(each, "test rmse")) for each in logs] == [1] + [0] * (hosts - 1)
    assert values(logs[0], "test rmse") == pytest.approx(values(log, "test rmse"), rel=1e-5)
    # Each reports on its share of the training rows: of ten batches of ten, the filled one too.
    shares = [10 * len(range(rank, 10, hosts)) for rank in range(hosts)]
    mse = [values(each, "epoch=2, train mse")[0] for each in logs]
    assert [np.average(mse, weights=shares)] == pytest.approx(
        values(log, "epoch=2, train mse"), rel=1e-5
    )


@pytest.mark.parametrize("hosts", [2, 3])
def test_hosts_that_have_their_own_rows_train_what_one_host_trains_on_all(
    tmp_path: Path, port: str, hosts: int
) -> None:
    owner = [n % hosts for n in range(len(PARTS))]
    own = [
        np.concatenate([np.arange(ROWS)[p] for p, o in zip(PARTS, owner, strict=True) if o == rank])
        for rank in range(hosts)
    ]
    parts = [{"part": (X[each], Y[each])} for each in own]
    logs = together(tmp_path, hosts, parts, port, distribution="ShardedByS3Key")
    of, at = interleaved([len(each) for each in own])
    union = np.array([own[rank][row] for rank, row in zip(of, at, strict=True)])
    assert sorted(union) == list(range(ROWS))
    model, _ = alone(tmp_path / "alone", union)
    assert_same(artifact.load(tmp_path / NAMES[0] / "model"), model)
    assert all("All hosts hold the same parameters" in log for log in logs)
    # Each host had the same 20 test rows: the error of all of them is that of one.
    error = model.score(TEST[0]) - TEST[1]
    assert values(logs[0], "test rmse") == pytest.approx([np.sqrt(np.mean(error**2))], rel=1e-4)


@pytest.mark.parametrize("chains", ["1", "3"])
def test_chains_on_two_hosts_are_those_of_one_to_the_bit(
    tmp_path: Path, port: str, chains: str
) -> None:
    own = {"solver": "mcmc", "iterations": "8", "burn_in": "2", "chains": chains, "samples": "9"}
    files = {f"part-{n}": (X[part], Y[part]) for n, part in enumerate(PARTS)}
    together(tmp_path, 2, [files] * 2, port, **own)
    lay_out(tmp_path / "alone", files, **own)
    process = start(tmp_path / "alone", "0")
    log = finish(process)
    assert process.returncode == 0, log
    written = [
        (tmp_path / name / "model" / "model_algo-1").read_bytes() for name in (NAMES[0], "alone")
    ]
    assert written[0] == written[1]


def test_a_host_without_files_takes_part(tmp_path: Path, port: str) -> None:
    parts: list[dict[str, object]] = [{"part": (X, Y)}, {}]
    logs = together(tmp_path, 2, parts, port, distribution="ShardedByS3Key")
    model, _ = alone(tmp_path / "alone", np.arange(ROWS))
    assert_same(artifact.load(tmp_path / NAMES[0] / "model"), model)
    assert "train rmse" not in logs[1]


def run_forever(folder: Path, port: str) -> list[subprocess.Popen[str]]:
    """Three hosts, all of which have trained for an epoch."""
    for name in NAMES:
        resources = {"hosts": NAMES, "current_host": name}
        lay_out(folder / name, {"part": (X, Y)}, resources=resources, **FOREVER)
    processes = [start(folder / name, port) for name in NAMES]
    for process in processes:
        assert process.stdout is not None
        while "epoch=1, train rmse" not in process.stdout.readline():
            assert process.poll() is None
    return processes


@pytest.mark.parametrize("victim", [0, 2])
def test_a_host_that_is_killed_fails_the_others(tmp_path: Path, port: str, victim: int) -> None:
    processes = run_forever(tmp_path, port)
    processes[victim].kill()
    logs = [finish(process) for process in processes]
    for rank, name in enumerate(NAMES):
        if rank != victim:
            assert processes[rank].returncode == 1, logs[rank]
            failure = (tmp_path / name / "output" / "failure").read_text()
            assert failure.startswith(f"AlgorithmError: host {NAMES[victim]} vanished"), failure


def test_a_stop_of_one_host_stops_all_and_saves_the_model(tmp_path: Path, port: str) -> None:
    processes = run_forever(tmp_path, port)
    processes[1].send_signal(signal.SIGTERM)
    logs = [finish(process) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert all("Stopped on request" in log for log in logs)
    assert all("All hosts hold the same parameters" in log for log in logs)
    assert artifact.load(tmp_path / NAMES[0] / "model").feature_dim == D


def test_a_host_that_fails_tells_the_others_why(tmp_path: Path, port: str) -> None:
    names = NAMES[:2]
    bad = Y.copy()
    bad[7] = np.nan
    for name, labels in zip(names, (Y, bad), strict=True):
        resources = {"hosts": names, "current_host": name}
        lay_out(tmp_path / name, {"part": (X, labels)}, resources=resources)
    processes = [start(tmp_path / name, port) for name in names]
    logs = [finish(process) for process in processes]
    assert [process.returncode for process in processes] == [1, 1], logs
    reason = "train/part: record 7 (counted from 0) has the label nan"
    failures = [(tmp_path / name / "output" / "failure").read_text() for name in names]
    assert failures[1].startswith(f"AlgorithmError: {reason}")
    assert failures[0].startswith(f"AlgorithmError: host {names[1]} failed: {reason}")


@pytest.mark.parametrize(("came", "missing"), [(0, 1), (1, 0)])
def test_a_host_that_does_not_come_is_named(
    tmp_path: Path, port: str, came: int, missing: int
) -> None:
    resources = {"hosts": NAMES[:2], "current_host": NAMES[came]}
    lay_out(tmp_path, {"part": (X, Y)}, resources=resources)
    process = start(tmp_path, port, FMREC_HOSTS_PATIENCE="0.5")
    log = finish(process)
    assert process.returncode == 1
    assert f"AlgorithmError: host {NAMES[missing]} did not come within 0.5 s" in log
