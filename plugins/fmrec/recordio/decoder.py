"""RecordIO-protobuf to matrices.

The first record of each size is read field by field; that shows which of its bytes are values,
keys and label and which are structure. All records that agree with it in the structure are
then decoded together. What is left over is read one by one, so every valid record is understood
and every invalid one is reported with its number and byte.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fmrec.recordio.framing import Frames, Place, padded, split
from fmrec.recordio.record import Row, learn, read_row
from fmrec.recordio.varint import decode_many
from fmrec.recordio.windows import Bytes, windows
from fmrec.recordio.wire import Span, WireError

CHUNK_BYTES = 4 << 20
# Each attempt compares all records of one size; files made by one writer need one or two.
MAX_LAYOUTS = 24

Floats = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Records:
    """Decoded records: ``features`` ``(n, d)`` and ``labels`` ``(n,)``, None without labels.

    ``label_types`` has for each tensor type that labels came in the first record with one.
    """

    features: sparse.csr_matrix[np.float32]
    labels: Floats | None
    label_types: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Part:
    """Decoded records that have the same number of values; ``rows`` are their numbers."""

    rows: Index
    keys: Index
    values: Floats
    width: int
    labels: Floats | None
    label_type: str | None


def decode(data: bytes | bytearray | memoryview, *, name: str | None = None) -> Records:
    """Return all records of ``data``; no bytes give a matrix of shape (0, 0).

    Sparse and dense records of float32, float64 or int32 values are understood; the result is
    float32. A dense record without shape is as wide as it has values. Of several tensors in a
    record's maps the one under ``values`` is taken; the others are skipped, as unknown fields
    are. Raises FormatError with ``name``, record and byte for anything else.
    """
    blocks = list(read(io.BytesIO(data), name=name))
    return (
        join(blocks) if blocks else Records(sparse.csr_matrix(np.empty((0, 0), np.float32)), None)
    )


def join(blocks: Sequence[Records]) -> Records:
    """Return the rows of one or more blocks of one width as one block, in order."""
    labels = [block.labels for block in blocks if block.labels is not None]
    types: dict[str, int] = {}
    rows = 0
    for block in blocks:
        for kind, row in block.label_types.items():
            types.setdefault(kind, rows + row)
        rows += block.features.shape[0]
    return Records(
        sparse.vstack([block.features for block in blocks], format="csr"),
        np.concatenate(labels) if labels else None,
        types,
    )


def read(
    stream: BinaryIO, *, name: str | None = None, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[Records]:
    """Yield the records of ``stream`` in blocks, about ``chunk_bytes`` of file at a time.

    Needs memory for one block (or for the largest record), whatever the length of the stream.
    A stream without bytes yields nothing. Otherwise as ``decode``.
    """
    decoder = _Decoder()
    place = Place(name)
    rest = b""
    while True:
        fresh = stream.read(max(chunk_bytes, len(rest)))
        block = np.frombuffer(rest + fresh, np.uint8)
        frames = split(block, place, final=not fresh)
        if len(frames.starts):
            yield decoder.block(block, frames, place)
        if not fresh:
            return
        rest = block[frames.consumed :].tobytes()
        place = Place(name, place.record + len(frames.starts), place.byte + frames.consumed)


class _Decoder:
    """Decodes blocks of one file, whose records have one width and all or no labels."""

    def __init__(self) -> None:
        self._width: int | None = None
        self._labelled = False

    def block(self, data: Bytes, frames: Frames, place: Place) -> Records:
        parts, odd = _by_layout(data, frames)
        parts += [_alone(int(row), _read_row(data, frames, int(row), place)) for row in odd]
        self._check(parts, frames, place)
        return _assemble(parts, len(frames.starts))

    def _check(self, parts: list[_Part], frames: Frames, place: Place) -> None:
        """Refuse records that differ from the file's first in width or in having a label."""
        first = min(parts, key=lambda part: int(part.rows[0]))
        if self._width is None:
            self._width, self._labelled = first.width, first.labels is not None
        wrong = [
            part
            for part in parts
            if part.width != self._width or (part.labels is not None) != self._labelled
        ]
        if not wrong:
            return
        part = min(wrong, key=lambda part: int(part.rows[0]))
        row = int(part.rows[0])
        what = f"has {part.width} features, but the records before it have {self._width}"
        if part.width == self._width:
            has, others = ("no", "one") if self._labelled else ("a", "none")
            what = f"has {has} label, but the records before it have {others}"
        place.fail(row, int(frames.starts[row]), f"{what}: write the file again from one matrix.")


def _read_row(data: Bytes, frames: Frames, row: int, place: Place) -> Row:
    """Return one record read by itself; a bad one is reported here."""
    start = int(frames.starts[row])
    try:
        return read_row(data[start : start + int(frames.lengths[row])].tobytes())
    except WireError as error:
        place.fail(row, start + error.at, f"{error}. Write the file again from valid data.")


def _by_layout(data: Bytes, frames: Frames) -> tuple[list[_Part], Index]:
    """Return the records decoded in groups, and the numbers of those left over."""
    parts: list[_Part] = []
    odd: list[Index] = []
    for same_size in _same_size(frames.lengths):
        rows, length = same_size, int(frames.lengths[same_size[0]])
        block = _gather(data, frames.starts[rows], padded(length))
        for _ in range(MAX_LAYOUTS if length else 0):
            part, matched = _decode_like_first(block, length, rows)
            if part is not None:
                parts.append(part)
            else:
                odd.append(rows[:1])
                matched[0] = True
            block, rows = block[~matched], rows[~matched]
            if not rows.size:
                break
        odd.append(rows)
    return parts, np.sort(np.concatenate(odd))


