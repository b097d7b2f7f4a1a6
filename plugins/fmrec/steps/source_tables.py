"""What was read from a source, as files that all runs share: written once, listed by an index."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fmrec.errors import DataError
from fmrec.layout import Layout
from fmrec.ratings import QUARANTINE, RATINGS, Chunk
from fmrec.store import Store

PART_ROWS = 1_000_000
MOST_REFUSED = 1_000_000  # of a source: so many can still be held and kept
_INDEX = "index.json"

Index = dict[str, Any]


def written(
    store: Store,
    layout: Layout,
    name: str,
    read: Callable[[], tuple[Iterable[Chunk], pa.Table, pa.Table]],
    facts: Callable[[], Index],
) -> Index:
    """The index of the source `name`, which says all of its content.

    When there is none, `read` gives the chunks, the users (USERS) and the items (ITEMS), which
    are written; then `facts`, which the index keeps besides; the index itself comes last. It has
    `ratings` (keys and rows), `users`, `items`, `quarantine` (keys), `rows`, and
    `refused_by_check`. The files do not depend on how the rows come in chunks. Raises DataError
    for a source of which more rows are refused than can be kept.
    """
    index_key = layout.source(name, _INDEX)
    if store.exists(index_key):
        found: Index = json.loads(store.get(index_key))
        return found
    chunks, users, items = read()
    refused: list[pa.Table] = []
    ratings = [
        {
            "key": layout.source_ratings(name, number),
            "rows": part.num_rows,
            "sha256": store.put_table(layout.source_ratings(name, number), part),
        }
        for number, part in enumerate(_parts(chunks, refused))
    ]
    quarantine = pa.concat_tables([QUARANTINE.empty_table(), *refused])
    tables = {"users": users, "items": items, "quarantine": quarantine}
    keys = {kind: layout.source(name, f"{kind}.parquet") for kind in tables}
    for kind, table in tables.items():
        store.put_table(keys[kind], table)
    counts = pc.value_counts(quarantine["check"]).to_pylist()
    index = {
        "name": name,
        "ratings": ratings,
        **keys,
        "rows": sum(part["rows"] for part in ratings),
        "refused_by_check": {each["values"]: each["counts"] for each in counts},
        **facts(),
    }
    store.put(index_key, json.dumps(index, sort_keys=True).encode())
    return index


def ratings_of(store: Store, indexes: Iterable[Index]) -> Iterator[pa.Table]:
    """The ratings of several sources, one after the other, as RATINGS tables."""
    for index in indexes:
        for part in index["ratings"]:
            yield store.get_table(part["key"])


def refused_by_check(indexes: Iterable[Index]) -> dict[str, int]:
    """How many rows of several sources failed each check."""
    total: Counter[str] = Counter()
    for index in indexes:
        total.update(index["refused_by_check"])
    return dict(sorted(total.items()))


def described(store: Store, indexes: Iterable[Index], kind: str) -> pa.Table:
    """What several sources say of "users" or "items"; of two words the later source's counts."""
    tables = [store.get_table(index[kind]) for index in indexes]
    joined = pa.concat_tables([table for table in tables if table.num_rows] or tables[:1])
    owner = joined.schema.names[0]
    if pc.count_distinct(joined[owner]).as_py() == joined.num_rows:
        return joined.sort_by(owner)
    # In order and without nulls, the last value of each is the latest that anybody said.
    columns = [name for name in joined.schema.names if name != owner]
    rows: dict[int, dict[str, Any]] = {}
    for row in joined.to_pylist():
        known = rows.setdefault(row[owner], {owner: row[owner]} | dict.fromkeys(columns))
        known.update({name: row[name] for name in columns if row[name] is not None})
    return pa.Table.from_pylist([rows[each] for each in sorted(rows)], schema=joined.schema)


def _parts(chunks: Iterable[Chunk], refused: list[pa.Table]) -> Iterator[pa.Table]:
    """The ratings in tables of PART_ROWS rows each, the last one fewer; at least one."""
    held: list[pa.Table] = [RATINGS.empty_table()]
    rows, count = 0, 0
    bad = 0
    for chunk in chunks:
        if chunk.quarantine.num_rows:
            refused.append(chunk.quarantine)
            bad += chunk.quarantine.num_rows
            if bad > MOST_REFUSED:
                first = refused[0].slice(0, 1).to_pylist()[0]
                raise DataError(
                    f"{first['file']}: more than {MOST_REFUSED:,} rows were refused, the first in "
                    f"row {first['row']}: {first['reason']}. This is not the form that is "
                    "expected: put the right file in its place."
                )
        held.append(chunk.ratings)
        rows += chunk.ratings.num_rows
        while rows >= PART_ROWS:
            table = pa.concat_tables(held)
            yield table.slice(0, PART_ROWS).combine_chunks()
            count += 1
            held, rows = [table.slice(PART_ROWS)], rows - PART_ROWS
    if rows or not count:
        yield pa.concat_tables(held).combine_chunks()
