"""RecordIO answers whose label tensors hold several values each: k-NN's verbose mode."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from fmrec.recordio.framing import HEADER_BYTES, MAGIC, padded
from fmrec.recordio.varint import encode_one


def encode(columns: Mapping[str, npt.NDArray[np.float32]]) -> bytes:
    """Return one record for each row: no features, a label tensor ``(width,)`` per column.

    All columns are ``(n, width)``, n being one number. Every record has the same length, so one is
    made with zeros and repeated.
    """
    payload, places = b"", []
    for name, values in columns.items():
        width = values.shape[1]
        tensor = _message(2, _message(1, bytes(4 * width)))
        payload += _message(2, _message(1, name.encode()) + _message(2, tensor))
        places.append(HEADER_BYTES + len(payload) - 4 * width)
    head = np.array([MAGIC, len(payload)], "<u4").tobytes()
    frame = head + payload + bytes(padded(len(payload)) - len(payload))
    rows = len(next(iter(columns.values())))
    out = np.tile(np.frombuffer(frame, np.uint8), (rows, 1))
    for place, values in zip(places, columns.values(), strict=True):
        raw = np.ascontiguousarray(values, "<f4").view(np.uint8)
        out[:, place : place + raw.shape[1]] = raw
    return out.tobytes()


def _message(field: int, body: bytes) -> bytes:
    return encode_one(field << 3 | 2) + encode_one(len(body)) + body
