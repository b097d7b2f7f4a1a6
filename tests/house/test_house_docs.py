"""Docs are tested: pages made from code are current, links lead somewhere, commands exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from fmrec.cli.main import _parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def write_docs() -> Any:
    spec = importlib.util.spec_from_file_location("write_docs", ROOT / "tools" / "write_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["settings.md", "local-aws-coverage.md", "dags.md"])
def test_pages_made_from_code_are_current(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == write_docs().PAGES[name](), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def commands(page: Path) -> list[str]:
    """The commands of a page's sh blocks, one per line, comments left out."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), flags=re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip()]


def test_every_make_target_is_in_the_readme_and_the_other_way_round() -> None:
    targets = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), flags=re.M))
    named = {
        shlex.split(line)[1] for line in commands(ROOT / "README.md") if line.startswith("make ")
    }
    assert named <= targets
    assert targets - {"help", "lock", "docs"} <= named


def test_every_fmrec_command_in_the_docs_is_understood() -> None:
    seen = 0
    for page in PAGES:
        for line in commands(page):
            words = shlex.split(line)
            if words[1:3] == ["-m", "fmrec"] and words[-1] != "--help":
                _parser().parse_args(words[3:])
                seen += 1
    assert seen > 0


def test_decisions_are_numbered_and_said_to_be_what_they_are() -> None:
    notes = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [int(note.name[:4]) for note in notes]
    assert numbers == list(range(1, len(notes) + 1))
    for number, note in zip(numbers, notes, strict=True):
        text = note.read_text()
        assert text.startswith(f"# {number}. "), note.name
        for part in ("**Context.**", "**Decision.**", "**Consequences.**"):
            assert part in text, f"{note.name} lacks {part}"
