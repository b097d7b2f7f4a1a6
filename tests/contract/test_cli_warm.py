"""What a command's process has imported, its forks have; what belongs to fmrec they import anew."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = {
    "kit/__init__.py": "",
    "kit/tool.py": "import heavy\nimport fmrec.errors\n",
    "kit/broken.py": "raise RuntimeError('half edited')\n",
    "heavy.py": "print('heavy is imported in', __import__('os').getpid())\n",
    "command.py": """
import os, sys
print("arguments", sys.argv[1:], __name__)
print("before", "heavy" in sys.modules, "fmrec.errors" in sys.modules, "kit.tool" in sys.modules)
sys.stdout.flush()
if os.fork() == 0:
    import heavy
    import fmrec.errors
    print("forked", fmrec.errors.FmrecError.__module__, flush=True)
    os._exit(0)
os.wait()
""",
}


@pytest.fixture
def said(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    for name, text in PACKAGE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    environ = os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    words = ["fmrec.cli.warm", "kit", "--", "command", "scheduler", "--skip"]
    return subprocess.run(
        [sys.executable, "-m", *words], env=environ, capture_output=True, text=True, check=True
    )


def test_the_command_is_run_with_its_own_arguments(
    said: subprocess.CompletedProcess[str],
) -> None:
    assert "arguments ['scheduler', '--skip'] __main__" in said.stdout


def test_others_modules_are_there_and_fmrec_s_own_are_not(
    said: subprocess.CompletedProcess[str],
) -> None:
    assert "before True False True" in said.stdout
    assert said.stdout.count("heavy is imported in") == 1
    assert "forked fmrec.errors" in said.stdout


def test_a_module_that_cannot_be_imported_is_told_of_and_left_out(
    said: subprocess.CompletedProcess[str],
) -> None:
    assert "RuntimeError: half edited" in said.stderr
