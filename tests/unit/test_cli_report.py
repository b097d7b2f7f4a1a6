"""`python -m fmrec report`: what a run published, on this machine again."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fmrec.cli import report, zone
from fmrec.cli.main import main
from fmrec.errors import ConfigurationError, StoreError
from fmrec.evaluation import table
from fmrec.layout import Run
from steps_world import World

pytestmark = pytest.mark.slow


@pytest.fixture
def state(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(zone, "open_store", lambda: (world.store, world.deployment))
    monkeypatch.setenv("FMREC_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def published(world: World, folder: Path, run_id: str, as_of: str) -> str:
    """A run of the real steps; its key."""
    (folder / run_id).mkdir()
    world.prepare(run_id, as_of=as_of).train_and_score(folder / run_id).evaluate().release()
    return Run.from_xcom(world.xcom["run"]).layout.run


def shown(run: str = "latest", as_json: bool = False) -> tuple[list[str], Path]:
    console = Console(file=io.StringIO(), width=100)
    found = report.show(run, as_json, console)
    return console.file.getvalue().splitlines(), found  # type: ignore[attr-defined]


def test_a_report_is_shown_as_by_run_and_copied(
    world: World, tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigurationError, match="no run is published in s3://fmrec/fmrec/report"):
        shown()
    late = published(world, tmp_path, "late", "1997-10-20")
    files = {name: world.store.get(key) for name, key in _keys(world).items()}
    early = published(world, tmp_path, "early", "1997-10-01")
    lines, found = shown()
    assert found == state / "reports" / late / "report.json"
    assert lines[-1] == str(found)
    content = json.loads(files["report.json"])
    expected = table.render(content) + table.recommendations(content)
    assert [each for each in lines if each][:-2] == [each for each in expected.splitlines() if each]
    copied = {path.name: path.read_bytes() for path in found.parent.iterdir()}
    assert copied == files
    lines, found = shown(early)
    assert found.parent.name == early
    assert any("as of 1997-10-01" in each for each in lines)
    with pytest.raises(ConfigurationError, match=f"run 'x' is not published .* {late}"):
        shown("x")
    capsys.readouterr()
    # For programs: report.json and nothing else.
    assert main(["report", "--json"]) == 0
    out = capsys.readouterr()
    assert json.loads(out.out) == content
    assert (out.out.encode(), out.err) == (files["report.json"], "")
    assert main(["report", early]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(found)
    world.store.delete(f"fmrec/reports/{early}/report.html")
    with pytest.raises(StoreError, match=r"report.html does not exist"):
        shown(early)


def test_a_folder_that_cannot_be_written_is_named(
    world: World, tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(world, tmp_path, "r", "1997-10-01")
    state.mkdir()
    (state / "reports").write_text("a file")
    with pytest.raises(ConfigurationError, match=r"cannot be written to .*FMREC_STATE_DIR"):
        shown()


def _keys(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.xcom["published"]["files"]
    return found
