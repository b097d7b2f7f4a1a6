"""faiss's file of an index, which is ``model_algo-1`` of the built-in k-NN.

A four-letter code of the kind of index, the header (d int32, rows int64, two fillers int64, trained
bool, metric int32: 0 inner product, 1 L2), then what the kind has: `IxFI` and `IxF2` the vectors;
`IwFl` and `IwPQ` cells, an index of their centers, no direct map, for PQ the codebooks, then the
lists of the cells. All numbers are little-endian. Source: faiss, impl/index_write.cpp.
"""

from __future__ import annotations

import struct
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from fmrec.errors import FormatError
from fmrec.local_aws.built_in.nearest_rows import Cells, Codes, Floats, Index, Metric

_METRICS: dict[Metric, int] = {"INNER_PRODUCT": 0, "L2": 1}
_FLAT: dict[Metric, bytes] = {"INNER_PRODUCT": b"IxFI", "L2": b"IxF2"}
_FILLER = 1 << 20
_BITS = 8


def dump(index: Index) -> bytes:
    """Return the file of an index."""
    cells = index.cells
    if cells is None:
        return _flat(index.metric, index.vectors)
    count, width = cells.centers.shape
    out = [
        b"IwFl" if index.codes is None else b"IwPQ",
        _header(index.metric, len(index.vectors), index.vectors.shape[1]),
        struct.pack("<QQ", count, cells.nprobe),
        _flat(index.metric, cells.centers),
        struct.pack("<?Q", False, 0),  # no map from rows to lists
    ]
    records: npt.NDArray[np.generic] = np.ascontiguousarray(index.vectors, "<f4")
    if index.codes is not None:
        records = index.codes.codes
        m, entries, _ = index.codes.codebooks.shape
        out.append(struct.pack("<?Q", True, m))  # codes are of differences from the center
        out.append(struct.pack("<QQQ", width, m, _BITS))
        out.append(_vector(index.codes.codebooks.reshape(m * entries, -1)))
    sizes = np.bincount(cells.cell, minlength=count)
    used = np.flatnonzero(sizes)
    out.append(b"ilar" + struct.pack("<QQ", count, records[:1].nbytes))
    if len(used) > count // 2:
        out.append(b"full" + struct.pack("<Q", count) + sizes.astype("<u8").tobytes())
    else:
        pairs = np.stack([used, sizes[used]], axis=1).astype("<u8")
        out.append(b"sprs" + struct.pack("<Q", pairs.size) + pairs.tobytes())
    order = np.argsort(cells.cell, kind="stable")
    lists = np.split(order, np.cumsum(sizes[used])[:-1])
    out += [records[rows].tobytes() + rows.astype("<i8").tobytes() for rows in lists]
    return b"".join(out)


def parse(data: bytes) -> Index:
    """Return the index of a file. Raises FormatError with the byte."""
    reader = _Reader(data)
    kind = reader.code()
    if kind in _FLAT.values():
        index = _parse_flat(reader)
    elif kind in (b"IwFl", b"IwPQ"):
        index = _parse_cells(reader, coded=kind == b"IwPQ")
    else:
        known = ", ".join(sorted(code.decode() for code in (*_FLAT.values(), b"IwFl", b"IwPQ")))
        reader.fail(f"the kind of index {kind!r} is none of {known}")
    if reader.at != len(data):
        reader.fail(f"{len(data) - reader.at} bytes follow the index")
    return index


def _header(metric: Metric, rows: int, width: int) -> bytes:
    return struct.pack("<iqqq?i", width, rows, _FILLER, _FILLER, True, _METRICS[metric])


def _vector(array: Floats) -> bytes:
    return struct.pack("<Q", array.size) + np.ascontiguousarray(array, "<f4").tobytes()


