"""The DAGs on champions: when they run, what their forms take, and what they tell Airflow."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fmrec.operators import assets, notices, recommending, rollback
from fmrec.settings import Recommending, Rollback
from fmrec.steps import recommend as recommend_step
from fmrec.steps import rollback as rollback_step


def dag(root: Path, name: str) -> Any:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=str(root / "dags" / f"{name}.py"))
    assert bag.import_errors == {}
    return bag.dags[name]


BEGAN = datetime(2026, 1, 1, 12, 0, 0, 500, tzinfo=UTC)


class Outlets(dict[Any, Any]):
    """What a task says of the assets that it updates."""

    def __missing__(self, key: Any) -> Any:
        added: list[Any] = []
        self[key] = SimpleNamespace(
            extra=None, added=added, add=lambda asset, extra: added.append((asset, extra))
        )
        return self[key]


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The context of the running task, in the modules that ask for it."""
    monkeypatch.setenv("FMREC_BUCKET", "b")
    monkeypatch.setenv("FMREC_ROLE_ARN", "arn")
    made: dict[str, Any] = {
        "params": {"lane": None},
        "triggering_asset_events": {},
        "outlet_events": Outlets(),
        "dag_run": SimpleNamespace(triggering_user_name="ann", run_id="manual", start_date=BEGAN),
    }
    for module in (recommending, rollback, assets):
        monkeypatch.setattr(module, "get_current_context", lambda: made)
    for module in (recommending, rollback):
        monkeypatch.setattr(module, "aws_client", lambda service: f"client of {service}")
    return made


def test_lists_are_made_for_each_lane_when_there_is_a_champion(root: Path) -> None:
    found = dag(root, "fmrec_recommend")
    assert found.schedule == [assets.CHAMPION]
    assert {each.task_id: each.downstream_task_ids for each in found.tasks} == {
        "lanes": {"recommend"},
        "recommend": set(),
    }
    task = found.get_task("recommend")
    assert task.is_mapped
    assert task.outlets == [assets.RECOMMENDATIONS]
    assert task.doc_md
    assert dict(found.params) == {"lane": None, "top_n": 20, "only": None}
    limits = found.params.get_param("top_n").schema
    assert (limits["minimum"], limits["maximum"]) == (1, 1000)
    assert dict(found.params) == vars(Recommending())


def test_what_a_report_shows_is_not_what_production_gets(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMREC_ONLY", "genre=Horror")
    assert dag(root, "fmrec_retrain").params["only"] == "genre=Horror"
    assert dict(dag(root, "fmrec_recommend").params) == vars(Recommending())


def test_a_rollback_is_one_click_whatever_the_environment_says(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FMREC_RUN", "FMREC_LANE", "FMREC_REASON"):
        monkeypatch.setenv(name, "x")
    found = dag(root, "fmrec_rollback")
    assert found.schedule is None
    assert dict(found.params) == vars(Rollback()) == dict.fromkeys(("lane", "run", "reason"))
    assert {each.task_id: each.downstream_task_ids for each in found.tasks} == {
        "choose": {"rollback"},
        "rollback": set(),
    }
    assert found.get_task("rollback").outlets == [assets.NEW_CHAMPION]


def test_the_lanes_are_asked_for_with_what_the_events_say(
    context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(recommend_step, "lanes", lambda *given: asked.append(given) or ["a"])
    assert recommending.lanes.function() == ["a"]
    extra = {"lane": "a", "run": "r"}
    context["triggering_asset_events"] = {assets.CHAMPION: [SimpleNamespace(extra=extra)]}
    recommending.lanes.function()
    assert [each[:3] for each in asked] == [
        ({"lane": None}, [], "client of s3"),
        ({"lane": None}, [extra], "client of s3"),
    ]
    assert asked[0][3].bucket == "b"


def test_new_lists_are_an_update_of_their_asset(
    context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"lane": "a", "run": "r", "as_of": "t", "users": 2, "rows": 40, "uri": "s3://b/x/"}
    made = told | {"made": True, "latest": True}
    monkeypatch.setattr(recommend_step, "recommend", lambda *_: made)
    assert recommending.recommend.function("a") == made
    assert context["outlet_events"][assets.RECOMMENDATIONS].extra == told


def test_a_rollback_is_a_new_champion_and_told(
    context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {
        "lane": "a", "run": "r", "as_of": "t", "sequence": 3, "instead": "s", "in_place": True,
        "since": "2026-01-01T12:00:00+00:00",
    }  # fmt: skip
    asked: list[Any] = []

    def step(*given: Any, by: str | None, dag_run: str, now: Any) -> Any:
        asked.append((given[0], by, dag_run, now.tzinfo is not None))
        return made

    sent: list[tuple[str, str]] = []
    monkeypatch.setattr(rollback_step, "rollback", step)
    monkeypatch.setattr(notices, "send", lambda event, text, _: sent.append((event, text)))
    assert rollback.rollback.function({"run": "r"}) == made
    assert asked == [({"run": "r"}, "ann", "manual", True)]
    added = context["outlet_events"][assets.NEW_CHAMPION].added
    assert added == [(assets.CHAMPION, {"lane": "a", "run": "r", "as_of": "t"})]
    assert sent == [("champion", "r is the champion of a again, instead of s.")]


@pytest.mark.parametrize(
    ("in_place", "since"),
    [
        (False, "2026-01-01T12:00:00+00:00"),  # it was overtaken
        (True, "2026-01-01T11:59:59+00:00"),  # its run was cleared
    ],
)
def test_a_rollback_that_is_no_news_tells_nobody(
    in_place: bool, since: str, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"lane": "a", "run": "r", "as_of": "t", "sequence": 3, "instead": "s"}
    made = told | {"in_place": in_place, "since": since}
    sent: list[Any] = []
    monkeypatch.setattr(rollback_step, "rollback", lambda *_, **__: made)
    monkeypatch.setattr(notices, "send", lambda *told: sent.append(told))
    assert rollback.rollback.function({"run": "r"}) == made
    assert (context["outlet_events"], sent) == ({}, [])


def test_choosing_changes_nothing(context: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(rollback_step, "choose", lambda *_, **told: asked.append(told) or {"x": 1})
    assert rollback.choose.function() == {"x": 1}
    assert asked == [{"dag_run": "manual"}]
    assert context["outlet_events"] == {}
