"""Runs that became champions, published as far as what comes after a release asks of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fmrec.layout import Run
from fmrec.release import champions
from fmrec.steps.in_production import InProduction
from steps_world import NOW, World


# Some 40 users and 900 films: enough to be ranked, and soon done.
AS_OF, LATER = "1997-09-30T00:00:00+00:00", "1997-10-01T00:00:00+00:00"


def crowned(world: World, folder: Path, run_id: str = "a", **params: Any) -> champions.Champion:
    """Train a model and make it the champion of its lane, whatever any gate would say."""
    (folder / run_id).mkdir(parents=True)
    x = world.prepare(run_id, **({"as_of": AS_OF} | params)).train_and_score(folder / run_id).xcom
    run = Run.from_xcom(x["run"])
    manifest = run.layout.published_report("manifest.json")
    content = {
        "schema": 1,
        "run_id": run.run_id,
        "as_of": run.as_of.isoformat(),
        "parameters": asdict(run.settings),
        "tables": x["tables"]["keys"],
        "events": x["parts"]["parts"],
        "id_map": x["parts"]["id_map"],
        "jobs": {"training": x["training"]},
        "finished": NOW.isoformat(),
    }
    world.store.put(manifest, json.dumps(content).encode())
    return champions.appoint(
        world.store, run.layout, run.lane, run=run.layout.run, as_of=run.as_of, manifest=manifest,
        artifact=x["training"]["artifact"], at=NOW,
    )  # fmt: skip


def opened(world: World, entry: champions.Champion) -> InProduction:
    """The champion with its model and its columns."""
    return InProduction.of(entry, Run.from_xcom(world.xcom["run"]).layout, world.store)


def history(world: World, lane: str) -> list[champions.Champion]:
    """The entries of a lane."""
    return champions.history(world.store, Run.from_xcom(world.xcom["run"]).layout, lane)
