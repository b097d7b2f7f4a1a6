"""Cuts an input object into the payloads of batch transform, in memory bounded by the limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np

from fmrec.errors import DataError
from fmrec.local_aws.transform import tfrecord
from fmrec.recordio.framing import Place, split

SplitType = Literal["None", "Line", "RecordIO", "TFRecord"]
Strategy = Literal["MultiRecord", "SingleRecord"]


@dataclass(frozen=True)
class _Found:
    """The whole records at the beginning of a buffer, in bytes of it.

    `ends` is where each ends; `bodies` where its content lies within, for formats that wrap it.
    """

    ends: list[int]
    bodies: list[tuple[int, int]] | None = None


# Finds the records of a buffer that begins at one; told whether the object ends with the buffer.
_Finder = Callable[[bytes, bool], _Found]


class PayloadTooLargeError(DataError):
    """A record, or an object that is not to be split, exceeds the payload limit."""


def payloads(
    stream: BinaryIO, *, name: str, split_type: SplitType, strategy: Strategy, limit: int
) -> Iterator[bytes]:
    """Yield payloads of at most `limit` bytes that hold whole records, in order.

    MultiRecord packs as many records as fit, framing included: joined, the payloads are the
    stream. SingleRecord yields one record at a time, without the framing of RecordIO or TFRecord.
    `name` is the object's, for messages.

    Raises PayloadTooLargeError, and FormatError for bytes that are not of the format.
    """
    if split_type == "None":
        whole = stream.read(limit + 1)
        if len(whole) > limit:
            raise _too_large(name, "the object", limit)
        yield whole
        return
    find = _finder(split_type, name, unwrap=strategy == "SingleRecord")
    rest = b""
    while True:
        # One byte more than a payload may hold tells whether the stream ends within it.
        buffer = rest + stream.read(limit + 1 - len(rest))
        if not buffer:
            return
        final = len(buffer) <= limit
        found = find(buffer[:limit], final)
        if not found.ends:
            raise _too_large(name, "a record", limit)
        if strategy == "MultiRecord":
            yield buffer[: found.ends[-1]]
        else:
            bodies = found.bodies or zip([0, *found.ends], found.ends, strict=False)
            for start, end in bodies:
                yield buffer[start:end]
        rest = buffer[found.ends[-1] :]


def _finder(split_type: SplitType, name: str, *, unwrap: bool) -> _Finder:
    if split_type == "Line":
        return _lines
    return _recordio_finder(name, unwrap) if split_type == "RecordIO" else _tfrecord_finder(name)


def _lines(buffer: bytes, final: bool) -> _Found:
    newlines = np.flatnonzero(np.frombuffer(buffer, np.uint8) == ord("\n")) + 1
    ends: list[int] = newlines.tolist()
    if final and (not ends or ends[-1] < len(buffer)):
        ends.append(len(buffer))
    return _Found(ends)


def _recordio_finder(name: str, unwrap: bool) -> _Finder:
    place = Place(name)

    def find(buffer: bytes, final: bool) -> _Found:
        nonlocal place
        frames = split(np.frombuffer(buffer, np.uint8), place, final=final)
        place = Place(name, place.record + len(frames.starts), place.byte + frames.consumed)
        ends: list[int] = (frames.starts + (frames.lengths + 3 & ~3)).tolist()
        if not unwrap:
            return _Found(ends)
        stops = (frames.starts + frames.lengths).tolist()
        return _Found(ends, list(zip(frames.starts.tolist(), stops, strict=True)))

    return find


def _tfrecord_finder(name: str) -> _Finder:
    before = 0

    def find(buffer: bytes, final: bool) -> _Found:
        nonlocal before
        bodies = tfrecord.bodies(buffer, name=name, before=before, final=final)
        before += len(bodies)
        return _Found([end + tfrecord.TAIL_BYTES for _, end in bodies], bodies)

    return find


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
