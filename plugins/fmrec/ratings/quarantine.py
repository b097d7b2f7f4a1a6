"""Rows that were refused, kept with where they stood, which check they failed and why."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from fmrec.ratings.tables import QUARANTINE

CHECKS = ("columns", "type", "id", "range", "clock", "duplicate", "file")
"""What a row can fail, in the order in which it is looked at; `file` is a whole file's."""

JUDGEMENTS = ("clock", "duplicate")
"""The checks that a person may overrule: the row can be read, it is only unlikely."""

Refusal = tuple[str, int, str, str, str]
"""File, row (from 1, a header included; 0 is the whole file), check, reason, text."""


def quarantine(refusals: Iterable[Refusal]) -> pa.Table:
    """The refusals as a QUARANTINE table, in their order."""
    columns = list(zip(*refusals, strict=True)) or [() for _ in QUARANTINE]
    arrays = [pa.array(column, kind.type) for column, kind in zip(columns, QUARANTINE, strict=True)]
    return pa.table(arrays, schema=QUARANTINE)
