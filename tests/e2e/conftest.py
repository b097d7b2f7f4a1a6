"""What the tests with real processes share: the checkout, and a watch over what is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from airflow_stack import Airflow, own_ports, running, unpause

ROOT = Path(__file__).resolve().parents[2]


def living_below(folder: Path) -> dict[int, str]:
    """Processes whose command line or environment speaks of a folder."""
    found = {}
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(folder) in word for word in words):
            found[process.pid] = " ".join(words)
    return found


@pytest.fixture(scope="session")
def plain_environ() -> dict[str, str]:
    """The environment of a person who has said nothing of AWS or Airflow, nor runs make."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "AIRFLOW_", "MAKE", "MFLAGS"))
    }


@pytest.fixture
def nothing_left_running(tmp_path: Path) -> Iterator[None]:
    """The test leaves no process behind that knows of its folder."""
    yield
    assert living_below(tmp_path) == {}


@pytest.fixture
def fmrec(
    tmp_path: Path, plain_environ: dict[str, str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`python -m fmrec …` as a person would run it: no AWS named, an empty cache."""
    environ = plain_environ | {"FMREC_STATE_DIR": str(tmp_path / "state")}

    def call(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "fmrec", *arguments],
            env={**environ, **changes},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    return call


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of a module's stack."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def environ(state: Path, plain_environ: dict[str, str]) -> dict[str, str]:
    """The environment of a module's stack."""
    told = {"FMREC_SOURCE": "sample", "FMREC_STATE_DIR": str(state)}
    return plain_environ | own_ports() | told


@pytest.fixture(scope="module")
def airflow(state: Path, environ: dict[str, str]) -> Iterator[Airflow]:
    """A stack whose retraining DAG may run."""
    with running(state, environ) as stack:
        unpause(environ, "fmrec_retrain")
        yield stack
