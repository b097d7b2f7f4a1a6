"""The train command: folders in, model, log and failure file out."""

from __future__ import annotations

import itertools
import json
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from fmrec import recordio
from fmrec.fm import artifact, features, train
from fmrec.fm.features import Feature, Features
from fmrec.fm.hyperparameters import Solver
from fmrec.fm.job import Fitted, Job
from fmrec.fm.model import Model

CONFIGURATION = {
    "feature_dim": "12",
    "num_factors": "3",
    "predictor_type": "regressor",
    "mini_batch_size": "10",
    "epochs": "2",
}


def one_hot(rows: int, seed: int = 0) -> sparse.csr_matrix:
    rng = np.random.default_rng(seed)
    keys = np.column_stack([rng.integers(0, 5, rows), rng.integers(5, 12, rows)]).ravel()
    return sparse.csr_matrix(
        (np.ones(2 * rows), keys, np.arange(0, 2 * rows + 1, 2)), shape=(rows, 12)
    )


def put(ml_root: Path, name: str, content: bytes) -> None:
    path = ml_root / "input" / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def configure(ml_root: Path, name: str = "hyperparameters", **config: object) -> None:
    path = ml_root / "input" / "config" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config))


@pytest.fixture
def ml_root(tmp_path: Path) -> Path:
    """A job with 95 training rows in three files and 20 test rows."""
    configure(tmp_path, **CONFIGURATION)
    features, labels = one_hot(95), np.arange(95) % 5 + 1
    for name, rows in (("b/1", slice(40, 70)), ("a", slice(0, 40)), ("c", slice(70, 95))):
        put(tmp_path, f"train/{name}", recordio.encode(features[rows], labels[rows]))
    put(tmp_path, "test/part", recordio.encode(one_hot(20, 1), np.arange(20) % 5 + 1))
    return tmp_path


def run(ml_root: Path, stop: threading.Event | None = None) -> int:
    ticks = itertools.count(1_682_087_205.0, 0.25)
    return train.main(ml_root, lambda: next(ticks), stop or threading.Event())


def failure_of(ml_root: Path) -> str:
    assert run(ml_root) != 0
    assert not (ml_root / "model").exists()
    return (ml_root / "output" / "failure").read_text()


def test_a_job_leaves_a_model_and_no_failure(ml_root: Path) -> None:
    assert run(ml_root) == 0
    model = artifact.load(ml_root / "model")
    assert model.V.shape == (12, 3)
    assert [path.name for path in (ml_root / "model").iterdir()] == ["model_algo-1"]
    assert not (ml_root / "output" / "failure").exists()


def test_files_are_read_in_the_order_of_their_names(ml_root: Path, tmp_path: Path) -> None:
    run(ml_root)
    parts = artifact.load(ml_root / "model")
    whole = tmp_path / "whole"
    configure(whole, **CONFIGURATION)
    put(whole, "train/all", recordio.encode(one_hot(95), np.arange(95) % 5 + 1))
    run(whole)
    assert artifact.load(whole / "model").V.tobytes() == parts.V.tobytes()


# The patterns by which SageMaker reads the built-in's metrics.
FINAL = r"#quality_metric: host=\S+, train rmse <loss>=(\S+)"
EPOCH = r"#quality_metric: host=\S+, epoch=(\S+), train rmse <loss>=(\S+)"
BATCH = r"#quality_metric: host=\S+, epoch=(\S+), batch=(\S+) train rmse <loss>=(\S+)"
TEST = r"#quality_metric: host=\S+, test rmse <loss>=(\S+)"
PROGRESS = r"#progress_metric: host=\S+, completed (\S+) %"
THROUGHPUT = r"#throughput_metric: host=\S+, train throughput=(\S+) records/second"


