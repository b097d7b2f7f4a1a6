"""MXNet's NDArray files, which hold the parameters of built-in models.

A file is ``u64 0x112 | u64 0 | u64 n | n arrays | u64 m | m names``; m is n for a dictionary and 0
for a list. An array is a magic word, a storage type, shapes, a device, an element type, for sparse
storage the types and shapes of index arrays, then the numbers. Source: MXNet 1.x,
src/ndarray/ndarray.cc.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fmrec.errors import FormatError

LIST_MAGIC = 0x112
V1_MAGIC, V2_MAGIC, V3_MAGIC = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
DENSE, ROW_SPARSE = 0, 1
CPU = 1
DTYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "u1", 4: "<i4", 5: "i1", 6: "<i8"}
FLOAT32, INT64 = 0, 6


@dataclass(frozen=True)
class Entry:
    """One array. ``rows`` are the stored rows of a row-sparse array, None if dense.

    The name is empty for an array of a list.
    """

    name: str
    values: npt.NDArray[np.generic]
    rows: npt.NDArray[np.int64] | None
    shape: tuple[int, ...]

    def dense(self) -> npt.NDArray[np.float32]:
        """Return the whole array as float32; rows that are not stored are zero."""
        if self.rows is None:
            return self.values.astype(np.float32)
        full = np.zeros(self.shape, np.float32)
        full[self.rows] = self.values
        return full


def dump(entries: list[tuple[str, npt.NDArray[np.float32], bool]]) -> bytes:
    """Return a file of (name, array, whether to store it row-sparse with all rows).

    Without any name it is a list.
    """
    out = [struct.pack("<QQQ", LIST_MAGIC, 0, len(entries))]
    for _, array, row_sparse in entries:
        shape = _pack_shape(array.shape)
        out.append(struct.pack("<Ii", V2_MAGIC, ROW_SPARSE if row_sparse else DENSE))
        out.append((shape if row_sparse else b"") + shape)
        out.append(struct.pack("<iii", CPU, 0, FLOAT32))
        if row_sparse:
            out.append(struct.pack("<i", INT64) + _pack_shape((len(array),)))
        out.append(np.ascontiguousarray(array, "<f4").tobytes())
        if row_sparse:
            out.append(np.arange(len(array), dtype="<i8").tobytes())
    names = [name for name, _, _ in entries if name]
    out.append(struct.pack("<Q", len(names)))
    out += [struct.pack("<Q", len(name)) + name.encode("ascii") for name in names]
    return b"".join(out)


def parse(data: bytes) -> list[Entry]:
    """Return the arrays of a file in order. Raises FormatError with the byte."""
    cursor = _Cursor(data)
    magic, _, count = cursor.take("<QQQ")
    if magic != LIST_MAGIC:
        cursor.fail(f"begins with 0x{magic:x} instead of 0x{LIST_MAGIC:x}")
    arrays = [_parse_array(cursor) for _ in range(count)]
    (names,) = cursor.take("<Q")
    if names not in (0, count):
        cursor.fail(f"has {names} names for {count} arrays")
    entries = []
    for values, rows, shape in arrays:
        name = ""
        if names:
            (length,) = cursor.take("<Q")
            name = cursor.bytes(length).decode("utf-8", "replace")
        entries.append(Entry(name, values, rows, shape))
    if cursor.at != len(data):
        cursor.fail(f"{len(data) - cursor.at} bytes follow the last name")
    return entries


def _pack_shape(shape: tuple[int, ...]) -> bytes:
    return struct.pack(f"<I{len(shape)}q", len(shape), *shape)


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def fail(self, what: str) -> None:
        raise FormatError(f"params, byte {self.at}: {what}. It is no MXNet parameter file.")

    def bytes(self, size: int) -> bytes:
        if not 0 <= size <= len(self.data) - self.at:
            self.fail(f"{size} bytes should follow, but {len(self.data) - self.at} are left")
        self.at += size
        return self.data[self.at - size : self.at]

    def take(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, self.bytes(struct.calcsize(layout)))

    def shape(self) -> tuple[int, ...]:
        (axes,) = self.take("<I")
        return self.take(f"<{axes}q")

    def array(self, kind: int, shape: tuple[int, ...]) -> npt.NDArray[np.generic]:
        if kind not in DTYPES:
            self.fail(f"element type {kind} is unknown")
        dtype = np.dtype(DTYPES[kind])
        size = int(np.prod(shape, dtype=object)) if shape else 0
        return np.frombuffer(self.bytes(size * dtype.itemsize), dtype).reshape(shape)


def _parse_array(
    cursor: _Cursor,
) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.int64] | None, tuple[int, ...]]:
    (magic,) = cursor.take("<I")
    if magic not in (V1_MAGIC, V2_MAGIC, V3_MAGIC):
        cursor.fail(f"an array begins with 0x{magic:08x}")
    storage = DENSE if magic == V1_MAGIC else cursor.take("<i")[0]
    if storage not in (DENSE, ROW_SPARSE):
        cursor.fail(f"storage type {storage} is not supported")
    stored_shape = cursor.shape() if storage == ROW_SPARSE else None
    shape = cursor.shape()
    cursor.take("<ii")
    (kind,) = cursor.take("<i")
    if stored_shape is None:
        return cursor.array(kind, shape), None, shape
    (row_kind,) = cursor.take("<i")
    row_shape = cursor.shape()
    values = cursor.array(kind, stored_shape)
    rows = cursor.array(row_kind, row_shape).astype(np.int64)
    fits = rows.shape == stored_shape[:1] and stored_shape[1:] == shape[1:]
    if not fits or (rows.size and not 0 <= rows.min() <= rows.max() < shape[0]):
        cursor.fail(f"row numbers do not fit an array of shape {shape}")
    return values, rows, shape
