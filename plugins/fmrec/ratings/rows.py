"""Rows of user, item, rating and time: read fast when all is well, explained by row when not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
from pyarrow import csv

_TYPES = {
    "user_id": pa.int64(),
    "item_id": pa.int64(),
    "rating": pa.float32(),
    "timestamp": pa.int64(),
}
COLUMNS = tuple(_TYPES)
TABLE = pa.schema(list(_TYPES.items()))
"""What good rows are parsed into."""

_KINDS = {
    "user_id": "a whole number from 1 that fits 64 bits",
    "item_id": "a whole number from 1 that fits 64 bits",
    "rating": "a number of stars",
    "timestamp": "a whole number of UTC seconds since 1970",
}
_DELIMITERS = {"\t": "tab", "::": "'::'", ",": "comma"}
_LARGEST = 2**63 - 1
_STARS = rb"\d+\.?\d*|\.\d+"
_NEGATIVE = re.compile(rb"-(%b)" % _STARS)


@dataclass(frozen=True)
class Form:
    """How rows are written: what separates their fields, and which field is which."""

    delimiter: str
    columns: tuple[str, ...] = COLUMNS

    @cached_property
    def _plain(self) -> bytes:
        """Every byte that can stand in a good row, once `::` is a tab."""
        return b"0123456789.\r\n" + self._separator

    @cached_property
    def _separator(self) -> bytes:
        return b"\t" if self.delimiter == "::" else self.delimiter.encode()

    @cached_property
    def _ordinary(self) -> re.Pattern[bytes]:
        """A row without fault; rows with longer numbers need a closer look."""
        fields = [rb"(?:%b)" % (_STARS if c == "rating" else rb"\d{1,18}") for c in self.columns]
        return re.compile(re.escape(self.delimiter.encode()).join(fields))

    def parse(self, data: bytes) -> pa.Table | None:
        """Whole rows as TABLE, or None when any is at fault."""
        if self.delimiter == "::":
            if b"\t" in data:
                return None
            data = data.replace(b"::", b"\t")
        # pyarrow would take more than the rules below: spaces, signs, hexadecimals, "nan".
        if data.translate(None, self._plain):
            return None
        if b"\r" in data and data.count(b"\r") != data.count(b"\r\n"):
            return None
        try:
            table = csv.read_csv(
                pa.py_buffer(data),
                read_options=csv.ReadOptions(column_names=self.columns, use_threads=False),
                parse_options=csv.ParseOptions(
                    delimiter=self._separator.decode(), quote_char=False, ignore_empty_lines=False
                ),
                convert_options=csv.ConvertOptions(column_types=_TYPES, null_values=[]),
            )
        except pa.ArrowInvalid:
            return None
        return table.select(COLUMNS).combine_chunks()

    def fault_in(self, line: bytes) -> tuple[str, str] | None:
        """Which check a row fails and why in words; None for exactly the rows that parse takes."""
        if self._ordinary.fullmatch(line):
            return None
        if not line:
            return "columns", "the row is empty"
        fields = line.split(self.delimiter.encode())
        if len(fields) != len(self.columns):
            return (
                "columns",
                f"{len(fields)} column(s) where {len(self.columns)} are expected "
                f"({_DELIMITERS[self.delimiter]}-separated: {', '.join(self.columns)})",
            )
        for column, field in zip(self.columns, fields, strict=True):
            fault = _fault_in_field(column, field)
            if fault is not None:
                return fault
        return None


def lines_of(data: bytes) -> list[bytes]:
    """The lines of a text without their ends, which are those of any system."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix(b"\r") for line in lines] if b"\r" in data else lines


def _fault_in_field(column: str, field: bytes) -> tuple[str, str] | None:
    what = f"{column} {_shown(field)} is not {_KINDS[column]}"
    negative = _NEGATIVE.fullmatch(field) is not None
    if column == "rating":
        if re.fullmatch(_STARS, field):
            return None
        return ("range" if negative else "type"), what
    if field.isdigit() and len(field.lstrip(b"0")) < 20 and int(field) <= _LARGEST:
        return None
    if not (field.isdigit() or negative):
        return "type", what
    return ("clock" if column == "timestamp" else "id"), what


def _shown(field: bytes) -> str:
    text = field[:40].decode("utf-8", errors="backslashreplace")
    return repr(text) if len(field) <= 40 else f"{text!r}…"
