"""fmrec_serve and fmrec_janitor: their shape, what they hand to the steps, how runs of them end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from fmrec import settings
from fmrec.operators import assets, janitor, notices, serving
from fmrec.steps import janitor as janitor_step
from fmrec.steps import serve as step


def dag_of(root: Path, name: str) -> Any:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=str(root / "dags" / f"{name}.py"))
    assert bag.import_errors == {}
    return bag.dags[name]


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The context of the running task, in the modules that ask for it."""
    monkeypatch.setenv("FMREC_BUCKET", "b")
    monkeypatch.setenv("FMREC_ROLE_ARN", "arn")
    told = SimpleNamespace(extra=None)
    made: dict[str, Any] = {
        "params": {"lane": None, "action": "deploy"},
        "triggering_asset_events": {},
        "outlet_events": {assets.ENDPOINT: told},
    }
    for module in (serving, janitor, assets):
        monkeypatch.setattr(module, "get_current_context", lambda: made)
    for module in (serving, janitor):
        monkeypatch.setattr(module, "aws_client", lambda service: f"client of {service}")
    return made


def test_a_new_champion_is_served_for_each_lane_by_itself(root: Path) -> None:
    dag = dag_of(root, "fmrec_serve")
    assert dag.schedule == [assets.CHAMPION]
    assert dag.is_paused_upon_creation, "an endpoint costs money by the hour"
    assert dag.max_active_runs == 1
    found = {each.task_id: each.downstream_task_ids for each in dag.tasks}
    assert found == {
        "choose": {"lane.deploy", "lane.smoke", "lane.settle", "lane.announce"},
        "lane.deploy": {"lane.smoke"},
        "lane.smoke": {"lane.settle", "lane.announce"},
        "lane.settle": {"lane.announce"},
        "lane.announce": set(),
    }
    assert {each.task_id for each in dag.tasks if each.outlets} == {"lane.announce"}
    assert dag.get_task("lane.announce").outlets == [assets.ENDPOINT]
    assert dag.get_task("lane.settle").trigger_rule == "all_done"
    assert dict(dag.params) == vars(settings.Serving())


def test_the_janitor_comes_every_day(root: Path) -> None:
    dag = dag_of(root, "fmrec_janitor")
    assert [each.task_id for each in dag.tasks] == ["clean"]
    assert dag.max_active_runs == 1
    assert dict(dag.params) == vars(settings.Cleaning())
    assert dag.schedule.expression == "0 5 * * *"


