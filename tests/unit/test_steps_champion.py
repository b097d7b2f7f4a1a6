"""A run beside the champion of its lane: who is compared with whom, on which events."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from fmrec.layout import Run
from fmrec.release import champions
from fmrec.steps.release import release
from steps_world import NOW, World

pytestmark = pytest.mark.slow

NOBODY = {"asked": False}

EARLIER = "1997-12-20"


def judged(
    world: World, folder: Path, run_id: str, *, cheating: bool = False, **params: Any
) -> Any:
    """A run up to its release; its report."""
    folder.mkdir(exist_ok=True)
    world.prepare(run_id, **params).train_and_score(folder, cheating=cheating)
    world.evaluate().release()
    return world.json("report.json")


def crown(world: World) -> str:
    """Make the last run the champion whatever the gate says; its key."""
    run = Run.from_xcom(world.xcom["run"])
    champions.promote(
        world.store, run.layout, run.lane, run=run.layout.run, as_of=run.as_of,
        manifest=world.xcom["published"]["files"]["manifest.json"],
        artifact=world.xcom["training"]["artifact"], decision={}, compared_with=None, at=NOW,
    )  # fmt: skip
    return run.layout.run


def history(world: World) -> list[champions.Champion]:
    run = Run.from_xcom(world.xcom["run"])
    return champions.history(world.store, run.layout, run.lane)


def test_the_first_model_that_beats_its_baseline_is_champion_and_the_next_is_compared_with_it(
    world: World, tmp_path: Path
) -> None:
    first = judged(world, tmp_path / "a", "a", cheating=True, split="u1", epochs=60)
    assert first["champion"] is None
    assert "champion" not in first["baselines"]
    assert first["gate"]["decision"] == "promote"
    assert world.xcom["release"]["promoted"] is True
    (entry,) = history(world)
    assert entry.artifact == world.xcom["training"]["artifact"]
    assert entry.decision == first["gate"]
    key = entry.run
    second = judged(world, tmp_path / "b", "b", split="u1", epochs=10)
    assert second["champion"]["run"] == key
    assert second["champion"]["as_of"] == "1998-01-01T00:00:00+00:00"
    assert second["champion"]["problem"] is None
    assert second["champion"]["left_out_events"] == second["champion"]["left_out_users"] == 0
    assert {"rmse", "ndcg@10"} <= set(second["baselines"]["champion"])
    against = {(row["use"], row["against"]) for row in second["comparisons"]}
    assert {("rating", "champion"), ("ranking", "champion")} <= against
    assert second["changes"]["users"] == second["counts"]["ranked_users"]
    assert second["gate"]["decision"] == "keep"
    assert world.xcom["release"]["promoted"] is False
    assert history(world) == [entry]


def test_the_champion_s_figures_are_those_of_its_own_model_on_the_new_events(
    world: World, tmp_path: Path
) -> None:
    """The same model twice, once as champion: every figure agrees and nothing has changed."""
    judged(world, tmp_path / "a", "a", split="u1")
    key = crown(world)
    report = judged(world, tmp_path / "b", "b", split="u1")
    assert report["champion"]["run"] == key
    ours, theirs = report["metrics"], report["baselines"]["champion"]
    for name, value in theirs.items():
        assert value == pytest.approx(ours[name], rel=1e-5), name
    assert report["changes"]["same"] == report["changes"]["users"] > 0
    assert report["changes"]["risers"] == []
    assert report["gate"]["decision"] == "keep"
    assert any("differ but by rounding" in reason for reason in report["gate"]["reasons"])
    assert len(history(world)) == 1


@pytest.mark.parametrize("preset", ["side", "full"])
def test_a_champion_of_other_features_is_scored_with_its_own_columns(
    world: World, tmp_path: Path, preset: str
) -> None:
    judged(world, tmp_path / "a", "a", split="u1", features=preset)
    crown(world)
    alone = world.json("report.json")["metrics"]
    report = judged(world, tmp_path / "b", "b", split="u1", features="ids")
    assert report["champion"]["features"] == preset
    assert report["champion"]["problem"] is None
    theirs = report["baselines"]["champion"]
    # Ratings of one second have no order that both runs know of: the film before may differ.
    assert theirs["rmse"] == pytest.approx(alone["rmse"], rel=1e-3)
    assert theirs["ndcg@10"] == pytest.approx(alone["ndcg@10"], rel=1e-6)


def test_a_champion_whose_columns_are_not_its_model_s_is_a_matter_for_a_person(
    world: World, tmp_path: Path
) -> None:
    judged(world, tmp_path / "a", "a", as_of=EARLIER)
    key = crown(world)
    other = World(world.s3, world.deployment.cache_dir).prepare("c", features="side")
    other.train_and_score(tmp_path)
    wrong = other.store.get(f"{Run.from_xcom(other.xcom['run']).layout.run}/model.tar.gz")
    world.store.put(f"{key}/model.tar.gz", wrong, replace=True)
    report = judged(world, tmp_path / "b", "b")
    assert re.search(r"model has \d+ columns, the id map", report["champion"]["problem"])
    assert key in report["champion"]["problem"]
    assert any("No comparison with the champion" in each for each in report["gate"]["reasons"])
    assert "champion" not in report["baselines"]
    assert report["changes"] is None


def test_a_champion_whose_model_is_gone_does_not_cost_the_report(
    world: World, tmp_path: Path
) -> None:
    judged(world, tmp_path / "a", "a", as_of=EARLIER)
    key = crown(world)
    world.store.delete(f"{key}/model.tar.gz")
    report = judged(world, tmp_path / "b", "b")
    assert "does not exist" in report["champion"]["problem"]
    assert len(history(world)) == 1


def test_events_that_the_champion_has_learnt_are_left_out_and_counted(
    world: World, tmp_path: Path
) -> None:
    """A random split of another seed: most of its test events were trained on by the champion."""
    judged(world, tmp_path / "a", "a", split="random", seed=1)
    crown(world)
    learnt = world.table("train")
    report = judged(world, tmp_path / "b", "b", split="random", seed=2)
    test = world.table("test")
    pairs = [pd.MultiIndex.from_frame(each[["user_id", "item_id"]]) for each in (test, learnt)]
    unfair = int(pairs[0].isin(pairs[1]).sum())
    assert unfair > len(test) / 2
    assert f"{unfair:,} of the {len(test):,} test events" in report["champion"]["problem"]
    assert not [row for row in report["comparisons"] if row["against"] == "champion"]


def test_a_few_such_events_cost_only_themselves(world: World, tmp_path: Path) -> None:
    judged(world, tmp_path / "a", "a", as_of=EARLIER, test_fraction=0.2)
    key = crown(world)
    # Some films of the next run's test part, as if the champion had learnt an earlier rating.
    world.prepare("b")
    test = world.table("test")
    chosen = test.sample(50, random_state=0)
    part = json.loads(world.store.get(f"fmrec/reports/{key}/manifest.json"))["events"]["train"]
    table = world.store.get_table(part["files"][0]["key"]).to_pandas()
    table.loc[table.index[:50], ["user_id", "item_id"]] = chosen[["user_id", "item_id"]].to_numpy()
    world.store.delete(part["files"][0]["key"])
    world.store.put_table(part["files"][0]["key"], pa.Table.from_pandas(table))
    report = judged(world, tmp_path / "b", "b")
    assert report["champion"]["left_out_events"] == 50
    assert report["champion"]["left_out_users"] > 0
    (row,) = [
        row
        for row in report["comparisons"]
        if row["against"] == "champion" and row["use"] == "rating"
    ]
    left = test.drop(chosen.index)
    assert row["users"] == left["user_id"].nunique()
    assert row["candidate"] != report["metrics"]["rmse"]
    lists = [
        row
        for row in report["comparisons"]
        if row["against"] == "champion" and row["use"] == "ranking"
    ]
    judged_users = report["counts"]["ranked_users"]
    assert lists[0]["users"] == judged_users - report["champion"]["left_out_users"]


def test_an_older_moment_never_replaces_the_champion(world: World, tmp_path: Path) -> None:
    judged(world, tmp_path / "a", "a")
    key = crown(world)
    report = judged(world, tmp_path / "b", "b", as_of=EARLIER, epochs=20)
    assert report["champion"]["run"] is None
    assert report["champion"]["newest"]["run"] == key
    assert report["gate"]["decision"] == "keep"
    assert [each.run for each in history(world)] == [key]


def test_repeating_a_promoted_run_gives_the_same_report_and_no_second_entry(
    world: World, tmp_path: Path
) -> None:
    judged(world, tmp_path / "a", "a", epochs=20)
    crown(world)
    before = world.store.get(world.xcom["report"]["files"]["report.json"])
    entries = history(world)
    world.evaluate().release(NOW + timedelta(hours=1))
    assert world.store.get(world.xcom["report"]["files"]["report.json"]) == before
    assert history(world) == entries


def test_a_champion_made_meanwhile_is_not_replaced_and_the_run_does_not_fail(
    world: World, tmp_path: Path
) -> None:
    """As in a backfill of two days at once: both are compared with no champion."""
    judged(world, tmp_path / "a", "a", epochs=20)
    before = history(world)
    late = world.xcom["report"] | {"compared_with": None}
    late["gate"] = late["gate"] | {"decision": "promote"}
    if not before:
        crown(world)
    other = World(world.s3, world.deployment.cache_dir).prepare("b", as_of="1998-02-01")
    other.xcom |= {"report": late, "published": world.xcom["published"]}
    told = release(other.xcom["run"], late, other.xcom["published"], NOBODY, world.s3, NOW)
    assert told["decision"] == "promote"
    assert told["promoted"] is False
    assert "run evaluate again" in told["why"]
    assert len(history(world)) == 1


def test_lanes_do_not_meet(world: World, tmp_path: Path) -> None:
    judged(world, tmp_path / "a", "a")
    crown(world)
    for params in ({"split": "u1"}, {"objective": "like"}, {"use": "ranking"}):
        report = judged(world, tmp_path / "b", f"b{params}", **params)
        assert report["champion"] is None, params
        assert report["run"]["lane"] != "rating-sample-time"


def test_a_rating_model_that_is_meant_for_lists_is_judged_by_them(
    world: World, tmp_path: Path
) -> None:
    report = judged(world, tmp_path / "a", "a", split="u1", use="ranking", epochs=20)
    assert report["verdict"]["use"] == report["gate"]["use"] == "ranking"
    assert report["verdict"]["metric"] == "ndcg@10"
    assert report["verdict"]["against"] == "popularity"
    better = report["metrics"]["ndcg@10"] > report["baselines"]["popularity"]["ndcg@10"]
    assert (report["gate"]["decision"] == "keep") is not better
    assert "rmse" in report["metrics"]


def test_a_champion_that_was_trained_again_is_not_the_model_that_was_judged(
    world: World, tmp_path: Path
) -> None:
    judged(world, tmp_path / "a", "a", as_of=EARLIER)
    key = crown(world)
    manifest = f"fmrec/reports/{key}/manifest.json"
    told = json.loads(world.store.get(manifest))
    told["jobs"]["training"]["artifact"] = "s3://fmrec/another/model.tar.gz"
    world.store.put(manifest, json.dumps(told).encode(), replace=True)
    report = judged(world, tmp_path / "b", "b")
    assert "was trained again" in report["champion"]["problem"]
    assert "another/model.tar.gz" in report["champion"]["problem"]


@pytest.mark.parametrize("content", [b"{}", b"no JSON", b'{"schema": 99}'])
def test_a_champion_of_another_version_does_not_cost_the_report(
    world: World, tmp_path: Path, content: bytes
) -> None:
    judged(world, tmp_path / "a", "a", as_of=EARLIER)
    key = crown(world)
    world.store.put(f"fmrec/reports/{key}/manifest.json", content, replace=True)
    report = judged(world, tmp_path / "b", "b")
    assert "no manifest that this version reads" in report["champion"]["problem"]


@pytest.mark.parametrize("use", ["rating", "ranking"])
def test_without_enough_users_that_are_new_to_the_champion_lists_are_not_compared(
    world: World, tmp_path: Path, use: str
) -> None:
    """Half of the events are new to it, but every user has one that is not."""
    given = {"split": "random", "use": use}
    judged(world, tmp_path / "a", "a", seed=1, test_fraction=0.5, **given)
    crown(world)
    report = judged(world, tmp_path / "b", "b", seed=2, test_fraction=0.4, **given)
    against = [row["use"] for row in report["comparisons"] if row["against"] == "champion"]
    if use == "ranking":
        assert "test users' events" in report["champion"]["problem"]
        assert against == []
    else:
        assert report["champion"]["problem"] is None
        assert against == ["rating"]
        assert report["changes"] is None


def test_a_promoted_run_that_is_repeated_after_another_does_not_claim_the_place(
    world: World, tmp_path: Path
) -> None:
    judged(world, tmp_path / "a", "a", cheating=True, split="u1", epochs=60)
    first = dict(world.xcom)
    judged(world, tmp_path / "b", "b", split="u1", epochs=10)
    run = Run.from_xcom(world.xcom["run"])
    champions.appoint(
        world.store, run.layout, run.lane, run=run.layout.run, as_of=run.as_of, manifest="m",
        artifact="a", at=NOW,
    )  # fmt: skip
    told = release(first["run"], first["report"], first["published"], NOBODY, world.s3, NOW)
    assert told["promoted"] is False
    assert "not the champion any more" in told["why"]
