"""Landed files taken apart: CSV, JSON lines and Parquet become columns, with the row of each value.

A file is read in blocks. A block that is in order is parsed as a whole; any other line by line,
by the same rules, so that only the lines that are wrong are refused.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.json as arrow_json
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fmrec.errors import DataError
from fmrec.ratings.event_rows import COLUMNS, columns_fault, type_fault, without_zone

KINDS = ("csv", "jsonl", "parquet")
BLOCK_BYTES = 8 << 20
_TEXT_LENGTH = 200
_BOM = b"\xef\xbb\xbf"
_JSON_SCHEMA = pa.schema(
    [
        *((name, pa.int64()) for name in ("user_id", "item_id", "timestamp")),
        *((name, pa.int64()) for name in ("age", "release_year")),
        *((name, pa.string()) for name in ("event", "gender", "occupation", "zip_code", "title")),
        ("rating", pa.float64()),
        ("admitted", pa.bool_()),
    ]
)


class UnreadableError(DataError):
    """A file that is refused whole: which check it failed, and why in words."""

    def __init__(self, check: str, reason: str) -> None:
        super().__init__(reason)
        self.check = check


class _BadLineError(Exception):
    """A line that cannot be taken apart: which check it failed, and why."""

    def __init__(self, check: str, reason: str) -> None:
        super().__init__(reason)
        self.fault = (check, reason)


@dataclass(frozen=True, eq=False)
class Block:
    """Rows of a file.

    `rows` are their numbers (from 1, a header included), `table` their columns as written;
    `refused` are those that could not be taken apart: row, check, reason.
    """

    rows: NDArray[np.int64]
    table: pa.Table
    refused: list[tuple[int, str, str]]


def blocks(kind: str, data: bytes, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """The rows of a file of one of KINDS, in order; empty lines are none.

    Raises UnreadableError when the file can be no file of events.
    """
    if kind == "parquet":
        return _parquet(data)
    return _csv(data, block_bytes) if kind == "csv" else _jsonl(data, block_bytes)


def texts(kind: str, data: bytes, rows: Sequence[int]) -> list[str]:
    """What rows say, cut to 200 characters: a line of text, or JSON of a Parquet row.

    A time of Parquet is told in UTC seconds.
    """
    if kind == "parquet":
        lines = [json.dumps(each, default=str, ensure_ascii=False) for each in _taken(data, rows)]
    else:
        lines = [line.decode(errors="backslashreplace") for line in _lines_at(data, rows)]
    return [line[:_TEXT_LENGTH] for line in lines]


def records(kind: str, data: bytes, rows: Sequence[int]) -> list[dict[str, Any]]:
    """Rows that can be taken apart, each as a mapping of columns to values, empty ones left out."""
    if kind == "parquet":
        found = _taken(data, rows)
    elif kind == "jsonl":
        found = [json.loads(line) for line in _lines_at(data, rows)]
    else:
        header, *lines = _lines_at(data, [1, *rows])
        names = next(csv.reader([header.decode()]))
        found = [dict(zip(names, _fields(line, len(names)), strict=True)) for line in lines]
    return [{k: v for k, v in each.items() if v is not None and v != ""} for each in found]


def _csv(data: bytes, block_bytes: int) -> Iterator[Block]:
    start = len(_BOM) if data.startswith(_BOM) else 0
    names = _header(data, start)
    body = data.find(b"\n", start) + 1
    if not body:
        return
    for line, block in _cut(data, body, 2, block_bytes):
        table = _fast_csv(block, names)
        if table is None:
            yield _slow_csv(block, line, names)
        else:
            yield Block(np.arange(line, line + table.num_rows), table, [])


def _header(data: bytes, start: int) -> list[str]:
    end = data.find(b"\n", start)
    line = data[start : end if end >= 0 else len(data)].removesuffix(b"\r")
    if not line:
        raise UnreadableError("file", "the file has no header: its first line is empty")
    try:
        names = next(csv.reader([line.decode()], strict=True))
    except (UnicodeDecodeError, csv.Error):
        raise UnreadableError("file", "the header is not UTF-8 text, comma-separated") from None
    fault = columns_fault(names)
    if fault:
        raise UnreadableError("columns", fault)
    return names


def _cut(data: bytes, start: int, line: int, block_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Blocks that end at a line's end, each with the number of its first line."""
    while start < len(data):
        end = data.find(b"\n", start + block_bytes) + 1 or len(data)
        block = data[start:end]
        yield line, block
        line += block.count(b"\n")
        start = end


