"""Airflow executes every file below plugins/ that .airflowignore does not keep it from."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

LOADER = """
import sys
from airflow import plugins_manager
_, errors = plugins_manager._get_plugins()
ours = [n for n, m in sys.modules.items() if '/plugins/' in (getattr(m, '__file__', '') or '')]
print(sorted(errors), sorted(ours))
"""


def test_the_plugin_loader_stays_out_of_the_package(root: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", LOADER], check=True, capture_output=True, text=True, cwd=root
    )
    assert answer.stdout.splitlines()[-1] == "[] []"


def test_no_module_is_called_like_one_that_is_installed(root: Path) -> None:
    """Should the ignore file ever be lost, no standard or installed module is replaced."""
    own = {"fmrec"}
    taken = (set(sys.stdlib_module_names) | set(packages_distributions())) - own
    package = root / "plugins" / "fmrec"
    stems = {file.stem for file in package.rglob("*.py")} - {"__init__", "__main__"}
    assert stems & taken == set()
