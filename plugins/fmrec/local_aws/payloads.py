"""Cuts an input object into the payloads of batch transform, in memory bounded by the limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal

import numpy as np

from fmrec.errors import DataError
from fmrec.recordio.framing import Place, split

SplitType = Literal["None", "Line", "RecordIO"]
Strategy = Literal["MultiRecord", "SingleRecord"]
# Of a buffer that begins at a record: the end of each complete record, in order.
_Ends = Callable[[bytes, bool], list[int]]


class PayloadTooLargeError(DataError):
    """A record, or an object that is not to be split, exceeds the payload limit."""


def payloads(
    stream: BinaryIO, *, name: str, split_type: SplitType, strategy: Strategy, limit: int
) -> Iterator[bytes]:
    """Yield payloads of at most `limit` bytes that hold whole records; joined they are the stream.

    MultiRecord packs as many records as fit, SingleRecord yields one at a time. `name` is the
    object's, for messages.

    Raises PayloadTooLargeError, and FormatError for bytes that are not RecordIO.
    """
    if split_type == "None":
        whole = stream.read(limit + 1)
        if len(whole) > limit:
            raise _too_large(name, "the object", limit)
        yield whole
        return
    record_ends = _recordio_ends(name) if split_type == "RecordIO" else _line_ends
    rest = b""
    while True:
        # One byte more than a payload may hold tells whether the stream ends within it.
        buffer = rest + stream.read(limit + 1 - len(rest))
        if not buffer:
            return
        final = len(buffer) <= limit
        ends = record_ends(buffer[:limit], final)
        if not ends:
            raise _too_large(name, "a record", limit)
        if strategy == "MultiRecord":
            yield buffer[: ends[-1]]
        else:
            for start, end in zip([0, *ends], ends, strict=False):
                yield buffer[start:end]
        rest = buffer[ends[-1] :]


def _line_ends(buffer: bytes, final: bool) -> list[int]:
    newlines = np.flatnonzero(np.frombuffer(buffer, np.uint8) == ord("\n")) + 1
    ends: list[int] = newlines.tolist()
    if final and (not ends or ends[-1] < len(buffer)):
        ends.append(len(buffer))
    return ends


def _recordio_ends(name: str) -> _Ends:
    place = Place(name)

    def ends(buffer: bytes, final: bool) -> list[int]:
        nonlocal place
        frames = split(np.frombuffer(buffer, np.uint8), place, final=final)
        place = Place(name, place.record + len(frames.starts), place.byte + frames.consumed)
        found: list[int] = (frames.starts + (frames.lengths + 3 & ~3)).tolist()
        return found

    return ends


def _too_large(name: str, what: str, limit: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(
        f"{name}: {what} is larger than MaxPayloadInMB ({limit} bytes). Raise MaxPayloadInMB, "
        "or set SplitType so that the object can be split."
    )


def assembled(response: bytes, assemble_with: Literal["None", "Line"]) -> bytes:
    """Return a response as it stands in the .out file: with Line it ends in a line break."""
    if assemble_with == "Line" and response and not response.endswith(b"\n"):
        return response + b"\n"
    return response
