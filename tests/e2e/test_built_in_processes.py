"""`python -m fmrec.local_aws.built_in knn|kmeans train|serve` as real processes. About 15 s."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from built_in_jobs import failure, lay_out
from fmrec import recordio

pytestmark = pytest.mark.e2e

JSON, LINES = "application/json", "application/jsonlines"
RECORDIO, CSV = "application/x-recordio-protobuf", "text/csv"
D = 5
KNN = {"feature_dim": "5", "k": "3", "predictor_type": "classifier", "sample_size": "1000"}
RNG = np.random.default_rng(1)
MIDDLES = np.array([[0] * D, [50] * D, [0, 50, 0, 50, 0]])
WHICH = RNG.integers(0, 3, 200)
ROWS = (MIDDLES[WHICH] + RNG.normal(size=(200, D))).astype(np.float32)
TRAIN = recordio.encode_dense(ROWS, WHICH)


def command(algorithm: str, name: str, ml_root: Path, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fmrec.local_aws.built_in", algorithm, name],
        env=os.environ | {"FMREC_ML_ROOT": str(ml_root)} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def train(algorithm: str, ml_root: Path) -> tuple[int, str]:
    with command(algorithm, "train", ml_root) as job:
        log, errors = job.communicate(timeout=60)
    assert errors == ""
    return job.returncode, log


class Endpoint:
    """A served model and one kept-alive connection to it."""

    def __init__(self, algorithm: str, ml_root: Path, **env: str) -> None:
        self.process = command(algorithm, "serve", ml_root, SAGEMAKER_BIND_TO_PORT="0", **env)
        assert self.process.stdout is not None
        self.ready = json.loads(self.process.stdout.readline())
        assert self.ready["host"] == "127.0.0.1"
        port = self.ready["port"]
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def post(
        self, body: bytes | str, content_type: str, accept: str | None = None
    ) -> tuple[int, bytes, str | None]:
        headers = {"Content-Type": content_type} | ({"Accept": accept} if accept else {})
        self.connection.request("POST", "/invocations", body, headers)
        response = self.connection.getresponse()
        return response.status, response.read(), response.headers["Content-Type"]

    def ping(self) -> int:
        self.connection.request("GET", "/ping")
        response = self.connection.getresponse()
        response.read()
        return response.status

    def close(self) -> None:
        self.connection.close()
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=60)
        assert (self.process.returncode, errors) == (0, "")


@pytest.fixture(scope="module")
def knn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    ml_root = tmp_path_factory.mktemp("knn")
    lay_out(ml_root, KNN, {"train": {"a/b/part": TRAIN}, "test": TRAIN})
    code, log = train("knn", ml_root)
    assert code == 0
    assert "#quality_metric: host=algo-1, test accuracy <score>=1.0" in log
    assert not (ml_root / "output" / "failure").exists()
    endpoint = Endpoint("knn", ml_root)
    yield endpoint
    endpoint.close()


@pytest.fixture(scope="module")
def kmeans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    ml_root = tmp_path_factory.mktemp("kmeans")
    lay_out(ml_root, {"feature_dim": "5", "k": "3"}, {"train": TRAIN, "test": TRAIN})
    code, log = train("kmeans", ml_root)
    assert code == 0
    assert "#quality_metric: host=algo-1, test msd <loss>=" in log
    endpoint = Endpoint("kmeans", ml_root, SAGEMAKER_BATCH="true")
    yield endpoint
    endpoint.close()


def test_k_nn_predicts_the_class_and_shows_its_neighbours(knn: Endpoint) -> None:
    assert knn.ready["serving"] == "knn classifier"
    assert knn.ping() == 200
    queries = recordio.encode_dense(MIDDLES, None)
    status, body, content_type = knn.post(queries, RECORDIO)
    assert (status, content_type) == (200, JSON)
    assert json.loads(body) == {"predictions": [{"predicted_label": float(c)} for c in range(3)]}
    status, body, content_type = knn.post(queries, RECORDIO, f"{LINES}; verbose=true")
    assert (status, content_type) == (200, LINES)
    for middle, line in zip(MIDDLES, body.splitlines(), strict=True):
        squares = np.sort(np.square(ROWS.astype(np.float64) - middle).sum(axis=1))[:3]
        assert json.loads(line)["distances"] == pytest.approx(squares, rel=1e-6)


def test_k_means_assigns_clusters_one_line_each_in_a_transform_job(kmeans: Endpoint) -> None:
    status, body, content_type = kmeans.post("0,0,0,0,0\n50,50,50,50,50\n1,1,0,0,0\n", CSV)
    assert (status, content_type) == (200, LINES)
    near = [json.loads(line) for line in body.splitlines()]
    assert near[0]["closest_cluster"] == near[2]["closest_cluster"] != near[1]["closest_cluster"]
    assert all(each["distance_to_cluster"] < 5 for each in near)
    status, body, content_type = kmeans.post("0,0,0,0,0", CSV, CSV)
    assert (status, content_type) == (200, CSV)
    cluster, distance = map(float, body.decode().strip().split(","))
    assert (cluster, distance) == (near[0]["closest_cluster"], near[0]["distance_to_cluster"])


def test_what_is_not_understood_is_refused_and_the_connection_lives_on(
    knn: Endpoint, kmeans: Endpoint
) -> None:
    for endpoint in (knn, kmeans):
        status, body, _ = endpoint.post("1,2,3", CSV)
        assert status == 400
        assert body.startswith(b"Unable to evaluate payload provided: rows have 3 features")
        assert endpoint.post("1,2,3", "application/x-image")[0] == 415
        assert endpoint.post("1,2,3,4,5", CSV, "image/png")[0] == 406
        assert endpoint.ping() == 200
    # CSV is not among the answers that k-NN documents.
    assert knn.post("1,2,3,4,5", CSV, CSV)[0] == 406


def test_answers_come_in_one_piece(knn: Endpoint) -> None:
    """Several pieces would make a client wait for its own delayed acknowledgement."""
    request = b"POST /invocations HTTP/1.1\r\nContent-Type: text/csv\r\nContent-Length: 9\r\n\r\n"
    with closing(socket.create_connection(("127.0.0.1", knn.ready["port"]), 30)) as plain:
        for _ in range(3):
            plain.sendall(request + b"1,2,3,4,5")
            answer = plain.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(b'{"predictions": [{"predicted_label": 0.0}]}')


def test_an_accept_may_be_set_for_the_endpoint(tmp_path: Path) -> None:
    lay_out(tmp_path, KNN, {"train": TRAIN})
    assert train("knn", tmp_path)[0] == 0
    # The number of neighbours may be changed in the artifact.
    meta = tmp_path / "model" / "model_algo-1.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"k": 7}))
    endpoint = Endpoint(
        "knn", tmp_path, SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT=f"{LINES}; verbose=true"
    )
    with closing(endpoint):
        for accept in (None, "*/*"):
            status, body, content_type = endpoint.post("1,2,3,4,5", CSV, accept)
            assert (status, content_type) == (200, LINES)
            assert len(json.loads(body)["labels"]) == 7


@pytest.mark.parametrize("algorithm", ["knn", "kmeans"])
def test_sigterm_ends_training_cleanly(tmp_path: Path, algorithm: str) -> None:
    """K-Means in its epochs; k-NN, which reads its data once, while it waits for more of them."""
    if algorithm == "kmeans":
        given = {"feature_dim": "5", "k": "3", "epochs": "100000000", "mini_batch_size": "20"}
        lay_out(tmp_path, given, {"train": TRAIN})
        awaited = "completed"
    else:
        lay_out(tmp_path, KNN | {"mini_batch_size": "10"}, {"train": TRAIN})
        channel = tmp_path / "input" / "data" / "train"
        (channel / "part").unlink()
        for number in range(3000):
            (channel / f"{number:05}").write_bytes(TRAIN)
        awaited = "Using per-worker sample size"
    with command(algorithm, "train", tmp_path) as job:
        assert job.stdout is not None
        while awaited not in job.stdout.readline():
            assert job.poll() is None
        job.send_signal(signal.SIGTERM)
        log, errors = job.communicate(timeout=60)
    assert (job.returncode, errors) == (0, "")
    assert "Stopped" in log
    assert not (tmp_path / "output").exists()
    if algorithm == "kmeans":
        assert (tmp_path / "model" / "model_algo-1").is_file()


BAD = {
    "a wrong feature width": ("knn", KNN | {"feature_dim": "7"}, TRAIN, "cannot copy sequence"),
    "NaN": (
        "kmeans",
        {"feature_dim": "2", "k": "1"},
        recordio.encode_dense([[1, np.nan]], None),
        "train/part: record 0 (counted from 0) holds a value that is no finite",
    ),
    "an empty channel": ("knn", KNN, b"", "channel 'train' holds no records"),
    "an unknown hyperparameter": (
        "kmeans",
        {"feature_dim": "5", "k": "3", "clusters": "3"},
        TRAIN,
        "Additional properties are not allowed ('clusters' was unexpected)",
    ),
    "more clusters than rows": (
        "kmeans",
        {"feature_dim": "5", "k": "201"},
        TRAIN,
        "k is 201, but the first batch of channel 'train' holds 200 records",
    ),
    "more neighbours than rows": ("knn", KNN | {"k": "201"}, TRAIN, "k is 201, but the sample"),
    "no RecordIO": ("knn", KNN, b"1,2,3,4,5,6\n", "train/part: record 0 (counted from 0), byte 0"),
}


@pytest.mark.parametrize(("algorithm", "given", "data", "message"), BAD.values(), ids=BAD)
def test_bad_input_ends_a_job_with_the_reason(
    tmp_path: Path, algorithm: str, given: dict[str, str], data: bytes, message: str
) -> None:
    lay_out(tmp_path, given, {"train": data})
    code, log = train(algorithm, tmp_path)
    assert code == 1
    assert failure(tmp_path).startswith(f"AlgorithmError: {message}")
    assert failure(tmp_path) in log


@pytest.mark.parametrize("algorithm", ["knn", "kmeans"])
def test_a_server_without_a_model_says_why(tmp_path: Path, algorithm: str) -> None:
    with command(algorithm, "serve", tmp_path) as process:
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, "")
    assert output.startswith("ClientError: ")
    assert "holds no model_algo-1" in output


@pytest.mark.parametrize("arguments", [[], ["knn"], ["knn", "fit"], ["pca", "train"]])
def test_an_unknown_command_is_refused(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fmrec.local_aws.built_in", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "usage: python -m fmrec.local_aws.built_in knn|kmeans train|serve" in done.stderr
