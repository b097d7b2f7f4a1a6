"""Going on from the model of an earlier job: channel `model`."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from fmrec import recordio
from fmrec.errors import ConfigurationError, DataError, FmrecError
from fmrec.fm import artifact, features, hyperparameters, train, warm_start
from fmrec.fm.adam import Adam
from fmrec.fm.features import Feature, Features
from fmrec.fm.hyperparameters import Hyperparameters
from fmrec.fm.job import Start
from fmrec.fm.joblog import JobLog
from fmrec.fm.model import Model

KINDS = (Feature("user", "user"), Feature("item", "item"))
OLD = ("user:1", "user:2", "item:7", "item:8", "item:9")
# Reordered, with a new user and a new item; item:9 is gone.
NEW = ("user:2", "user:1", "user:3", "item:8", "item:7", "item:10")


def columns(names: tuple[str, ...]) -> Features:
    kinds = [name.startswith("item") for name in names]
    return Features(KINDS, np.array(kinds, np.int16), names, {})


def a_model(d: int, k: int = 3) -> Model:
    rng = np.random.default_rng(d)
    return Model(
        1.5,
        rng.normal(size=d).astype(np.float32),
        rng.normal(size=(d, k)).astype(np.float32),
        "regressor",
    )


def configure(d: int, k: int = 3, **more: object) -> Hyperparameters:
    required = {"feature_dim": d, "num_factors": k, "predictor_type": "regressor"}
    return hyperparameters.parse(required | more)


def put(folder: Path, model: Model, names: tuple[str, ...] | None, packed: str) -> None:
    """Write a channel: the model in an archive or not, its names likewise."""
    folder.mkdir(parents=True)
    configuration = configure(len(model.w), model.V.shape[1]).configuration
    path = artifact.save(model, folder, configuration)
    text = None if names is None else features.dump(columns(names))
    if packed != "nothing":
        with tarfile.open(folder / "model.tar.gz", "w:gz") as archive:
            archive.add(path, "model_algo-1")
            if text is not None and packed == "all":
                member = tarfile.TarInfo("columns.json")
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text))
        path.unlink()
    if text is not None and packed != "all":
        (folder / "columns.json").write_bytes(text)


def load(
    folder: Path, hp: Hyperparameters, names: tuple[str, ...] | None
) -> tuple[Start | None, str]:
    stream = io.StringIO()
    log = JobLog(stream, lambda: 0.0)
    known = None if names is None else columns(names)
    return warm_start.load(folder, hp, known, log), stream.getvalue()


def test_no_channel_no_start(tmp_path: Path) -> None:
    assert load(tmp_path / "model", configure(5), None)[0] is None
    assert load(tmp_path, configure(5), NEW)[0] is None


@pytest.mark.parametrize("packed", ["all", "model", "nothing"])
def test_columns_are_matched_by_name(tmp_path: Path, packed: str) -> None:
    old = a_model(5)
    put(tmp_path / "model", old, OLD, packed)
    start, log = load(tmp_path / "model", configure(6), NEW)
    assert start is not None
    assert start.known.tolist() == [True, True, False, True, True, False]
    assert start.model.w0 == 1.5
    assert start.model.w.tolist() == [old.w[1], old.w[0], 0, old.w[3], old.w[2], 0]
    assert start.model.V[0].tolist() == old.V[1].tolist()
    assert start.model.V[3].tolist() == old.V[3].tolist()
    assert not start.model.V[2].any()
    assert not start.model.V[5].any()
    assert "4 columns are in this job too, 2 are new, 1 are dropped" in log


@pytest.mark.parametrize(("then", "now"), [(None, None), (OLD, None), (None, OLD)])
def test_without_names_the_columns_must_be_as_many(
    tmp_path: Path, then: tuple[str, ...] | None, now: tuple[str, ...] | None
) -> None:
    old = a_model(5)
    put(tmp_path / "model", old, then, "all")
    start, _ = load(tmp_path / "model", configure(5), now)
    assert start is not None
    assert start.known.all()
    assert start.model.V.tobytes() == old.V.tobytes()
    with pytest.raises(ConfigurationError, match="a model of 5 columns, but feature_dim is 6"):
        load(tmp_path / "model", configure(6), None if now is None else NEW)


def test_a_model_that_does_not_fit(tmp_path: Path) -> None:
    put(tmp_path / "model", a_model(5), OLD[:4], "nothing")
    with pytest.raises(ConfigurationError, match=r"model of 5 columns and a columns\.json of 4"):
        load(tmp_path / "model", configure(6), NEW)
    with pytest.raises(ConfigurationError, match="holds a regressor, but predictor_type is 'bin"):
        load(tmp_path / "model", configure(5, predictor_type="binary_classifier"), None)
    (tmp_path / "model" / "columns.json").write_text("{}")
    with pytest.raises(DataError, match=r"model/columns\.json is not what"):
        load(tmp_path / "model", configure(6), NEW)
    (tmp_path / "model" / "model_algo-1").write_bytes(b"nonsense")
    with pytest.raises(FmrecError):
        load(tmp_path / "model", configure(5), None)
    (tmp_path / "model" / "model_algo-1").unlink()
    with pytest.raises(DataError, match=r"holds no model_algo-1 and no model\.tar\.gz"):
        load(tmp_path / "model", configure(5), None)


def test_adam_starts_from_what_is_known_and_draws_the_rest() -> None:
    known = np.array([True, False, True, True])
    start = Start(a_model(4), known)
    nothing = sparse.csr_matrix((1, 4), dtype=np.float32)
    drawn, warm = (
        Adam(configure(4), nothing, np.zeros(1, np.float32), start=given).model()
        for given in (None, start)
    )
    assert warm.w0 == 1.5
    for ours, theirs, usual in (
        (warm.w, start.model.w, drawn.w),
        (warm.V, start.model.V, drawn.V),
    ):
        assert ours[known].tolist() == theirs[known].tolist()
        assert ours[~known].tolist() == usual[~known].tolist()
        assert usual[~known].all()


def test_switched_off_groups_stay_zero_in_a_warm_start() -> None:
    hp = configure(4, use_bias="false", use_linear="false")
    start = Start(a_model(4), np.ones(4, np.bool_))
    nothing = sparse.csr_matrix((1, 4), dtype=np.float32)
    model = Adam(hp, nothing, np.zeros(1, np.float32), start=start).model()
    assert model.w0 == 0
    assert not model.w.any()
    assert model.V.tobytes() == start.model.V.tobytes()


def one_hot(rows: int, names: tuple[str, ...], seed: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Rows of one user and one item each; the rating depends on the names alone."""
    rng = np.random.default_rng(seed)
    users = [n for n, name in enumerate(names) if name.startswith("user")]
    items = [n for n, name in enumerate(names) if name.startswith("item")]
    keys = np.column_stack([rng.choice(users, rows), rng.choice(items, rows)])
    worth = np.array([int(name.split(":")[1]) for name in names])
    X = sparse.csr_matrix(
        (np.ones(2 * rows), keys.ravel(), np.arange(0, 2 * rows + 1, 2)), shape=(rows, len(names))
    )
    return X, worth[keys].sum(axis=1) / 5


