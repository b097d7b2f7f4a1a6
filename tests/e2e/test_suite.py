"""The DAGs together, as a person uses them: approve, tune, repeat, roll back, get it wrong."""

from __future__ import annotations

import json
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow_stack import Airflow, command, running, unpause, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

# A first model that loses to its baseline, where that is only reported: a matter for a person.
AS_OF = "1998-01-01T00:00:00+00:00"
DOUBTED = {"source": "sample", "as_of": AS_OF, "epochs": 3, "gate_baselines": "report"}
SUITE = ("fmrec_retrain", "fmrec_tune", "fmrec_recommend", "fmrec_rollback")


@pytest.fixture(scope="module")
def suite(state: Path, environ: dict[str, str]) -> Iterator[Airflow]:
    """A stack whose DAGs may run, but those that cost money by the hour or delete."""
    with running(state, environ) as stack:
        unpause(environ, *SUITE)
        yield stack


@pytest.fixture(scope="module")
def crowned(suite: Airflow) -> str:
    """A run whose model a person made the champion."""
    run = suite.trigger(DOUBTED)
    shown = suite.answer(run, "Approve")
    assert "| compared with | metric |" in shown["body"]
    assert shown["defaults"] == ["Reject"]
    assert suite.wait(run) == "success"
    return run


def test_a_person_s_yes_makes_a_champion_and_lists_for_all(suite: Airflow, crowned: str) -> None:
    released = suite.result(crowned, "release")
    assert released["promoted"]
    assert "admin approved" in released["why"].lower()
    followers = suite.of("fmrec_recommend")
    (recommended,) = until(
        "lists for all users",
        lambda: [run for run in followers.runs()["dag_runs"] if run["state"] == "success"],
    )
    assert recommended["run_type"] == "asset_triggered"
    latest = json.loads(suite.object("fmrec/recommendations/rating-sample-time/latest.json"))
    assert latest["run"] == suite.result(crowned, "plan")["layout"]["run"]


def test_a_person_s_no_changes_nothing(suite: Airflow, crowned: str) -> None:
    run = suite.trigger(DOUBTED | {"split": "random"})
    suite.answer(run, "Reject")
    assert suite.wait(run) == "success"
    assert not suite.result(run, "release")["promoted"]


def test_a_finished_run_that_is_repeated_starts_no_job(suite: Airflow, crowned: str) -> None:
    before, report = jobs(suite), suite.report(crowned)
    entries, told = keys(suite, "fmrec/champions/"), announced(suite)
    body = {"dry_run": False, "only_failed": False}
    suite.call("POST", f"/api/v2/dags/fmrec_retrain/dagRuns/{crowned}/clear", body)
    again = {"queued", "running"}
    until("it runs again", lambda: suite.runs(f"/{crowned}")["state"] in again)
    suite.answer(crowned, "Approve")
    assert suite.wait(crowned) == "success"
    assert jobs(suite) == before
    assert suite.report(crowned) == report
    assert keys(suite, "fmrec/champions/") == entries
    assert announced(suite) == told == 1


def announced(stack: Airflow) -> int:
    """How often the DAGs that follow a new champion were told of one."""
    where = "source_dag_id=fmrec_retrain&source_task_id=release"
    found: int = stack.call("GET", f"/api/v2/assets/events?{where}")["total_entries"]
    return found


def jobs(stack: Airflow) -> list[str]:
    """All jobs and models that there are."""
    client = stack.client("sagemaker")
    trained = client.list_training_jobs()["TrainingJobSummaries"]
    scored = client.list_transform_jobs()["TransformJobSummaries"]
    names = [each["TrainingJobName"] for each in trained]
    names += [each["TransformJobName"] for each in scored]
    return sorted(names + [each["ModelName"] for each in client.list_models()["Models"]])


def keys(stack: Airflow, prefix: str) -> list[str]:
    found = stack.client("s3").list_objects_v2(Bucket="fmrec", Prefix=prefix)
    return [each["Key"] for each in found.get("Contents", [])]


