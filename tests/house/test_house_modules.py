"""House rules for the package that no linter knows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "plugins" / "fmrec"
MODULES = sorted(PACKAGE.rglob("*.py")) + sorted((ROOT / "dags").glob("*.py"))

# Opening a socket, starting a process or a thread, or changing the environment while importing
# would make the order of imports matter.
IMPORT_ALL = """
import importlib, os, socket, subprocess, sys, threading
before = dict(os.environ)
def forbidden(*args, **kwargs):
    raise AssertionError("an import opened a socket or started a process")
socket.socket.connect = subprocess.Popen.__init__ = forbidden
for name in sys.argv[1:]:
    importlib.import_module(name)
ours = {n: v for n, v in os.environ.items() if n.startswith(("FMREC_", "AWS_"))}
theirs = {n: v for n, v in before.items() if n.startswith(("FMREC_", "AWS_"))}
assert ours == theirs, "an import changed the environment"
assert threading.active_count() == 1, "an import started a thread"
"""


def test_there_is_something_to_check() -> None:
    assert len(MODULES) > 30


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_owns_one_thing(file: Path) -> None:
    lines = len(file.read_text().splitlines())
    assert lines <= 400, f"{lines} lines: does it still own one thing?"
    assert file.stem not in {"utils", "util", "common", "helpers", "helper", "misc", "base"}


def test_importing_does_nothing_but_import(tmp_path: Path) -> None:
    names = [
        ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for file in sorted(PACKAGE.rglob("*.py"))
        # Airflow's own import makes its home folder; the tests of dags/ cover the operators.
        if file.stem not in {"__main__", "operators"}
    ]
    subprocess.run([sys.executable, "-c", IMPORT_ALL, *names], check=True, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []
