"""Rows dealt into files by bucket, so that what does not fit in memory is worked on in pieces."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.void]


def taken(rows: Rows, places: NDArray[np.integer]) -> Rows:
    """The rows at these places: what indexing gives, faster."""
    # As plain words, a row is copied at once and not field by field.
    words = rows.view(np.uint64).reshape(rows.size, rows.itemsize // 8)
    found: Rows = np.take(words, places, axis=0).view(rows.dtype).reshape(-1)
    return found


class Spill:
    """A file of fixed-size rows for each of `buckets`, in a folder of its own.

    Rows are a multiple of eight bytes long. Those of a bucket keep the order in which one thread
    added them. Several threads may add.
    """

    def __init__(self, folder: Path, dtype: np.dtype[np.void], buckets: int) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._dtype = dtype
        self._lock = threading.Lock()
        self.rows = np.zeros(buckets, np.int64)

    def add(self, rows: Rows, bucket: NDArray[np.integer]) -> None:
        """Append each row to the file of its bucket, 0 <= bucket < buckets."""
        small = bucket.astype(np.uint16)
        # Stable argsort of 16-bit integers is a radix sort: linear time.
        order = np.argsort(small, kind="stable")
        dealt = taken(rows, order)
        counts = np.bincount(small, minlength=self.rows.size)
        ends = np.cumsum(counts)
        with self._lock:
            self.rows += counts
            for index in np.flatnonzero(counts):
                with self._file(index).open("ab") as stream:
                    dealt[ends[index] - counts[index] : ends[index]].tofile(stream)

    def read(self, bucket: int) -> Rows:
        """All rows of a bucket."""
        if not self.rows[bucket]:
            return np.empty(0, self._dtype)
        return np.fromfile(self._file(bucket), self._dtype)

    def column(self, bucket: int, name: str) -> NDArray[Any]:
        """One field of the rows of a bucket, without the others."""
        if not self.rows[bucket]:
            return np.empty(0, self._dtype)[name]
        mapped = np.memmap(self._file(bucket), self._dtype, mode="r")
        return np.ascontiguousarray(mapped[name])

    def replace(self, bucket: int, rows: Rows) -> None:
        """Let a bucket hold these rows and no others."""
        rows.tofile(self._file(bucket))
        self.rows[bucket] = rows.size

    def discard(self, bucket: int) -> None:
        """Give back the room that a bucket takes."""
        self._file(bucket).unlink(missing_ok=True)

    def _file(self, bucket: int | np.integer) -> Path:
        return self._folder / f"{int(bucket):05d}"
