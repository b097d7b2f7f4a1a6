"""Comma-separated numbers without a header: the ``text/csv`` of SageMaker's built-in algorithms."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from fmrec.errors import ConfigurationError, DataError
from fmrec.fm.inference_server import MediaType

CONTENT_TYPE = "text/csv"
BLOCK_BYTES = 4 << 20


def label_size(content_type: MediaType, default: int) -> int:
    """Return how many columns at the left are labels: the parameter ``label_size``."""
    text = content_type.parameters.get("label_size", str(default))
    if not text.isdecimal():
        raise ConfigurationError(f"the content type has label_size={text!r}: set a whole number")
    return int(text)


def read(stream: BinaryIO, name: str) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the rows ``(n, columns)`` in blocks of about BLOCK_BYTES of text, lines kept whole.

    Raises DataError, with ``name`` and the row, for what is no number and for another width.
    """
    rows, columns, rest = 0, 0, b""
    while fresh := stream.read(BLOCK_BYTES):
        text, newline, rest = (rest + fresh).rpartition(b"\n")
        block = _parse(text + newline, name, rows)
        rows += len(block)
        if len(block):
            yield _of_width(block, columns or block.shape[1], name, rows)
            columns = block.shape[1]
    last = _parse(rest, name, rows)
    if len(last):
        yield _of_width(last, columns or last.shape[1], name, rows)


def _parse(text: bytes, name: str, first: int) -> npt.NDArray[np.float64]:
    if not text.strip():
        return np.empty((0, 0))
    try:
        lines = io.StringIO(text.decode("utf-8"))
        return np.loadtxt(lines, np.float64, comments=None, delimiter=",", ndmin=2)
    except ValueError as error:
        where = f"{name}, rows from {first} on" if first else name
        raise DataError(
            f"{where}: {error} (rows are counted from 0). Write numbers alone, separated by "
            "commas, without a header"
        ) from error


def _of_width(
    block: npt.NDArray[np.float64], columns: int, name: str, rows: int
) -> npt.NDArray[np.float64]:
    if block.shape[1] != columns:
        raise DataError(
            f"{name}: from row {rows} on lines have {block.shape[1]} columns, before it {columns}"
        )
    return block