def test_variables_change_what_nobody_fills_in(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMREC_TTL_HOURS", "72")
    monkeypatch.setenv("FMREC_ENDPOINT_INSTANCE_TYPE", "ml.c5.xlarge")
    monkeypatch.setenv("FMREC_RETENTION_DAYS", "90")
    params = dag_of(root, "fmrec_serve").params
    assert (params["ttl_hours"], params["endpoint_instance_type"]) == (72, "ml.c5.xlarge")
    assert dag_of(root, "fmrec_janitor").params["retention_days"] == 90


def test_a_dry_run_of_the_retraining_is_none_of_the_janitor(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMREC_DRY_RUN", "true")
    assert dag_of(root, "fmrec_retrain").params["dry_run"] is True
    assert dag_of(root, "fmrec_janitor").params["dry_run"] is False


def test_no_variable_takes_all_endpoints_down(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMREC_ACTION", "teardown")
    monkeypatch.setenv("FMREC_LANE", "rating-sample-time")
    monkeypatch.setenv("FMREC_TTL_HOURS", "0")
    told = dag_of(root, "fmrec_serve").params
    assert (told["action"], told["lane"], told["ttl_hours"]) == ("deploy", None, 0)


def test_the_lanes_of_the_events_are_handed_on(
    context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(step, "choose", lambda *told: given.append(told) or ["chosen"])
    choose: Any = serving.choose
    assert choose.function() == ["chosen"]
    events = [SimpleNamespace(extra={"lane": lane, "run": "r"}) for lane in ("x", "y")]
    context["triggering_asset_events"] = {assets.CHAMPION: events}
    choose.function()
    assert [told[1] for told in given] == [[], [each.extra for each in events]]
    params, _, s3, deployment, environ = given[0]
    assert (params, s3, deployment.bucket) == (context["params"], "client of s3", "b")
    assert environ is os.environ


def test_a_teardown_deploys_nothing(context: dict[str, Any]) -> None:
    deploy: Any = serving.deploy
    chosen = {"endpoint": "e", "lane": "x", "settings": {"action": "teardown"}}
    with pytest.raises(AirflowSkipException, match="e is to be torn down"):
        deploy.function(chosen)


def test_a_proven_endpoint_is_an_event(
    context: dict[str, Any],
) -> None:
    proven = {"endpoint": "e", "lane": "x", "run": "r", "expires": "never", "hourly_price": None}
    announce: Any = serving.announce
    with pytest.raises(AirflowSkipException, match="e was torn down"):
        announce.function({"endpoint": "e"}, None)
    assert context["outlet_events"][assets.ENDPOINT].extra is None
    announce.function({}, proven)
    assert context["outlet_events"][assets.ENDPOINT].extra == proven


def test_the_janitor_s_params_are_handed_on(
    context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    sent: list[Any] = []
    monkeypatch.setattr(notices, "send", lambda *told: sent.append(told))
    monkeypatch.setenv("FMREC_APPROVAL_HOURS", "72")
    monkeypatch.setattr(
        janitor_step, "clean", lambda *told, **more: given.append((told, more)) or {}
    )
    clean: Any = janitor.clean
    clean.function()
    [((params, sagemaker, s3, deployment, now), more)] = given
    assert more["approval_hours"] == 72
    more["tell"]("an endpoint went", {"endpoint": "e"})
    assert sent == [("endpoint", "an endpoint went", {"endpoint": "e"})]
    assert (params, sagemaker, s3) == (context["params"], "client of sagemaker", "client of s3")
    assert deployment.bucket == "b"
    assert now.tzinfo is not None


# Runs of the DAG, with steps that do as the name of their lane says.
RUNS = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.models.asset import AssetEvent
from airflow.utils.session import create_session
from fmrec.errors import EvaluationError
from fmrec.operators import serving
from fmrec.steps import serve

def told(step, chosen):
    if chosen["lane"] == "bad " + step:
        raise EvaluationError("as its name says")

def choose(values, *_):
    settings = {"action": dict(values)["action"]}
    lanes = dict(values)["lane"].split(",")
    told("choose", {"lane": lanes[0]})
    return [{"lane": lane, "endpoint": lane, "settings": settings} for lane in lanes]

def deploy(chosen, *_):
    told("deploy", chosen)
    return {"endpoint": chosen["endpoint"]}

def prove(chosen, deployed, *_):
    told("smoke", chosen)
    return deployed

def settle(chosen, *_):
    told("settle", chosen)
    return {}

serve.choose, serve.deploy, serve.prove, serve.settle = choose, deploy, prove, settle
serving.aws_client = lambda service: None
dag = DagBag(dag_folder=sys.argv[1]).dags["fmrec_serve"]
dag.deadline = None  # `DAG.test` of Airflow 3.3 looks for it in a table where it is not
found = []
for lane, action in json.loads(sys.argv[2]):
    run = dag.test(run_conf={"lane": lane, "action": action})
    with create_session() as session:
        events = session.query(AssetEvent).filter(AssetEvent.source_run_id == run.run_id).all()
        extras = sorted(each.extra["endpoint"] for each in events)
    lanes = lane.split(",")
    tasks = {
        f"{each.task_id.rpartition('.')[2]} {lanes[each.map_index]}": str(each.state)
        for each in run.get_task_instances()
        if each.map_index >= 0
    }
    # Those that ran are called by their lane.
    for each in run.get_task_instances():
        if each.map_index >= 0 and str(each.state) in {"success", "failed"}:
            assert each.rendered_map_index == lanes[each.map_index], each.rendered_map_index
    found.append([str(run.state), tasks, extras])
print("FOUND", json.dumps(found))
"""


@pytest.mark.e2e
@pytest.mark.timeout(420)
def test_how_runs_end(root: Path, tmp_path: Path) -> None:
    """Lanes do not wait for each other; `settle` always comes, and hides no failure."""
    environ = os.environ | {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
        "PYTHONPATH": str(root / "plugins"),
        "FMREC_BUCKET": "b",
        "FMREC_ROLE_ARN": "arn",
        "FMREC_RETRY_SECONDS": "1",
    }
    subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env=environ, check=True, capture_output=True,
    )  # fmt: skip
    cases = [
        ("a,bad deploy,bad smoke", "deploy"),
        ("a,b", "deploy"),
        ("a", "teardown"),
        ("bad settle", "deploy"),
        ("bad settle", "teardown"),
        ("bad choose", "deploy"),
    ]
    answer = subprocess.run(
        [sys.executable, "-c", RUNS, str(root / "dags" / "fmrec_serve.py"), json.dumps(cases)],
        env=environ, check=False, capture_output=True, text=True,
    )  # fmt: skip
    [line] = [line for line in answer.stdout.splitlines() if line.startswith("FOUND ")] or [""]
    assert line, answer.stderr[-3000:]
    mixed, good, gone, unsettled, untorn, none = json.loads(line.removeprefix("FOUND "))
    steps = ("deploy", "smoke", "settle", "announce")

    def states(lane: str, *told: str) -> dict[str, str]:
        return {f"{step} {lane}": state for step, state in zip(steps, told, strict=True)}

    assert mixed[0] == "failed"
    assert mixed[1] == (
        states("a", *["success"] * 4)
        | states("bad deploy", "failed", "upstream_failed", "success", "upstream_failed")
        | states("bad smoke", "success", "failed", "success", "upstream_failed")
    )
    assert mixed[2] == ["a"]
    assert good[0] == "success"
    assert good[1] == states("a", *["success"] * 4) | states("b", *["success"] * 4)
    assert good[2] == ["a", "b"]
    assert gone == ["success", states("a", "skipped", "skipped", "success", "skipped"), []]
    assert unsettled[0] == untorn[0] == "failed"
    assert unsettled[2] == untorn[2] == []
    assert none[0] == "failed"
