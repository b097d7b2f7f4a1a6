"""Views of a byte buffer as overlapping fixed-size blocks.

Indexing such a view moves whole blocks between arbitrary byte positions with one memory copy
each: the operation behind both directions of the codec.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]


def windows(buffer: Bytes, size: int, step: int) -> npt.NDArray[np.void]:
    """Return the view whose element ``i`` is the ``size`` bytes from ``i * step`` on.

    ``buffer`` is contiguous, and ``size`` at least 1. Writing to the view writes to the buffer.
    """
    count = (buffer.size - size) // step + 1
    return np.ndarray((max(count, 0),), f"V{size}", buffer=buffer, strides=(step,))


def as_blocks(rows: npt.NDArray[np.generic], size: int) -> npt.NDArray[np.void]:
    """Return a contiguous array as one block of ``size`` bytes per row."""
    return rows.reshape(-1).view(f"V{size}")
