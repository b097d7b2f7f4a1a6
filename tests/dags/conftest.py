"""Airflow reads its settings once, at import: they are set here, before any test imports it."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fake_sagemaker import Clock

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(tempfile.mkdtemp(prefix="fmrec-airflow-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ.update(
    {
        "AIRFLOW_HOME": str(HOME),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME}/airflow.db",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that operators of jobs wait by."""
    from fake_sagemaker import Clock
    from fmrec.operators import job

    clock = Clock()
    monkeypatch.setattr(job, "time", clock)
    return clock


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What operators of jobs write into the ledger."""
    from fmrec import ledger
    from fmrec.operators import billing

    entries: list[dict[str, Any]] = []
    monkeypatch.setattr(billing, "aws_client", lambda _: None)
    monkeypatch.setattr(ledger, "record", lambda *told: entries.append(dict(told[3])))
    return entries


@pytest.fixture
def task(clock: Clock, recorded: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make an operator of one kind, as each attempt does, that asks a `FakeSageMaker`."""
    from fake_sagemaker import CHANNELS, run

    monkeypatch.setenv("FMREC_BUCKET", "b")
    monkeypatch.setenv("FMREC_ROLE_ARN", "arn")

    def make(kind: Any, hook: Any, **arguments: Any) -> Any:
        monkeypatch.setattr(kind, "expand_role", lambda _: None)
        monkeypatch.setattr(kind, "hook", hook)
        return kind(task_id="job", **{"run": run(), "channels": CHANNELS, **arguments})

    return make


@pytest.fixture
def train(task: Any) -> Any:
    """Make the operator of a training job."""
    from fmrec.operators import TrainingOperator

    return lambda hook, **arguments: task(TrainingOperator, hook, **arguments)
