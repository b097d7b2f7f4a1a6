"""Machine code made ahead of the first job."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import fmrec.fm
from fmrec.fm.kernels import COMPILED


def test_every_compiled_loop_is_in_the_list() -> None:
    (folder,) = map(Path, fmrec.fm.__path__)
    found = {
        (f"fmrec.fm.{path.stem}", name)
        for path in folder.glob("*.py")
        for name in re.findall(r"^def (compiled\w*)\(", path.read_text(), re.MULTILINE)
    }
    assert set(COMPILED) == found


@pytest.mark.e2e
def test_a_job_finds_what_was_compiled_ahead() -> None:
    subprocess.run([sys.executable, "-m", "fmrec.fm", "compile"], check=True)
    code = (
        "from fmrec.fm import adam_kernels as kernels\n"
        "for code in (kernels.compiled(), *kernels.compiled_in_parts()):\n"
        "    assert len(code.stats.cache_hits) == 1, code.stats\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