def test_the_log_has_the_builtins_lines_in_order(
    ml_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(ml_root, **CONFIGURATION, batch_metrics_publish_interval="4")
    assert run(ml_root) == 0
    log = capsys.readouterr().out
    assert [(e, b) for e, b, _ in re.findall(BATCH, log)] == [
        (epoch, batch) for epoch in ("0", "1") for batch in ("0", "4", "8")
    ]
    epochs = re.findall(EPOCH, log)
    assert [epoch for epoch, _ in epochs] == ["0", "1"]
    assert re.findall(FINAL, log) == [epochs[-1][1]]
    assert re.findall(PROGRESS, log) == ["50.0", "100.0"]
    milliseconds = [float(ms) for ms in re.findall(r'"update.time": {"sum": ([0-9.]+)', log)]
    rates = [float(rate) for rate in re.findall(THROUGHPUT, log)]
    assert rates == pytest.approx([95 / (ms / 1000) for ms in milliseconds])
    (test,) = re.findall(TEST, log)
    assert f"#test_score (algo-1) : ('rmse', {test})" in log
    order = [
        "Docker entrypoint called with argument(s): train",
        "Reading default configuration from",
        "Merging with provided configuration from",
        "Final configuration: ",
        '"initialize.time"',
        "epoch=0, batch=0 train rmse <loss>",
        "epoch=0, batch=0 train mse <loss>",
        "epoch=0, batch=0 train absolute_loss <loss>",
        "epoch=0, train rmse <loss>",
        '"update.time"',
        "completed 50.0 % of epochs",
        '"Meta": "training_data_iter"',
        "train throughput=",
        "epoch=1, train rmse",
        "host=algo-1, train rmse",
        "#test_score (algo-1) : ('rmse'",
        "host=algo-1, test rmse",
        '"totaltime"',
    ]
    at = [log.index(text) for text in order]
    assert at == sorted(at)
    stamped = [line for line in log.splitlines() if "#quality_metric" in line]
    assert all(re.match(r"\[04/21/2023 14:2\d:\d\d INFO \d+\] ", line) for line in stamped)
    for line in log.splitlines():
        if line.startswith("#metrics "):
            entry = json.loads(line.removeprefix("#metrics "))
            assert entry["Dimensions"]["Algorithm"] == "factorization-machines"
            assert entry["EndTime"] >= entry["StartTime"]


def test_metrics_in_the_log_are_those_of_the_model(
    ml_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(ml_root)
    error = artifact.load(ml_root / "model").score(one_hot(20, 1)) - (np.arange(20) % 5 + 1)
    (logged,) = re.findall(TEST, capsys.readouterr().out)
    assert float(logged) == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-6)


def test_a_classifier_logs_scores(ml_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure(ml_root, **CONFIGURATION | {"predictor_type": "binary_classifier"})
    for name, rows in (("a", 40), ("b/1", 30), ("c", 25)):
        put(ml_root, f"train/{name}", recordio.encode(one_hot(rows), np.arange(rows) % 2))
    put(ml_root, "test/part", recordio.encode(one_hot(20, 1), np.arange(20) % 2))
    assert run(ml_root) == 0
    log = capsys.readouterr().out
    for where in ("epoch=0, batch=0 train", "epoch=1, train", "host=algo-1, train", "test"):
        assert re.search(rf"{where} binary_classification_accuracy <score>=0\.\d+", log)
        assert re.search(rf"{where} binary_classification_cross_entropy <loss>=0\.\d+", log)
        assert re.search(rf"{where} binary_f_1\.000 <score>=0\.\d+", log)


def test_without_a_test_channel_there_are_no_test_metrics(
    ml_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (ml_root / "input" / "data" / "test" / "part").unlink()
    assert run(ml_root) == 0
    assert "Test data is not provided." in capsys.readouterr().out


def test_hyperparameters_at_fault(ml_root: Path) -> None:
    configure(ml_root, **CONFIGURATION, mini_batch_siz="10")
    assert failure_of(ml_root).startswith(
        "AlgorithmError: Additional properties are not allowed ('mini_batch_siz' was unexpected)"
    )
    configure(ml_root, **CONFIGURATION | {"feature_dim": "abc"})
    assert failure_of(ml_root).startswith(
        "AlgorithmError: 'abc' is not valid under any of the given schemas"
    )
    (ml_root / "input" / "config" / "hyperparameters.json").unlink()
    assert "No value(s) were specified for 'feature_dim'" in failure_of(ml_root)
    (ml_root / "input" / "config" / "hyperparameters.json").write_text("{")
    assert "hyperparameters.json is not JSON" in failure_of(ml_root)


@pytest.mark.parametrize("channel", ["train", "test"])
def test_a_feature_dim_that_does_not_fit_names_file_and_both_widths(
    ml_root: Path, channel: str
) -> None:
    wide = sparse.csr_matrix(np.eye(13))
    put(ml_root, f"{channel}/part", recordio.encode(wide, np.ones(13)))
    assert failure_of(ml_root) == (
        "AlgorithmError: cannot copy sequence with size 13 to array axis with dimension 12: "
        f"the records of {channel}/part have 13 features, but feature_dim is 12. "
        "Set feature_dim to 13, or write the records with 12 features."
    )


def test_data_at_fault_names_file_and_record(ml_root: Path) -> None:
    def fail_with(content: bytes) -> str:
        put(ml_root, "train/c", content)
        return failure_of(ml_root)

    labels = np.arange(25, dtype=np.float32)
    good = recordio.encode(one_hot(25), labels)
    assert re.match(
        r"AlgorithmError: train/c: record 24 \(counted from 0\), byte \d+: .* cut short",
        fail_with(good[:-7]),
    )
    assert fail_with(b"PAR1" + good).startswith("AlgorithmError: train/c: record 0")
    assert "the records of train/c have no labels" in fail_with(recordio.encode(one_hot(3), None))
    labels[7] = np.nan
    assert fail_with(recordio.encode(one_hot(25), labels)) == (
        "AlgorithmError: train/c: record 7 (counted from 0) has the label nan, "
        "but a regressor needs a finite number"
    )
    features = one_hot(25)
    features.data[9] = np.inf
    assert "train/c: record 4 (counted from 0) has the value inf" in fail_with(
        recordio.encode(features, np.ones(25))
    )
    configure(ml_root, **CONFIGURATION | {"predictor_type": "binary_classifier"})
    put(ml_root, "train/a", recordio.encode(one_hot(9), [0, 1, 1, 0, 1, 4, 0, 0, 0]))
    assert "train/a: record 5 (counted from 0) has the label 4.0" in failure_of(ml_root)


def test_no_training_data(ml_root: Path) -> None:
    for path in (ml_root / "input" / "data" / "train").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    assert failure_of(ml_root).startswith("AlgorithmError: channel 'train' holds no records")


def test_requests_this_image_cannot_serve(ml_root: Path) -> None:
    configure(ml_root, "inputdataconfig", train={"TrainingInputMode": "Pipe"})
    assert "TrainingInputMode 'Pipe': use File or FastFile" in failure_of(ml_root)
    configure(ml_root, "inputdataconfig", train={"ContentType": "text/csv"})
    assert "ContentType 'text/csv'" in failure_of(ml_root)
    configure(ml_root, "inputdataconfig", train={}, validation={})
    assert failure_of(ml_root) == (
        "AlgorithmError: Additional properties are not allowed ('validation' was unexpected): "
        "the channels of this image are train, test, features, model"
    )
    for name in ("features", "model"):
        configure(ml_root, "inputdataconfig", **{name: {}})
        assert f"channel '{name}' holds no files" in failure_of(ml_root)
        put(ml_root, f"{name}/file", b"x")
        configure(ml_root, "inputdataconfig", **{name: {"S3DistributionType": "ShardedByS3Key"}})
        assert f"channel '{name}' is ShardedByS3Key, but each host needs" in failure_of(ml_root)
    configure(ml_root, "inputdataconfig", features={})
    assert "channel 'features' holds no columns.json" in failure_of(ml_root)


def encoded(key_lists: list[list[int]], value_lists: list[list[float]]) -> bytes:
    """Records whose keys stand as they are given."""
    ends = np.cumsum([0] + [len(keys) for keys in key_lists])
    X = sparse.csr_matrix(
        (np.concatenate(value_lists), np.concatenate(key_lists), ends), shape=(len(key_lists), 12)
    )
    return recordio.encode(X, np.arange(len(key_lists)) % 5)


def test_a_key_that_comes_twice_is_an_error(ml_root: Path) -> None:
    put(ml_root, "train/c", encoded([[1, 7], [2, 8], [3, 3, 9]], [[1, 1], [1, 1], [1, 1, 2]]))
    assert failure_of(ml_root) == (
        "AlgorithmError: train/c: record 2 (counted from 0) has the key 3 twice: "
        "write each key once, in ascending order"
    )
    # The last key of a record may be the first of the next.
    put(ml_root, "train/c", encoded([[1, 7], [7, 8], [8, 9]], [[1, 1], [1, 1], [1, 1]]))
    assert run(ml_root) == 0


def test_keys_that_do_not_ascend_are_an_error(ml_root: Path) -> None:
    put(ml_root, "train/c", encoded([[1, 7], [8, 2]], [[1, 1], [1, 1]]))
    assert failure_of(ml_root) == (
        "AlgorithmError: train/c: record 1 (counted from 0) has the key 2 after 8: "
        "write each key once, in ascending order"
    )


def record(label_field: bytes, keys: bytes = b"\x00\x05") -> bytes:
    """One record of 12 features, two of them 1, with the given label tensor."""
    tensor = b"\x0a\x08" + np.ones(2, "<f4").tobytes() + b"\x12\x02" + keys + b"\x1a\x01\x0c"

    def entry(tag: bytes, value: bytes) -> bytes:
        body = b"\x0a\x06values" + b"\x12" + bytes([len(value)]) + value
        return tag + bytes([len(body)]) + body

    payload = entry(b"\x0a", b"\x12" + bytes([len(tensor)]) + tensor)
    payload += entry(b"\x12", label_field) if label_field else b""
    padding = bytes(-len(payload) % 4)
    return b"\x0a\x23\xd7\xce" + len(payload).to_bytes(4, "little") + payload + padding


FLOAT32 = b"\x12\x06\x0a\x04" + np.float32(3).tobytes()
FLOAT64 = b"\x1a\x0a\x0a\x08" + np.float64(3).tobytes()
INT32 = b"\x3a\x03\x0a\x01\x03"


def test_a_key_out_of_range_names_file_and_record(ml_root: Path) -> None:
    put(ml_root, "train/c", record(FLOAT32) * 2 + record(FLOAT32, b"\x03\x0c"))
    assert re.match(
        r"AlgorithmError: train/c: record 2 \(counted from 0\), byte \d+: has key 12, but its "
        r"shape allows keys 0 to 11 only",
        failure_of(ml_root),
    )


def test_labels_of_any_number_type_are_the_same_labels(tmp_path: Path) -> None:
    models = []
    for name, labels in (
        ("same", [FLOAT32] * 3),
        ("whole", [INT32] * 3),
        ("wide", [FLOAT64] * 3),
    ):
        configure(tmp_path / name, **CONFIGURATION)
        put(tmp_path / name, "train/part", b"".join(map(record, labels)))
        assert run(tmp_path / name) == 0
        models.append((tmp_path / name / "model" / "model_algo-1").read_bytes())
    assert models[0] == models[1] == models[2]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([FLOAT32, b""], "record 1 (counted from 0), byte 68: has no label, but the records"),
        ([b"", FLOAT32], "record 1 (counted from 0), byte 48: has a label, but the records"),
        ([b"\x12\x0a\x0a\x08" + bytes(8)], "has 2 label values instead of one"),
        ([FLOAT32, b"\x12\x06\x0a\x04" + np.float32(np.inf).tobytes()], "has the label inf"),
        ([FLOAT32, b"\x12\x06\x0a\x04" + np.float32(np.nan).tobytes()], "has the label nan"),
        ([FLOAT32, FLOAT64], "record 1 (counted from 0) has a label of type Float64Tensor, but"),
        # The files before it have labels of type Float32Tensor.
        ([INT32, INT32], "record 0 (counted from 0) has a label of type Int32Tensor, but those"),
    ],
)
def test_labels_at_fault(ml_root: Path, labels: list[bytes], message: str) -> None:
    put(ml_root, "train/c", b"".join(map(record, labels)))
    text = failure_of(ml_root)
    assert text.startswith("AlgorithmError: train/c: record ")
    assert message in text


def test_infinite_labels(ml_root: Path) -> None:
    put(ml_root, "test/part", recordio.encode(one_hot(2), np.array([1, -np.inf])))
    assert failure_of(ml_root) == (
        "AlgorithmError: test/part: record 1 (counted from 0) has the label -inf, "
        "but a regressor needs a finite number"
    )


def sides() -> tuple[Features, bytes]:
    """Columns 0 to 4 are users, 5 to 9 items, 10 and 11 what users have besides."""
    names = [f"user:{n}" for n in range(5)] + [f"item:{n}" for n in range(5)] + ["age:1", "age:2"]
    kinds = (Feature("user", "user"), Feature("item", "item"), Feature("age", "user"))
    of = np.array([0] * 5 + [1] * 5 + [2] * 2, np.int16)
    users = np.zeros((5, 12), np.float32)
    users[range(5), range(5)] = 1
    users[range(5), [10, 11, 10, 11, 10]] = [1, 2, 3, 4, 5]
    records = {"user": sparse.csr_matrix(users)}
    return Features(kinds, of, tuple(names), records), recordio.encode(records["user"], None)


def test_rows_are_completed_before_they_are_trained_on_and_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known, users = sides()
    rng = np.random.default_rng(4)
    n = 5000
    keys = np.column_stack([rng.integers(0, 5, n), rng.integers(5, 10, n)]).ravel()
    X = sparse.csr_matrix((np.ones(2 * n), keys, np.arange(0, 2 * n + 1, 2)), shape=(n, 12))
    labels = rng.normal(3, 1, n)
    for name, rows in (("short", X), ("complete", known.complete(X.astype(np.float32)))):
        configure(tmp_path / name, **CONFIGURATION, linear_lr="0.1", factors_lr="0.1")
        for channel in ("train", "test"):
            put(tmp_path / name, f"{channel}/part", recordio.encode(rows, labels))
    put(tmp_path / "short", "features/columns.json", features.dump(known))
    put(tmp_path / "short", "features/user.pbr", users)
    logs = []
    for name in ("short", "complete"):
        assert run(tmp_path / name) == 0
        logs.append(capsys.readouterr().out)
    models = [artifact.load(tmp_path / name / "model") for name in ("short", "complete")]
    np.testing.assert_allclose(models[0].V, models[1].V, atol=1e-6)
    assert models[0].w[10:].all()
    (short,), (complete,) = (re.findall(TEST, log) for log in logs)
    assert float(short) == pytest.approx(float(complete), rel=1e-6)
    # A later job finds the columns by name in the model.
    assert (tmp_path / "short" / "model" / "columns.json").read_bytes() == features.dump(known)


@pytest.mark.parametrize("solver", ["mcmc", "catalogue"])
def test_a_solver_gets_the_job_and_its_model_is_saved(
    ml_root: Path, solver: Solver, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []
    rng = np.random.default_rng(1)
    given = Model(1.0, np.ones(12, np.float32), np.ones((12, 7), np.float32), "regressor")

    class Module:
        @staticmethod
        def fit(job: Job) -> Fitted:
            jobs.append(job)
            return Fitted(given, finished=True)

    def load(name: str) -> type[Module]:
        assert name == f"fmrec.fm.{solver}"
        return Module

    monkeypatch.setattr(train.importlib, "import_module", load)
    more = {"predictor_type": "binary_classifier"} if solver == "catalogue" else {}
    configure(ml_root, **CONFIGURATION | more, solver=solver)
    for name, rows in (("a", 40), ("b/1", 30), ("c", 25)):
        put(ml_root, f"train/{name}", recordio.encode(one_hot(rows), rng.integers(0, 2, rows)))
    put(ml_root, "test/part", recordio.encode(one_hot(20, 1), np.arange(20) % 2))
    assert run(ml_root) == 0
    (job,) = jobs
    assert job.hp.solver == solver
    assert job.train.features.shape == (95, 12)
    assert (job.features, job.start, job.hosts.size, job.replicated) == (None, None, 1, True)
    assert artifact.load(ml_root / "model").V.shape == (12, 7)


def test_a_model_that_is_not_finite_is_not_saved(
    ml_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Module:
        @staticmethod
        def fit(_: Job) -> Fitted:
            w = np.full(12, np.nan, np.float32)
            return Fitted(Model(0.0, w, np.ones((12, 3), np.float32), "regressor"), finished=True)

    monkeypatch.setattr(train.importlib, "import_module", lambda _: Module)
    assert failure_of(ml_root).startswith(
        "AlgorithmError: solver adam ended with parameters that are no finite numbers"
    )


def test_divergence_is_a_failure_of_the_algorithm(ml_root: Path) -> None:
    configure(ml_root, **CONFIGURATION, factors_lr="1e30", linear_lr="1e30")
    with np.errstate(all="ignore"):
        text = failure_of(ml_root)
    assert text.startswith("AlgorithmError: ")
    assert "diverged" in text
    assert "Lower bias_lr, linear_lr and factors_lr" in text


@pytest.mark.parametrize("factors", ["100000000000000", "9" * 30])
def test_more_factors_than_memory_name_themselves(ml_root: Path, factors: str) -> None:
    configure(ml_root, **{**CONFIGURATION, "num_factors": factors})
    text = failure_of(ml_root)
    assert text.startswith(f"AlgorithmError: num_factors {factors} for 12 columns does not fit")
    assert "lower num_factors" in text


def test_an_unforeseen_error_is_reported_with_its_kind(
    ml_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def explode(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifact, "save", explode)
    assert failure_of(ml_root) == "AlgorithmError: OSError: [Errno 28] No space left on device"
    assert "Traceback" in capsys.readouterr().out


def test_a_stop_before_the_first_batch_saves_nothing(ml_root: Path) -> None:
    stop = threading.Event()
    stop.set()
    assert run(ml_root, stop) == 0
    assert not (ml_root / "model").exists()


def test_a_stop_in_between_saves_what_was_trained(
    ml_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(ml_root, **CONFIGURATION | {"epochs": "1000"})
    stop = threading.Event()
    ticks = itertools.count()

    def clock() -> float:
        tick = next(ticks)
        if tick == 60:
            stop.set()
        return float(tick)

    assert train.main(ml_root, clock, stop) == 0
    log = capsys.readouterr().out
    assert artifact.load(ml_root / "model").V.shape == (12, 3)
    assert 1 <= len(re.findall(EPOCH, log)) < 60
    assert "Stopped on request" in log
    assert not re.search(TEST, log)


@pytest.mark.parametrize(
    ("more", "ignored"),
    [
        ({"_kvstore": "auto", "epochs": 1}, "_kvstore"),
        ({"solver": "mcmc", "epochs": 3, "iterations": 2, "burn_in": 0}, "epochs"),
    ],
)
def test_what_a_solver_does_not_use_is_said(
    ml_root: Path, capsys: pytest.CaptureFixture[str], more: dict[str, object], ignored: str
) -> None:
    given = json.loads((ml_root / "input" / "config" / "hyperparameters.json").read_text())
    kept = {name: given[name] for name in ("feature_dim", "num_factors", "predictor_type")}
    configure(ml_root, **kept, **more)
    assert run(ml_root) == 0
    assert f"Accepted but without effect in this image: {ignored}\n" in capsys.readouterr().out
