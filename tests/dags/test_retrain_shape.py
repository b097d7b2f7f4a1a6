"""The DAG as Airflow sees it: it parses, keeps house policy, and has the shape we mean."""

from __future__ import annotations

import ast
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fmrec import errors, settings


@pytest.fixture(scope="module")
def bag(root: Path) -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(dag_folder=str(root / "dags"))


@pytest.fixture(scope="module")
def dag(bag: Any) -> Any:
    return bag.dags["fmrec_retrain"]


def test_every_file_parses_to_one_dag(bag: Any, root: Path) -> None:
    assert bag.import_errors == {}
    assert len(bag.dags) == len(list((root / "dags").glob("*.py")))


def test_house_policy(bag: Any) -> None:
    for dag in bag.dags.values():
        assert dag.doc_md, f"{dag.dag_id} has no text for the UI"
        assert dag.description
        assert "fmrec" in dag.tags
        assert not dag.catchup
        assert dag.max_active_runs <= 2
        assert dag.dagrun_timeout is not None
        for task in dag.tasks:
            assert task.retries >= 1, f"{dag.dag_id}.{task.task_id} is not retried"
            assert task.doc_md or task.doc or task.python_callable.__doc__


def test_tasks_and_arrows(dag: Any) -> None:
    direct = {
        "plan": {
            "ingest", "events", "recordio", "train", "model", "score", "evaluate", "publish",
            "release",
        },
        "ingest": {"events", "recordio", "evaluate"},
        "events": {"recordio", "evaluate"},
        "recordio": {"train", "score", "evaluate"},
        "train": {"model", "evaluate"},
        "model": {"score"},
        "score": {"evaluate"},
        "evaluate": {"publish", "release"},
        "publish": {"release"},
        "release": set(),
    }  # fmt: skip
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == direct


def test_params_are_the_settings(dag: Any) -> None:
    assert dict(dag.params) == {name: each["default"] for name, each in settings.params({}).items()}
    dag.params.validate()


def test_a_day_s_run_describes_that_day(dag: Any) -> None:
    """The run of 1998-03-08 covers that day and may start when it is over."""
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.timetables.base import TimeRestriction

    timetable = DagSerialization.from_dict(DagSerialization.to_dict(dag)).timetable
    day = datetime(1998, 3, 8, tzinfo=UTC)
    restriction = TimeRestriction(earliest=day, latest=day, catchup=True)
    info = timetable.next_dagrun_info(last_automated_data_interval=None, restriction=restriction)
    assert info is not None
    assert info.data_interval.start == day
    assert info.data_interval.end == info.run_after == day + timedelta(days=1)


def test_permanent_errors_are_not_retried(dag: Any) -> None:
    from airflow.sdk import RetryAction

    policy = dag.get_task("train").retry_policy
    for kind in errors.PERMANENT:
        assert policy.evaluate(kind("x"), 1, 3).action is RetryAction.FAIL
    for kind in (errors.JobError, errors.StoreError, errors.DownloadError, ConnectionError):
        assert policy.evaluate(kind("x"), 1, 3).action is not RetryAction.FAIL


def test_parsing_imports_nothing_heavy(root: Path) -> None:
    """A DAG file is parsed every half minute: its top level stays light."""
    allowed = {
        "__future__", "os", "datetime", "typing", "airflow.sdk", "fmrec",
    }  # fmt: skip
    from_fmrec = {"errors", "settings", "jobs", "operators", "layout"}
    for file in (root / "dags").glob("*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.Import):
                assert {name.name for name in node.names} <= allowed, file.name
            if isinstance(node, ast.ImportFrom):
                assert node.module in allowed, f"{file.name} imports {node.module}"
                if node.module == "fmrec":
                    assert {name.name for name in node.names} <= from_fmrec, file.name


def test_our_part_of_the_parse_loads_no_numpy(root: Path) -> None:
    """Airflow and the provider bring what they bring; fmrec's own parse-time modules do not."""
    code = (
        "import sys, fmrec.errors, fmrec.settings, fmrec.layout, fmrec.jobs\n"
        "heavy = {'numpy', 'pandas', 'scipy', 'sagemaker', 'airflow', 'boto3'} & set(sys.modules)\n"
        "sys.exit(f'imported at parse time: {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root / "plugins")
