"""K-Means: recovered clusters, its averages and metrics recomputed, the artifact byte by byte."""

from __future__ import annotations

import re
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from built_in_jobs import failure, lay_out, run
from fm_jobs import StopAfter
from fmrec import recordio
from fmrec.errors import DataError, FormatError
from fmrec.fm import mxnet_params
from fmrec.local_aws.built_in import kmeans_model
from fmrec.local_aws.built_in.kmeans_model import KMeansModel
from fmrec.local_aws.built_in.kmeans_training import Centers
from fmrec.local_aws.built_in.lloyd import Lloyd, lloyd, nearest, start

NEVER = threading.Event()


def read_list(data: bytes) -> list[np.ndarray]:
    """An MXNet list file, read straight from the layout's description."""
    magic, reserved, count = struct.unpack_from("<QQQ", data)
    assert (magic, reserved) == (0x112, 0)
    at, arrays = 24, []
    for _ in range(count):
        version, storage, axes = struct.unpack_from("<IiI", data, at)
        assert (version, storage) == (0xF993FAC9, 0)
        shape = struct.unpack_from(f"<{axes}q", data, at + 12)
        at += 12 + 8 * axes
        device, device_id, dtype = struct.unpack_from("<iii", data, at)
        assert (device, device_id, dtype) == (1, 0, 0)
        at += 12
        size = int(np.prod(shape))
        arrays.append(np.array(struct.unpack_from(f"<{size}f", data, at)).reshape(shape))
        at += 4 * size
    assert struct.unpack_from("<Q", data, at) == (0,)  # no names: a list
    assert at + 8 == len(data)
    return arrays


def msd(X: np.ndarray, centers: np.ndarray) -> float:
    """The mean squared distance to the closest center, row by row."""
    return float(np.mean([min(float(((x - c) ** 2).sum()) for c in centers) for x in X]))


def logged(log: str, name: str, channel: str) -> float:
    (value,) = re.findall(rf"#quality_metric: host=algo-1, {channel} {name} <loss>=(\S+)", log)
    return float(value)


MIDDLES = np.array([[0, 0, 0], [40, 0, 0], [0, 40, 0], [0, 0, 40], [40, 40, 40]])


def clusters(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows around five far middles, and which of them each is around."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, 5, rows)
    return (MIDDLES[which] + rng.normal(size=(rows, 3))).astype(np.float32), which


@pytest.mark.parametrize("init_method", ["random", "kmeans++"])
@pytest.mark.parametrize("mini_batch_size", ["5000", "200"])
def test_well_separated_clusters_are_recovered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], init_method: str, mini_batch_size: str
) -> None:
    X, which = clusters(1000, 1)
    test, _ = clusters(300, 2)
    lay_out(
        tmp_path,
        {"feature_dim": "3", "k": "5", "init_method": init_method, "eval_metrics": '["msd","ssd"]'}
        | {"mini_batch_size": mini_batch_size},
        {"train": recordio.encode_dense(X, None), "test": recordio.encode_dense(test, None)},
    )
    code, log = run("kmeans", tmp_path, capsys)
    assert code == 0
    (centers,) = read_list((tmp_path / "model" / "model_algo-1").read_bytes())
    assert centers.shape == (5, 3)
    found = np.array([((x - centers) ** 2).sum(axis=1).argmin() for x in X])
    for number in range(5):
        assert len(set(found[which == number])) == 1
    for middle in MIDDLES:
        assert np.linalg.norm(centers - middle, axis=1).min() < 0.5
    assert logged(log, "msd", "test") == pytest.approx(msd(test, centers), rel=1e-9)
    assert logged(log, "ssd", "test") == pytest.approx(300 * msd(test, centers), rel=1e-9)
    assert f"#test_score (algo-1) : ('msd', {logged(log, 'msd', 'test')!r})" in log
    assert "shrinking 50 centers into 5" in log
    assert "local kmeans attempt #9. Current mean square distance" in log


