"""Lists for all users of a champion: which films, in which files, and never twice."""

from __future__ import annotations

import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from crowned import AS_OF, LATER, crowned, opened
from fmrec import topn
from fmrec.errors import ConfigurationError, StoreError
from fmrec.layout import Layout
from fmrec.release import champions
from fmrec.steps import recommend as step
from fmrec.steps.in_production import InProduction
from fmrec.steps.recommend import lanes, recommend
from steps_world import NOW, World

pytestmark = pytest.mark.slow

LANE = "rating-sample-time"
LATEST = f"fmrec/recommendations/{LANE}/latest.json"


def made(world: World, lane: str = LANE, **params: Any) -> Any:
    return recommend(lane, params, world.s3, world.deployment)


def manifest_of(world: World, told: Any) -> Any:
    return json.loads(world.store.get(key_of(told) + "manifest.json"))


def key_of(told: Any) -> str:
    return str(told["uri"]).removeprefix("s3://fmrec/")


def parquet(world: World, told: Any) -> pd.DataFrame:
    files = manifest_of(world, told)["files"]["parquet"]
    return pd.concat(
        [pq.read_table(io.BytesIO(world.store.get(each["key"]))).to_pandas() for each in files],
        ignore_index=True,
    )


def objects(world: World) -> dict[str, Any]:
    """Every object with the moment it was written."""
    pages = world.s3.get_paginator("list_objects_v2").paginate(Bucket="fmrec")
    return {
        each["Key"]: (each["ETag"], each["LastModified"])
        for page in pages
        for each in page["Contents"]
    }


def no_work(*_: Any, **__: Any) -> None:
    raise AssertionError("there was nothing left to do")


def rated(world: World) -> set[tuple[int, int]]:
    """What any part of the run holds, read by the keys that the events step returned."""
    parts = world.xcom["parts"]["parts"]
    tables = [world.table(name) for name in parts if parts[name]["files"] and name != "examples"]
    every = pd.concat(tables)
    return set(zip(every["user_id"].tolist(), every["item_id"].tolist(), strict=True))


def by_force(champion: InProduction, user: int, seen: set[int], n: int) -> list[tuple[int, float]]:
    """All films that the model knows, scored one row each and sorted."""
    films = [film for film in champion.design.space.trained_items.tolist() if film not in seen]
    rows = pd.DataFrame({"user_id": user, "item_id": films, "timestamp": champion.at})
    scores = champion.model.score(champion.design.encode(rows))
    ordered = sorted(zip(films, scores.tolist(), strict=True), key=lambda each: (-each[1], each[0]))
    return ordered[:n]


@pytest.mark.parametrize("params", [{}, {"features": "full"}, {"objective": "like"}])
def test_the_lists_are_those_of_scoring_every_film(
    world: World, tmp_path: Path, params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "PART_ROWS", 100)
    entry = crowned(world, tmp_path, **params)
    told = made(world, entry.lane, top_n=7)
    rows, champion, known = parquet(world, told), opened(world, entry), rated(world)
    users = champion.design.space.trained_users
    assert told["users"] == users.size == rows["user_id"].nunique()
    assert told["rows"] == len(rows) == 7 * users.size
    for user in users[::5].tolist():
        own = rows[rows["user_id"] == user]
        expected = by_force(champion, user, {film for one, film in known if one == user}, 7)
        assert own["rank"].tolist() == [1, 2, 3, 4, 5, 6, 7]
        assert own["item_id"].tolist() == [film for film, _ in expected]
        assert own["score"].tolist() == pytest.approx([score for _, score in expected], rel=1e-5)
    pairs = set(zip(rows["user_id"].tolist(), rows["item_id"].tolist(), strict=True))
    assert pairs & known == set()
    assert rows["user_id"].is_monotonic_increasing
    # Several parts, whose seams show nowhere.
    assert len(manifest_of(world, told)["files"]["parquet"]) > 2


