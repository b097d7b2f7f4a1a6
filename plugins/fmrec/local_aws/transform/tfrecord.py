"""TFRecord framing: where the records of a byte block lie.

A record is a length (u64), the length's masked CRC-32C (u32), the content, and the content's
masked CRC-32C (u32), all little-endian. The length's sum is checked, which finds every fault of
the framing; the content's is left to whoever reads it. Source: tensorflow/core/lib/io.
"""

from __future__ import annotations

import struct
from functools import cache

from fmrec.errors import FormatError

HEAD_BYTES = 12
TAIL_BYTES = 4
_HEAD = struct.Struct("<8sI")
_POLYNOMIAL = 0x82F63B78  # Castagnoli's, reversed
_MASK = 0xA282EAD8
_WORD = 0xFFFFFFFF


def bodies(data: bytes, *, name: str, before: int, final: bool) -> list[tuple[int, int]]:
    """Return where the content of each whole record begins and ends, in bytes of the block.

    The block begins at a record, of which `before` came earlier in the object `name`. Raises
    FormatError naming the record when the block is not TFRecord, or, being `final`, cut short.
    """
    found: list[tuple[int, int]] = []
    at = 0
    while at + HEAD_BYTES <= len(data):
        packed, check = _HEAD.unpack_from(data, at)
        if masked_crc(packed) != check:
            raise _damaged(name, before + len(found), at, "no length with a matching checksum")
        start = at + HEAD_BYTES
        end = start + int.from_bytes(packed, "little")
        if end + TAIL_BYTES > len(data):
            break
        found.append((start, end))
        at = end + TAIL_BYTES
    if final and at != len(data):
        raise _damaged(name, before + len(found), at, "only a part of a record")
    return found


def masked_crc(data: bytes) -> int:
    """Return the CRC-32C of a few bytes, rotated and shifted as TFRecord stores it."""
    table = _table()
    crc = _WORD
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= _WORD
    return ((crc >> 15 | crc << 17) + _MASK) & _WORD


@cache
def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)  # noqa: PLW2901
        table.append(value)
    return tuple(table)


def _damaged(name: str, record: int, at: int, what: str) -> FormatError:
    return FormatError(
        f"{name}: record {record} (counted from 0), byte {at} of its payload: {what}. The object "
        "is not TFRecord, or it is damaged or cut short: write it again."
    )
