"""The state of a job that survives its process."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from fmrec import recordio
from fmrec.fm import artifact, checkpoints, train
from fmrec.fm.channels import Rows
from fmrec.fm.checkpoints import Folder
from fmrec.fm.joblog import JobLog

MARK = b"m" * 32
STATE = {"V": np.arange(6, dtype=np.float32).reshape(2, 3), "epoch": np.array(7)}


def folder(path: Path, mark: bytes = MARK, rank: int = 0) -> tuple[Folder, io.StringIO]:
    stream = io.StringIO()
    return Folder(path, mark, rank, JobLog(stream, lambda: 0.0)), stream


def test_without_the_folder_nothing_is_kept(tmp_path: Path) -> None:
    kept, log = folder(tmp_path / "checkpoints")
    kept.save(STATE)
    assert kept.load() is None
    assert not (tmp_path / "checkpoints").exists()
    assert "Checkpoint loading and saving are disabled." in log.getvalue()


def test_the_last_state_comes_back_to_the_bit(tmp_path: Path) -> None:
    kept, log = folder(tmp_path)
    assert kept.load() is None
    kept.save({"V": np.zeros(1)})
    kept.save(STATE)
    again, log = folder(tmp_path)
    state = again.load()
    assert state is not None
    assert set(state) == set(STATE)
    for name, array in STATE.items():
        assert (state[name].dtype, state[name].shape) == (array.dtype, array.shape)
        assert state[name].tobytes() == array.tobytes()
    assert f"Going on from the checkpoint {tmp_path}/state-0.npz" in log.getvalue()
    # SageMaker copies the hosts' folders to one place.
    assert folder(tmp_path, rank=1)[0].load() is None
    assert [path.name for path in tmp_path.iterdir()] == ["state-0.npz"]


def test_a_state_of_another_job_is_left_alone(tmp_path: Path) -> None:
    folder(tmp_path)[0].save(STATE)
    other, log = folder(tmp_path, b"n" * 32)
    assert other.load() is None
    assert "WARNING" in log.getvalue()
    assert "of a job with another configuration or other data: training starts anew" in (
        log.getvalue()
    )


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "flipped", "without mark", "pickled"])
def test_a_damaged_state_is_told_and_left_alone(tmp_path: Path, damage: str) -> None:
    kept, _ = folder(tmp_path)
    kept.save(STATE)
    path = tmp_path / "state-0.npz"
    whole = path.read_bytes()
    if damage == "without mark":
        np.savez(path, **STATE)
    elif damage == "pickled":
        np.savez(path, fingerprint=np.array([{}], object))
    else:
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 0xFF
        contents = {"cut": whole[:-30], "empty": b"", "text": b"{}", "flipped": bytes(flipped)}
        path.write_bytes(contents[damage])
    again, log = folder(tmp_path)
    assert again.load() is None
    assert "is damaged" in log.getvalue()
    assert "training starts anew" in log.getvalue()


def test_a_crash_while_saving_leaves_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, _ = folder(tmp_path)
    kept.save(STATE)

    def crash(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="no space left"):
        kept.save({"V": np.zeros(1)})
    state = folder(tmp_path)[0].load()
    assert state is not None
    assert int(state["epoch"]) == 7
    monkeypatch.undo()
    kept.save({"V": np.zeros(1)})
    assert [path.name for path in tmp_path.iterdir()] == ["state-0.npz"]


def test_a_fingerprint_is_of_configuration_files_and_rows() -> None:
    files = {"features": [("a", 3), ("b", 4)], "model": []}
    X = sparse.csr_matrix(np.eye(3, dtype=np.float32))
    rows = Rows(X, np.ones(3, np.float32))
    mark = checkpoints.fingerprint({"epochs": "3", "solver": "adam"}, files, rows)
    assert len(mark) == 32
    assert mark == checkpoints.fingerprint({"solver": "adam", "epochs": "3"}, files, rows)
    assert mark != checkpoints.fingerprint({"epochs": "4", "solver": "adam"}, files, rows)
    for other in (
        files | {"features": [("a", 3), ("b", 5)]},
        files | {"features": [("a", 3), ("c", 4)]},
        files | {"model": [("model.tar.gz", 1)]},
    ):
        assert mark != checkpoints.fingerprint({"epochs": "3", "solver": "adam"}, other, rows)
    for data in (Rows(X, np.array([1, 1, 2], np.float32)), Rows(X[[1, 0, 2]], rows.labels)):
        assert mark != checkpoints.fingerprint({"epochs": "3", "solver": "adam"}, files, data)


def job(ml_root: Path, *, checkpointed: bool = True, **more: object) -> None:
    config = ml_root / "input" / "config"
    config.mkdir(parents=True, exist_ok=True)
    required = {"feature_dim": 12, "num_factors": 3, "predictor_type": "regressor"}
    values = {"mini_batch_size": 10, "epochs": 6, "batch_metrics_publish_interval": 4} | more
    texts = {name: str(value) for name, value in (required | values).items()}
    (config / "hyperparameters.json").write_text(json.dumps(texts))
    rng = np.random.default_rng(3)
    keys = np.column_stack([rng.integers(0, 5, 95), rng.integers(5, 12, 95)]).ravel()
    X = sparse.csr_matrix((np.ones(190), keys, np.arange(0, 191, 2)), shape=(95, 12))
    data = ml_root / "input" / "data" / "train"
    data.mkdir(parents=True, exist_ok=True)
    (data / "part").write_bytes(recordio.encode(X, rng.normal(size=95)))
    if checkpointed:
        (ml_root / "checkpoints").mkdir(exist_ok=True)


def run(ml_root: Path, stop_at: int = 1 << 60) -> int:
    """Run a job; each look at the clock takes a second, and the look ``stop_at`` stops it."""
    stop, ticks = threading.Event(), itertools.count()

    def clock() -> float:
        tick = next(ticks)
        if tick == stop_at:
            stop.set()
        return float(tick)

    return train.main(ml_root, clock, stop)


def lines(log: str, what: str) -> list[str]:
    return re.findall(rf"{what} rmse <loss>=\S+", log)


EPOCH = r"epoch=\d+, train"


@pytest.mark.parametrize("stop_at", [40, 55, 70, 77, 91])
def test_a_stopped_job_goes_on_as_if_it_had_not_been(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stop_at: int
) -> None:
    job(tmp_path / "whole", checkpointed=False)
    assert run(tmp_path / "whole") == 0
    undisturbed = capsys.readouterr().out
    job(tmp_path / "parts")
    assert run(tmp_path / "parts", stop_at) == 0
    before = capsys.readouterr().out
    assert "Stopped on request" in before
    assert run(tmp_path / "parts") == 0
    after = capsys.readouterr().out
    assert artifact.load(tmp_path / "parts" / "model").V.tobytes() == (
        artifact.load(tmp_path / "whole" / "model").V.tobytes()
    )
    # The metrics go on too, those of the epoch that was interrupted among them.
    assert lines(before, EPOCH) + lines(after, EPOCH) == lines(undisturbed, EPOCH)
    batch = r"epoch=\d+, batch=\d+ train"
    assert lines(before, batch) + lines(after, batch) == lines(undisturbed, batch)
    assert lines(after, "host=algo-1, train") == lines(undisturbed, "host=algo-1, train")


def test_a_finished_job_that_is_asked_for_again_gives_the_same_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job(tmp_path)
    run(tmp_path)
    first = (tmp_path / "model" / "model_algo-1").read_bytes()
    kept = (tmp_path / "checkpoints" / "state-0.npz").stat().st_mtime_ns
    final = lines(capsys.readouterr().out, "host=algo-1, train")
    (tmp_path / "model" / "model_algo-1").unlink()
    assert run(tmp_path) == 0
    assert (tmp_path / "model" / "model_algo-1").read_bytes() == first
    log = capsys.readouterr().out
    assert "6 epochs and 0 batches are done already" in log
    assert lines(log, "host=algo-1, train") == final
    assert (tmp_path / "checkpoints" / "state-0.npz").stat().st_mtime_ns == kept


@pytest.mark.parametrize("change", ["configuration", "data"])
def test_a_changed_job_starts_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    job(tmp_path)
    run(tmp_path)
    if change == "data":
        (tmp_path / "input" / "data" / "train" / "more").write_bytes(
            recordio.encode(sparse.csr_matrix(np.eye(12)), np.ones(12))
        )
    else:
        job(tmp_path, epochs=7)
    capsys.readouterr()
    assert run(tmp_path) == 0
    log = capsys.readouterr().out
    assert "another configuration or other data: training starts anew" in log
    assert "epoch=0, train" in log


def test_states_are_kept_at_the_ends_of_epochs_but_not_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[float] = []
    times = itertools.count(0, 0.05)
    now = [0.0]

    def clock() -> float:
        now[0] = next(times)
        return now[0]

    job(tmp_path, epochs=200)
    monkeypatch.setattr(Folder, "save", lambda *_: kept.append(now[0]))
    assert train.main(tmp_path, clock, threading.Event()) == 0
    assert len(kept) > 5
    assert np.diff(kept[:-1]).min() >= 2.0  # the last one is that of the last epoch
