"""The reader that stands in for the buffer of a moto key once its bytes are on disk."""

from __future__ import annotations

import io
from pathlib import Path

from fmrec.local_aws.s3.object_files import ObjectFiles


class StoredBytes:
    """Reads a stored file, which it opens at each read.

    A request that still holds the key object can read on after the object was replaced.
    """

    def __init__(self, files: ObjectFiles, path: Path, size: int) -> None:
        self._files = files
        self.path = path
        self.size = size
        self._at = 0
        files.hold(path)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position; return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return bytes from the position on, and move it."""
        with self.path.open("rb") as reader:
            reader.seek(self._at)
            block = reader.read(size)
        self._at += len(block)
        return block

    def close(self) -> None:
        """Do nothing: moto closes a replaced key while others may be reading it."""

    def __del__(self) -> None:
        self._files.release(self.path)