def test_what_was_set_aside_is_seen_too(world: World, tmp_path: Path) -> None:
    entry = crowned(world, tmp_path, unknown_ids="exclude", min_item_ratings=2)
    aside = world.table("set-aside")
    assert len(aside) > 0
    known = set(opened(world, entry).design.space.trained_items.tolist())
    pairs = {
        pair
        for pair in zip(aside["user_id"].tolist(), aside["item_id"].tolist(), strict=True)
        if pair[1] in known
    }
    assert pairs
    rows = parquet(world, made(world, top_n=1000))
    assert (
        pairs & set(zip(rows["user_id"].tolist(), rows["item_id"].tolist(), strict=True)) == set()
    )


def test_sampled_films_of_a_ranking_are_no_ratings(world: World, tmp_path: Path) -> None:
    entry = crowned(world, tmp_path, objective="ranking")
    told = made(world, entry.lane, top_n=1000)
    known = opened(world, entry).design.space
    seen = {pair for pair in rated(world) if pair[0] in known.trained_users}
    seen = {pair for pair in seen if pair[1] in known.trained_items}
    assert told["rows"] == known.trained_users.size * known.trained_items.size - len(seen)
    counts = manifest_of(world, told)["counts"]
    assert counts["ratings_seen"] == len(seen)
    # Who has fewer films left than asked for gets fewer rows.
    rows = parquet(world, told)
    lengths = rows.groupby("user_id").size()
    some = int(known.trained_users[3])
    own = sum(user == some for user, _ in seen)
    assert lengths[some] == known.trained_items.size - own < 1000
    assert (rows.groupby("user_id")["rank"].max() == lengths).all()


def test_json_lines_and_parquet_hold_the_same_rows(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "PART_ROWS", 300)
    crowned(world, tmp_path)
    told = made(world)
    files = manifest_of(world, told)["files"]
    assert len(files["jsonl"]) == len(files["parquet"]) > 1
    for lines, table in zip(files["jsonl"], files["parquet"], strict=True):
        content = pq.read_table(io.BytesIO(world.store.get(table["key"])))
        assert content.schema == step.ROWS
        text = world.store.get(lines["key"]).decode()
        assert [json.loads(line) for line in text.splitlines()] == content.to_pylist()
        assert lines["rows"] == table["rows"] == content.num_rows
        for each in (lines, table):
            data = world.store.get(each["key"])
            assert each["sha256"] == hashlib.sha256(data).hexdigest()
            assert each["bytes"] == len(data)
    first = content.to_pylist()[0]
    assert list(first) == ["user_id", "rank", "item_id", "title", "score"]
    items = world.store.get_table(world.xcom["tables"]["keys"]["items"]).to_pylist()
    titles = {each["item_id"]: each["title"] for each in items}
    assert first["title"] == titles[first["item_id"]]


def test_a_film_without_a_title_is_named_by_its_id() -> None:
    film = {
        "user_id": [1],
        "rank": [1],
        "item_id": [7],
        "title": ['A "q" \u2028 é'],
        "score": [0.5],
    }
    table = step.pa.table(film, schema=step.ROWS)
    lines = step._lines(table).splitlines()
    assert [json.loads(each) for each in lines] == table.to_pylist()


def test_the_manifest_says_what_the_lists_were_made_of(world: World, tmp_path: Path) -> None:
    entry = crowned(world, tmp_path)
    told = made(world, top_n=3)
    manifest = manifest_of(world, told)
    assert manifest["schema"] == 1
    assert manifest["lane"] == told["lane"] == LANE
    assert manifest["run"] == told["run"] == entry.run
    assert manifest["as_of"] == told["as_of"] == AS_OF
    assert manifest["artifact"] == entry.artifact
    assert manifest["report"] == entry.manifest
    assert manifest["objective"] == "rating"
    assert manifest["parameters"] == {"top_n": 3, "only": None}
    assert manifest["counts"]["rows"] == told["rows"] == 3 * told["users"]
    assert manifest["counts"]["users_without_films"] == 0
    assert manifest["counts"]["films"] == manifest["counts"]["films_known"]
    assert key_of(told).startswith(f"fmrec/recommendations/{LANE}/{entry.run}/top3-")
    listed = {each["key"] for files in manifest["files"].values() for each in files}
    assert set(world.store.list(key_of(told))) == listed | {key_of(told) + "manifest.json"}


