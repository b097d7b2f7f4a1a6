"""Inference requests and responses in the formats of the built-in algorithm.

Requests: ``application/json``, ``application/jsonlines`` and ``application/x-recordio-protobuf``,
with dense or sparse rows; responses: the same three. Source: SageMaker Developer Guide, "Common
Data Formats for Inference" and "Factorization Machines Response Formats".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
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

_MARK = "|"
_Features = tuple[Sequence[int], list[float]]


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
    score, labels = raw.astype(np.float32), None
    if model.predictor_type == "binary_classifier":
        score, labels = sigmoid(raw).astype(np.float32), raw >= 0
    if accept == RECORDIO:
        columns = {"score": score}
        if labels is not None:
            columns["predicted_label"] = labels.astype(np.float32)
        return recordio.encode_responses(columns)
    if accept == JSON_LINES:
        return (_objects(score, labels, "\n") + "\n").encode()
    return ('{"predictions": [' + _objects(score, labels, ", ") + "]}").encode()


def _objects(
    score: npt.NDArray[np.float32], labels: npt.NDArray[np.bool_] | None, separator: str
) -> str:
    """Return the JSON objects of all rows. No loop of Python's own: the digits take the time."""
    if not len(score):
        return ""
    texts = map(float.__repr__, score.tolist())
    if labels is not None:
        ends = (', "predicted_label": 0.0', ', "predicted_label": 1.0')
        texts = map(str.__add__, texts, map(ends.__getitem__, labels.tolist()))
    return '{"score": ' + ("}" + separator + '{"score": ').join(texts) + "}"


def _json_lines(body: bytes) -> list[Any]:
    text = _text(body)
    lines = text.split("\n")
    rows = None if _MARK in text or "\\" in text else _all_lines(lines)
    return _each_line(lines) if rows is None else rows


def _all_lines(lines: list[str]) -> list[Any] | None:
    """Parse lines that hold no mark and no escape at once, twice as fast as one by one.

    One array holds them all with a mark between each and the next. When every mark comes out as
    an element of that array, no value reached over the end of a line, and no line held two.
    Returns None when it is otherwise.
    """
    filled = [line for line in lines if line.strip()]
    try:
        found = json.loads("[" + f',"{_MARK}",'.join(filled) + "]")
    except (ValueError, RecursionError):
        return None
    marks = [_MARK] * (len(filled) - 1)
    return found[::2] if len(found) == 2 * len(filled) - 1 and found[1::2] == marks else None


def _each_line(lines: list[str]) -> list[Any]:
    rows = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise DataError(f"line {number} is not JSON: {error}") from error
    return rows


def _json_instances(body: bytes) -> list[Any]:
    try:
        request = json.loads(_text(body))
    except (ValueError, RecursionError) as error:
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
    features = _all_sparse(rows, feature_dim)
    if features is None:
        features = [_row(row, number, feature_dim) for number, row in enumerate(rows)]
    keys: list[int] = list(chain.from_iterable(keys for keys, _ in features))
    values: list[float] = list(chain.from_iterable(values for _, values in features))
    pointers: npt.NDArray[np.int64] = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(values) for _, values in features], out=pointers[1:])
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


def _all_sparse(rows: list[Any], feature_dim: int) -> list[_Features] | None:
    """Return keys and values of all instances if they have the documented sparse form."""
    try:
        features = [row["data"]["features"] for row in rows]
        shapes = [each["shape"] for each in features]
        found = [(each["keys"], each["values"]) for each in features]
    except (KeyError, TypeError):
        return None
    fits = (
        all(len(row) == 1 for row in rows)  # no "features" beside "data", which would count
        and shapes == [[feature_dim]] * len(rows)
        and all(type(k) is list and type(v) is list and len(k) == len(v) for k, v in found)
    )
    return found if fits else None


def _row(row: Any, number: int, feature_dim: int) -> _Features:
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
        return range(len(values)), values
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
