"""Runs that became champions, published as far as what comes after a release asks of them."""

from __future__ import annotations

import copy
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

# What the steps of a run returned, and the objects that it left: made once for all tests.
_MADE: dict[str, tuple[dict[str, Any], dict[str, bytes]]] = {}


def crowned(world: World, folder: Path, run_id: str = "a", **params: Any) -> champions.Champion:
    """Train a model and make it the champion of its lane, whatever any gate would say."""
    told = json.dumps([run_id, params], sort_keys=True)
    if told not in _MADE:
        _MADE[told] = _make(world, folder / run_id, run_id, {"as_of": AS_OF} | params)
    xcom, objects = _MADE[told]
    world.xcom = copy.deepcopy(xcom)
    for key, content in objects.items():
        world.store.put(key, content)
    run = Run.from_xcom(world.xcom["run"])
    return champions.appoint(
        world.store, run.layout, run.lane, run=run.layout.run, as_of=run.as_of,
        manifest=run.layout.published_report("manifest.json"),
        artifact=world.xcom["training"]["artifact"], at=NOW,
    )  # fmt: skip


def _make(
    world: World, folder: Path, run_id: str, params: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    folder.mkdir()
    x = world.prepare(run_id, **params).train_and_score(folder).xcom
    run = Run.from_xcom(x["run"])
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
    manifest = run.layout.published_report("manifest.json")
    world.store.put(manifest, json.dumps(content).encode())
    own = run.layout.run
    keys = [key for key in world.store.list("") if own in key]
    return copy.deepcopy(x), {key: world.store.get(key) for key in keys}


def opened(world: World, entry: champions.Champion) -> InProduction:
    """The champion with its model and its columns."""
    return InProduction.of(entry, Run.from_xcom(world.xcom["run"]).layout, world.store)


def history(world: World, lane: str) -> list[champions.Champion]:
    """The entries of a lane."""
    return champions.history(world.store, Run.from_xcom(world.xcom["run"]).layout, lane)