def _is_plain(block: bytes) -> bool:
    """Whether it is UTF-8, with line ends of one of the two usual kinds."""
    if block.count(b"\r") != block.count(b"\r\n"):
        return False
    try:
        return block.isascii() or bool(block.decode())
    except UnicodeDecodeError:
        return False


def _line_count(block: bytes) -> int:
    return block.count(b"\n") + (not block.endswith(b"\n"))


def _fast_csv(block: bytes, names: list[str]) -> pa.Table | None:
    """The block's table, or None when a line of it needs a closer look."""
    if b'"' in block or not _is_plain(block):
        return None
    try:
        table = arrow_csv.read_csv(
            pa.py_buffer(block),
            read_options=arrow_csv.ReadOptions(column_names=names, block_size=len(block) + 1),
            parse_options=arrow_csv.ParseOptions(quote_char=False),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string())
            ),
        )
    except pa.ArrowInvalid:
        return None
    return table if table.num_rows == _line_count(block) else None


def _slow_csv(block: bytes, first: int, names: list[str]) -> Block:
    rows: list[int] = []
    kept: list[list[str]] = []
    refused: list[tuple[int, str, str]] = []
    for number, line in enumerate(_lines(block), start=first):
        if not line:
            continue
        try:
            kept.append(_fields(line, len(names)))
        except _BadLineError as error:
            refused.append((number, *error.fault))
        else:
            rows.append(number)
    columns = zip(*kept, strict=True) if kept else [() for _ in names]
    arrays = [pa.array(column, pa.string()) for column in columns]
    return Block(np.array(rows, np.int64), pa.table(arrays, names=names), refused)


def _fields(line: bytes, count: int) -> list[str]:
    """The fields of a line of CSV."""
    text = _text(line)
    if "\r" in text:
        raise _BadLineError("columns", "a carriage return stands inside of the row")
    fields = text.split(",")
    if '"' in text:
        try:
            fields = next(csv.reader([text], strict=True))
        except csv.Error:
            raise _BadLineError(
                "columns", "a quote is not closed on its line, or stands inside of a quoted field"
            ) from None
    if len(fields) != count:
        other = next((mark for mark in ";\t|" if text.count(mark) == count - 1 > 0), None)
        cause = f", but it is separated by {other!r}" if other else ""
        raise _BadLineError("columns", f"{len(fields)} column(s) where {count} are expected{cause}")
    return fields


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        byte = f"0x{line[error.start]:02x}"
        raise _BadLineError(
            "type", f"byte {byte} is not UTF-8 text (Latin-1?): save it as UTF-8"
        ) from None


def _lines(block: bytes) -> list[bytes]:
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix(b"\r") for line in lines]


def _lines_at(data: bytes, rows: Sequence[int]) -> list[bytes]:
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")).tolist()
    ends.append(len(data))
    starts = [len(_BOM) if data.startswith(_BOM) else 0, *(end + 1 for end in ends)]
    return [data[starts[row - 1] : ends[row - 1]].removesuffix(b"\r") for row in rows]


def _jsonl(data: bytes, block_bytes: int) -> Iterator[Block]:
    start = len(_BOM) if data.startswith(_BOM) else 0
    for line, block in _cut(data, start, 1, block_bytes):
        table = _fast_jsonl(block)
        if table is None:
            yield _slow_jsonl(block, line)
        else:
            yield Block(np.arange(line, line + table.num_rows), table, [])


