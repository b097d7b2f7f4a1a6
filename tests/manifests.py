"""Runs that were published, as far as a later run's decisions and estimates ask: a manifest."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from fmrec.layout import Run
from fmrec.release import champions
from fmrec.steps.plan import plan
from steps_world import NOW, World

ROWS = {"train": 20_000, "validation": 2_500, "test": 2_500}


def published(
    world: World,
    run_id: str,
    as_of: datetime = datetime(1997, 12, 31, tzinfo=UTC),
    *,
    settings: dict[str, Any] | None = None,
    **told: Any,
) -> Run:
    """Publish a run of the moment `as_of`; `told` replaces entries of its manifest."""
    given = {"source": "sample", "num_factors": 4, "epochs": 2} | (settings or {})
    run = Run.from_xcom(plan(run_id, as_of, given, world.deployment, world.s3))
    files = {name: [{"key": name, "rows": rows, "bytes": 64 * rows}] for name, rows in ROWS.items()}
    content = {
        "schema": 1,
        "run_id": run_id,
        "as_of": run.as_of.isoformat(),
        "parameters": asdict(run.settings),
        "hyperparameters": run.hyperparameters(),
        "tuned": run.tuned,
        "tables": {},
        "events": {},
        "id_map": {},
        "recordio": files,
        "jobs": {
            "training": {"artifact": "s3://fmrec/m", "billable_seconds": 100},
            "transform": {"seconds": 50.0},
        },
    }
    key = run.layout.published_report("manifest.json")
    world.store.put(key, json.dumps(content | told).encode())
    return run


def crown(world: World, run: Run) -> None:
    """Make a run the champion of its lane."""
    champions.appoint(
        world.store, run.layout, run.lane, run=run.layout.run, as_of=run.as_of,
        manifest=run.layout.published_report("manifest.json"), artifact="s3://fmrec/m", at=NOW,
    )  # fmt: skip
