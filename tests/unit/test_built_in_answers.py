"""Requests and answers of k-NN and K-Means in every documented form."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from fmrec import recordio
from fmrec.errors import DataError
from fmrec.fm.inference_server import MediaType
from fmrec.local_aws.built_in import inference_rows
from fmrec.local_aws.built_in.kmeans_model import KMeansModel
from fmrec.local_aws.built_in.kmeans_service import KMeansService
from fmrec.local_aws.built_in.knn_model import KnnModel, Preparation
from fmrec.local_aws.built_in.knn_service import KnnService
from fmrec.local_aws.built_in.nearest_rows import Index

JSON, LINES = "application/json", "application/jsonlines"
RECORDIO, CSV = "application/x-recordio-protobuf", "text/csv"
ROWS = np.array([[0, 1, 0], [3, 4, 0], [0, 0, 2.5]], np.float32)
KNN = KnnService(
    KnnModel(
        Index("L2", np.array([[0, 1, 0], [3, 4, 0], [0, 0, 0], [0, 2, 0]], np.float32)),
        np.array([7, 1, 7, 0.1], np.float32),
        3,
        "classifier",
        Preparation(3, None, normalize=False),
    )
)
KMEANS = KMeansService(KMeansModel(np.array([[0, 0, 0], [3, 4, 0]], np.float32)))
# By hand: squared distances of each row to the index's four rows, the nearest three of them.
VERBOSE = [
    {"predicted_label": 7.0, "distances": [0, 1, 1], "labels": [7, 7, np.float32(0.1)]},
    {"predicted_label": np.float32(0.1), "distances": [0, 13, 18], "labels": [1, 0.1, 7]},
    {"predicted_label": 7.0, "distances": [6.25, 7.25, 10.25], "labels": [7, 7, 0.1]},
]
CLUSTERS = [
    {"closest_cluster": 0.0, "distance_to_cluster": 1.0},
    {"closest_cluster": 1.0, "distance_to_cluster": 0.0},
    {"closest_cluster": 0.0, "distance_to_cluster": 2.5},
]


def ask(service: Any, body: bytes, content_type: str, accept: str) -> bytes:
    return service.answer(body, MediaType.of(content_type), MediaType.of(accept))


def sparse_features(row: np.ndarray) -> dict[str, Any]:
    keys = np.flatnonzero(row)
    return {"keys": keys.tolist(), "shape": [3], "values": row[keys].tolist()}


DENSE = ROWS.tolist()
REQUESTS = {
    "json": (json.dumps({"instances": [{"features": row} for row in DENSE]}), JSON),
    "json, long form": (
        json.dumps({"instances": [{"data": {"features": {"values": row}}} for row in DENSE]}),
        JSON,
    ),
    "json, sparse": (
        json.dumps({"instances": [{"data": {"features": sparse_features(row)}} for row in ROWS]}),
        JSON,
    ),
    "jsonlines": ("".join(json.dumps({"features": row}) + "\n" for row in DENSE), LINES),
    "jsonlines, sparse": (
        "\n".join(json.dumps({"data": {"features": sparse_features(row)}}) for row in ROWS),
        LINES,
    ),
    "csv": ("0,1,0\n3,4,0\n0,0,2.5\n", CSV),
    "csv without a last line end": ("0,1.0,0\r\n3, 4,0\r\n0,0,25e-1", "text/csv; charset=utf-8"),
    "csv with a label": ("9,0,1,0\n9,3,4,0\n9,0,0,2.5", "text/csv;label_size=1"),
    "recordio": (recordio.encode_dense(ROWS, None), RECORDIO),
    "recordio, sparse": (recordio.encode(sparse.csr_matrix(ROWS), np.ones(3)), RECORDIO),
}


def as_bytes(body: str | bytes) -> bytes:
    return body.encode() if isinstance(body, str) else body


@pytest.mark.parametrize("form", REQUESTS)
def test_every_form_of_request_is_understood(form: str) -> None:
    body, content_type = REQUESTS[form]
    answer = ask(KNN, as_bytes(body), content_type, f"{JSON}; verbose=true")
    found = json.loads(answer)["predictions"]
    for ours, expected in zip(found, VERBOSE, strict=True):
        for name, value in expected.items():
            assert ours[name] == pytest.approx(value, rel=1e-6)
    found = json.loads(ask(KMEANS, as_bytes(body), content_type, JSON))["predictions"]
    assert found == CLUSTERS


BODY, TYPE = REQUESTS["csv"]


@pytest.mark.parametrize("verbose", ["", "; verbose=true", ";verbose=True", "; verbose=false"])
def test_json_and_json_lines_hold_the_same(verbose: str) -> None:
    """Without verbose the predicted label alone, as the Developer Guide has it."""
    whole = json.loads(ask(KNN, BODY.encode(), TYPE, JSON + verbose))
    assert list(whole) == ["predictions"]
    lines = ask(KNN, BODY.encode(), TYPE, LINES + verbose)
    assert lines.endswith(b"}\n")
    assert [json.loads(line) for line in lines.splitlines()] == whole["predictions"]
    names = {"predicted_label"}
    if "rue" in verbose:
        names |= {"distances", "labels"}
    assert all(set(each) == names for each in whole["predictions"])
    assert [each["predicted_label"] for each in whole["predictions"]] == pytest.approx([7, 0.1, 7])


def test_k_means_answers_csv_and_json_lines() -> None:
    assert ask(KMEANS, BODY.encode(), TYPE, CSV) == b"0.0,1.0\n1.0,0.0\n0.0,2.5\n"
    lines = ask(KMEANS, BODY.encode(), TYPE, LINES)
    assert [json.loads(line) for line in lines.splitlines()] == CLUSTERS


def tensors(record: bytes) -> dict[str, list[float]]:
    """The label tensors of a record, read byte by byte as protobuf."""

    def fields(data: bytes) -> list[tuple[int, bytes]]:
        found, at = [], 0
        while at < len(data):
            tag, at = varint(data, at)
            assert tag & 7 == 2
            length, at = varint(data, at)
            found.append((tag >> 3, data[at : at + length]))
            at += length
        return found

    def varint(data: bytes, at: int) -> tuple[int, int]:
        value, shift = 0, 0
        while True:
            byte = data[at]
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                return value, at

    labels = {}
    for number, entry in fields(record):
        assert number == 2  # no features
        (key, name), (value_key, value) = fields(entry)
        assert (key, value_key) == (1, 2)
        ((kind, tensor),) = fields(value)
        ((field, raw),) = fields(tensor)
        assert (kind, field) == (2, 1)  # float32, its values
        labels[name.decode()] = list(struct.unpack(f"<{len(raw) // 4}f", raw))
    return labels


def records(data: bytes) -> list[dict[str, list[float]]]:
    found, at = [], 0
    while at < len(data):
        magic, length = struct.unpack_from("<II", data, at)
        assert magic == 0xCED7230A
        found.append(tensors(data[at + 8 : at + 8 + length]))
        at += 8 + (length + 3 & ~3)
    assert at == len(data)
    return found


def test_recordio_answers() -> None:
    plain = records(ask(KNN, BODY.encode(), TYPE, RECORDIO))
    assert [each["predicted_label"] for each in plain] == [
        [pytest.approx(label)] for label in (7, 0.1, 7)
    ]
    assert all(set(each) == {"predicted_label"} for each in plain)
    found = records(ask(KNN, BODY.encode(), TYPE, f"{RECORDIO}; verbose=true"))
    for ours, expected in zip(found, VERBOSE, strict=True):
        assert ours["predicted_label"] == pytest.approx([expected["predicted_label"]])
        assert ours["distances"] == pytest.approx(expected["distances"])
        assert ours["labels"] == pytest.approx(expected["labels"])
    clusters = records(ask(KMEANS, BODY.encode(), TYPE, RECORDIO))
    assert clusters == [{name: [value] for name, value in each.items()} for each in CLUSTERS]


def test_long_verbose_records_hold_every_value() -> None:
    """Lengths beyond 127 take several bytes in protobuf."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(700, 3)).astype(np.float32)
    labels = np.arange(700, dtype=np.float32)
    prepare = Preparation(3, None, normalize=False)
    model = KnnModel(Index("L2", rows), labels, 700, "regressor", prepare)
    body = recordio.encode_dense(rows[:3], None)
    found = records(ask(KnnService(model), body, RECORDIO, f"{RECORDIO};verbose=true"))
    texts = json.loads(ask(KnnService(model), body, RECORDIO, f"{JSON};verbose=true"))
    for ours, text in zip(found, texts["predictions"], strict=True):
        assert sorted(ours["labels"]) == labels.tolist()
        assert ours["labels"] == text["labels"]
        assert ours["distances"] == text["distances"]
        assert ours["distances"] == sorted(ours["distances"])


