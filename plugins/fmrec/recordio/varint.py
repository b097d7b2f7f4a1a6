"""Protobuf's variable-length integers, many at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fmrec.recordio.windows import Bytes, as_blocks, windows

MAX_BYTES = 10


def encode_one(value: int) -> bytes:
    """Return the varint of one non-negative integer."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_many(
    values: npt.NDArray[np.unsignedinteger],
) -> tuple[Bytes, npt.NDArray[np.int64]]:
    """Return the varints of ``values`` end to end, and where each begins and the last ends.

    ``values`` is of an unsigned integer type; the positions have one entry more.
    """
    if int(values.max(initial=0)) < 1 << 28:
        lengths, blocks = _up_to_four_bytes(values.astype(np.uint32, copy=False))
    else:
        lengths, blocks = _any_length(values.astype(np.uint64, copy=False))
    ends = np.zeros(len(values) + 1, np.int64)
    np.cumsum(lengths, out=ends[1:])
    # Each varint is laid down at full width; the next one covers the bytes it does not need.
    stream = np.empty(int(ends[-1]) + blocks.itemsize, np.uint8)
    windows(stream, blocks.itemsize, 1)[ends[:-1]] = blocks
    return stream[: int(ends[-1])], ends


Blocks = npt.NDArray[np.void]


def _up_to_four_bytes(values: npt.NDArray[np.uint32]) -> tuple[Bytes, Blocks]:
    """Return the varints' lengths and bytes, made within 32-bit words."""
    lengths = np.ones(len(values), np.uint8)
    words = values & np.uint32(0x7F)
    for place in (1, 2, 3):
        longer = values >= np.uint32(1 << 7 * place)
        if not longer.any():
            break
        lengths += longer
        words |= longer.astype(np.uint32) << np.uint32(8 * place - 1)
        words |= (values << np.uint32(place)) & np.uint32(0x7F << 8 * place)
    return lengths, as_blocks(words.astype("<u4", copy=False), 4)


def _any_length(values: npt.NDArray[np.uint64]) -> tuple[Bytes, Blocks]:
    """Return the varints' lengths and bytes, made byte by byte."""
    lengths = np.ones(len(values), np.uint8)
    grid = np.empty((len(values), MAX_BYTES), np.uint8)
    for place in range(MAX_BYTES):
        rest = values >> np.uint64(7 * place)
        longer = rest >= np.uint64(0x80)
        lengths += longer
        grid[:, place] = (rest & np.uint64(0x7F)).astype(np.uint8) | longer.view(np.uint8) << 7
    return lengths, as_blocks(grid, MAX_BYTES)


def decode_many(stream: Bytes) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.intp]]:
    """Return the integers in ``stream`` and the position of the last byte of each.

    ``stream`` ends with the last byte of a varint. Bits beyond the 64th are lost: a varint
    of more than nine bytes (its last position minus the one before) needs a look by the caller.
    """
    ends = np.flatnonzero(stream < 0x80)
    lengths = np.diff(ends, prepend=-1)
    values = stream[ends].astype(np.uint64)
    for back in range(1, min(int(lengths.max(initial=1)), MAX_BYTES)):
        longer = np.flatnonzero(lengths > back)
        values[longer] <<= np.uint64(7)
        values[longer] |= stream[ends[longer] - back] & np.uint8(0x7F)
    return values, ends