def test_what_a_tuning_finds_is_what_the_next_run_uses(suite: Airflow) -> None:
    conf = {
        "source": "sample", "as_of": AS_OF, "tuning_jobs": 3, "num_factors": 4,
        "tuning_ranges": "epochs=8..20, factors_lr=0.001..0.01 log",
    }  # fmt: skip
    tuning = suite.of("fmrec_tune")
    tune = tuning.trigger(conf)
    assert tuning.wait(tune, 400) == "success"
    adopted = tuning.result(tune, "adopt")
    assert (adopted["objective"]["value"] < adopted["control"]) == adopted["adopted"]
    run = suite.trigger({"source": "sample", "as_of": AS_OF, "seed": 2})
    assert suite.wait(run) == "success"
    hyperparameters = suite.result(run, "plan")["tuned"]
    if adopted["adopted"]:
        assert hyperparameters["hyperparameters"] == adopted["hyperparameters"]
        found = suite.report(run)["run"]
        assert str(found["epochs"]) == adopted["hyperparameters"]["epochs"]
    else:
        assert hyperparameters is None


def test_a_run_that_tunes_goes_on_with_its_best_job(suite: Airflow) -> None:
    conf = {
        "source": "sample", "as_of": AS_OF, "mode": "tune", "tuning_jobs": 3, "num_factors": 4,
        "tuning_ranges": "epochs=3..9",
    }  # fmt: skip
    run = suite.trigger(conf)
    assert suite.wait(run, 400) == "success"
    states = suite.states(run)
    assert (states["train"], states["tune"], states["release"]) == ("skipped", "success", "success")
    best = suite.result(run, "tune")
    values = [each["value"] for each in best["tuning"]["jobs"]]
    assert len(values) == 3
    assert best["tuning"]["objective"]["value"] == min(values)
    report = suite.report(run)
    assert str(report["run"]["epochs"]) == best["hyperparameters"]["epochs"]
    assert report["cost"]["jobs"][0]["kind"] == "tuning, 3 trials"


@pytest.mark.parametrize(
    ("conf", "says"),
    [
        ({"epochs": 0}, "epochs"),
        ({"objective": "guess"}, "objective"),
        ({"instance_type": "large"}, "instance_type"),
    ],
)
def test_a_form_value_out_of_range_is_refused_before_there_is_a_run(
    suite: Airflow, conf: dict[str, Any], says: str
) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        suite.trigger(conf)
    with refused.value as error:
        assert error.code == 400
        assert says in error.read().decode()


def test_an_earlier_champion_comes_back_in_one_click(
    suite: Airflow, crowned: str, environ: dict[str, str]
) -> None:
    second = suite.trigger(DOUBTED | {"epochs": 4})
    assert suite.wait_for(second, "approve", {"awaiting_input", "success", "skipped"})
    if suite.tasks(second)["approve"]["state"] == "awaiting_input":
        suite.answer(second, "Reject")
    assert suite.wait(second) == "success"
    key = suite.result(second, "plan")["layout"]["run"]
    command(environ, sys.executable, "-m", "fmrec", "champion", "--appoint", key)
    back = suite.of("fmrec_rollback")
    assert back.wait(back.trigger({"lane": "rating-sample-time"})) == "success"
    told = command(environ, sys.executable, "-m", "fmrec", "champion")
    entries = [line.split()[2] for line in told.splitlines() if "T000000Z-" in line]
    first = suite.result(crowned, "plan")["layout"]["run"]
    assert entries == [first, key, first]


@pytest.mark.parametrize(
    ("conf", "task", "says"),
    [
        (
            {"mode": "tune", "tuning_ranges": "factors_wd=0.01..0.001"},
            "plan",
            "write the lower bound first",
        ),
        ({"as_of": "1990-01-01T00:00:00+00:00"}, "events", "as_of"),
        ({"source": "landing"}, "ingest", "no landing day is over"),
    ],
)
def test_what_cannot_be_done_fails_at_once_and_leaves_nothing_running(
    suite: Airflow, conf: dict[str, Any], task: str, says: str
) -> None:
    before = jobs(suite)
    run = suite.trigger({"source": "sample"} | conf)
    assert suite.wait(run) == "failed"
    failed = suite.tasks(run)[task]
    assert (failed["state"], failed["try_number"]) == ("failed", 1)
    log = suite.runs(f"/{run}/taskInstances/{task}/logs/1?full_content=true")
    assert says in json.dumps(log["content"])
    assert jobs(suite) == before
