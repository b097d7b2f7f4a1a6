"""The contract suite's rows: a hundred likes, and a Factorization Machine's equation for them."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from typing import Any

import numpy as np
from scipy import sparse

from fmrec import recordio
from fmrec.fm import mxnet_params
from fmrec.recordio import wire

USERS, ITEMS = 8, 12
WIDTH = USERS + ITEMS
HYPERPARAMETERS: dict[str, object] = {
    "feature_dim": WIDTH,
    "num_factors": 3,
    "predictor_type": "binary_classifier",
    "epochs": 15,
    "mini_batch_size": 20,
    "linear_lr": 0.05,
    "factors_lr": 0.05,
}


def rows(seed: int, count: int = 100) -> tuple[sparse.csr_matrix, np.ndarray]:
    """One-hot users and items (count x 20), and whether the user likes the item: 0.0 or 1.0."""
    draw = np.random.default_rng(seed)
    users, items = draw.integers(0, USERS, count), draw.integers(0, ITEMS, count)
    keys = np.column_stack([users, USERS + items]).ravel()
    features = sparse.csr_matrix(
        (np.ones(len(keys), np.float32), keys, np.arange(0, len(keys) + 1, 2)),
        shape=(count, WIDTH),
    )
    return features, (np.sin(users) + np.cos(items) > 0).astype(np.float32)


def records(features: sparse.csr_matrix, labels: np.ndarray | None = None) -> bytes:
    return recordio.encode(features, labels)


def labels_of(answer: bytes) -> list[dict[str, list[float]]]:
    """The labels of each record of an answer in RecordIO."""
    found, at = [], 0
    while at < len(answer):
        magic, length = struct.unpack_from("<II", answer, at)
        assert magic == 0xCED7230A
        record = wire.parse(answer[at + 8 : at + 8 + length])
        found.append({name: tensor.values for name, tensor in record.labels.items()})
        at += 8 + length + -length % 4
    return found


def sparse_json(features: sparse.csr_matrix) -> dict[str, Any]:
    """The body of a JSON request in the form for sparse rows."""
    return {"instances": [{"data": {"features": _row(row)}} for row in features]}


def dense_json(features: sparse.csr_matrix) -> dict[str, Any]:
    return {"instances": [{"features": row.tolist()} for row in features.toarray()]}


def _row(row: sparse.csr_matrix) -> dict[str, Any]:
    return {"keys": row.indices.tolist(), "shape": [WIDTH], "values": row.data.tolist()}


def parameters(archive: bytes) -> tuple[float, np.ndarray, np.ndarray]:
    """Bias, weights and factors of a built-in Factorization Machine's model.tar.gz."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert tar.getnames() == ["model_algo-1"]
        member = tar.extractfile("model_algo-1").read()
    with zipfile.ZipFile(io.BytesIO(member)) as whole:
        assert sorted(whole.namelist()) == ["meta.json", "params", "symbol.json"]
        entries = mxnet_params.parse(whole.read("params"))
    assert [entry.name for entry in entries] == ["arg:w1_weight", "arg:w0_weight", "arg:v"]
    w, w0, V = (entry.dense() for entry in entries)
    return float(w0[0]), w.ravel().astype(float), V.astype(float)


def probabilities(archive: bytes, features: sparse.csr_matrix) -> np.ndarray:
    """What the model in an archive says of rows, by the equation itself: sums over all pairs."""
    w0, w, V = parameters(archive)
    X = features.toarray().astype(float)
    interactions = V @ V.T
    pairs = np.array([np.triu(np.outer(x, x) * interactions, 1).sum() for x in X])
    return 1 / (1 + np.exp(-(w0 + X @ w + pairs)))
