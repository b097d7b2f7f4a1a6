"""`python -m fmrec.fm train` and `serve` as real processes. About 20 s."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from fmrec import recordio
from fmrec.fm import artifact, hyperparameters
from fmrec.fm.model import Model

pytestmark = pytest.mark.e2e

JSON, LINES = "application/json", "application/jsonlines"
RECORDIO = "application/x-recordio-protobuf"
D = 40


def command(name: str, ml_root: Path, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fmrec.fm", name],
        env=os.environ | {"FMREC_ML_ROOT": str(ml_root)} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lay_out(ml_root: Path, **more: str) -> None:
    config = ml_root / "input" / "config"
    config.mkdir(parents=True)
    required = {"feature_dim": "40", "num_factors": "4", "predictor_type": "regressor"}
    (config / "hyperparameters.json").write_text(json.dumps(required | more))
    data = ml_root / "input" / "data" / "train"
    data.mkdir(parents=True)
    X = sparse.random(95, D, 0.1, format="csr", dtype=np.float32, random_state=5)
    labels = np.random.default_rng(5).normal(size=95)
    (data / "part").write_bytes(recordio.encode(X, labels))


def wait_for(job: subprocess.Popen[str], text: str) -> None:
    assert job.stdout is not None
    while text not in job.stdout.readline():
        assert job.poll() is None


def test_sigterm_saves_the_model_and_exits_cleanly(tmp_path: Path) -> None:
    lay_out(tmp_path, epochs="100000000")
    with command("train", tmp_path) as job:
        wait_for(job, "epoch=1, train rmse")
        assert not (tmp_path / "model").exists()
        job.send_signal(signal.SIGTERM)
        log, _ = job.communicate(timeout=60)
    assert job.returncode == 0
    assert "Stopped on request" in log
    assert artifact.load(tmp_path / "model").feature_dim == D


def model_of(ml_root: Path) -> bytes:
    return (ml_root / "model" / "model_algo-1").read_bytes()


# Enough to be killed in, and few enough to be done.
LONG = {"epochs": "20000", "mini_batch_size": "10", "factors_lr": "0.01"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    ml_root = tmp_path_factory.mktemp("undisturbed")
    lay_out(ml_root, **LONG)
    with command("train", ml_root) as job:
        log, errors = job.communicate(timeout=120)
    assert job.returncode == 0, errors
    assert "Checkpoint loading and saving are disabled." in log
    assert not (ml_root / "checkpoints").exists()
    return model_of(ml_root)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_that_is_started_again_ends_as_if_nothing_had_been(
    tmp_path: Path, undisturbed: bytes, number: signal.Signals
) -> None:
    lay_out(tmp_path, **LONG)
    kept = tmp_path / "checkpoints" / "state-0.npz"
    kept.parent.mkdir()
    with command("train", tmp_path) as job:
        wait_for(job, "epoch=100, train rmse")
        # A stop keeps the state at once; for a kill it must have been kept before.
        while number == signal.SIGKILL and not kept.is_file():
            wait_for(job, "train rmse")
        job.send_signal(number)
        log, _ = job.communicate(timeout=60)
    assert kept.is_file()
    if number == signal.SIGKILL:
        assert job.returncode == -number
        assert not (tmp_path / "model").exists()
    else:
        assert job.returncode == 0
        assert model_of(tmp_path) != undisturbed
    with command("train", tmp_path) as job:
        log, errors = job.communicate(timeout=120)
    assert job.returncode == 0, errors
    assert f"Going on from the checkpoint {kept}" in log
    assert "epoch=0, train" not in log
    assert "epoch=19999, train rmse" in log
    assert model_of(tmp_path) == undisturbed
    assert [path.name for path in kept.parent.iterdir()] == ["state-0.npz"]


def test_a_failed_job_exits_with_an_error_and_says_why(tmp_path: Path) -> None:
    with command("train", tmp_path) as job:
        log, _ = job.communicate(timeout=60)
    assert job.returncode == 1
    assert "AlgorithmError: No value(s) were specified" in log
    assert (tmp_path / "output" / "failure").read_text().startswith("AlgorithmError: No value(s)")


@pytest.mark.parametrize("arguments", [[], ["trian"], ["train", "now"]])
def test_an_unknown_command_is_refused(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fmrec.fm", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "usage: python -m fmrec.fm train|serve|compile" in done.stderr


def a_model(predictor_type: str) -> Model:
    rng = np.random.default_rng(4)
    w, V = rng.normal(size=D).astype(np.float32), rng.normal(size=(D, 3)).astype(np.float32)
    return Model(0.5, w, V * np.float32(0.5), predictor_type)


class Endpoint:
    """A served model and one kept-alive connection to it."""

    def __init__(self, ml_root: Path, model: Model, **env: str) -> None:
        self.model = model
        config = {"feature_dim": D, "num_factors": 3, "predictor_type": model.predictor_type}
        artifact.save(model, ml_root / "model", hyperparameters.parse(config).configuration)
        self.process = command("serve", ml_root, SAGEMAKER_BIND_TO_PORT="0", **env)
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        assert ready["host"] == "127.0.0.1"
        self.connection = http.client.HTTPConnection("127.0.0.1", ready["port"], timeout=30)

    def post(
        self, body: bytes | str, content_type: str | None, accept: str | None = None
    ) -> tuple[int, bytes, str]:
        headers = {"Content-Type": content_type, "Accept": accept}
        return self.ask(
            "POST", "/invocations", body, {k: v for k, v in headers.items() if v is not None}
        )

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes, str]:
        self.connection.request(method, path, body, headers or {})
        response = self.connection.getresponse()
        return response.status, response.read(), response.headers["Content-Type"]

    def close(self) -> None:
        self.connection.close()
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, errors
        assert "Traceback" not in errors


@pytest.fixture(scope="module")
def regressor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    endpoint = Endpoint(tmp_path_factory.mktemp("regressor"), a_model("regressor"))
    yield endpoint
    endpoint.close()


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    endpoint = Endpoint(
        tmp_path_factory.mktemp("classifier"),
        a_model("binary_classifier"),
        SAGEMAKER_BATCH="true",
    )
    yield endpoint
    endpoint.close()


ROWS = sparse.random(7, D, 0.1, format="csr", dtype=np.float32, random_state=3)


def sparse_features(row: sparse.csr_matrix) -> dict[str, object]:
    return {"keys": row.indices.tolist(), "shape": [D], "values": row.data.tolist()}


def request(kind: str) -> tuple[bytes | str, str]:
    """The same seven rows in each documented form."""
    sparse_rows = [{"data": {"features": sparse_features(row)}} for row in ROWS]
    dense = ROWS.toarray().tolist()
    forms = {
        "sparse json": (json.dumps({"instances": sparse_rows}), JSON),
        "dense json": (json.dumps({"instances": [{"features": row} for row in dense]}), JSON),
        "dense json, long form": (
            json.dumps({"instances": [{"data": {"features": {"values": row}}} for row in dense]}),
            JSON,
        ),
        "sparse lines": ("\n".join(map(json.dumps, sparse_rows)), LINES),
        "dense lines": ("".join(json.dumps({"features": row}) + "\n" for row in dense), LINES),
        "recordio": (recordio.encode(ROWS, None), RECORDIO),
        "recordio with labels": (recordio.encode(ROWS, np.ones(7)), RECORDIO),
        "dense recordio": (recordio.encode_dense(ROWS.toarray(), None), RECORDIO),
    }
    return forms[kind]


KINDS = [
    "sparse json",
    "dense json",
    "dense json, long form",
    "sparse lines",
    "dense lines",
    "recordio",
    "recordio with labels",
    "dense recordio",
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_of_request_gets_the_models_scores(regressor: Endpoint, kind: str) -> None:
    status, body, content_type = regressor.post(*request(kind))
    assert (status, content_type) == (200, JSON)
    predictions = json.loads(body)["predictions"]
    assert all(list(prediction) == ["score"] for prediction in predictions)
    scores = [prediction["score"] for prediction in predictions]
    assert scores == pytest.approx(regressor.model.score(ROWS), rel=1e-6)


def test_a_classifier_adds_the_predicted_label(classifier: Endpoint) -> None:
    status, body, _ = classifier.post(*request("recordio"), JSON)
    assert status == 200
    probabilities = classifier.model.score(ROWS)
    assert json.loads(body)["predictions"] == [
        {"score": pytest.approx(p, rel=1e-6), "predicted_label": float(p >= 0.5)}
        for p in probabilities
    ]


@pytest.mark.parametrize("accept", [LINES, f"{LINES}; verbose=true", f"text/html, {LINES}", None])
def test_a_transform_job_gets_one_json_object_per_line(
    classifier: Endpoint, accept: str | None
) -> None:
    """Also without an Accept, as SAGEMAKER_BATCH is set: the built-in does the same."""
    status, body, content_type = classifier.post(*request("recordio"), accept)
    assert (status, content_type) == (200, LINES)
    assert body.endswith(b"}\n")
    lines = [json.loads(line) for line in body.splitlines()]
    assert [line["score"] for line in lines] == pytest.approx(
        classifier.model.score(ROWS), rel=1e-6
    )
    assert [set(line) for line in lines] == [{"score", "predicted_label"}] * 7


def test_recordio_responses_hold_score_and_label(classifier: Endpoint) -> None:
    status, body, content_type = classifier.post(*request("sparse json"), RECORDIO)
    assert (status, content_type) == (200, RECORDIO)
    scores = classifier.model.score(ROWS).astype(np.float32)
    assert body == recordio.encode_responses({"score": scores, "predicted_label": scores >= 0.5})


def test_content_type_and_accept_have_defaults(regressor: Endpoint) -> None:
    status, _, content_type = regressor.post(request("sparse json")[0], None, "*/*")
    assert (status, content_type) == (200, JSON)


def test_ping(regressor: Endpoint) -> None:
    assert regressor.ask("GET", "/ping")[0] == 200
    assert regressor.ask("GET", "/models")[0] == 404
    assert regressor.ask("POST", "/models", b"{}")[0] == 404


GOOD = {"keys": [1], "shape": [D], "values": [1.0]}
MALFORMED = {
    "not json": (b"{", JSON, "the payload is not JSON"),
    "not utf-8": (b"\xff\xfe\x00", JSON, "the payload is not UTF-8 text"),
    "no instances": (b'{"rows": []}', JSON, 'not of the form {"instances": [...]}'),
    "no rows": (b'{"instances": []}', JSON, "holds no rows"),
    "no features": (b'{"instances": [{"x": 1}]}', JSON, "instance 0 (counted from 0): has no"),
    "a bare list": (b'{"instances": [[1, 2]]}', JSON, "instance 0 (counted from 0): has no"),
    "narrow dense": (b'{"instances": [{"features": [1, 2]}]}', JSON, "has 2 features, but the"),
    "wrong shape": (GOOD | {"shape": [D + 1]}, JSON, f"has {D + 1} features, but the model has"),
    "no shape": ({"keys": [1], "values": [1.0]}, JSON, "needs a shape"),
    "text shape": (GOOD | {"shape": "40"}, JSON, "needs a shape"),
    "key too large": (GOOD | {"keys": [D]}, JSON, f"has the key {D}"),
    "negative key": (GOOD | {"keys": [-1]}, JSON, "has the key -1"),
    "fractional key": (GOOD | {"keys": [1.5]}, JSON, "has the key 1.5"),
    "key beyond int64": (GOOD | {"keys": [2**70]}, JSON, "a number is beyond all limits"),
    "boolean value": (GOOD | {"values": [True]}, JSON, "has the value True"),
    "fewer keys": (GOOD | {"keys": []}, JSON, "has 1 values, but keys []"),
    "text value": (GOOD | {"values": ["1"]}, JSON, "has the value '1', which is no number"),
    "null value": (GOOD | {"values": [None]}, JSON, "has the value None"),
    "nan value": (GOOD | {"values": [float("nan")]}, JSON, "no finite float32"),
    "beyond float32": (GOOD | {"values": [1e300]}, JSON, "no finite float32"),
    "beyond all floats": (GOOD | {"values": [10**400]}, JSON, "a number is beyond all limits"),
    "bad line": (b'{"features": [1]}\nnonsense\n', LINES, "line 2 is not JSON"),
    "no lines": (b"\n", LINES, "holds no rows"),
    "no recordio": (b"nonsense", RECORDIO, "payload: record 0 (counted from 0), byte 0"),
    "cut recordio": (recordio.encode(ROWS, None)[:-4], RECORDIO, "payload: record 6"),
    "wrong width": (
        recordio.encode(sparse.csr_matrix(np.eye(D + 2)), None),
        RECORDIO,
        f"rows have {D + 2} features, but the model has {D}",
    ),
    "empty": (b"", RECORDIO, "holds no rows"),
}


@pytest.mark.parametrize(("body", "content_type", "message"), MALFORMED.values(), ids=MALFORMED)
def test_a_payload_that_cannot_be_evaluated_is_refused_clearly(
    regressor: Endpoint, body: bytes | dict[str, object], content_type: str, message: str
) -> None:
    if isinstance(body, dict):
        instances = [{"data": {"features": features}} for features in (body,)]
        body = json.dumps({"instances": instances}).encode()
    status, answer, _ = regressor.post(body, content_type)
    assert status == 400
    assert answer.decode().startswith("Unable to evaluate payload provided: ")
    assert message in answer.decode()
    assert regressor.ask("GET", "/ping")[0] == 200  # the connection lives on


def test_types_that_are_not_spoken(regressor: Endpoint) -> None:
    status, answer, _ = regressor.post(b"1,2", "text/csv")
    assert status == 415
    assert b"Content-type text/csv not supported" in answer
    status, answer, _ = regressor.post(*request("recordio"), "text/csv")
    assert status == 406
    assert b"Accept type text/csv not supported" in answer


def test_a_payload_without_length_is_refused(regressor: Endpoint) -> None:
    host, port = regressor.connection.host, regressor.connection.port
    with closing(http.client.HTTPConnection(host, port, timeout=30)) as connection:
        # The head alone: the server may refuse and hang up before it has read a body.
        connection.putrequest("POST", "/invocations")
        connection.putheader("Content-Type", JSON)
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        assert connection.getresponse().status == 411


def test_many_rows_in_one_request(regressor: Endpoint) -> None:
    rng = np.random.default_rng(0)
    rows = 100_000
    keys = np.column_stack([rng.integers(0, 20, rows), rng.integers(20, D, rows)]).ravel()
    X = sparse.csr_matrix(
        (np.ones(2 * rows, np.float32), keys, np.arange(0, 2 * rows + 1, 2)), shape=(rows, D)
    )
    status, body, _ = regressor.post(recordio.encode(X, None), RECORDIO, LINES)
    assert status == 200
    scores = np.array([json.loads(line)["score"] for line in body.splitlines()])
    assert np.abs(scores - regressor.model.score(X)).max() < 1e-5


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({}, "holds no model_algo-1"),
        ({"SAGEMAKER_BIND_TO_PORT": "http"}, "SAGEMAKER_BIND_TO_PORT is 'http'"),
        ({"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv"}, "is 'text/csv': set one of"),
    ],
)
def test_a_server_that_cannot_start_says_why(
    tmp_path: Path, env: dict[str, str], message: str
) -> None:
    (tmp_path / "model").mkdir()
    if env:
        config = {"feature_dim": D, "num_factors": 3, "predictor_type": "regressor"}
        configuration = hyperparameters.parse(config).configuration
        artifact.save(a_model("regressor"), tmp_path / "model", configuration)
    with command("serve", tmp_path, **env) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert message in output
