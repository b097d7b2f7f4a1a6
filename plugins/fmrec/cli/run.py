"""`python -m fmrec run`: the DAG once, in an Airflow database of its own."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from rich.console import Console

from fmrec.cli import environment, processes, sources, watch
from fmrec.errors import ConfigurationError, FmrecError
from fmrec.evaluation import table
from fmrec.settings import Deployment

DAG = "fmrec_retrain"
_WELL = {"success", "skipped"}


def run(params: Mapping[str, Any], report_to: Path | None) -> Path:
    """Run `fmrec_retrain` once and return the path of the report.json it left.

    Of a dry run it is the path of estimate.json, which lies beside the requests.

    `params` are the Params that were given; the others keep their defaults. Raises FmrecError
    when the run fails, with the failing task's error. Whatever was started is ended, however
    this function is left.
    """
    root = environment.checkout()
    state = environment.state_folder(root)
    if report_to is not None:
        _check_folder(report_to)
    console = Console()
    with _leaving_on_signals(), _workplace(state) as work:
        log = work / "dag.log"
        with ExitStack() as stack:
            environ, check = _environ(root, work, stack, console)
            given = dict(params)
            if "source" not in given and not environ.get("FMREC_SOURCE"):
                given["source"] = sources.best(environ, console)
            with processes.tied(["airflow", "db", "migrate"], environ, log) as migration:
                if migration.wait() != 0:
                    kept = _kept(log, state)
                    raise FmrecError(f"Airflow could not make its database; see {kept}")
            database = environment.database(work / "airflow")
            command = ["airflow", "dags", "test", DAG, "--conf", json.dumps(given)]
            with processes.tied(command, environ, log) as test:
                try:
                    found = watch.follow(test, database, console, check)
                except BaseException:
                    # Asked to end, `airflow dags test` stops the job of the task that it is at; at
                    # another task it would go on, and start the next job.
                    if not any(task.holds_a_job for task in watch.tasks(database)):
                        processes.kill(test.pid)
                    raise
            if not found or any(task.state not in _WELL for task in found):
                raise FmrecError(_why(found, _kept(log, state)))
            rehearsed = watch.result(database, "rehearse")
            if rehearsed is not None:
                return _fetch_requests(rehearsed, report_to, state)
            report = _fetch(watch.result(database, "publish"), report_to, state)
    _show(report, console)
    return report


@contextmanager
def _workplace(state: Path) -> Iterator[Path]:
    """A folder for one run, gone afterwards; those of runs that were killed go at the next."""
    for left in state.glob("run-*"):
        with _locked(left) as free:
            if free:
                shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix="run-", dir=state))
    with _locked(work):
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold a folder's own lock, if nobody else does."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _environ(
    root: Path, work: Path, stack: ExitStack, console: Console
) -> tuple[dict[str, str], Callable[[], None]]:
    """The environment of the run, and a check of what it rests on.

    Starts a private local AWS when the environment names none.
    """
    if environment.names_an_aws(os.environ):
        base = environment.named_aws(os.environ)
        console.print("AWS: the one that the environment names")

        def check() -> None:
            """Somebody else's AWS is somebody else's to watch."""
    else:
        environment.isolate()
        base = dict(os.environ)
        aws = stack.enter_context(processes.private_local_aws(work / "aws", base))
        base |= environment.local_aws(aws.endpoint)
        check = aws.check
        console.print(f"AWS: a private local one, {aws.endpoint}", highlight=False)
    Deployment.of(base)
    if base.get("AWS_ENDPOINT_URL"):
        environment.make_bucket(base)
    # Nobody could answer: this Airflow has no page, and is gone when the run is over.
    alone = {"FMREC_APPROVAL_HOURS": "0"}
    return base | environment.airflow(root, work / "airflow") | alone, check


def _check_folder(folder: Path) -> None:
    """Raise ConfigurationError unless files can be written there: before the work, not after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigurationError(
            f"--report-to: {folder} cannot be written ({error.strerror}); name another folder"
        ) from None


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
    """Copy the published files of the run to this machine; gives the path of report.json.

    As where they are published, the manifest is last, and an old one goes first.
    """
    target = report_to or state / "reports" / published["run"]
    return _copy(published["links"], target, shown="report.json", last="manifest.json")


def _fetch_requests(rehearsed: Mapping[str, Any], report_to: Path | None, state: Path) -> Path:
    """Copy the requests of a dry run to this machine; gives the path of estimate.json."""
    target = report_to or state / "dry-runs" / rehearsed["run"]
    return _copy(rehearsed["links"], target, shown="estimate.json", last="estimate.json")


def _copy(links: Mapping[str, str], target: Path, shown: str, last: str) -> Path:
    """Copy the files that links lead to into a folder, the one that vouches for them last.

    Gives the path of the one that a person is shown.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        files = {name: _downloaded(link) for name, link in links.items()}
        (target / last).unlink(missing_ok=True)
        for name in sorted(files, key=lambda name: name == last):
            partial = target / f".{name}.part"
            partial.write_bytes(files[name])
            partial.replace(target / name)
    except (OSError, httpx.HTTPError) as error:
        raise FmrecError(
            f"the run succeeded, but what it left could not be copied to {target} ({error}); it "
            f"is at {links[shown].partition('?')[0]}"
        ) from None
    return target / shown


def _downloaded(link: str) -> bytes:
    # A proxy is for other machines; httpx would look for one, and for what it needs, first.
    here = urlsplit(link).hostname in environment.LOOPBACK
    with httpx.Client(timeout=60, trust_env=not here) as client:
        answer = client.get(link)
    if not answer.is_success:
        # Not raise_for_status: its text would show the link, and whoever has that may read.
        raise httpx.HTTPError(f"HTTP {answer.status_code}")
    return answer.content


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
    """A request to end, or a closed terminal, leaves through the same door as Ctrl-C.

    A second one is not heard: what was started is being ended.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def leave(number: int, _: object) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        with suppress(OSError):
            print("fmrec: ending what was started; a moment", file=sys.stderr, flush=True)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