def _same_size(lengths: Index) -> list[Index]:
    """Return the record numbers of each payload length, ascending within a length."""
    if (lengths == lengths[0]).all():
        return [np.arange(len(lengths))]
    order = np.argsort(lengths, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)


def _gather(data: Bytes, starts: Index, size: int) -> Bytes:
    """Return the payloads with their padding, one per row."""
    if not size:
        return np.empty((len(starts), 0), np.uint8)
    taken = windows(data, size, 4)[starts >> 2]
    payloads: Bytes = taken.view(np.uint8).reshape(len(starts), size)
    return payloads


def _decode_like_first(
    block: Bytes, length: int, rows: Index
) -> tuple[_Part | None, npt.NDArray[np.bool_]]:
    """Decode the records that share the structure of the first.

    Returns them, and which they are. None when the first is of a kind to be read by itself.
    """
    nothing = np.zeros(len(rows), np.bool_)
    layout = learn(block[0, :length].tobytes())
    if layout is None:
        return None, nothing
    structure = np.zeros(block.shape[1], np.uint8)
    structure[:length] = 0xFF
    for start, end in (layout.values, layout.keys, layout.label):
        structure[start:end] = 0
    matched = _equal_where(block, structure)
    group = block if matched.all() else block[matched]
    width, count = layout.row.width, len(layout.row.values)
    values = _cut(group, layout.values).view("<f4")
    if layout.dense:
        keys = np.broadcast_to(np.arange(width), values.shape)
        good = np.ones(len(group), np.bool_)
    else:
        keys, good = _keys(_cut(group, layout.keys), count, width)
    if not good.all():
        matched[matched] = good
        keys, values, group = keys[good], values[good], group[good]
    if not matched[0]:
        return None, nothing
    labels = None
    if layout.row.label is not None:
        labels = _cut(group, layout.label).view("<f4")[:, 0]
    return _Part(rows[matched], keys, values, width, labels, layout.row.label_type), matched


def _equal_where(block: Bytes, structure: Bytes) -> npt.NDArray[np.bool_]:
    """Return which rows equal the first row in the bytes where ``structure`` is 0xff."""
    words, mask = block.view("<u4"), structure.view("<u4")
    differs = np.zeros(len(block), np.uint32)
    for place in np.flatnonzero(mask):
        difference = words[:, place] ^ words[0, place]
        if mask[place] != 0xFFFF_FFFF:
            difference &= mask[place]
        differs |= difference
    same: npt.NDArray[np.bool_] = differs == 0
    return same


def _cut(block: Bytes, span: Span) -> Bytes:
    return np.ascontiguousarray(block[:, span[0] : span[1]])


def _keys(stream: Bytes, count: int, width: int) -> tuple[Index, npt.NDArray[np.bool_]]:
    """Return the keys ``(n, count)`` and which rows have that many valid ones."""
    rows, size = stream.shape
    if not count:
        return np.empty((rows, 0), np.int64), np.full(rows, size == 0)
    ends = stream < 0x80
    good: npt.NDArray[np.bool_] = (ends.sum(axis=1) == count) & ends[:, -1]
    keys = np.zeros((rows, count), np.int64)
    if good.any():
        values, last = decode_many(stream[good].reshape(-1))
        # Nine bytes hold 63 bits: longer varints are beyond any width.
        fits = (values < np.uint64(width)) & (np.diff(last, prepend=-1) <= 9)
        keys[good] = values.view(np.int64).reshape(-1, count)
        good[good] = fits.reshape(-1, count).all(axis=1)
    return keys, good


def _alone(number: int, row: Row) -> _Part:
    """Return a part of one record."""
    return _Part(
        np.array([number]),
        row.keys[None, :],
        row.values[None, :],
        row.width,
        None if row.label is None else np.array([row.label], np.float32),
        row.label_type,
    )


def _assemble(parts: list[_Part], rows: int) -> Records:
    counts = np.empty(rows, np.int64)
    for part in parts:
        counts[part.rows] = part.values.shape[1]
    indptr = np.zeros(rows + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    width, total = parts[0].width, int(indptr[-1])
    small = max(width, total) < 1 << 31
    index_type: type[np.int32 | np.int64] = np.int32 if small else np.int64
    data = np.empty(total, np.float32)
    indices: npt.NDArray[np.signedinteger] = np.empty(total, index_type)
    labels = None if parts[0].labels is None else np.empty(rows, np.float32)
    for part in parts:
        places = indptr[part.rows, None] + np.arange(part.values.shape[1])
        data[places] = part.values
        indices[places] = part.keys
        if labels is not None and part.labels is not None:
            labels[part.rows] = part.labels
    pointers: npt.NDArray[np.signedinteger] = indptr.astype(index_type)
    matrix = sparse.csr_matrix((data, indices, pointers), shape=(rows, width))
    types: dict[str, int] = {}
    for part in parts:
        if part.label_type is not None:
            first = int(part.rows.min())
            types[part.label_type] = min(first, types.get(part.label_type, first))
    return Records(matrix, labels, types)
