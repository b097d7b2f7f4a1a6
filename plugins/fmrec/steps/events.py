"""Cut the ratings at the run's moment, split them, and fix which id is which column."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from fmrec.errors import DataError
from fmrec.events.encoders import PRESETS
from fmrec.events.policy import REASONS, admit
from fmrec.events.prepare import EXAMPLES, WATCHED, Choices, Prepared, prepare
from fmrec.events.space import FeatureSpace
from fmrec.events.window import as_seconds
from fmrec.layout import Run
from fmrec.steps import source_tables
from fmrec.steps.xcom import Xcom
from fmrec.store import Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

# About 64 MB of RecordIO: 2 values in a row, or what histories add.
FILE_ROWS_OF_IDS = 1_000_000
FILE_ROWS = 100_000


def events(run: Xcom, tables: Xcom, s3: S3Client) -> Xcom:
    """Cut at the run's moment, split, decide what happens to unknown ids, fix the columns."""
    this = Run.from_xcom(run)
    chosen, layout = this.settings, this.layout
    store = Store(s3, layout.bucket)
    indexes = json.loads(store.get(tables["keys"]["sources"]))["indexes"]
    with tempfile.TemporaryDirectory(prefix="fmrec-events-") as folder:
        ratings = source_tables.ratings_of(store, indexes)
        prepared = prepare(ratings, _choices(this), Path(folder, "work"))
        space = FeatureSpace.from_facts(
            prepared.facts,
            store.get_table(tables["keys"]["users"]),
            store.get_table(tables["keys"]["items"]),
            preset=chosen.features,
        )
        writer = _Writer(this, store)
        for name in ("train", EXAMPLES, WATCHED, "validation"):
            writer.write(name, prepared, space)
        tested = writer.write_tested(prepared, space)
    store.put(layout.id_map, space.to_bytes())
    columns = pa.Table.from_pandas(space.columns(), preserve_index=False)
    store.put_table(layout.columns, columns)
    store.put(layout.facts, prepared.facts.to_bytes())
    parts = writer.parts
    # No part of the events: the job is given it in place of the validation events.
    watched = parts.pop(WATCHED, None)
    log.info("Rows: %s", ", ".join(f"{name} {each['rows']:,}" for name, each in parts.items()))
    counts = prepared.counts | {"test": prepared.rows["test"]} | tested
    counts["validation_unknown"] = writer.unknown
    if EXAMPLES in parts:
        counts["negatives"] = parts[EXAMPLES]["rows"] - writer.likes
    return {
        "parts": parts,
        "watched": watched,
        "data": _data(indexes, tables["erasure"], prepared.counts["ratings_seen"], parts),
        "counts": counts,
        "id_map": {"key": layout.id_map, "sha256": space.sha256},
        "facts": {"key": layout.facts},
        "columns": {"key": layout.columns, "number": space.dimension},
    }


def _data(indexes: list[Xcom], erasure: str, ratings: int, parts: Xcom) -> Xcom:
    """What the run has seen, by which a later run tells whether anything is new."""
    last = max(each["last"] for each in parts.values() if each["last"] is not None)
    # A day on which nobody rated anything is no news.
    names = sorted(each["name"] for each in indexes if each["rows"])
    told = json.dumps([names, erasure, ratings, last])
    fingerprint = hashlib.sha256(told.encode()).hexdigest()
    return {"fingerprint": fingerprint, "ratings": ratings, "last": last}


def _choices(run: Run) -> Choices:
    chosen = run.settings
    needed = PRESETS[chosen.features]
    return Choices(
        as_of=as_seconds(run.as_of),
        split=chosen.split,
        validation_fraction=chosen.validation_fraction,
        test_fraction=chosen.test_fraction,
        leave_last=chosen.leave_last,
        user_least=chosen.min_user_ratings,
        item_least=chosen.min_item_ratings,
        order=chosen.order,
        seed=chosen.seed,
        history_length=chosen.histories if "rated" in needed else 0,
        negatives=chosen.negative_ratio if chosen.samples_negatives else 0,
        negative_exponent=chosen.negative_exponent,
        shard_rows=FILE_ROWS_OF_IDS if chosen.features == "ids" else FILE_ROWS,
        visits="visit" in needed,
    )


class _Writer:
    """Writes events file by file, and keeps what is to be said of each part."""

    def __init__(self, run: Run, store: Store) -> None:
        self._layout, self._store, self._policy = run.layout, store, run.settings.unknown_ids
        self.parts: dict[str, dict[str, Any]] = {}
        self.likes, self.unknown = 0, 0

    def write(self, name: str, prepared: Prepared, space: FeatureSpace) -> None:
        """Write all events of a part, if the run has it."""
        for shard in prepared.shards(name):
            table = shard()
            if name == EXAMPLES:
                self.likes += int(table["label"].to_numpy().sum())
            if name == "validation":  # they stay in their channel
                rows = table.to_pandas()
                known = space.knows_user(rows) & space.knows_item(rows)
                self.unknown += int((~known).sum())
            self._add(name, table)
        if name not in {EXAMPLES, WATCHED}:
            self._part(name)

    def write_tested(self, prepared: Prepared, space: FeatureSpace) -> dict[str, int]:
        """Write the test events that are to be scored, and aside those that are not."""
        counts: Counter[str] = Counter(dict.fromkeys((*REASONS, "set_aside"), 0))
        for shard in prepared.shards("test"):
            table = shard()
            found = admit(table.to_pandas(), space, self._policy)
            counts.update(found.counts)
            self._add("test", _table(found.to_score, table.schema))
            aside = table.schema.append(pa.field("reason", pa.string()))
            self._add("set-aside", _table(found.set_aside, aside))
        for shard in prepared.shards("filtered"):
            table = shard()
            reason = pa.array(["too_few_ratings"] * table.num_rows, pa.string())
            self._add("set-aside", table.append_column("reason", reason))
        for name in ("test", "set-aside"):
            self._part(name)
        if not self.parts["test"]["rows"]:
            raise DataError(
                f"unknown_ids=exclude leaves none of {counts['set_aside']:,} events: no user and "
                "item of theirs is in the training part. Set as_of to a later moment, or "
                "unknown_ids=score."
            )
        return {name: counts[name] for name in (*REASONS, "set_aside")}

    def _add(self, name: str, table: pa.Table) -> None:
        if not table.num_rows:
            return
        part = self._part(name)
        key = self._layout.events(name, len(part["files"]))
        digest = self._store.put_table(key, table)
        part["files"].append({"key": key, "rows": table.num_rows, "sha256": digest})
        part["rows"] += table.num_rows
        times = table["timestamp"].to_numpy()
        ends = [part["first"], part["last"], int(times.min()), int(times.max())]
        known = [each for each in ends if each is not None]
        part["first"], part["last"] = min(known), max(known)

    def _part(self, name: str) -> dict[str, Any]:
        nothing = {"files": [], "rows": 0, "first": None, "last": None}
        return self.parts.setdefault(name, nothing)


def _table(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
