"""RecordIO frames: where each record of a byte block begins and how long it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from fmrec.errors import FormatError
from fmrec.recordio.windows import Bytes

MAGIC = 0xCED7230A
HEADER_BYTES = 8
# dmlc-core keeps a continuation flag in the upper three bits of the length word.
LENGTH_MASK = (1 << 29) - 1


@dataclass(frozen=True)
class Place:
    """Where a block stands in its file: file name, records and bytes before the block."""

    name: str | None
    record: int = 0
    byte: int = 0

    def fail(self, record: int, byte: int, what: str) -> NoReturn:
        """Raise FormatError about the record and the byte, both counted within the block."""
        raise FormatError(
            f"{self.name or 'RecordIO data'}: record {self.record + record} (counted from 0), "
            f"byte {self.byte + byte}: {what}"
        )


@dataclass(frozen=True)
class Frames:
    """Payload positions and lengths in bytes, and the bytes that whole frames take up."""

    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    consumed: int


def padded(length: int) -> int:
    """Return the length rounded up to a multiple of four bytes."""
    return (length + 3) & ~3


def split(data: Bytes, place: Place, *, final: bool) -> Frames:
    """Return the frames of a block that begins at a frame.

    A frame cut off by the end of the block is an error when the block is ``final``, and left
    unconsumed otherwise.
    """
    words = data[: data.size & ~3].view("<u4")
    frames = _by_magic(words) or _by_walking(words, data.size, place, final=final)
    if final and frames.consumed != data.size:
        _fail_truncated(words, data.size, frames, place)
    return frames


def _by_magic(words: npt.NDArray[np.uint32]) -> Frames | None:
    """Return all frames at once if every magic word is the start of one, else None."""
    heads = np.flatnonzero(words == MAGIC)
    if not heads.size or heads[0] != 0:
        return None
    # A head without its length word can only be the last one: a frame cut off there.
    with_length = heads[:-1] if heads[-1] + 1 == words.size else heads
    lengths = words[with_length + 1].astype(np.int64)
    following = with_length + 2 + (lengths + 3 >> 2)
    whole = len(lengths)
    if whole and following[-1] > words.size:
        whole -= 1
    consumed = int(following[whole - 1]) if whole else 0
    ends = np.append(heads[1:], words.size)
    if (following[:whole] != ends[:whole]).any() or (lengths > LENGTH_MASK).any():
        return None
    return Frames((with_length[:whole] + 2) * 4, lengths[:whole], consumed * 4)


def _by_walking(words: npt.NDArray[np.uint32], size: int, place: Place, *, final: bool) -> Frames:
    """Return the frames by following the lengths; the magic word may occur in payloads."""
    starts: list[int] = []
    lengths: list[int] = []
    at = 0
    while at + 2 <= len(words):
        magic, length = int(words[at]), int(words[at + 1])
        if magic != MAGIC:
            place.fail(
                len(starts),
                at * 4,
                f"found 0x{magic:08x} instead of the magic word 0x{MAGIC:08x}. The file is not "
                "RecordIO, or it is damaged here or in the record before: write it again.",
            )
        if length > LENGTH_MASK:
            place.fail(
                len(starts),
                at * 4 + 4,
                f"the length word 0x{length:08x} marks part of a record split over several "
                "frames, which is not supported: write each record as one frame.",
            )
        after = at + 2 + padded(length) // 4
        if after > len(words):
            break
        starts.append((at + 2) * 4)
        lengths.append(length)
        at = after
    if final and at < len(words) < at + 2 and int(words[at]) != MAGIC:
        place.fail(len(starts), at * 4, f"{size - at * 4} bytes that are not a RecordIO frame.")
    return Frames(np.array(starts, np.int64), np.array(lengths, np.int64), at * 4)


def _fail_truncated(
    words: npt.NDArray[np.uint32], size: int, frames: Frames, place: Place
) -> NoReturn:
    at = frames.consumed
    claim = "a frame header of 8 bytes"
    if at + HEADER_BYTES <= size:
        claim = f"a payload of {int(words[at // 4 + 1])} bytes with padding"
    place.fail(
        len(frames.starts),
        at,
        f"{claim} should stand here, but the data ends after {size - at} bytes. "
        "The file is cut short: fetch or write it again.",
    )