def _flat(metric: Metric, vectors: Floats) -> bytes:
    return _FLAT[metric] + _header(metric, *vectors.shape) + _vector(vectors)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def fail(self, what: str) -> NoReturn:
        raise FormatError(f"byte {self.at}: {what}. It is no faiss index that k-NN writes.")

    def read(self, size: int) -> bytes:
        if not 0 <= size <= len(self.data) - self.at:
            self.fail(f"{size} bytes should follow, but {len(self.data) - self.at} are left")
        self.at += size
        return self.data[self.at - size : self.at]

    def code(self) -> bytes:
        return self.read(4)

    def take(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, self.read(struct.calcsize(layout)))

    def header(self) -> tuple[int, int, Metric]:
        """Return width, rows and metric."""
        width, rows, _, _, _, number = self.take("<iqqq?i")
        names = [name for name, code in _METRICS.items() if code == number]
        if not names or width < 1 or rows < 0:
            self.fail(f"{rows} rows of {width} columns with the metric {number}")
        return width, rows, names[0]

    def floats(self, rows: int, width: int) -> Floats:
        (size,) = self.take("<Q")
        if size != rows * width:
            self.fail(f"{size} numbers where {rows} x {width} belong")
        return np.frombuffer(self.read(4 * size), "<f4").reshape(rows, width)


def _parse_flat(reader: _Reader) -> Index:
    width, rows, metric = reader.header()
    return Index(metric, reader.floats(rows, width))


def _parse_cells(reader: _Reader, *, coded: bool) -> Index:
    width, rows, metric = reader.header()
    count, nprobe = reader.take("<QQ")
    if reader.code() not in _FLAT.values():
        reader.fail("the centers of the cells are in no flat index")
    centers = _parse_flat(reader).vectors
    _, mapped = reader.take("<?Q")
    if centers.shape != (count, width) or mapped:
        reader.fail(f"{count} cells with centers of shape {centers.shape}")
    codebooks = _parse_codebooks(reader, width) if coded else None
    kind: npt.DTypeLike = "<f4" if codebooks is None else np.uint8
    items = width if codebooks is None else len(codebooks)
    records, cell = _parse_lists(reader, count, rows, items, np.dtype(kind))
    cells = Cells(centers, cell, nprobe)
    if codebooks is None:
        return Index(metric, records.astype(np.float32, copy=False), cells)
    codes = Codes(codebooks, records.astype(np.uint8, copy=False))
    return Index(metric, centers[cell] + codes.decoded(), cells, codes)


def _parse_codebooks(reader: _Reader, width: int) -> Floats:
    by_residual, size = reader.take("<?Q")
    columns, m, bits = reader.take("<QQQ")
    if not by_residual or size != m or columns != width or bits != _BITS or not m or width % m:
        reader.fail(f"codes of {size} bytes, {m} parts of {bits} bits for {columns} columns")
    entries = 1 << bits
    return reader.floats(m * entries, width // m).reshape(m, entries, width // m)


def _parse_lists(
    reader: _Reader, count: int, rows: int, items: int, kind: np.dtype[np.generic]
) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.int64]]:
    """Return the records ``(rows, items)`` and their cells, in the order of the rows."""
    code, (lists, size) = reader.code(), reader.take("<QQ")
    if code != b"ilar" or lists != count or size != items * kind.itemsize:
        reader.fail(f"{lists} lists {code!r} of {size} bytes a record")
    form, (length,) = reader.code(), reader.take("<Q")
    numbers = np.frombuffer(reader.read(8 * length), "<u8").astype(np.int64)
    sizes = np.zeros(count, np.int64)
    if form == b"full" and length == count:
        sizes[:] = numbers
    elif form == b"sprs" and not length % 2 and (numbers[::2] < count).all():
        sizes[numbers[::2]] = numbers[1::2]
    else:
        reader.fail(f"sizes of lists in the form {form!r}")
    if sizes.sum() != rows or rows * size > len(reader.data):
        reader.fail(f"lists of {sizes.sum()} records for {rows} rows")
    records, cell = np.zeros((rows, items), kind), np.full(rows, -1)
    for number in np.flatnonzero(sizes):
        block = reader.read(int(sizes[number]) * size)
        ids = np.frombuffer(reader.read(8 * int(sizes[number])), "<i8")
        if not ((ids >= 0) & (ids < rows)).all():
            reader.fail(f"list {number} names rows beyond the {rows} of the index")
        records[ids] = np.frombuffer(block, kind).reshape(-1, items)
        cell[ids] = number
    if (cell < 0).any():
        reader.fail("a row stands in no list")
    return records, cell