def _fast_jsonl(block: bytes) -> pa.Table | None:
    """The block's table, or None when a line of it needs a closer look."""
    count = _line_count(block)
    starts = block.count(b"\n{") + block.startswith(b"{")
    if starts != count or not _is_plain(block) or b"NaN" in block or b"Inf" in block:
        return None
    try:
        table = arrow_json.read_json(
            pa.BufferReader(block),
            read_options=arrow_json.ReadOptions(block_size=len(block) + 1),
            parse_options=arrow_json.ParseOptions(explicit_schema=_JSON_SCHEMA),
        )
    except pa.ArrowException:
        return None
    fits = set(table.column_names) <= set(COLUMNS) and not any(
        type_fault(column.name, column.type) for column in table.schema
    )
    return table if fits and table.num_rows == count else None


def _slow_jsonl(block: bytes, first: int) -> Block:
    rows: list[int] = []
    kept: list[dict[str, Any]] = []
    refused: list[tuple[int, str, str]] = []
    for number, line in enumerate(_lines(block), start=first):
        if not line.strip():
            continue
        try:
            kept.append(_object(line))
        except _BadLineError as error:
            refused.append((number, *error.fault))
        else:
            rows.append(number)
    genres = pa.list_(pa.string())
    table = pa.table(
        {
            name: pa.array(
                [each.get(name) for each in kept], genres if name == "genres" else pa.string()
            )
            for name in COLUMNS
        }
    )
    return Block(np.array(rows, np.int64), table, refused)


def _object(line: bytes) -> dict[str, Any]:
    """The values of a line of JSON as text, genres as a list."""
    try:
        pairs = json.loads(_text(line), object_pairs_hook=_Pairs, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        pairs = None
    if not isinstance(pairs, _Pairs):
        raise _BadLineError("columns", "the line is not one JSON object")
    names = [name for name, _ in pairs]
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name not in COLUMNS:
            raise _BadLineError("columns", str(columns_fault([name])))
        if names.count(name) > 1:
            raise _BadLineError("columns", f"{name!r} is there twice")
        try:
            found[name] = _genres(value) if name == "genres" else _as_text(value)
        except ValueError:
            kind = "text or a list of text" if name == "genres" else "text or a number"
            raise _BadLineError("type", f"{name} is not {kind}") from None
    return found


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as its pairs, so that a key given twice is seen."""


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _as_text(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if value is not None and not isinstance(value, str | int | float):
        raise ValueError(value)
    if isinstance(value, str):
        value.encode()  # a lone surrogate is no text; UnicodeEncodeError is a ValueError
    return None if value is None else str(value)


def _genres(value: Any) -> list[str] | None:
    if isinstance(value, list) and not isinstance(value, _Pairs):
        if all(isinstance(each, str) for each in value):
            return [str(_as_text(each)) for each in value]
        raise ValueError(value)
    text = _as_text(value)
    return text.split("|") if text else None


def _parquet(data: bytes) -> Iterator[Block]:
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        fault = columns_fault(file.schema_arrow.names)
        if fault:
            raise UnreadableError("columns", fault)
        for column in file.schema_arrow:
            fault = type_fault(column.name, column.type)
            if fault:
                raise UnreadableError("type", fault)
        row = 1
        for batch in file.iter_batches(batch_size=1 << 18):
            batch.validate(full=True)
            table = pa.Table.from_batches([batch])
            yield Block(np.arange(row, row + table.num_rows), table, [])
            row += table.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        raise UnreadableError(
            "file", "not a whole Parquet file: it is half-written, damaged, or of another format"
        ) from None


def _taken(data: bytes, rows: Sequence[int]) -> list[dict[str, Any]]:
    table = pq.ParquetFile(pa.BufferReader(data)).read()
    table = table.take(pa.array([row - 1 for row in rows]))
    at = table.column_names.index("timestamp")
    # Not every time is one for Python's datetime, nor every zone known.
    table = table.set_column(at, "timestamp", without_zone(table["timestamp"]))
    found: list[dict[str, Any]] = table.to_pylist()
    return found
