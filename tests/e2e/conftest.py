"""What the tests with real processes share: the checkout, and a watch over what is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]


def ours() -> dict[int, str]:
    """Processes that serve fmrec or Airflow from this checkout's environment."""
    found = {}
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
            at_home = process.environ().get("VIRTUAL_ENV", "") + line
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        words = (
            "fmrec.local_aws",
            "orphan_watch",
            "fmrec.fm",
            "airflow scheduler",
            "airflow api",
            "dags test",
        )
        if str(Path(sys.prefix)) in at_home and any(word in line for word in words):
            found[process.pid] = line
    return found


@pytest.fixture(scope="session")
def plain_environ() -> dict[str, str]:
    """The environment of a person who has said nothing of AWS or Airflow."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "AIRFLOW_"))
    }


@pytest.fixture
def nothing_left_running() -> Iterator[None]:
    """The test leaves no process behind."""
    before = set(ours())
    yield
    left = {pid: line for pid, line in ours().items() if pid not in before}
    assert left == {}


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