def lay_out(ml_root: Path, names: tuple[str, ...], **more: object) -> None:
    config = ml_root / "input" / "config"
    config.mkdir(parents=True, exist_ok=True)
    rates = {"bias_lr": 0.02, "linear_lr": 0.02, "factors_lr": 0.02, "mini_batch_size": 50}
    texts = configure(len(names), **(rates | more)).configuration
    (config / "hyperparameters.json").write_text(json.dumps(texts))
    data = ml_root / "input" / "data"
    for name, content in (
        ("train/part", recordio.encode(*one_hot(500, names, 1))),
        ("features/columns.json", features.dump(columns(names))),
    ):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(content)


def test_a_job_goes_on_in_a_space_that_has_grown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model of one job, its names beside it, is the next job's channel as it is."""
    first, second = tmp_path / "first", tmp_path / "second"
    lay_out(first, OLD, epochs=60)
    assert train.main(first, lambda: 0.0, threading.Event()) == 0
    assert sorted(path.name for path in (first / "model").iterdir()) == [
        "columns.json",
        "model_algo-1",
    ]
    # Without steps of any size the second job's model is its start.
    lay_out(second, NEW, bias_lr=0, linear_lr=0, factors_lr=0)
    (first / "model").rename(second / "input" / "data" / "model")
    assert train.main(second, lambda: 0.0, threading.Event()) == 0
    old = artifact.load(second / "input" / "data" / "model")
    new = artifact.load(second / "model")
    old_rows, new_rows = [1, 0, 3, 2], [0, 1, 3, 4]
    assert new.V[new_rows].tolist() == old.V[old_rows].tolist()
    X, y = one_hot(200, NEW[:2] + NEW[3:5], 9)
    seen = sparse.csr_matrix((X.data, np.array(new_rows)[X.indices], X.indptr), shape=(200, 6))
    assert np.sqrt(np.mean((new.score(seen) - y) ** 2)) < 0.1
    assert "4 columns are in this job too, 2 are new, 1 are dropped" in capsys.readouterr().out


def test_adam_needs_as_many_factors_as_there_were(tmp_path: Path) -> None:
    lay_out(tmp_path, OLD)
    put(tmp_path / "input" / "data" / "model", a_model(5, 4), OLD, "all")
    assert train.main(tmp_path, lambda: 0.0, threading.Event()) == 1
    assert (tmp_path / "output" / "failure").read_text() == (
        "AlgorithmError: channel 'model' holds a model of 4 factors, but num_factors is 3: "
        "solver adam goes on with as many as there were"
    )
