"""`python -m fmrec report`: what a published run found, again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console

from fmrec.cli import environment, runs, zone
from fmrec.errors import ConfigurationError
from fmrec.evaluation import table

_FILES = ("report.html", "report.json", "manifest.json")


def show(run: str, as_json: bool, console: Console | None = None) -> Path:
    """Print the report of a run, "latest" or by its key, and copy its files to this machine.

    The path of report.json comes back. With `as_json` nothing but report.json is printed. Raises
    ConfigurationError for a run that is not published, StoreError for one whose report is gone.
    """
    console = console or Console()
    store, deployment = zone.open_store()
    layout = runs.find(store, deployment, run).run.layout
    files = {name: store.get(layout.published_report(name)) for name in _FILES}
    folder = environment.state_folder(environment.checkout()) / "reports" / layout.run
    _write(folder, files)
    report = folder / "report.json"
    if as_json:
        sys.stdout.write(files["report.json"].decode())
        return report
    content = json.loads(files["report.json"])
    for text in (
        table.render(content),
        table.recommendations(content),
        f"Report to look at:  {report.with_name('report.html')}",
        str(report),
    ):
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    return report


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """Write the files, the manifest, which vouches for the others, last."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").unlink(missing_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise ConfigurationError(
            f"the report cannot be written to {folder} ({error.strerror}): set FMREC_STATE_DIR to "
            "another folder"
        ) from None
