"""One protobuf ``aialgs.data.Record`` at a time: any field order, any valid encoding.

Only what tensors need is understood; unknown fields are skipped. Where a tensor's bytes stand
is reported too, so that records of the same make can be decoded together.
Source: protobuf encoding guide; record.proto of the SageMaker Python SDK 2.x.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

# Value's fields: name, element type, wire type of one element, bytes of one element.
_TENSORS = {
    2: ("Float32Tensor", "<f4", FIXED32, 4),
    3: ("Float64Tensor", "<f8", FIXED64, 8),
    7: ("Int32Tensor", "", VARINT, 0),
}
_BYTES_FIELD = 9

Span = tuple[int, int]


class WireError(ValueError):
    """A payload that is not a Record; ``at`` is the byte within the payload."""

    def __init__(self, at: int, what: str) -> None:
        super().__init__(what)
        self.at = at


@dataclass
class Tensor:
    """A decoded tensor. A span is set where the field is one packed run of bytes."""

    kind: str = "Float32Tensor"
    values: list[float] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    shape: list[int] = field(default_factory=list)
    value_spans: list[Span] = field(default_factory=list)
    key_spans: list[Span] = field(default_factory=list)

    def float32(self) -> npt.NDArray[np.float32]:
        """Return the values as float32, whatever type they were written in."""
        with np.errstate(over="ignore"):
            return np.array(self.values, np.float64).astype(np.float32)


@dataclass(frozen=True)
class Record:
    """The tensors of a record by name."""

    features: dict[str, Tensor]
    labels: dict[str, Tensor]


def parse(payload: bytes) -> Record:
    """Return the tensors of one record. Raises WireError."""
    features: dict[str, Tensor] = {}
    labels: dict[str, Tensor] = {}
    for number, wire, start, end in _fields(payload, 0, len(payload)):
        if number in (1, 2):
            _expect(wire, BYTES, start, "features" if number == 1 else "label")
            name, tensor = _map_entry(payload, start, end)
            # As in every protobuf map, a name that comes twice means its last entry.
            (features if number == 1 else labels)[name] = tensor
    return Record(features, labels)


def _map_entry(data: bytes, start: int, end: int) -> tuple[str, Tensor]:
    name, tensor = "", Tensor()
    for number, wire, first, last in _fields(data, start, end):
        if number == 1:
            _expect(wire, BYTES, first, "map key")
            name = data[first:last].decode("utf-8", "replace")
        elif number == 2:
            _expect(wire, BYTES, first, "map value")
            tensor = _value(data, first, last)
    return name, tensor


def _value(data: bytes, start: int, end: int) -> Tensor:
    tensor = Tensor()
    for number, wire, first, last in _fields(data, start, end):
        if number == _BYTES_FIELD:
            raise WireError(first, "holds raw bytes (an image?) where numbers are needed")
        if number not in _TENSORS:
            continue
        _expect(wire, BYTES, first, "tensor")
        if tensor.kind != _TENSORS[number][0]:
            tensor = Tensor(kind=_TENSORS[number][0])
        _tensor(data, first, last, tensor, _TENSORS[number])
    return tensor


def _tensor(
    data: bytes, start: int, end: int, tensor: Tensor, spec: tuple[str, str, int, int]
) -> None:
    """Add the fields of a tensor message; protobuf merges a message that comes in parts."""
    kind, dtype, element_wire, size = spec
    for number, wire, first, last in _fields(data, start, end):
        if number == 1 and wire == BYTES and size:
            if (last - first) % size:
                raise WireError(first, f"{last - first} bytes of values are no whole {kind}")
            tensor.values += np.frombuffer(data, dtype, (last - first) // size, first).tolist()
            tensor.value_spans.append((first, last))
        elif number == 1 and wire == BYTES:
            tensor.values += [_signed(v) for v in _varints(data, first, last)]
            tensor.value_spans.append((first, last))
        elif number == 1:
            _expect(wire, element_wire, first, "values")
            if size:
                tensor.values += struct.unpack("<f" if size == 4 else "<d", data[first:last])
            else:
                tensor.values.append(_signed(_varint(data, first, last)[0]))
            tensor.value_spans += [(first, last)] * 2
        elif number in (2, 3):
            target = tensor.keys if number == 2 else tensor.shape
            if wire == BYTES:
                target += _varints(data, first, last)
            else:
                _expect(wire, VARINT, first, "keys" if number == 2 else "shape")
                target.append(_varint(data, first, last)[0])
            if number == 2:
                tensor.key_spans += [(first, last)] * (1 if wire == BYTES else 2)


def _signed(value: int) -> int:
    """Return an int32 from the 64-bit varint that carries it."""
    low = value & 0xFFFF_FFFF
    return low - (1 << 32) if low >= 1 << 31 else low


def _expect(wire: int, expected: int, at: int, name: str) -> None:
    if wire != expected:
        raise WireError(at, f"field '{name}' has wire type {wire} instead of {expected}")


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (field number, wire type, first byte, byte after the last) of each field."""
    while at < end:
        tag, first = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            last = _varint(data, first, end)[1]
        elif wire == FIXED64:
            last = first + 8
        elif wire == FIXED32:
            last = first + 4
        elif wire == BYTES:
            length, first = _varint(data, first, end)
            last = first + length
        else:
            raise WireError(at, f"wire type {wire} is not supported")
        if number == 0:
            raise WireError(at, "field number 0 does not exist")
        if last > end:
            raise WireError(at, f"field {number} runs {last - end} bytes past its message's end")
        yield number, wire, first, last
        at = last


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return a varint and the position after it."""
    value = 0
    for place in range(10):
        if at + place >= end:
            raise WireError(at, "a varint runs past the end of its message")
        byte = data[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, at + place + 1
    raise WireError(at, "a varint is longer than 64 bits")


def _varints(data: bytes, at: int, end: int) -> list[int]:
    values = []
    while at < end:
        value, at = _varint(data, at, end)
        values.append(value)
    return values
