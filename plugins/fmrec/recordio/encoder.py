"""Matrices to RecordIO-protobuf.

Records whose rows have the same number of values and the same number of key bytes share one
layout, so they are made together: a template row is repeated, and values, keys and labels are
copied into it as columns. The bytes equal those of the SageMaker Python SDK 2.x.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fmrec.errors import DataError
from fmrec.recordio.framing import HEADER_BYTES, LENGTH_MASK, MAGIC, padded
from fmrec.recordio.varint import encode_many, encode_one
from fmrec.recordio.windows import Bytes, as_blocks, windows

# Keeps a chunk's arrays within the CPU's cache (1 MiB of output at two values per row).
CHUNK_ROWS = 16_384
# Of layouts kept for the next chunk, each below 4 KiB: rows with histories have a thousand.
_KEPT = 4_096
_FEW_VALUES = 256

Floats = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]
Matrix = sparse.csr_matrix | sparse.csr_array


@dataclass(frozen=True)
class _Template:
    """A framed record with zeros where keys and labels go, and where values, keys, labels go."""

    frame: Bytes
    labels_at: tuple[int, ...]
    values_at: int = 0
    values: int = 0
    keys_at: int = 0
    key_bytes: int = 0


class _Buffer:
    """Memory used again for every chunk: fresh pages cost as much as filling them."""

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def first(self, size: int) -> Bytes:
        if self._bytes.size < size:
            self._bytes = np.empty(size + size // 8, np.uint8)
        return self._bytes[:size]


def encode(features: Matrix, labels: npt.ArrayLike | None) -> bytes:
    """Return the rows of ``features`` ``(n, d)`` as sparse records, in order.

    Values and labels ``(n,)`` are written as float32. Explicit zeros and the order of the
    indices within a row are kept. Raises DataError for labels of another length and for
    indices outside the matrix.
    """
    stream = io.BytesIO()
    write(stream, features, labels)
    return stream.getvalue()


def write(
    stream: BinaryIO,
    features: Matrix,
    labels: npt.ArrayLike | None,
    chunk_rows: int = CHUNK_ROWS,
) -> int:
    """Write what ``encode`` returns to ``stream`` and return the number of bytes written.

    Needs memory for ``chunk_rows`` records, whatever the number of rows.
    """
    written = 0
    for chunk in _sparse_chunks(features, labels, chunk_rows):
        stream.write(chunk.data)
        written += chunk.size
    return written


def encode_dense(matrix: npt.ArrayLike, labels: npt.ArrayLike | None) -> bytes:
    """Return the rows of ``matrix`` ``(n, d)`` as dense records: float32 values without keys.

    Raises DataError for an array of another shape and for labels of another length.
    """
    values = np.ascontiguousarray(matrix, np.float32)
    if values.ndim != 2 or not values.shape[1]:
        raise DataError(f"dense records need a matrix with columns, not shape {values.shape}")
    targets = _checked_labels(labels, len(values))
    template = _row_template(values.shape[1], 0, None, bytes(4), labelled=targets is not None)
    out, starts = _repeat(template, len(values))
    _put(out, starts + template.values_at, values)
    if targets is not None:
        _put(out, starts + template.labels_at[0], targets)
    return out.tobytes()


def encode_responses(columns: Mapping[str, npt.ArrayLike]) -> bytes:
    """Return inference responses: no features, one float32 label tensor per named column.

    All columns have one length ``(n,)``; raises DataError when they have not. Source: SageMaker
    Developer Guide, "Common Data Formats for Inference".
    """
    arrays = [np.ascontiguousarray(column, np.float32) for column in columns.values()]
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1 or arrays[0].ndim != 1:
        raise DataError(f"responses need columns of one length, not of shapes {sorted(shapes)}")
    template = _template(b"", tuple(columns))
    out, starts = _repeat(template, len(arrays[0]))
    for label_at, array in zip(template.labels_at, arrays, strict=True):
        _put(out, starts + label_at, array)
    return out.tobytes()


def _checked_labels(labels: npt.ArrayLike | None, rows: int) -> Floats | None:
    if labels is None:
        return None
    targets = np.ascontiguousarray(labels, np.float32)
    if targets.shape != (rows,):
        raise DataError(
            f"labels of shape {targets.shape} do not fit {rows} rows: pass one label per row"
        )
    return targets


def _sparse_chunks(
    features: Matrix, labels: npt.ArrayLike | None, chunk_rows: int
) -> Iterator[Bytes]:
    """Yield the records of each chunk; the bytes are valid until the next one is asked for."""
    rows, width = features.shape
    targets = _checked_labels(labels, rows)
    buffer = _Buffer()
    if width < 1:
        raise DataError("a matrix without columns cannot be written as RecordIO")
    for first in range(0, rows, chunk_rows):
        last = min(first + chunk_rows, rows)
        indptr = features.indptr[first : last + 1]
        span = slice(int(indptr[0]), int(indptr[-1]))
        indices = np.ascontiguousarray(features.indices[span])
        if indices.size and not 0 <= indices.min() <= indices.max() < width:
            raise DataError(
                f"rows {first} to {last - 1} have an index outside 0..{width - 1}: "
                "the matrix is not a valid CSR matrix"
            )
        yield _encode_chunk(
            np.subtract(indptr, indptr[0], dtype=np.int64),
            indices.view(np.uint32 if indices.itemsize == 4 else np.uint64),
            np.ascontiguousarray(features.data[span], np.float32),
            None if targets is None else targets[first:last],
            width,
            buffer,
        )


def _encode_chunk(
    indptr: Index,
    keys: npt.NDArray[np.unsignedinteger],
    values: Floats,
    targets: Floats | None,
    width: int,
    buffer: _Buffer,
) -> Bytes:
    key_stream, key_starts = encode_many(keys)
    key_rows = key_starts[indptr]
    counts, key_bytes = np.diff(indptr), np.diff(key_rows)
    groups = _groups(counts, key_bytes)
    # One value all over, as in one-hot rows, is part of the template.
    bits = values.view(np.uint32)
    constant = bool(bits.size) and bool((bits == bits[0]).all())
    templates = [
        (_kept_row_template if counts[rows[0]] <= _FEW_VALUES else _row_template)(
            int(counts[rows[0]]),
            int(key_bytes[rows[0]]),
            width,
            values[:1].tobytes() if constant else bytes(4),
            labelled=targets is not None,
        )
        for rows in groups
    ]
    sizes = np.empty(len(counts), np.int64)
    for rows, template in zip(groups, templates, strict=True):
        sizes[rows] = template.frame.size
    ends = np.cumsum(sizes)
    starts = ends - sizes
    out = buffer.first(int(ends[-1]))
    for rows, template in zip(groups, templates, strict=True):
        at = starts[rows]
        _put(out, at, template.frame[None, :])
        if not constant:
            _put(out, at + template.values_at, _runs(values, indptr[rows], template.values))
        _put(out, at + template.keys_at, _runs(key_stream, key_rows[rows], template.key_bytes))
        if targets is not None:
            _put(out, at + template.labels_at[0], targets[rows])
    return out


def _groups(counts: Index, key_bytes: Index) -> list[npt.NDArray[np.intp]]:
    """Return the rows of each (number of values, bytes of keys), ascending within a group."""
    code = counts * (int(key_bytes.max()) + 1) + key_bytes
    if int(code.max()) >= 1 << 16:
        code = np.unique(code, return_inverse=True)[1]
    # Stable argsort of 16-bit integers is a radix sort: linear time.
    small = code.astype(np.uint16 if int(code.max()) < 1 << 16 else np.int64)
    order = np.argsort(small, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(small[order])) + 1)


def _runs(stream: npt.NDArray[np.generic], starts: Index, count: int) -> npt.NDArray[np.generic]:
    """Return ``count`` consecutive items of ``stream`` from each start on, one block per row."""
    if not count:
        return np.empty((len(starts), 0), np.uint8)
    step = stream.itemsize
    return windows(stream.view(np.uint8), count * step, step)[starts]


def _put(out: Bytes, at: Index, rows: npt.NDArray[np.generic]) -> None:
    """Copy each row (or the only one) to its byte position in ``out``."""
    size = rows.nbytes // max(len(rows), 1)
    if size:
        windows(out, size, 1)[at] = as_blocks(rows, size)


def _repeat(template: _Template, rows: int) -> tuple[Bytes, Index]:
    """Return ``rows`` records of one layout end to end, and where each begins."""
    size = template.frame.size
    return np.tile(template.frame, rows), np.arange(rows) * size


def _message(field: int, body: bytes) -> bytes:
    return encode_one(field << 3 | 2) + encode_one(len(body)) + body


def _entry(name: str, tensor: bytes) -> bytes:
    """Return one entry of a tensor map: its name and a Value that holds a Float32Tensor."""
    return _message(1, name.encode()) + _message(2, _message(2, tensor))


def _row_template(
    count: int, key_bytes: int, width: int | None, value: bytes, *, labelled: bool
) -> _Template:
    """Return the record of a row of ``count`` times ``value``; dense without keys and width.

    Packed fields are absent when they are empty.
    """
    values = _message(1, value * count) if count else b""
    keys = _message(2, bytes(key_bytes)) if key_bytes else b""
    shape = _message(3, encode_one(width)) if width is not None else b""
    payload = _message(1, _entry("values", values + keys + shape))
    keys_at = HEADER_BYTES + len(payload) - len(shape) - key_bytes
    return replace(
        _template(payload, ("values",) if labelled else ()),
        values_at=keys_at + key_bytes - len(keys) - 4 * count,
        values=count,
        keys_at=keys_at,
        key_bytes=key_bytes,
    )


_kept_row_template = functools.lru_cache(_KEPT)(_row_template)


def _template(payload: bytes, label_names: tuple[str, ...]) -> _Template:
    """Return the payload with a zero label under each name, framed."""
    labels_at = []
    for name in label_names:
        payload += _message(2, _entry(name, _message(1, bytes(4))))
        labels_at.append(HEADER_BYTES + len(payload) - 4)
    if len(payload) > LENGTH_MASK:
        raise DataError(f"a row needs a record of {len(payload)} bytes; RecordIO ends at 512 MiB")
    frame = MAGIC.to_bytes(4, "little") + len(payload).to_bytes(4, "little") + payload
    frame += bytes(padded(len(payload)) - len(payload))
    return _Template(np.frombuffer(frame, np.uint8), tuple(labels_at))
