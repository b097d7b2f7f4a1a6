"""A text member taken apart line by line; each fault names its line."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from fmrec.errors import DataError
from fmrec.ratings.archive import Archive

BOM = b"\xef\xbb\xbf"

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f]")
_LARGEST_ID = 2**63 - 1


@dataclass(frozen=True)
class Place:
    """A line of a member: reads its fields, and says where it is when that fails."""

    archive: Archive
    name: str
    line: int

    def fault(self, what: str) -> DataError:
        """The error for this line."""
        return self.archive.fault(self.name, what, self.line)

    def fields(self, text: str, delimiter: str, count: int) -> list[str]:
        """The fields of the line. Raises DataError unless there are `count` of them."""
        fields = text.split(delimiter)
        if len(fields) != count:
            raise self.fault(
                f"{len(fields)} column(s) where {count} are expected, separated by {delimiter!r}"
            )
        return fields

    def whole_number(self, what: str, field: str, low: int, high: int) -> int:
        """A field of digits from `low` to `high`. Raises DataError that calls it `what`."""
        digits = field.isascii() and field.isdecimal() and len(field) < 20
        value = int(field) if digits else -1
        if not low <= value <= high:
            raise self.fault(f"{what} {field[:40]!r} is not a whole number from {low} to {high}")
        return value

    def new_id(self, what: str, field: str, known: Collection[int]) -> int:
        """An id from 1 that is not among `known`. Raises DataError that calls it `what`."""
        number = self.whole_number(f"{what} id", field, 1, _LARGEST_ID)
        if number in known:
            raise self.fault(f"{what} {number} is listed a second time")
        return number


def lines(archive: Archive, name: str, encoding: str) -> Iterator[tuple[Place, str]]:
    """The lines of a member with their places, without line ends.

    Raises DataError naming the line for bytes that are not `encoding`: UTF-8 where latin-1 is
    expected too, and control characters.
    """
    for number, line in enumerate(_text(archive, name, encoding), start=1):
        yield Place(archive, name, number), line


def table(
    archive: Archive, name: str, columns: tuple[str, ...]
) -> Iterator[tuple[Place, dict[str, str]]]:
    """The rows of a UTF-8 csv member whose header names `columns`, in any order, by name.

    A byte order mark is passed over; fields may be quoted. Raises DataError naming the line for
    another encoding, another header, and rows of another width.
    """
    text = _text(archive, name, "utf-8")
    text[0] = text[0].removeprefix(BOM.decode())
    reader = csv.reader((f"{line}\n" for line in text), strict=True)
    begin = 1
    try:
        header = next(reader)
        unlike = header_fault(header, columns)
        if unlike is not None:
            raise archive.fault(name, unlike, 1)
        begin = reader.line_num + 1
        for row in reader:
            place = Place(archive, name, begin)
            if len(row) != len(header):
                raise place.fault(
                    f"{len(row)} column(s) where {len(header)} are expected, separated by ','"
                )
            yield place, dict(zip(header, row, strict=True))
            begin = reader.line_num + 1
    except csv.Error as error:
        raise archive.fault(name, f"the quotes of this row do not match ({error})", begin) from None


def header_fault(found: list[str], expected: tuple[str, ...]) -> str | None:
    """What is wrong with the names in a header, or None; their order is free."""
    unknown = [name for name in found if name not in expected]
    missing = [name for name in expected if name not in found]
    if not unknown and not missing and len(found) == len(expected):
        return None
    shown = ", ".join(repr(name[:40]) for name in found[:10])
    return f"the columns {shown or '(none)'} where the header {','.join(expected)} is expected"


def _text(archive: Archive, name: str, encoding: str) -> list[str]:
    data = archive.read(name)
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    read = []
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode(encoding)
        except UnicodeDecodeError as error:
            raise archive.fault(
                name, f"byte 0x{line[error.start]:02x} is not {encoding} text", number
            ) from None
        if encoding == "latin-1" and not line.isascii() and _is_utf8(line):
            raise archive.fault(
                name, "UTF-8 text where latin-1 is expected: it was saved anew", number
            )
        stray = _CONTROL.search(text)
        if stray:
            raise archive.fault(
                name,
                f"control character 0x{ord(stray[0]):02x} in what should be {encoding} text",
                number,
            )
        read.append(text.removesuffix("\r"))
    return read


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
