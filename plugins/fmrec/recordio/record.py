"""What one record means: a row of a matrix and its label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fmrec.recordio.wire import Record, Span, Tensor, WireError, parse

MAX_WIDTH = (1 << 63) - 1


@dataclass(frozen=True)
class Row:
    """Keys and values of a row, the number of features, the label and its tensor's type if any."""

    keys: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    width: int
    label: float | None
    label_type: str | None


@dataclass(frozen=True)
class Layout:
    """A row, and where its variable bytes stand in the payload; the rest is structure."""

    row: Row
    values: Span
    keys: Span
    label: Span
    dense: bool


def read_row(payload: bytes) -> Row:
    """Return the row of a payload. Raises WireError."""
    return _row(parse(payload))


def learn(payload: bytes) -> Layout | None:
    """Return the layout of a valid record whose tensors are float32 in single packed runs.

    None for any other record: it has to be read by itself.
    """
    try:
        record = parse(payload)
        row = _row(record)
    except WireError:
        return None
    features, label = record.features["values"], record.labels.get("values", Tensor())
    simple = all(
        tensor.kind == "Float32Tensor"
        and len(tensor.value_spans) <= 1
        and len(tensor.key_spans) <= 1
        for tensor in (features, label)
    )
    if not simple:
        return None
    return Layout(
        row,
        _only(features.value_spans),
        _only(features.key_spans),
        _only(label.value_spans),
        dense=bool(features.values) and not features.keys,
    )


def _only(spans: list[Span]) -> Span:
    return spans[0] if spans else (0, 0)


def _row(record: Record) -> Row:
    tensor = record.features.get("values")
    if tensor is None:
        names = ", ".join(map(repr, record.features)) or "none"
        raise WireError(0, f"has no feature tensor named 'values' (found: {names})")
    values, keys, shape = tensor.float32(), tensor.keys, tensor.shape
    if len(shape) > 1:
        raise WireError(0, f"has a tensor of shape {shape}, but only vectors are supported")
    if keys and not shape:
        raise WireError(0, "has keys but no shape, so the number of features is unknown")
    width = shape[0] if shape else len(values)
    if not 0 < width <= MAX_WIDTH:
        raise WireError(0, f"has an impossible number of features: {width}")
    if not keys and len(values) == width:
        keys = list(range(width))
    if len(keys) != len(values):
        raise WireError(0, f"has {len(keys)} keys for {len(values)} values and shape {width}")
    if keys and max(keys) >= width:
        raise WireError(0, f"has key {max(keys)}, but its shape allows keys 0 to {width - 1} only")
    label = record.labels.get("values")
    kind = None if label is None else label.kind
    return Row(np.array(keys, np.int64), values, width, _label(label), kind)


def _label(tensor: Tensor | None) -> float | None:
    if tensor is None:
        return None
    if len(tensor.values) != 1:
        raise WireError(0, f"has {len(tensor.values)} label values instead of one")
    return float(tensor.float32()[0])
