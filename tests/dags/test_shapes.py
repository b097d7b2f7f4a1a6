"""The DAGs as Airflow sees them: they parse, keep house policy, and have the shape we mean."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fmrec import settings

DAGS = Path(__file__).resolve().parents[2] / "dags"
FILES = sorted(DAGS.glob("*.py"))

PREPARED = {
    "ingest": {"events", "recordio", "choose"},
    "events": {"recordio", "choose"},
    "recordio": {"choose", "train", "tune", "rehearse"},
    "choose": {"train", "tune", "rehearse"},
    "rehearse": set(),
}
# Tasks and what comes right after each; `plan` is before all of them.
SHAPES: dict[str, dict[str, set[str]]] = {
    "fmrec_retrain": {
        **PREPARED,
        "ingest": PREPARED["ingest"] | {"evaluate"},
        "events": PREPARED["events"] | {"evaluate"},
        "recordio": PREPARED["recordio"] | {"score", "evaluate"},
        "choose": PREPARED["choose"] | {"model"},
        "train": {"model"},
        "tune": {"model"},
        "model": {"score", "evaluate"},
        "score": {"evaluate"},
        "evaluate": {"publish", "approve", "release"},
        "publish": {"approve", "release"},
        "approve": {"release"},
        "release": set(),
    },
    "fmrec_tune": {
        **PREPARED,
        "events": PREPARED["events"] | {"adopt"},
        "train": {"adopt"},
        "tune": {"adopt"},
        "adopt": set(),
    },
}


@pytest.fixture(scope="module")
def bag(root: Path) -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(dag_folder=str(root / "dags"))


def test_every_file_parses_to_one_dag(bag: Any) -> None:
    assert bag.import_errors == {}
    assert sorted(bag.dags) == [file.stem for file in FILES]


def test_house_policy(bag: Any) -> None:
    for dag in bag.dags.values():
        assert dag.description
        assert dag.dag_display_name.startswith("fmrec: ")
        assert "fmrec" in dag.tags
        assert not dag.catchup
        assert dag.max_active_runs <= 2
        assert not dag.max_consecutive_failed_dag_runs, f"{dag.dag_id} would be paused unnoticed"
        assert dag.dagrun_timeout is not None
        assert dag.deadline, f"nobody is told when {dag.dag_id} is late"
        assert dag.on_failure_callback, f"nobody is told when {dag.dag_id} fails"
        for heading in ("What it does", "When", "What it leaves", "When it fails"):
            assert f"**{heading}.**" in dag.doc_md, f"{dag.dag_id} does not say: {heading}"
        for task in dag.tasks:
            name = f"{dag.dag_id}.{task.task_id}"
            assert task.owner == "fmrec", name
            assert task.retries >= 1, f"{name} is not retried"
            assert task.retry_policy is not None, name
            limit = task.execution_timeout or task.response_timeout
            assert limit is not None, f"{name} may take for ever"
            assert limit < dag.dagrun_timeout, name
            assert task.max_retry_delay <= timedelta(minutes=30), name
            assert task.doc_md or task.doc or task.python_callable.__doc__, name


@pytest.mark.parametrize("dag_id", sorted(SHAPES))
def test_tasks_and_arrows(bag: Any, dag_id: str) -> None:
    found = {task.task_id: task.downstream_task_ids for task in bag.dags[dag_id].tasks}
    everything = found.pop("plan")
    assert found == SHAPES[dag_id]
    # Whoever is handed the run comes after it; a person is asked about the report alone.
    assert everything | {"approve"} == set(found) | {"approve"}


def test_a_tuning_s_trials_end_before_its_task_is_ended(bag: Any) -> None:
    for dag_id in SHAPES:
        assert bag.dags[dag_id].get_task("tune").execution_timeout == timedelta(hours=24)


def test_params_are_the_settings(bag: Any) -> None:
    retrain, tune = bag.dags["fmrec_retrain"], bag.dags["fmrec_tune"]
    assert dict(retrain.params) == {n: each["default"] for n, each in settings.params({}).items()}
    expected = {n: each["default"] for n, each in settings.tuning_params({}).items()}
    assert dict(tune.params) == expected
    assert expected["mode"] == "tune"
    for dag in bag.dags.values():
        dag.params.validate()
        for name, param in dag.params.items():
            schema = dag.params.get_param(name).schema
            hidden = "const" in schema
            assert hidden or {"title", "section", "description_md"} <= set(schema), (
                f"{dag.dag_id}: Param {name} = {param} has no text for the form"
            )


def test_a_day_s_run_describes_that_day(bag: Any) -> None:
    """The run of 1998-03-08 covers that day and may start when it is over."""
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.timetables.base import TimeRestriction

    dag = bag.dags["fmrec_retrain"]
    timetable = DagSerialization.from_dict(DagSerialization.to_dict(dag)).timetable
    day = datetime(1998, 3, 8, tzinfo=UTC)
    restriction = TimeRestriction(earliest=day, latest=day, catchup=True)
    info = timetable.next_dagrun_info(last_automated_data_interval=None, restriction=restriction)
    assert info is not None
    assert info.data_interval.start == day
    assert info.data_interval.end == info.run_after == day + timedelta(days=1)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_dag_file_is_thin(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) < 150
    allowed = {"__future__", "os", "datetime", "typing", "airflow.sdk", "fmrec", "fmrec.operators"}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import):
            assert {name.name for name in node.names} <= allowed
        if isinstance(node, ast.ImportFrom):
            assert node.module in allowed, f"imports {node.module}"
            if node.module == "fmrec":
                assert {name.name for name in node.names} <= {"operators", "settings"}
        assert not isinstance(node, ast.FunctionDef), "steps are fmrec's own, tested elsewhere"


def test_parsing_loads_nothing_heavy_and_calls_nobody(root: Path, tmp_path: Path) -> None:
    """A DAG file is parsed every half minute, by a process without a network or an AWS."""
    code = f"""
import json, runpy, socket, sys
def refuse(*arguments, **_):
    raise AssertionError(f"a DAG file opens a connection: {{arguments}}")
socket.socket.connect = socket.create_connection = refuse
for file in {[str(file) for file in FILES]}:
    runpy.run_path(file)
heavy = {{"numpy", "pandas", "scipy", "pyarrow", "sklearn", "numba", "sagemaker"}}
print(json.dumps(sorted(heavy & set(sys.modules))))
"""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environ = kept | {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "PYTHONPATH": str(root / "plugins"),
    }
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout.splitlines()[-1]) == []


def test_our_part_of_the_parse_does_without_airflow(root: Path) -> None:
    """What else reads settings and makes requests does not wait for Airflow, nor for numpy."""
    code = (
        "import sys, fmrec.errors, fmrec.settings, fmrec.layout, fmrec.jobs, fmrec.tuning\n"
        "heavy = {'numpy', 'pandas', 'scipy', 'sagemaker', 'airflow', 'boto3'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root / "plugins")


def test_a_wrong_variable_is_an_import_error_that_says_so(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("FMREC_APPROVAL_HOURS", "soon")
    found = DagBag(dag_folder=str(root / "dags" / "fmrec_retrain.py")).import_errors
    assert "FMREC_APPROVAL_HOURS: 'soon' is not a whole number" in "".join(found.values())