def test_repeated_it_changes_nothing_and_computes_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    crowned(world, tmp_path)
    first = made(world)
    assert first["made"] is True
    before = objects(world)
    monkeypatch.setattr(topn, "best", no_work)
    monkeypatch.setattr(InProduction, "of", no_work)
    monkeypatch.setattr(type(world.store), "put", no_work)
    with caplog.at_level("INFO"):
        again = made(world)
    assert again == first | {"made": False}
    assert "nothing is made again" in caplog.text
    assert objects(world) == before
    # Text as a form may send it is the same list.
    assert made(world, top_n="20", only="") == again


def test_what_an_attempt_that_ended_early_left_is_made_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowned(world, tmp_path)
    told = made(world)
    rows, manifest = parquet(world, told), manifest_of(world, told)
    world.store.delete(key_of(told) + "manifest.json")
    # Its parts were smaller, and one was written by another kind of machine.
    world.store.put(key_of(told) + "parquet/part-00009.parquet", b"left")
    world.store.put(manifest["files"]["parquet"][0]["key"], b"other digits", replace=True)
    assert made(world) == told
    assert manifest_of(world, told) == manifest
    assert parquet(world, told).equals(rows)
    assert not world.store.exists(key_of(told) + "parquet/part-00009.parquet")


def test_a_part_that_is_gone_is_made_again(world: World, tmp_path: Path) -> None:
    crowned(world, tmp_path)
    told = made(world)
    manifest = manifest_of(world, told)
    world.store.delete(manifest["files"]["jsonl"][0]["key"])
    assert made(world) == told
    assert world.store.exists(manifest["files"]["jsonl"][0]["key"])


def test_other_params_have_a_folder_of_their_own(world: World, tmp_path: Path) -> None:
    entry = crowned(world, tmp_path)
    filters = ("item!=1", "item!=2", None)
    told = [made(world, top_n=n, only=only) for n in (5, 6) for only in filters]
    assert len({each["uri"] for each in told}) == 6
    assert {each["run"] for each in told} == {entry.run}
    rows = parquet(world, told[0])
    assert 1 not in rows["item_id"].to_numpy()
    # What was asked for last is in force.
    assert json.loads(world.store.get(LATEST))["uri"] == told[-1]["uri"]


def test_a_filter_draws_from_some_films_alone(world: World, tmp_path: Path) -> None:
    entry = crowned(world, tmp_path)
    few = opened(world, entry).design.space.trained_items[:3].tolist()
    told = made(world, only=f"item={few[0]},{few[1]},{few[2]}")
    rows, counts = parquet(world, told), manifest_of(world, told)["counts"]
    assert set(rows["item_id"]) == set(few)
    assert counts["films"] == 3
    served = rows["user_id"].nunique()
    assert counts["users_without_films"] == told["users"] - served
    users = opened(world, entry).design.space.trained_users
    taken = sum(film in few and user in users for user, film in rated(world))
    assert 0 < taken == 3 * told["users"] - told["rows"]


def test_a_filter_that_allows_no_film_is_an_error_and_leaves_nothing(
    world: World, tmp_path: Path
) -> None:
    entry = crowned(world, tmp_path)
    made(world)
    before = objects(world)
    with pytest.raises(ConfigurationError, match=rf"'year>2500' allows none .* {entry.run}"):
        made(world, only="year>2500")
    with pytest.raises(ConfigurationError, match="parameter only: at character 1"):
        made(world, only="colour=red")
    with pytest.raises(ConfigurationError, match=r"parameter top_n: 0 is not .* at least 1"):
        made(world, top_n=0)
    assert objects(world) == before


def test_a_lane_without_a_champion_is_named_with_those_that_have_one(
    world: World, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="those that have one: none"):
        made(world)
    crowned(world, tmp_path)
    with pytest.raises(ConfigurationError, match=f"lane 'x' has no champion; .*: {LANE}"):
        made(world, "x")


def test_a_champion_whose_model_is_gone_is_an_error_and_the_lists_before_stay(
    world: World, tmp_path: Path
) -> None:
    first = crowned(world, tmp_path)
    before = made(world)
    second = crowned(world, tmp_path, "b", as_of=LATER)
    assert first.run != second.run
    world.store.delete(f"{second.run}/model.tar.gz")
    with pytest.raises(StoreError, match="does not exist"):
        made(world)
    assert json.loads(world.store.get(LATEST))["uri"] == before["uri"]


