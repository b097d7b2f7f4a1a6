"""What events say of their users and items, made into one row for each."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa


def latest(schema: pa.Schema, pieces: Iterable[pa.Table]) -> pa.Table:
    """Of each attribute of each id the value of the latest timestamp; of those, the last.

    `schema` is USERS or ITEMS. Each piece has the schema's id column, `timestamp` and any of the
    attributes. The result has an ascending row for each id of which something is known.
    """
    key, *attributes = schema.names
    said: dict[str, tuple[np.ndarray, pa.Array]] = {}
    tables = list(pieces)
    for name in attributes:
        kept = [
            each.select([key, "timestamp", name]).filter(each[name].is_valid())
            for each in tables
            if name in each.column_names
        ]
        if not kept:
            continue
        table = pa.concat_tables(kept).combine_chunks()
        ids = table[key].to_numpy()
        order = np.lexsort((table["timestamp"].to_numpy(), ids))
        last = np.flatnonzero(np.append(np.diff(ids[order]) != 0, True)) if ids.size else order
        said[name] = ids[order][last], table[name].take(pa.array(order[last]))
    parts = [ids for ids, _ in said.values()]
    every = np.unique(np.concatenate(parts)) if parts else np.empty(0, np.int64)
    columns = [pa.array(every, pa.int64())]
    for name in attributes:
        kind = schema.field(name).type
        if name not in said:
            columns.append(pa.nulls(every.size, kind))
            continue
        ids, values = said[name]
        place = np.searchsorted(ids, every)
        missing = place == ids.size
        missing |= np.append(ids, 0)[place] != every
        columns.append(values.take(pa.array(place, mask=missing)).cast(kind))
    return pa.table(columns, schema=schema)