def test_many_rows_are_answered_in_order_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference_rows, "CELLS", 7)
    rows = np.random.default_rng(2).integers(-5, 5, (50, 3)).astype(np.float32)
    body = recordio.encode_dense(rows, None)
    for service in (KNN, KMEANS):
        whole = ask(service, body, RECORDIO, f"{LINES};verbose=true").splitlines()
        alone = [
            ask(service, recordio.encode_dense(row[None], None), RECORDIO, f"{LINES};verbose=true")
            for row in rows
        ]
        assert [line.strip() for line in alone] == whole


BAD = {
    "no rows": ("", CSV, "holds no rows"),
    "blank lines": ("\n\n", CSV, "holds no rows"),
    "too few columns": ("1,2\n", CSV, "rows have 2 features, but the model has 3"),
    "a label that is not announced": ("9,1,2,3\n", CSV, "rows have 4 features"),
    "a label that is announced wrongly": ("1,2,3\n", "text/csv;label_size=1", "have 2 features"),
    "an impossible label size": ("1,2,3\n", "text/csv;label_size=x", "label_size='x'"),
    "words": ("1,2,three\n", CSV, "payload: could not convert string 'three'"),
    "ragged": ("1,2,3\n1,2\n", CSV, "payload: the number of columns changed from 3 to 2"),
    "nan": ("1,2,nan\n", CSV, "no finite float32"),
    "too large for single precision": ("1,2,1e300\n", CSV, "no finite float32"),
    "json of another width": ('{"instances":[{"features":[1,2]}]}', JSON, "has 2 features"),
    "no recordio": ("1,2,3\n1,2,3\n", RECORDIO, "payload: record 0"),
}


@pytest.mark.parametrize(("body", "content_type", "message"), BAD.values(), ids=BAD)
def test_a_payload_that_cannot_be_evaluated_is_refused(
    body: str, content_type: str, message: str
) -> None:
    for service in (KNN, KMEANS):
        with pytest.raises(DataError) as caught:
            ask(service, body.encode(), content_type, JSON)
        assert message in str(caught.value)
