"""A file of ratings read block by block: memory is bounded, and no row is lost."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from fmrec.errors import DataError
from fmrec.ratings.checks import LATEST, screen
from fmrec.ratings.lines import BOM, header_fault
from fmrec.ratings.rows import TABLE, Form, lines_of
from fmrec.ratings.tables import QUARANTINE, RATINGS, Chunk, Scale

TABS = Form("\t")
COLONS = Form("::")
CSV = Form(",", ())
"""The columns of a csv file are those of its header."""

BLOCK_BYTES = 16 * 2**20

_NAMES = {"userId": "user_id", "movieId": "item_id", "rating": "rating", "timestamp": "timestamp"}
_LONGEST = 2**20  # bytes of a line: one without end must not fill the memory
_SHOWN = 200  # characters of a refused row that are kept
_AHEAD = 2  # blocks that are parsed while another one is used

Fault = Callable[[str, int | None], DataError]
"""Makes the error for a file, or for a line of it (from 1)."""


@dataclass(frozen=True)
class _Parsed:
    """A block of rows: the good ones, the row of the block (from 0) where each stood, the bad."""

    data: bytes
    table: pa.Table
    rows: np.ndarray[tuple[int], np.dtype[np.int64]] | None
    """None: every row is good."""
    refused: dict[int, tuple[str, str]]


def read_stream(
    stream: BinaryIO,
    form: Form,
    *,
    scale: Scale,
    file: str,
    fold: int = 0,
    block_bytes: int = BLOCK_BYTES,
    fault: Fault | None = None,
) -> Iterator[Chunk]:
    """The ratings of a file, in its order, one chunk for each block of about `block_bytes`.

    `stream.read(n)` is asked once for each byte, front to back. A row that cannot be read, or
    that fails the checks (ids from 1, ratings on the `scale`, times from 1990 to 2100), is in the
    quarantine of its chunk under the name `file`, with its row in it (from 1, the header counts),
    the check, the reason and its first 200 characters. Which rows those are does not depend on
    `block_bytes`.

    Raises DataError, made by `fault`, for a file that is empty, has another header than
    `userId,movieId,rating,timestamp` (in any order), or is no text of lines.
    """
    if fault is None:
        fault = partial(_fault, file)
    blocks = _blocks(stream, block_bytes, fault)
    first = next(blocks, b"").removeprefix(BOM)
    if not first:
        raise fault("this file is empty", None)
    row = 0  # rows before the block that is next
    if form is CSV:
        header, _, first = first.partition(b"\n")
        form = _headed(header, fault)
        row = 1
    if not first:
        first = next(blocks, b"")
    if not first:
        raise fault("there is no row after the header", None)
    pool = ThreadPoolExecutor(_AHEAD, thread_name_prefix="ratings")
    try:
        parsing: deque[Future[_Parsed]] = deque([pool.submit(_parse, first, form)])
        del first
        while parsing:
            while len(parsing) < _AHEAD and (data := next(blocks, b"")):
                parsing.append(pool.submit(_parse, data, form))
                del data
            parsed = parsing.popleft().result()
            chunk = _checked(parsed, scale, fold, file, row)
            del parsed
            row += chunk.ratings.num_rows + chunk.quarantine.num_rows
            yield chunk
            del chunk
    finally:
        pool.shutdown(cancel_futures=True)


def _fault(file: str, what: str, line: int | None) -> DataError:
    place = file if line is None else f"{file}, line {line}"
    return DataError(f"{place}: {what}.")


def _blocks(stream: BinaryIO, block_bytes: int, fault: Fault) -> Iterator[bytes]:
    """The content in pieces that end with a line, the last one perhaps without its end."""
    rest: list[bytes] = []
    while data := stream.read(block_bytes):
        end = data.rfind(b"\n") + 1
        if end:
            yield b"".join([*rest, data[:end]])
            rest = []
        rest.append(data[end:])
        if sum(map(len, rest)) > _LONGEST + block_bytes:
            raise fault(f"a line is longer than {_LONGEST:,} bytes: this is no ratings file", None)
    if last := b"".join(rest):
        yield last


def _headed(line: bytes, fault: Fault) -> Form:
    """The form of a csv file with this header."""
    text = line.removesuffix(b"\r").decode("utf-8", errors="backslashreplace")
    try:
        names = next(csv.reader([text]), [])
    except csv.Error:  # longer than csv reads, or a carriage return inside
        names = [text]
    unlike = header_fault(names, tuple(_NAMES))
    if unlike is not None:
        raise fault(unlike, 1)
    return Form(",", tuple(_NAMES[name] for name in names))


def _parse(data: bytes, form: Form) -> _Parsed:
    table = form.parse(data)
    if table is not None:
        return _Parsed(data, table, None, {})
    lines = lines_of(data)
    faults = {i: fault for i, line in enumerate(lines) if (fault := form.fault_in(line))}
    rows = np.delete(np.arange(len(lines)), list(faults))
    good = (
        form.parse(b"".join(lines[i] + b"\n" for i in rows)) if len(rows) else TABLE.empty_table()
    )
    if good is None:
        raise AssertionError("the rules in words and the parser differ")
    return _Parsed(data, good, rows, faults)


def _checked(parsed: _Parsed, scale: Scale, fold: int, file: str, before: int) -> Chunk:
    """The chunk of a block that `before` rows of its file come before."""
    table = parsed.table
    ratings = pa.table(
        [
            *table.columns,
            pa.array(np.zeros(len(table), np.int64)),
            pa.array(np.full(len(table), fold, np.int8)),
        ],
        schema=RATINGS,
    )
    refused = dict(parsed.refused)
    if len(table):
        faults = screen(ratings, scale=scale, latest=LATEST)
        if len(faults):
            positions = faults["position"].to_numpy()
            rows = positions if parsed.rows is None else parsed.rows[positions]
            reasons = zip(faults["check"].to_pylist(), faults["reason"].to_pylist(), strict=True)
            refused.update(zip(rows.tolist(), reasons, strict=True))
            keep = np.ones(len(table), bool)
            keep[positions] = False
            ratings = ratings.filter(pa.array(keep))
    if not refused:
        return Chunk(ratings, QUARANTINE.empty_table())
    lines = lines_of(parsed.data)
    quarantine = [
        {
            "file": file,
            "row": before + 1 + row,
            "check": refused[row][0],
            "reason": refused[row][1],
            "text": lines[row].decode("utf-8", errors="backslashreplace")[:_SHOWN],
        }
        for row in sorted(refused)
    ]
    return Chunk(ratings, pa.Table.from_pylist(quarantine, QUARANTINE))
