"""Training jobs of k-NN and what both algorithms refuse, in this process."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from built_in_jobs import RECORDIO, failure, lay_out, run
from fm_jobs import StopAfter
from fmrec import recordio
from fmrec.local_aws.built_in import channels, csv_rows, knn_model
from fmrec.local_aws.built_in.channels import Channel

D = 4
RNG = np.random.default_rng(1)
X = RNG.integers(-3, 4, (40, D)).astype(np.float32)
LABELS = RNG.integers(0, 3, 40).astype(np.float32)
KNN = {"feature_dim": "4", "k": "3", "predictor_type": "classifier", "sample_size": "1000"}
KMEANS = {"feature_dim": "4", "k": "3"}


def csv(*columns: np.ndarray) -> bytes:
    rows = np.column_stack(columns).tolist()
    return "".join(",".join(map(repr, row)) + "\n" for row in rows).encode()


def files_of(model: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in model.iterdir()}


FORMS: dict[str, tuple[dict[str, bytes], str | None]] = {
    "dense": ({"part": recordio.encode_dense(X, LABELS)}, None),
    "sparse": ({"part": recordio.encode(sparse.csr_matrix(X), LABELS)}, RECORDIO),
    "csv": ({"part": csv(LABELS, X)}, "text/csv;label_size=1"),
    "csv, label by default": ({"part": csv(LABELS, X)}, "text/csv"),
    "csv with other line ends": (
        {"part": csv(LABELS, X).replace(b"\n", b"\r\n") + b"\n\n"},
        "text/csv; label_size=1; charset=utf-8",
    ),
    "many files": (
        {
            "b/2": recordio.encode_dense(X[15:], LABELS[15:]),
            "a": b"",
            "b/1": recordio.encode(sparse.csr_matrix(X[:15]), LABELS[:15]),
        },
        None,
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_records_are_indexed_in_their_order_whatever_their_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    files, content_type = FORMS[form]
    types = {"train": content_type} if content_type else {}
    lay_out(tmp_path, KNN | {"mini_batch_size": "7"}, {"train": files}, types)
    code, log = run("knn", tmp_path, capsys)
    assert code == 0, log
    model = knn_model.load(tmp_path / "model")
    assert model.index.vectors.tolist() == X.tolist()
    assert model.labels.tolist() == LABELS.tolist()
    assert (model.k, model.predictor_type) == (3, "classifier")
    assert "...done (40)" in log
    assert "pulled... worker 0 data (40, 4) labels (40, 1) nans 0" in log
    assert '"Algorithm": "AWS/KNN"' in log
    assert "Test data is not provided." in log


def test_a_sample_is_taken_without_replacement_and_always_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = np.arange(500, dtype=np.float32)
    rows = np.stack([numbers] * D, axis=1)
    data = {"train": recordio.encode_dense(rows, numbers)}
    samples = []
    for name in ("one", "two"):
        lay_out(tmp_path / name, KNN | {"sample_size": "60", "mini_batch_size": "50"}, data)
        assert run("knn", tmp_path / name, capsys)[0] == 0
        model = knn_model.load(tmp_path / name / "model")
        assert (model.index.vectors[:, 0] == model.labels).all()
        assert len(np.unique(model.labels)) == 60
        assert (np.diff(model.labels) > 0).all()
        assert model.labels.max() > 400
        samples.append(files_of(tmp_path / name / "model"))
    assert samples[0] == samples[1]


@pytest.mark.parametrize("predictor_type", ["classifier", "regressor"])
def test_the_test_channel_is_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], predictor_type: str
) -> None:
    rng = np.random.default_rng(2)
    rows, labels = rng.normal(size=(90, D)), rng.integers(0, 4, 90)
    test, truth = rng.normal(size=(33, D)), rng.integers(0, 4, 33)
    lay_out(
        tmp_path,
        KNN | {"predictor_type": predictor_type, "mini_batch_size": "10"},
        {"train": recordio.encode_dense(rows, labels), "test": recordio.encode_dense(test, truth)},
    )
    code, log = run("knn", tmp_path, capsys)
    assert code == 0
    single, queries = rows.astype(np.float32), test.astype(np.float32)
    nearest = np.square(queries[:, None] - single).sum(axis=2).argsort(axis=1)[:, :3]
    chosen = labels[nearest]
    if predictor_type == "regressor":
        name, tag = "mse", "<loss>"
        value = float(np.mean((chosen.mean(axis=1).astype(np.float32) - truth) ** 2))
    else:
        name, tag = "accuracy", "<score>"
        votes = [np.bincount(row).argmax() for row in chosen]
        value = float(np.mean(votes == truth))
    (scored,) = re.findall(rf"#test_score \(algo-1\) : \('{name}', (\S+)\)", log)
    assert float(scored) == pytest.approx(value, rel=1e-6)
    assert f"#quality_metric: host=algo-1, test {name} {tag}={scored}" in log


@pytest.mark.parametrize("kind", ["sign", "fjlt"])
def test_dimension_reduction_keeps_neighbours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(100, 64)).astype(np.float32)
    reduced = {"dimension_reduction_type": kind, "dimension_reduction_target": "32"}
    lay_out(
        tmp_path,
        KNN | {"feature_dim": "64", "k": "1"} | reduced,
        {"train": recordio.encode_dense(rows, np.arange(100))},
    )
    assert run("knn", tmp_path, capsys)[0] == 0
    meta = json.loads((tmp_path / "model" / "model_algo-1.json").read_text())
    assert meta["dimension_reduction"]["target_dim"] == 32
    model = knn_model.load(tmp_path / "model")
    assert model.index.vectors.shape == (100, 32)
    noisy = rows + rng.normal(0, 0.1, rows.shape).astype(np.float32)
    (block,) = model.answers(noisy)
    assert block.predicted.tolist() == list(range(100))


def test_columns_are_filled_up_for_sub_vectors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = np.random.default_rng(4).normal(size=(400, 6)).astype(np.float32)
    given = {"feature_dim": "6", "index_type": "faiss.IVFPQ", "faiss_index_pq_m": "4"}
    lay_out(tmp_path, KNN | given, {"train": recordio.encode_dense(rows, np.zeros(400))})
    assert run("knn", tmp_path, capsys)[0] == 0
    model = knn_model.load(tmp_path / "model")
    assert model.feature_dim == 6
    assert model.index.vectors.shape == (400, 8)
    assert next(model.answers(rows[:2])).distances.shape == (2, 3)


def test_a_stop_keeps_what_was_read_so_far(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"train": recordio.encode_dense(X, LABELS)}
    lay_out(tmp_path / "later", KNN | {"mini_batch_size": "10"}, data)
    code, log = run("knn", tmp_path / "later", capsys, StopAfter(2))
    assert code == 0
    assert "Stopped on request: the model holds the records that were read so far" in log
    assert len(knn_model.load(tmp_path / "later" / "model").labels) == 20
    lay_out(tmp_path / "at once", KNN, data)
    code, log = run("knn", tmp_path / "at once", capsys, StopAfter(0))
    assert code == 0
    assert "Stopped before the first batch was read" in log
    assert not (tmp_path / "at once" / "model").exists()


def bad(value: float, at: tuple[int, int]) -> bytes:
    rows = X.copy()
    rows[at] = value
    return recordio.encode_dense(rows, LABELS)


GOOD = recordio.encode_dense(X, LABELS)
WIDE = recordio.encode_dense(np.ones((5, D + 1)), np.zeros(5))
HUGE = recordio.encode(sparse.csr_matrix(([1.0], ([0], [1 << 40])), (1, 1 << 41)), [1])
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "no hyperparameters": ("knn", {"hyperparameters": {}}, r"No value\(s\) were specified for"),
    "an unknown hyperparameter": (
        "kmeans",
        {"hyperparameters": KMEANS | {"kk": "1"}},
        r"Additional properties are not allowed \('kk' was unexpected\)",
    ),
    "no train channel": ("knn", {"channels": {}}, "channel 'train' holds no records"),
    "an empty file": ("kmeans", {"channels": {"train": b""}}, "channel 'train' holds no records"),
    "an empty CSV file": (
        "knn",
        {"channels": {"train": b"\n\n"}, "types": {"train": "text/csv"}},
        "channel 'train' holds no records",
    ),
    "another channel": (
        "knn",
        {"channels": {"train": GOOD, "validation": GOOD}},
        r"Additional properties are not allowed \('validation' was unexpected\)",
    ),
    "another width": (
        "knn",
        {"channels": {"train": {"a": GOOD, "sub/b": WIDE}}},
        "cannot copy sequence with size 5 to array axis with dimension 4: the records of "
        "train/sub/b have 5 features, but feature_dim is 4",
    ),
    "an impossible width": ("kmeans", {"channels": {"train": HUGE}}, "cannot copy sequence with"),
    "a width that the label explains": (
        "kmeans",
        {"channels": {"train": csv(X)}, "types": {"train": "text/csv"}},
        r"cannot copy sequence with size 3 .* of train/part \(label_size 1\) have 3 features",
    ),
    "another width in the test channel": (
        "knn",
        {"channels": {"train": GOOD, "test": WIDE}},
        "cannot copy .* the records of test/part have 5 features",
    ),
    "a value that is no number": (
        "knn",
        {"channels": {"train": {"a": GOOD, "b": bad(np.nan, (9, 2))}}, "batch": "4"},
        r"train/b: record 9 \(counted from 0\) holds a value that is no finite",
    ),
    "an infinite value": (
        "kmeans",
        {"channels": {"train": bad(np.inf, (0, 0))}},
        r"train/part: record 0 \(counted from 0\) holds a value",
    ),
    "NaN in CSV": (
        "knn",
        {"channels": {"train": b"1,2,3,4,5\n1,2,nan,4,5\n"}, "types": {"train": "text/csv"}},
        r"train/part: record 1 \(counted from 0\) holds a value",
    ),
    "a header": (
        "knn",
        {"channels": {"train": b"label,a,b,c,d\n1,2,3,4,5\n"}, "types": {"train": "text/csv"}},
        "train/part: could not convert string 'label' to float64 at row 0, column 1.*header",
    ),
    "ragged lines": (
        "knn",
        {"channels": {"train": b"1,2,3,4,5\n1,2,3\n"}, "types": {"train": "text/csv"}},
        "train/part: the number of columns changed from 5 to 3 at row 2",
    ),
    "not text": (
        "knn",
        {"channels": {"train": b"\xff\xfe1,2\n"}, "types": {"train": "text/csv"}},
        "train/part: 'utf-8' codec",
    ),
    "no labels": (
        "knn",
        {"channels": {"train": recordio.encode_dense(X, None)}},
        "the records of train/part have no labels",
    ),
    "a label that is no number": (
        "knn",
        {"channels": {"train": recordio.encode_dense(X, np.where(LABELS > 1, np.nan, LABELS))}},
        r"train/part: record \d+ \(counted from 0\) has the label nan",
    ),
    "CSV without labels": (
        "knn",
        {"channels": {"train": csv(X)}, "types": {"train": "text/csv;label_size=0"}},
        "channel 'train' has label_size=0, but this algorithm needs one label",
    ),
    "a label size that is no number": (
        "kmeans",
        {"channels": {"train": csv(X)}, "types": {"train": "text/csv;label_size=one"}},
        "the content type has label_size='one': set a whole number",
    ),
    "no RecordIO": (
        "knn",
        {"channels": {"train": b"1,2,3,4,5\n" * 9}},
        r"train/part: record 0 \(counted from 0\), byte 0: found 0x",
    ),
    "another content type": (
        "kmeans",
        {"channels": {"train": GOOD}, "types": {"train": "application/json"}},
        "channel 'train' has ContentType 'application/json': this algorithm reads",
    ),
    "more neighbours than records": (
        "knn",
        {"hyperparameters": KNN | {"k": "41"}},
        "k is 41, but the sample of channel 'train' holds 40 records",
    ),
    "more neighbours than the sample": (
        "knn",
        {"hyperparameters": KNN | {"k": "11", "sample_size": "10"}},
        "k is 11, but the sample of channel 'train' holds 10 records",
    ),
    "too many cells": (
        "knn",
        {"hyperparameters": KNN | {"index_type": "faiss.IVFFlat", "faiss_index_ivf_nlists": "41"}},
        r"Number of training points \(40\) should be at least as large as number of clusters",
    ),
    "two hosts": (
        "kmeans",
        {"resourceconfig": {"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]}},
        "kmeans trains here on one instance, but the job has 2: set InstanceCount to 1",
    ),
    "Pipe": (
        "knn",
        {"inputdataconfig": {"train": {"TrainingInputMode": "Pipe"}}},
        "channel 'train' has TrainingInputMode 'Pipe': use File or FastFile",
    ),
}


@pytest.mark.parametrize(("algorithm", "job", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_trained_on_is_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    algorithm: str,
    job: dict[str, Any],
    message: str,
) -> None:
    required = KNN if algorithm == "knn" else KMEANS
    rest = {key: value for key, value in job.items() if key.endswith("config")}
    hyperparameters = job.get("hyperparameters", required)
    if "batch" in job:
        hyperparameters = hyperparameters | {"mini_batch_size": job["batch"]}
    channels = job.get("channels", {"train": GOOD})
    lay_out(tmp_path, hyperparameters, channels, job.get("types"), **rest)
    code, log = run(algorithm, tmp_path, capsys)
    assert code == 1
    assert re.match(f"AlgorithmError: {message}", failure(tmp_path)), failure(tmp_path)
    assert failure(tmp_path) in log
    assert "Traceback" not in log
    assert not (tmp_path / "model").exists()


def test_a_failure_that_nobody_thought_of_is_explained_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the roof is on fire")

    monkeypatch.setattr(recordio, "read", broken)
    lay_out(tmp_path, KNN, {"train": GOOD})
    code, log = run("knn", tmp_path, capsys)
    assert code == 1
    assert failure(tmp_path) == "AlgorithmError: RuntimeError: the roof is on fire"
    assert "Traceback" in log


def test_a_job_beyond_the_memory_says_what_to_lower(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise MemoryError("Unable to allocate 7 TiB")

    monkeypatch.setattr(channels, "_joined", broken)
    lay_out(tmp_path, KNN, {"train": GOOD})
    assert run("knn", tmp_path, capsys)[0] == 1
    assert failure(tmp_path).startswith(
        "AlgorithmError: out of memory (Unable to allocate 7 TiB): lower mini_batch_size"
    )


@pytest.mark.parametrize("size", [1, 3, 7, 40, 1000])
def test_batches_have_one_size_over_all_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(csv_rows, "BLOCK_BYTES", 50)
    cuts = [0, 5, 6, 25, 40]
    files = {f"part-{n}": csv(LABELS[a:b], X[a:b]) for n, (a, b) in enumerate(pairwise(cuts))}
    files["part-1"] = files["part-1"].rstrip(b"\n")
    lay_out(tmp_path, {}, {"train": files}, {"train": "text/csv"})
    batches = list(Channel(tmp_path, "train", D, labelled=True).batches(size))
    assert [len(batch.labels) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert 0 < len(batches[-1].labels) <= size
    assert np.concatenate([batch.features for batch in batches]).tolist() == X.tolist()
    assert np.concatenate([batch.labels for batch in batches]).tolist() == LABELS.tolist()


def test_csv_lines_of_another_width_are_found_in_any_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(csv_rows, "BLOCK_BYTES", 10)
    lay_out(tmp_path, KMEANS, {"train": b"1,2,3,4,5\n" * 5 + b"1,2,3,4\n"}, {"train": "text/csv"})
    assert run("kmeans", tmp_path, capsys)[0] == 1
    assert "lines have 4 columns, before it 5" in failure(tmp_path)
