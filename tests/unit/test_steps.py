"""The steps in order, over S3 in memory, with the algorithm called in this process."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from botocore.exceptions import ClientError

from fmrec.errors import ConfigurationError, ConflictError, DataError, EvaluationError, StoreError
from fmrec.evaluation import ranking
from fmrec.events.encoders import PRESETS
from fmrec.fm.features import load
from fmrec.layout import Run
from fmrec.steps.events import events
from fmrec.steps.ingest import ingest
from fmrec.steps.plan import plan
from fmrec.steps.publish import publish
from fmrec.steps.recordio import recordio
from fmrec.steps.xcom import design_of
from sample_reports import assert_valid
from steps_world import AS_OF, World, sums

pytestmark = pytest.mark.slow


def test_the_param_overrides_the_clock(world: World) -> None:
    by_clock = plan("r", AS_OF, {}, world.deployment, world.s3)
    by_param = plan("r", AS_OF, {"as_of": "1997-12-01"}, world.deployment, world.s3)
    assert by_clock["as_of"] == "1998-01-01T00:00:00+00:00"
    assert by_param["as_of"] == "1997-12-01T00:00:00+00:00"
    assert by_clock["layout"] != by_param["layout"]


def test_no_event_is_lost_or_from_later(world: World) -> None:
    world.prepare(unknown_ids="exclude")
    parts = {name: world.table(name) for name in world.xcom["parts"]["parts"]}
    every = pd.concat([each[["user_id", "item_id", "timestamp"]] for each in parts.values()])
    [index] = json.loads(world.store.get(world.xcom["tables"]["keys"]["sources"]))["indexes"]
    [part] = index["ratings"]
    seen = world.store.get_table(part["key"]).to_pandas()
    seen = seen[seen["timestamp"] < AS_OF.timestamp()]
    assert sorted(map(tuple, every.to_numpy())) == sorted(
        map(tuple, seen[["user_id", "item_id", "timestamp"]].to_numpy())
    )
    assert parts["train"]["timestamp"].max() <= parts["validation"]["timestamp"].min()
    assert parts["validation"]["timestamp"].max() <= parts["test"]["timestamp"].min()
    assert len(parts["set-aside"]) == world.xcom["parts"]["counts"]["set_aside"] > 0


@pytest.mark.parametrize("objective", ["rating", "like"])
def test_the_files_hold_the_events_in_their_order(world: World, objective: str) -> None:
    world.prepare(objective=objective, split="u1")
    for part in ("train", "test"):
        rows, records = world.table(part), world.records(part)
        wanted = rows["rating"] if objective == "rating" else (rows["rating"] >= 4)
        assert records.labels is not None
        np.testing.assert_array_equal(records.labels, wanted.to_numpy(np.float32))
        assert records.features.shape == (len(rows), world.xcom["channels"]["feature_dim"])
        assert len(world.xcom["channels"]["files"][part]) > 1
    bias, mean = world.xcom["channels"]["bias"], float(np.mean(world.records("train").labels))
    expected = mean if objective == "rating" else np.log(mean / (1 - mean))
    assert bias == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_feature_of_a_preset_has_trained_columns_and_no_other_has_any(
    world: World, preset: str
) -> None:
    run = plan("r", AS_OF, {"source": "sample", "features": preset}, world.deployment, world.s3)
    tables = ingest(run, world.s3, world.deployment)
    parts = events(run, tables, world.s3)
    columns = world.store.get_table(parts["columns"]["key"]).to_pandas()
    assert set(columns["feature"][columns["trained"]]) == set(PRESETS[preset])


def test_a_split_without_validation_watches_the_test_events(world: World) -> None:
    channels = world.prepare(split="u1").xcom["channels"]
    assert channels["watched"] == "test"
    assert channels["training"]["test"] == channels["score"]
    channels = world.prepare().xcom["channels"]
    assert channels["watched"] == "validation"
    assert channels["training"]["test"] != channels["score"]


@pytest.mark.parametrize("split", ["u1", "time"])
def test_what_belongs_to_a_user_or_film_is_written_once(world: World, split: str) -> None:
    """Image fmrec: rows for training, completed by the channel `features`, are whole rows."""
    world.prepare(split=split, image="fmrec", features="full", history_length=40)
    channels = world.xcom["channels"]
    watched = "watched" if split == "u1" else "validation"
    uris = {name: f"s3://fmrec/{folder(channels, name)}" for name in ("train", watched, "features")}
    assert channels["training"] == {
        "train": uris["train"], "test": uris[watched], "features": uris["features"]
    }  # fmt: skip
    design = design_of(
        Run.from_xcom(world.xcom["run"]), world.xcom["tables"], world.xcom["parts"], world.store
    )
    with tempfile.TemporaryDirectory() as name:
        for each in channels["files"]["features"]:
            Path(name, each["key"].rpartition("/")[2]).write_bytes(world.store.get(each["key"]))
        features = load(Path(name), channels["feature_dim"])
    assert features is not None
    assert list(features.names) == design.space.names()
    for channel, part in (("train", "train"), (watched, channels["watched"]), ("test", "test")):
        rows = features.complete(world.records(channel).features)
        whole = design.encode(world.table(part))
        if channel == "test":  # what is scored needs nothing besides
            rows = world.records(channel).features
        assert abs(rows - whole).max() < 1e-6
    train = world.records("train").features
    assert train.nnz < world.records("test").features.nnz


def folder(channels: Any, name: str) -> str:
    return channels["files"][name][0]["key"].rpartition("/")[0] + "/"


def test_a_repeated_run_writes_the_same_bytes(world: World) -> None:
    before = world.prepare().xcom | {}
    objects = {key: world.store.get(key) for key in world.store.list("")}
    assert world.prepare().xcom == before
    assert {key: world.store.get(key) for key in world.store.list("")} == objects


def test_other_settings_are_another_run(world: World) -> None:
    """An Airflow run can be repeated with another configuration, under the same run id."""
    one = world.prepare(seed=1).xcom["parts"]
    two = world.prepare(seed=2).xcom["parts"]
    [a, b] = (each["parts"]["train"]["files"][0] for each in (one, two))
    assert a["key"] != b["key"]
    assert a["sha256"] != b["sha256"]


def test_later_ratings_do_not_change_an_earlier_day(world: World) -> None:
    early = world.prepare("a", as_of="1997-11-01").xcom["parts"]
    world.prepare("b", as_of="1998-03-01")
    again = world.prepare("c", as_of="1997-11-01").xcom["parts"]
    assert sums(early) == sums(again)


def test_an_empty_window_is_an_error(world: World) -> None:
    with pytest.raises(DataError, match="1997-09-20"):
        world.prepare(as_of="1990-01-01")


def test_changed_events_under_a_finished_run_are_refused(world: World) -> None:
    world.prepare()
    part = world.xcom["parts"]["parts"]["train"]["files"][0]["key"]
    world.store.delete(part)
    world.store.put_table(part, pa.table({"user_id": [1]}))
    with pytest.raises(ConflictError, match="already holds something else"):
        events(world.xcom["run"], world.xcom["tables"], world.s3)


def test_an_altered_id_map_is_refused(world: World) -> None:
    world.prepare()
    key = world.xcom["parts"]["id_map"]["key"]
    metadata = world.s3.head_object(Bucket="fmrec", Key=key)["Metadata"]
    world.s3.put_object(Bucket="fmrec", Key=key, Body=b"{}", Metadata=metadata)
    with pytest.raises(StoreError, match="was altered"):
        recordio(world.xcom["run"], world.xcom["tables"], world.xcom["parts"], world.s3)


def test_the_report_counts_everything_and_the_manifest_vouches_for_it(
    world: World, tmp_path: Path
) -> None:
    world.prepare().train_and_score(tmp_path).evaluate()
    report, manifest = world.json("report.json"), world.json("manifest.json")
    counts = report["counts"]
    assert counts["events"] == counts["predictions"] == len(world.table("test"))
    assert counts["train"] + counts["validation"] + counts["test"] == counts["ratings_seen"]
    assert counts["validation_unknown"] > 0
    assert report["run"]["generated"] is True
    assert report["learning_curve"][0]["value"] == 1.5
    assert manifest["source"]["sha256"] == world.xcom["tables"]["origin"]["sha256"]
    assert manifest["id_map"] == world.xcom["parts"]["id_map"]
    user = report["recommendations"]["user_id"]
    titles = {row["item_id"] for row in report["recommendations"]["items"]}
    rated = pd.concat([world.table(part) for part in ("train", "validation", "test")])
    assert not titles & set(rated[rated["user_id"] == user]["item_id"])


def test_a_lost_prediction_is_an_error(world: World, tmp_path: Path) -> None:
    world.prepare().train_and_score(tmp_path)
    key = next(key for key in world.store.list("") if "/out/" in key)
    lines = world.store.get(key).splitlines()
    world.store.put(key, b"\n".join(lines[:-1]), replace=True)
    with pytest.raises(EvaluationError, match=f"holds {len(lines) - 1} predictions"):
        world.evaluate()


def test_an_unreadable_log_costs_the_curve_and_not_the_report(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(**_: Any) -> Iterator[Any]:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "FilterLogEvents")
        yield

    logs = SimpleNamespace(get_paginator=lambda _: SimpleNamespace(paginate=refuse))
    world.prepare().train_and_score(tmp_path).evaluate(logs)
    assert world.json("report.json")["learning_curve"] == []
    assert "cannot be read" in caplog.text


class Dying:
    """An S3 client whose power fails before the n-th write."""

    def __init__(self, s3: Any, writes: int) -> None:
        self._s3, self._left = s3, writes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)

    def put_object(self, **given: Any) -> Any:
        if self._left == 0:
            raise ConnectionError("the power failed")
        self._left -= 1
        return self._s3.put_object(**given)


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_half_published_report_has_no_manifest(world: World, tmp_path: Path, writes: int) -> None:
    """Not even the one of an earlier, finished publication of the same run."""
    world.prepare().train_and_score(tmp_path).evaluate()
    run, report = world.xcom["run"], world.xcom["report"]
    done = publish(run, report, world.s3)
    manifest = done["files"]["manifest.json"]
    assert world.store.exists(manifest)
    with pytest.raises(ConnectionError):
        publish(run, report, Dying(world.s3, writes))  # type: ignore[arg-type]
    assert not world.store.exists(manifest)
    assert publish(run, report, world.s3)["files"] == done["files"]
    assert json.loads(world.store.get(manifest)) == world.json("manifest.json")


def test_only_the_films_that_are_wanted_are_recommended(world: World, tmp_path: Path) -> None:
    items = world.prepare(only="year>=1996").xcom["tables"]["keys"]["items"]
    world.train_and_score(tmp_path).evaluate()
    years = world.store.get_table(items).to_pandas().set_index("item_id")["release_year"]
    report = world.json("report.json")
    listed = [row["item_id"] for row in report["recommendations"]["items"]]
    assert len(listed) == 10
    assert (years[listed] >= 1996).all()
    assert_valid(report)


def test_a_wish_that_no_film_meets_is_told(world: World, tmp_path: Path) -> None:
    world.prepare(only="year>2500").train_and_score(tmp_path).evaluate()
    report = world.json("report.json")
    assert report["recommendations"]["items"] == []
    assert any("No film meets only=year>2500" in note for note in report["notes"])


def test_a_wish_that_cannot_be_read_stops_before_any_work(world: World) -> None:
    with pytest.raises(ConfigurationError, match="parameter only: at character 1 stands 'yeer'"):
        plan("r", AS_OF, {"only": "yeer>1990"}, world.deployment, world.s3)


def test_a_genre_that_no_film_has_stops_before_training(world: World) -> None:
    with pytest.raises(ConfigurationError, match="no film has the genre 'Komedy'"):
        world.prepare(only="genre=Komedy")


def test_a_peer_that_cannot_be_fitted_is_left_out_and_named(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    world.prepare(split="u1", peers="all").train_and_score(tmp_path).evaluate()
    report = world.json("report.json")
    assert set(report["peers"]) == {"item_knn", "ease"}
    assert any("peer implicit_als is left out" in note for note in report["notes"])
    assert_valid(report)


def test_without_anybody_to_judge_lists_by_a_rating_model_has_none_and_a_ranking_fails(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when nobody in the test part likes anything."""

    def nobody(*_: Any) -> Any:
        raise EvaluationError("there is no list to judge")

    world.prepare().train_and_score(tmp_path)
    monkeypatch.setattr(ranking, "judged_users", nobody)
    world.evaluate()
    report = world.json("report.json")
    assert report["lists"] is None
    assert "popularity" not in report["baselines"]
    assert any("no list to judge" in note for note in report["notes"])
    assert_valid(report)
    world.xcom["run"]["settings"]["use"] = "ranking"
    with pytest.raises(EvaluationError, match="no list to judge"):
        world.evaluate()


def test_peers_stand_beside_the_model(world: World, tmp_path: Path) -> None:
    world.prepare(split="u1", peers="all").train_and_score(tmp_path).evaluate()
    report = world.json("report.json")
    assert set(report["peers"]) == {"item_knn", "implicit_als", "ease"}
    against = {row["against"] for row in report["comparisons"] if row["use"] == "ranking"}
    assert set(report["peers"]) < against
    assert_valid(report)