def test_the_model_that_was_judged_recommends_though_its_run_was_trained_again(
    world: World, tmp_path: Path
) -> None:
    entry = crowned(world, tmp_path)
    manifest = json.loads(world.store.get(entry.manifest))
    manifest["jobs"]["training"]["artifact"] = "s3://fmrec/another/model.tar.gz"
    world.store.put(entry.manifest, json.dumps(manifest).encode(), replace=True)
    assert manifest_of(world, made(world))["artifact"] == entry.artifact


# Which lists are in force.


def test_latest_leads_to_the_lists_of_the_champion_in_place(world: World, tmp_path: Path) -> None:
    first = crowned(world, tmp_path)
    one = made(world)
    pointer = json.loads(world.store.get(LATEST))
    assert pointer == {
        "schema": 1,
        "lane": LANE,
        "sequence": 1,
        "run": first.run,
        "as_of": AS_OF,
        "parameters": {"top_n": 20, "only": None},
        "uri": one["uri"],
        "manifest": key_of(one) + "manifest.json",
        "users": one["users"],
        "rows": one["rows"],
    }
    second = crowned(world, tmp_path, "b", as_of=LATER)
    two = made(world)
    assert json.loads(world.store.get(LATEST))["run"] == second.run
    # A rollback is a champion of a later number: its lists are there, and come into force again.
    champions.appoint(
        world.store, Layout("fmrec", "fmrec", ""), LANE, run=first.run, as_of=first.as_of,
        manifest=first.manifest, artifact=first.artifact, at=NOW,
    )  # fmt: skip
    three = made(world)
    assert three == one | {"made": False}
    pointer = json.loads(world.store.get(LATEST))
    assert (pointer["run"], pointer["sequence"]) == (first.run, 3)
    assert two["uri"] != one["uri"]


def test_lists_of_a_champion_that_was_overtaken_meanwhile_do_not_come_into_force(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = crowned(world, tmp_path)
    fast = crowned(world, tmp_path, "b", as_of=LATER)
    made(world)
    pointer = world.store.get(LATEST)
    monkeypatch.setattr(step, "champion_of", lambda *_: slow)
    told = made(world)
    assert told["made"] is True
    assert told["latest"] is False
    assert world.store.get(LATEST) == pointer
    assert json.loads(pointer)["run"] == fast.run


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"sequence": "x"}'])
def test_a_pointer_that_cannot_be_read_is_replaced(
    world: World, tmp_path: Path, content: bytes
) -> None:
    entry = crowned(world, tmp_path)
    world.store.put(LATEST, content)
    assert made(world)["latest"] is True
    assert json.loads(world.store.get(LATEST))["run"] == entry.run


# Which lanes.


def asked(world: World, *events: Any, environ: Any = None, **params: Any) -> list[str]:
    return lanes(params, events, world.s3, world.deployment, environ or {})


def test_the_lanes_are_those_of_the_events_each_once(world: World) -> None:
    events = [{"lane": "b", "run": "1"}, {"lane": "a", "run": "2"}, {"lane": "b", "run": "3"}]
    assert asked(world, *events) == ["b", "a"]
    assert asked(world, *events, lane="c") == ["c"]
    # An event that a person made by hand says nothing.
    assert asked(world, {}, {"lane": "a"}) == ["a"]


def test_by_hand_it_is_the_only_lane_else_that_of_the_default_settings(
    world: World, tmp_path: Path
) -> None:
    assert asked(world) == ["rating-ml-100k-time"]
    assert asked(world, environ={"FMREC_OBJECTIVE": "like"}) == ["like-ml-100k-time"]
    crowned(world, tmp_path)
    assert asked(world) == [LANE]
    crowned(world, tmp_path, "b", objective="like")
    assert asked(world, environ={"FMREC_SOURCE": "sample"}) == [LANE]
    assert asked(world) == ["rating-ml-100k-time"]


@pytest.mark.parametrize(
    ("params", "said"),
    [({"only": "colour=red"}, "parameter only"), ({"top_n": 1001}, "parameter top_n")],
)
def test_a_param_that_is_wrong_shows_at_once(world: World, params: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        asked(world, **params)
