"""Cut the ratings at the run's moment, split them, and fix which id is which column."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pandas as pd

from fmrec import events as event
from fmrec.layout import Run
from fmrec.steps.xcom import Xcom
from fmrec.store import Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)


def events(run: Xcom, tables: Xcom, s3: S3Client) -> Xcom:
    """Cut at the run's moment, split, decide what happens to unknown ids, fix the columns."""
    this = Run.from_xcom(run)
    chosen, layout = this.settings, this.layout
    store = Store(s3, layout.bucket)
    seen = event.before(store.get_table(tables["keys"]["ratings"]), this.as_of)
    split = event.divide(
        seen,
        chosen.split,
        validation_fraction=chosen.validation_fraction,
        test_fraction=chosen.test_fraction,
    )
    space = event.FeatureSpace.from_events(split.train)
    tested = event.admit(split.test, space, chosen.unknown_ids)
    parts = {
        "train": event.arrange(split.train, order=chosen.order, seed=chosen.seed),
        "validation": split.validation,
        "test": tested.to_score,
        "set-aside": tested.set_aside,
    }
    summary = {
        name: {
            "key": layout.events(name),
            "rows": len(rows),
            "sha256": store.put_table(layout.events(name), rows),
            **_window(rows),
        }
        for name, rows in parts.items()
    }
    store.put(layout.id_map, space.to_bytes())
    log.info("Rows: %s", ", ".join(f"{name} {each['rows']:,}" for name, each in summary.items()))
    return {
        "parts": summary,
        "counts": {
            "ratings_seen": len(seen),
            "validation_unknown": _unknown(split.validation, space),
            "test": tested.counts["events"],
            **{
                name: tested.counts[name]
                for name in ("unknown_user", "unknown_item", "unknown_both", "set_aside")
            },
        },
        "id_map": {"key": layout.id_map, "sha256": space.sha256},
    }


def _unknown(rows: pd.DataFrame, space: event.FeatureSpace) -> int:
    """How many of the validation events have an unknown id; they stay in their channel."""
    return int((~(space.knows_user(rows) & space.knows_item(rows))).sum())


def _window(rows: pd.DataFrame) -> dict[str, int | None]:
    """The first and the last timestamp of some events."""
    times = rows["timestamp"]
    empty = rows.empty
    return {
        "first": None if empty else int(times.min()),
        "last": None if empty else int(times.max()),
    }
