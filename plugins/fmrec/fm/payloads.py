"""Inference requests and responses in the formats of the built-in algorithm.

Requests: ``application/json``, ``application/jsonlines`` and ``application/x-recordio-protobuf``,
with dense or sparse rows; responses: the same three. Source: SageMaker Developer Guide, "Common
Data Formats for Inference" and "Factorization Machines Response Formats".
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fmrec import recordio
from fmrec.errors import DataError
from fmrec.fm.model import Matrix, Model, sigmoid

JSON = "application/json"
JSON_LINES = "application/jsonlines"
RECORDIO = "application/x-recordio-protobuf"
CONTENT_TYPES = (JSON, JSON_LINES, RECORDIO)


def parse(body: bytes, content_type: str, feature_dim: int) -> Matrix:
    """Return the rows of a request ``(n, feature_dim)``, n at least 1.

    ``content_type`` is one of CONTENT_TYPES. Raises DataError that names the row.
    """
    if content_type == RECORDIO:
        X: Matrix = recordio.decode(body, name="payload").features
    else:
        rows = _json_lines(body) if content_type == JSON_LINES else _json_instances(body)
        X = _matrix(rows, feature_dim)
    if not X.shape[0]:
        raise DataError("the payload holds no rows")
    if X.shape[1] != feature_dim:
        raise DataError(f"rows have {X.shape[1]} features, but the model has {feature_dim}")
    if not np.isfinite(X.data).all():
        raise DataError("the payload holds a value that is no finite float32 number")
    return X


def render(model: Model, X: Matrix, accept: str) -> bytes:
    """Return the response to rows ``(n, d)`` in the format ``accept``, one of CONTENT_TYPES."""
    raw = model.raw(X)
    if model.predictor_type == "regressor":
        columns = {"score": raw.astype(np.float32)}
    else:
        columns = {
            "score": sigmoid(raw).astype(np.float32),
            "predicted_label": (raw >= 0).astype(np.float32),
        }
    if accept == RECORDIO:
        return recordio.encode_responses(columns)
    template = "{" + ", ".join(f'"{name}": %r' for name in columns) + "}"
    numbers = zip(*(column.tolist() for column in columns.values()), strict=True)
    objects = map(template.__mod__, numbers)
    if accept == JSON_LINES:
        return ("\n".join(objects) + "\n").encode()
    return ('{"predictions": [' + ", ".join(objects) + "]}").encode()


def _json_lines(body: bytes) -> list[Any]:
    rows = []
    for number, line in enumerate(_text(body).split("\n"), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise DataError(f"line {number} is not JSON: {error}") from error
    return rows


def _json_instances(body: bytes) -> list[Any]:
    try:
        request = json.loads(_text(body))
    except ValueError as error:
        raise DataError(f"the payload is not JSON: {error}") from error
    instances = request.get("instances") if isinstance(request, dict) else None
    if not isinstance(instances, list):
        raise DataError('the payload is not of the form {"instances": [...]}')
    return instances


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"the payload is not UTF-8 text: {error}") from error


def _matrix(rows: list[Any], feature_dim: int) -> Matrix:
    keys: list[int] = []
    values: list[float] = []
    ends = [0]
    for number, row in enumerate(rows):
        row_keys, row_values = _row(row, number, feature_dim)
        keys += row_keys
        values += row_values
        ends.append(len(keys))
    pointers: npt.NDArray[np.int64] = np.array(ends, np.int64)
    _check_types(keys, values, pointers)
    try:
        with np.errstate(over="ignore"):
            data = np.array(values, np.float64).astype(np.float32)
        indices: npt.NDArray[np.int64] = np.array(keys, np.int64)
    except OverflowError as error:
        raise DataError(f"a number is beyond all limits: {error}") from error
    outside = np.flatnonzero((indices < 0) | (indices >= feature_dim))
    if outside.size:
        _refuse(
            int(np.searchsorted(pointers, outside[0], side="right")) - 1,
            f"has the key {indices[outside[0]]}, but the model has keys 0 to {feature_dim - 1}",
        )
    return sparse.csr_matrix((data, indices, pointers), shape=(len(rows), feature_dim))


def _row(row: Any, number: int, feature_dim: int) -> tuple[list[int], list[float]]:
    """Return keys and values of one instance, dense or sparse, as they came."""
    features = row.get("features") if isinstance(row, dict) else None
    if features is None and isinstance(row, dict) and isinstance(row.get("data"), dict):
        features = row["data"].get("features")
    if isinstance(features, list):
        features = {"values": features}
    if not isinstance(features, dict) or not isinstance(features.get("values"), list):
        _refuse(number, 'has no {"features": [...]} and no {"data": {"features": {"values": ...}}}')
    values = features["values"]
    keys = features.get("keys")
    shape = features.get("shape", [len(values)] if keys is None else [])
    if not isinstance(shape, list) or len(shape) != 1:
        _refuse(number, f"needs a shape with the number of features, but has {shape!r}")
    if shape[0] != feature_dim:
        _refuse(number, f"has {shape[0]} features, but the model has {feature_dim}")
    if keys is None:
        keys = list(range(len(values)))
    if not isinstance(keys, list) or len(keys) != len(values):
        _refuse(number, f"has {len(values)} values, but keys {keys!r}")
    return keys, values


def _check_types(keys: list[int], values: list[float], pointers: npt.NDArray[np.int64]) -> None:
    """Refuse keys that are not integers and values that are not numbers, naming the first."""
    if set(map(type, keys)) <= {int} and set(map(type, values)) <= {int, float}:
        return
    for place, (key, value) in enumerate(zip(keys, values, strict=True)):
        number = int(np.searchsorted(pointers, place, side="right")) - 1
        if type(key) is not int:
            _refuse(number, f"has the key {key!r}, but keys are whole numbers")
        if type(value) not in (int, float):
            _refuse(number, f"has the value {value!r}, which is no number")


def _refuse(number: int, what: str) -> NoReturn:
    raise DataError(f"instance {number} (counted from 0): {what}")
