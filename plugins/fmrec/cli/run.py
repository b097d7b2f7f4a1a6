"""`python -m fmrec run`: the DAG once, in an Airflow database of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from fmrec.cli import environment, processes, sources, watch
from fmrec.errors import FmrecError
from fmrec.evaluation import table
from fmrec.settings import Deployment

DAG = "fmrec_retrain"


def run(params: Mapping[str, Any], report_to: Path | None) -> Path:
    """Run `fmrec_retrain` once and return the path of the report.json it left.

    `params` are the Params that were given; the others keep their defaults. Raises FmrecError
    when the run fails, with the failing task's error. Whatever was started is ended, however
    this function is left.
    """
    root = environment.checkout()
    state = environment.state_folder(root)
    console = Console()
    work = Path(tempfile.mkdtemp(prefix="run-", dir=state))
    log = work / "dag.log"
    try:
        with _leaving_on_signals(), ExitStack() as stack:
            environ = _environ(root, work, stack, console)
            given = dict(params)
            if "source" not in given and not environ.get("FMREC_SOURCE"):
                given["source"] = sources.best(environ, console)
            with processes.tied(["airflow", "db", "migrate"], environ, log) as migration:
                if migration.wait() != 0:
                    raise FmrecError(f"Airflow could not make its database; see {log}")
            database = environment.database(work / "airflow")
            command = ["airflow", "dags", "test", DAG, "--conf", json.dumps(given)]
            with processes.tied(command, environ, log) as test:
                found = watch.follow(test, database, console)
            if not found or any(task.state != "success" for task in found):
                raise FmrecError(_why(found, _kept(log, state)))
            report = _fetch(watch.result(database, "publish"), report_to, state)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _show(report, console)
    return report


def _environ(root: Path, work: Path, stack: ExitStack, console: Console) -> dict[str, str]:
    """The environment of the run; starts a private local AWS when none is named."""
    if environment.names_an_aws(os.environ):
        base = os.environ | environment.named_aws(os.environ)
        console.print("AWS: the one that the environment names")
    else:
        environment.isolate()
        base = dict(os.environ)
        endpoint = stack.enter_context(processes.private_local_aws(work / "aws", base))
        base |= environment.local_aws(endpoint)
        console.print(f"AWS: a private local one, {endpoint}", highlight=False)
    os.environ.update(environment.without_proxy(os.environ))
    Deployment.of(base)
    if base.get("AWS_ENDPOINT_URL"):
        environment.make_bucket(base)
    return base | environment.airflow(root, work / "airflow")


def _kept(log: Path, state: Path) -> Path:
    """The log of a failed run, where it outlives the run's folder."""
    folder = state / "failed"
    folder.mkdir(exist_ok=True)
    return Path(shutil.copy(log, folder / f"{log.parent.name}.log"))


def _why(tasks: list[watch.Task], log: Path) -> str:
    """What the failing task said last, and where the rest is."""
    names = [task.name for task in tasks if task.state == "failed"]
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


def _fetch(published: Mapping[str, Any], report_to: Path | None, state: Path) -> Path:
    """Copy the published files of the run to this machine; gives the path of report.json."""
    target = report_to or state / "reports" / published["run"]
    target.mkdir(parents=True, exist_ok=True)
    for name, link in published["links"].items():
        answer = httpx.get(link, timeout=60)
        answer.raise_for_status()
        (target / name).write_bytes(answer.content)
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


@contextmanager
def _leaving_on_signals() -> Iterator[None]:
    """A request to end, or a closed terminal, leaves through the same door as Ctrl-C."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
