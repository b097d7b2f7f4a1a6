"""A new champion is served, proven and announced by the asset alone; the janitor and teardown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow_stack import Airflow, running, unpause, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

CONF = {
    "source": "sample",
    "as_of": "1998-01-01T00:00:00+00:00",
    "epochs": 3,
    "gate_baselines": "report",
}
LANE = "rating-sample-time"
OVER = {"success", "failed"}


@pytest.fixture(scope="module")
def served(state: Path, environ: dict[str, str]) -> Iterator[tuple[Airflow, str]]:
    """A stack in which a champion was approved, and its run's key."""
    with running(state, environ) as stack:
        unpause(environ, "fmrec_retrain", "fmrec_serve", "fmrec_janitor")
        run = stack.trigger(CONF)
        stack.answer(run, "Approve")
        assert stack.wait(run) == "success"
        yield stack, stack.result(run, "plan")["layout"]["run"]


def endpoints(stack: Airflow) -> list[str]:
    found = stack.client("sagemaker").list_endpoints()["Endpoints"]
    return [each["EndpointName"] for each in found]


def announced(stack: Airflow) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.call(
        "GET", "/api/v2/assets/events?source_dag_id=fmrec_serve"
    )["asset_events"]
    return found


def test_a_new_champion_is_in_service_by_itself(served: tuple[Airflow, str]) -> None:
    stack, key = served
    serve = stack.of("fmrec_serve")
    (run,) = until(
        "the champion is served",
        lambda: [each for each in serve.runs()["dag_runs"] if each["state"] in OVER],
    )
    assert (run["run_type"], run["state"]) == ("asset_triggered", "success")
    [name] = endpoints(stack)
    client = stack.client("sagemaker")
    told = client.describe_endpoint(EndpointName=name)
    assert told["EndpointStatus"] == "InService"
    tags = {
        each["Key"]: each["Value"]
        for each in client.list_tags(ResourceArn=told["EndpointArn"])["Tags"]
    }
    assert (tags["fmrec:lane"], tags["fmrec:run"]) == (LANE, key)
    assert tags["fmrec:proven-config"] == told["EndpointConfigName"]
    [event] = announced(stack)
    assert name in str(event["extra"])
    assert key in str(event["extra"])


def test_the_janitor_leaves_alone_what_serves(served: tuple[Airflow, str]) -> None:
    stack, key = served
    before = endpoints(stack)
    janitor = stack.of("fmrec_janitor")
    for conf in ({"dry_run": True}, {"dry_run": False}):
        assert janitor.wait(janitor.trigger(conf)) == "success"
    assert endpoints(stack) == before
    assert stack.client("sagemaker").list_models(NameContains=key)["Models"]


def test_a_teardown_leaves_nothing_that_costs(served: tuple[Airflow, str]) -> None:
    stack, _ = served
    serve = stack.of("fmrec_serve")
    assert serve.wait(serve.trigger({"lane": LANE, "action": "teardown"})) == "success"
    assert endpoints(stack) == []
    client = stack.client("sagemaker")
    assert client.list_endpoint_configs()["EndpointConfigs"] == []
    # Where there is none, there is nothing to do.
    assert serve.wait(serve.trigger({"lane": LANE, "action": "teardown"})) == "success"