def test_the_train_metrics_are_those_of_the_weighted_centers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows of 20 distinct places: the 20 centers are these places, so both ways must agree."""
    rng = np.random.default_rng(3)
    places = rng.normal(size=(20, 4)).astype(np.float32)
    X = places[rng.permutation(np.repeat(np.arange(20), rng.integers(1, 30, 20)))]
    lay_out(
        tmp_path,
        {"feature_dim": "4", "k": "4", "init_method": "kmeans++", "extra_center_factor": "5"}
        | {"eval_metrics": '["ssd","msd"]', "local_lloyd_num_trials": "3"},
        {"train": recordio.encode_dense(X, None)},
    )
    code, log = run("kmeans", tmp_path, capsys)
    assert code == 0
    (centers,) = read_list((tmp_path / "model" / "model_algo-1").read_bytes())
    assert logged(log, "msd", "train") == pytest.approx(msd(X, centers), rel=1e-6)
    assert logged(log, "ssd", "train") == pytest.approx(len(X) * msd(X, centers), rel=1e-6)
    assert len(re.findall("local kmeans attempt", log)) == 3
    assert "Test data is not provided." in log
    assert "processed a total of" in log
    assert "#progress_metric: host=algo-1, completed 100.0 % of epochs" in log
    assert '"Algorithm": "AWS/KMeansWebscale"' in log


def test_one_center_is_the_mean_of_all_rows_in_any_number_of_batches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    X = np.random.default_rng(4).normal(size=(103, 3)).astype(np.float32)
    files = {"a/1": recordio.encode_dense(X[:50], None), "b": recordio.encode_dense(X[50:], None)}
    given = {"feature_dim": "3", "k": "1", "extra_center_factor": "1", "mini_batch_size": "10"}
    lay_out(tmp_path, given | {"epochs": "3"}, {"train": files})
    code, log = run("kmeans", tmp_path, capsys)
    assert code == 0
    (centers,) = read_list((tmp_path / "model" / "model_algo-1").read_bytes())
    assert centers[0] == pytest.approx(X.astype(np.float64).mean(axis=0), rel=1e-6)
    assert "No shrinking is required as extra_center_factor is 1." in log
    assert "train msd" not in log


def test_the_weight_of_a_row_halves_with_every_half_life() -> None:
    X = np.random.default_rng(5).normal(size=(40, 2)).astype(np.float32)
    centers = Centers(np.zeros((1, 2)), half_life=20)
    for first in range(0, 40, 10):
        centers.update(X[first : first + 10])
    weights = np.repeat([2**-1.5, 2**-1.0, 2**-0.5, 1], 10)
    assert centers.centers[0] == pytest.approx(np.average(X, axis=0, weights=weights))


def test_a_center_moves_only_when_rows_come_to_it() -> None:
    centers = Centers(np.array([[0.0], [10.0], [100.0]]), half_life=1)
    centers.update(np.array([[1], [9]], np.float32))
    assert centers.centers[:, 0].tolist() == [1, 9, 100]
    for _ in range(2000):  # long enough for the weights of the others to vanish
        centers.update(np.array([[1]], np.float32))
    assert centers.centers[:, 0].tolist() == [1, 9, 100]
    points, weights = centers.weighted(2)
    assert len(points) >= 2
    assert (weights > 0).all()


def test_lloyd_ends_where_centers_are_means_and_rows_are_closest() -> None:
    rng = np.random.default_rng(6)
    points, weights = rng.normal(size=(200, 3)), rng.uniform(0.1, 5, 200)
    centers, loss = lloyd(points, weights, 7, Lloyd("kmeans++", 1000, 0.0), rng, NEVER)
    closest = ((points[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1)
    for number in range(7):
        mine = closest == number
        mean = np.average(points[mine], axis=0, weights=weights[mine])
        assert centers[number] == pytest.approx(mean)
    squares = ((points - centers[closest]) ** 2).sum(axis=1)
    assert loss == pytest.approx(np.average(squares, weights=weights))


def test_lloyd_never_loses_a_cluster_as_long_as_there_are_distinct_points() -> None:
    points = np.array([[0.0], [0.0], [0.0], [1.0], [50.0]])
    for seed in range(20):
        rng = np.random.default_rng(seed)
        for how in ("random", "kmeans++"):
            centers, loss = lloyd(points, np.ones(5), 3, Lloyd(how, 100, 0.0), rng, NEVER)
            assert sorted(centers[:, 0]) == [0, 1, 50]
            assert loss == 0


def test_k_means_plus_plus_takes_each_distinct_place_once() -> None:
    places = np.arange(12, dtype=np.float64)[:, None] ** 2
    points = np.repeat(places, 5, axis=0)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        taken = start(points, np.ones(60), 12, "kmeans++", rng)
        assert sorted(taken[:, 0]) == places[:, 0].tolist()
        assert len(start(points, np.ones(60), 20, "kmeans++", rng)) == 20


def test_distances_do_not_suffer_from_far_coordinates() -> None:
    rng = np.random.default_rng(7)
    centers, X = rng.normal(size=(9, 5)), rng.normal(size=(500, 5))
    expected, distances = nearest(X, centers)
    far, moved = nearest(X + 1e6, centers + 1e6)
    assert far.tolist() == expected.tolist()
    assert moved == pytest.approx(distances, rel=1e-6)


def test_the_same_job_gives_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    X, _ = clusters(500, 8)
    found = []
    for name in ("one", "two"):
        lay_out(tmp_path / name, {"feature_dim": "3", "k": "4"}, {"train": _csv(X)}, CSV)
        assert run("kmeans", tmp_path / name, capsys)[0] == 0
        found.append((tmp_path / name / "model" / "model_algo-1").read_bytes())
    assert found[0] == found[1]


CSV = {"train": "text/csv;label_size=0"}


def _csv(X: np.ndarray) -> bytes:
    return "".join(",".join(map(repr, row)) + "\n" for row in X.tolist()).encode()


def test_recordio_dense_and_sparse_and_csv_train_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    X, _ = clusters(300, 9)
    X[X < 0] = 0
    forms = {
        "dense": recordio.encode_dense(X, None),
        "sparse": recordio.encode(sparse.csr_matrix(X), None),
        "labelled": recordio.encode_dense(X, np.full(300, np.nan)),
        "csv": _csv(X),
    }
    found = {}
    for name, data in forms.items():
        types = CSV if name == "csv" else {}
        lay_out(tmp_path / name, {"feature_dim": "3", "k": "4"}, {"train": data}, types)
        assert run("kmeans", tmp_path / name, capsys)[0] == 0
        found[name] = (tmp_path / name / "model" / "model_algo-1").read_bytes()
    assert len(set(found.values())) == 1


def test_a_stop_keeps_what_was_trained_so_far(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    X, _ = clusters(300, 10)
    given = {"feature_dim": "3", "k": "4", "mini_batch_size": "100", "epochs": "1000"}
    data = {"train": recordio.encode_dense(X, None)}
    lay_out(tmp_path / "later", given, data)
    code, log = run("kmeans", tmp_path / "later", capsys, StopAfter(7))
    assert code == 0
    assert "Stopped on request: the model holds what was trained so far" in log
    assert "completed 0.2 % of epochs" in log
    assert len(re.findall("local kmeans attempt", log)) == 1
    assert read_list((tmp_path / "later" / "model" / "model_algo-1").read_bytes())
    lay_out(tmp_path / "at once", given, data)
    code, log = run("kmeans", tmp_path / "at once", capsys, StopAfter(0))
    assert code == 0
    assert "Stopped before the first batch was trained" in log
    assert not (tmp_path / "at once" / "model").exists()


ROWS = recordio.encode_dense(np.eye(6, dtype=np.float32), None)
REFUSED = {
    "more clusters than records": ({"k": "7"}, "k is 7, but the first batch .* holds 6 records"),
    "more clusters than a batch has": (
        {"k": "4", "mini_batch_size": "3"},
        r"k is 4, but the first batch .* holds 3 records.*mini_batch_size is 3",
    ),
    "more centers than records": (
        {"k": "2", "extra_center_factor": "4"},
        "k x extra_center_factor is 8, but the first batch.* holds 6 records",
    ),
}


@pytest.mark.parametrize(("given", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_clustered_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: dict[str, str], message: str
) -> None:
    lay_out(tmp_path, {"feature_dim": "6", "k": "2"} | given, {"train": ROWS})
    code, log = run("kmeans", tmp_path, capsys)
    assert code == 1
    assert re.match(f"AlgorithmError: {message}", failure(tmp_path))
    assert "Traceback" not in log


def test_equal_rows_make_equal_centers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    X = np.full((30, 2), 3, np.float32)
    lay_out(tmp_path, {"feature_dim": "2", "k": "3"}, {"train": recordio.encode_dense(X, None)})
    assert run("kmeans", tmp_path, capsys)[0] == 0
    (centers,) = read_list((tmp_path / "model" / "model_algo-1").read_bytes())
    assert centers.tolist() == [[3, 3]] * 3


def test_clusters_and_distances() -> None:
    model = KMeansModel(np.array([[0, 0], [10, 0]], np.float32))
    closest, distances = model.clusters(np.array([[3, 4], [10, 0], [5, 0]], np.float32))
    assert closest.tolist() == [0, 1, 0]  # of equals the first
    assert distances.tolist() == [5, 0, 5]  # not squared
    assert model.squared_distances(np.array([[3, 4]], np.float32)).tolist() == [25]


def test_the_artifact_comes_back(tmp_path: Path) -> None:
    centers = np.random.default_rng(11).normal(size=(4, 3)).astype(np.float32)
    (tmp_path / "model_algo-1").write_bytes(KMeansModel(centers).dump())
    assert read_list(KMeansModel(centers).dump())[0].tolist() == centers.tolist()
    assert kmeans_model.load(tmp_path).centers.tolist() == centers.tolist()


BAD_ARTIFACTS = {
    "nothing in it": (b"", "24 bytes should follow"),
    "two arrays": (
        mxnet_params.dump([("", np.ones((2, 2), np.float32), False)] * 2),
        r"arrays of shapes \(2, 2\), \(2, 2\)",
    ),
    "no matrix": (mxnet_params.dump([("", np.ones(2, np.float32), False)]), r"shapes \(2,\)"),
    "no array": (mxnet_params.dump([]), "arrays of shapes none"),
    "not finite": (
        mxnet_params.dump([("", np.full((1, 1), np.nan, np.float32), False)]),
        "no finite numbers",
    ),
}


@pytest.mark.parametrize(("data", "message"), BAD_ARTIFACTS.values(), ids=BAD_ARTIFACTS)
def test_another_artifact_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match="holds no model_algo-1: was the model trained"):
        kmeans_model.load(tmp_path)
    (tmp_path / "model_algo-1").write_bytes(data)
    with pytest.raises(FormatError, match=f"model_algo-1.*{message}"):
        kmeans_model.load(tmp_path)
