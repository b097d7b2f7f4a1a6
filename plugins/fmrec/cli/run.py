"""`python -m fmrec run`: the DAG once, in an Airflow database of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from fmrec.cli import environment, processes, sources, watch
from fmrec.errors import FmrecError
from fmrec.evaluation import table
from fmrec.settings import Deployment, RunSettings
from fmrec.store import Store

DAG = "fmrec_retrain"


def run(params: Mapping[str, Any], report_to: Path | None) -> Path:
    """Run `fmrec_retrain` once and return the path of the report.json it left.

    `params` are the Params that were given; the others keep their defaults. Raises FmrecError
    when the run fails, with the failing task's error.
    """
    root = environment.checkout()
    state = environment.state_folder(root)
    console = Console(stderr=False)
    RunSettings.of(params)
    given = dict(params)
    with ExitStack() as stack:
        stack.enter_context(_ending_on_signals())
        work = Path(tempfile.mkdtemp(prefix="run-", dir=_made(state)))
        environ = _environ(root, work, stack, console)
        if "source" not in given and not environ.get("FMREC_SOURCE"):
            given["source"] = sources.best(environ, console)
        home = work / "airflow"
        _migrate(environ, work / "migrate.log")
        found = _dags_test(given, environ, home, work / "dag.log", console)
        failed = [task for task in found if task.state != "success"]
        if failed or not found:
            raise FmrecError(_why(failed, work / "dag.log"))
        published = watch.result(environment.database(home), "publish")
        report = _fetch(published, environ, report_to or state / "reports")
    shutil.rmtree(work)
    _show(report, console)
    return report


def _environ(root: Path, work: Path, stack: ExitStack, console: Console) -> dict[str, str]:
    """The environment of the run; starts a private local AWS when none is named."""
    base = dict(os.environ)
    if not environment.names_an_aws(os.environ):
        base = environment.without_aws(base)
        endpoint = stack.enter_context(processes.private_local_aws(work / "aws", base))
        base |= environment.local_aws(endpoint)
        bucket = Deployment.of(base).bucket
        environment.s3_client(base).create_bucket(Bucket=bucket)
        console.print(f"Local AWS: {endpoint}, bucket {bucket}", highlight=False)
    return base | environment.airflow(root, work / "airflow")


def _migrate(environ: Mapping[str, str], log: Path) -> None:
    """Make the run's own Airflow database."""
    process = processes.start([sys.executable, "-m", "airflow", "db", "migrate"], environ, log)
    if process.wait() != 0:
        raise FmrecError(f"Airflow could not make its database; its output is in {log}")


def _dags_test(
    params: Mapping[str, Any], environ: Mapping[str, str], home: Path, log: Path, console: Console
) -> list[watch.Task]:
    """`airflow dags test`, followed task by task."""
    command = [sys.executable, "-m", "airflow", "dags", "test", DAG, "--conf", json.dumps(params)]
    process = processes.start(command, environ, log)
    try:
        return watch.follow(process, environment.database(home), console)
    finally:
        processes.end(process.pid)
        process.wait()


def _why(failed: list[watch.Task], log: Path) -> str:
    """What the failing task said last, and where the rest is."""
    names = [task.name for task in failed if task.state == "failed"]
    where = f"(its whole output is in {log})"
    if not names:
        return f"the DAG run did not finish {where}"
    said = _last_error(log.read_text(errors="replace").splitlines())
    return f"task {names[0]} failed: {said}\n{where}"


def _last_error(lines: list[str]) -> str:
    """The message that ends the last traceback of a log, all its lines."""
    said: list[str] = []
    inside = False
    for line in lines:
        if line.startswith("Traceback"):
            inside, said = True, []
        elif inside and re.match(r"\d{4}-\d\d-\d\dT", line):
            inside = False
        elif inside and (said or not line.startswith(" ")) and line:
            said.append(line)
    return "\n".join(said) or "no error was logged"


def _fetch(published: Mapping[str, Any], environ: Mapping[str, str], folder: Path) -> Path:
    """Copy the published files of the run into `folder`; gives the path of report.json."""
    store = Store(environment.s3_client(environ), published["bucket"])
    target = _made(folder / published["run"] if folder.name == "reports" else folder)
    for name, key in published["files"].items():
        (target / name).write_bytes(store.get(key))
    return target / "report.json"


def _show(report: Path, console: Console) -> None:
    """The result as text: the table, ten recommendations, where the files lie."""
    content = json.loads(report.read_text())
    for text in (
        "",
        table.render(content),
        table.recommendations(content),
        f"Report to look at:  {report.with_name('report.html')}",
    ):
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    """SIGTERM leaves through the same door as Ctrl-C, so that everything started is ended."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
