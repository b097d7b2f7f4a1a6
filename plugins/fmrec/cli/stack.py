"""`up` and `down`: Airflow and the local AWS in the background, for the browser.

`up` starts what does not run: everything, or what has died since. Airflow's components are
started one by one rather than through `airflow standalone`: a standalone that is not interrupted in
just the right way leaves its children running, and it serves logs on all interfaces.
docs/decisions/0002-components-not-standalone.md has the details.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from fmrec.cli import airflow_api, environment, processes, sources
from fmrec.cli.started import USER, Stack, Started
from fmrec.errors import FmrecError

HOST = "127.0.0.1"
FILE = "stack.json"
START_SECONDS = 300
_AWS = "local-aws"
_AWS_MODULE = "fmrec.local_aws"
# What each is started with. Tasks are forked from the scheduler, readers of DAG files from the DAG
# processor. Tasks report to an API server of their own: the one that people talk to may wait, with
# all that it does, for SQLite's write lock, and a task's report to the same server would hold it
# (docs/decisions/0036-tasks-report-to-a-server-of-their-own.md).
_AIRFLOW = {
    "api-server": ["airflow", "api-server", "--host", HOST, "--apps", "core"],
    "execution-api": ["airflow", "api-server", "--host", HOST, "--apps", "execution"],
    "scheduler": [
        *("fmrec.cli.warm", "fmrec.operators", "fmrec.steps", "--"),
        *("airflow", "scheduler", "--skip-serve-logs"),
    ],
    "dag-processor": ["fmrec.cli.warm", "fmrec.operators", "--", "airflow", "dag-processor"],
    "triggerer": ["airflow", "triggerer", "--skip-serve-logs"],
}
_PORTS = {"api-server": "ui", "execution-api": "tasks"}
# As docs/pools.json has it. Its slots stand for jobs also while the triggerer watches them.
POOL = {
    "name": "fmrec_jobs",
    "slots": 2,
    "description": "SageMaker jobs at once",
    "include_deferred": True,
}


def up() -> None:
    """Start everything that is not running, wait until it is healthy, say where to look.

    Raises FmrecError when a component does not come up; what was started stays for `down`.
    """
    root = environment.checkout()
    folder = _folder(root)
    console = Console()
    with _alone(folder):
        there = Stack.load(folder / FILE)
        dead = [] if there is None else there.dead()
        _clear(dead)
        environment.isolate()
        if there is None or len(dead) == len(there.started):
            there = _new(root, folder, console)
        else:
            for each in dead:
                console.print(f"{each.name} had ended: starting it again", highlight=False)
        _start(root, folder, there, console)
        _make_pool(there)
    _tell(root, there, console)


def _new(root: Path, folder: Path, console: Console) -> Stack:
    """Addresses, keys and ratings of a stack of which nothing has been started yet."""
    base = os.environ | environment.airflow(root, folder / "airflow")
    source = base.get("FMREC_SOURCE") or sources.best(base | environment.local_aws(""), console)
    # Looked for last: a port that is free now may soon not be.
    ui_port, aws_port = _free_port("FMREC_UI_PORT", 8080), _free_port("FMREC_AWS_PORT", 5566)
    tasks_port = _free_port(None, ui_port + 1)
    if tasks_port == aws_port:
        tasks_port = _free_port(None, aws_port + 1)
    return Stack(
        ui=f"http://{HOST}:{ui_port}",
        tasks=f"http://{HOST}:{tasks_port}",
        aws=f"http://{HOST}:{aws_port}",
        password=_password(folder),
        key=secrets.token_hex(32),
        source=source,
        started=[],
    )


def _start(root: Path, folder: Path, stack: Stack, console: Console) -> None:
    """Start every process of a stack that does not run, and wait for it.

    Airflow's runs are in its database: a new scheduler goes on with those of the old one.
    """
    environ = _environ(root, folder, stack)
    logs = folder / "logs"
    runs = {each.name for each in stack.started if each.runs()}
    if _AWS not in runs:
        with console.status("starting the local AWS"):
            _begin(_AWS, stack, environ, folder)
            # Its own word, for whatever answers on the port may be a stranger.
            said = logs / f"{_AWS}.log"
            ready = f"ready on {stack.aws},"
            _wait(_AWS, lambda: ready in said.read_text(), stack, {_AWS}, logs)
    if not {each.name for each in stack.started} >= set(_AIRFLOW):
        environment.make_bucket(environ)
        with console.status("making Airflow's database"):
            log = logs / "migrate.log"
            with processes.tied(["airflow", "db", "migrate"], environ, log) as migration:
                if migration.wait() != 0:
                    raise FmrecError(f"Airflow could not make its database; see {log}")
    since = {}
    with console.status("starting Airflow (about half a minute)"):
        for name in [name for name in _AIRFLOW if name not in runs]:
            since[name] = datetime.now(UTC)
            _begin(name, stack, environ, folder)
        names = {_AWS, *_AIRFLOW}
        _wait("Airflow", lambda: _healthy(stack, since), stack, names, logs)


def _clear(dead: list[Started]) -> None:
    """End what the dead have left, without asking.

    A task that is asked to end stops its SageMaker job, which the next try would go on with.
    """
    for each in dead:
        if each.leaves():
            processes.kill(each.pid)


def _begin(name: str, stack: Stack, environ: Mapping[str, str], folder: Path) -> None:
    """Start one process; it is in the file before the next one is begun."""
    log = folder / "logs" / f"{name}.log"
    if log.is_file():
        log.replace(log.with_suffix(".ended.log"))
    command = [*_AIRFLOW.get(name, [])] or [
        *(_AWS_MODULE, "--port", stack.aws.rpartition(":")[2]),
        *("--state", str(folder / "aws")),
    ]
    if name in _PORTS:
        command += ["--port", getattr(stack, _PORTS[name]).rpartition(":")[2]]
    process = processes.start(command, environ, log)
    stack.put(Started(name, process.pid, processes.started_at(process.pid)))
    stack.save(folder / FILE)


def down() -> None:
    """Stop every process that `up` started. Raises FmrecError when one does not end."""
    folder = _folder(environment.checkout())
    console = Console()
    with _alone(folder):
        stack = Stack.load(folder / FILE)
        if stack is None:
            console.print("Nothing is running.")
            return
        left = []
        # The local AWS was started first and is ended last: tasks still talk to it. The others
        # are asked at once, and then waited for one by one.
        for each in stack.started[1:]:
            if each.runs():
                processes.ask(each.pid)
        for each in reversed(stack.started):
            with console.status(f"stopping {each.name}"):
                try:
                    if each.leaves():
                        processes.end(each.pid)
                except FmrecError as error:
                    left.append(f"{each.name}: {error}")
        if left:
            raise FmrecError("\n".join(left))
        (folder / FILE).unlink()
    console.print(f"Airflow and the local AWS are stopped; their data stays in {folder}.")


def _folder(root: Path) -> Path:
    folder = environment.state_folder(root) / "up"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two at once would lose sight of each other's processes. Raises FmrecError for the second."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FmrecError("another `make up` or `make down` is at work; wait for it") from None
        yield


def found() -> Stack | None:
    """What `up` started, or None when nothing is up."""
    return Stack.load(_folder(environment.checkout()) / FILE)


def needed() -> Stack:
    """What `up` started. Raises FmrecError when nothing is up."""
    stack = found()
    if stack is None:
        raise FmrecError("Airflow is not up: start it with `make up`")
    return stack


def local_aws_address() -> str | None:
    """Where the local AWS that `up` started answers, or None when it does not run."""
    stack = found()
    if stack is None or not any(each.name == _AWS and each.runs() for each in stack.started):
        return None
    return stack.aws


def airflow(arguments: Sequence[str]) -> int:
    """Run Airflow's own command line on the Airflow that `up` started; gives its exit code.

    Raises FmrecError when nothing is up.
    """
    root = environment.checkout()
    folder = _folder(root)
    stack = needed()
    environment.isolate()
    command = [sys.executable, "-m", "airflow", *arguments]
    return subprocess.run(command, env=_environ(root, folder, stack), check=False).returncode


def _environ(root: Path, folder: Path, stack: Stack) -> dict[str, str]:
    """The environment of every component."""
    home = folder / "airflow"
    home.mkdir(exist_ok=True)
    passwords = home / "passwords.json"
    passwords.touch(mode=0o600)
    passwords.write_text(json.dumps({USER: stack.password}))
    return {
        **os.environ,
        **environment.local_aws(stack.aws),
        **environment.airflow(root, home),
        "FMREC_SOURCE": stack.source,
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__BASE_URL": stack.ui,
        "AIRFLOW__API__WORKERS": "1",
        "FMREC_JOBS_POOL": str(POOL["name"]),
        "AIRFLOW__API__SECRET_KEY": stack.key,
        "AIRFLOW__API_AUTH__JWT_SECRET": stack.key,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{stack.tasks}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
    }


def _password(folder: Path) -> str:
    """The UI password: made once, kept for later starts."""
    file = folder / "password"
    if not file.is_file():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(9))
    return file.read_text()


def _free_port(variable: str | None, preferred: int) -> int:
    """The port that `variable` names, else `preferred` or the next one that is free."""
    named = None if variable is None else os.environ.get(variable)
    if named and not named.isdecimal():
        raise FmrecError(f"environment variable {variable}: {named!r} is not a port number")
    first = int(named) if named else preferred
    for port in range(first, first + (1 if named else 50)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise FmrecError(f"port {first} is taken; set {variable or 'FMREC_UI_PORT'} to a free one")


def _wait(what: str, ready: Callable[[], bool], stack: Stack, begun: Set[str], logs: Path) -> None:
    """Until `ready()` holds. Raises FmrecError when one that was `begun` died, or time is over."""
    until = time.monotonic() + START_SECONDS
    while True:
        dead = [each.name for each in stack.dead() if each.name in begun]
        if dead:
            raise FmrecError(f"{dead[0]} ended at once; see {logs / dead[0]}.log, then `make up`")
        if ready():
            return
        if time.monotonic() > until:
            raise FmrecError(f"{what} is not ready after {START_SECONDS} s; see {logs}")
        time.sleep(0.5)


def _healthy(stack: Stack, since: Mapping[str, datetime]) -> bool:
    """Whether all of Airflow's components report that they are.

    Those that were started again have reported since then: what is reported of the ones that died
    is true for half a minute longer.
    """
    try:
        with urllib.request.urlopen(f"{stack.tasks}/execution/health", timeout=5):  # noqa: S310
            pass
        url = f"{stack.ui}/api/v2/monitor/health"
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            health = json.load(answer)
    except OSError:
        return False
    for name, moment in since.items():
        part = health.get(name.replace("-", "_"), {})
        beat = next((value for key, value in part.items() if key.startswith("latest_")), None)
        if part and (beat is None or datetime.fromisoformat(beat) < moment):
            return False
    return all(part.get("status") == "healthy" for part in health.values())


def _make_pool(stack: Stack) -> None:
    """Make the pool of the tasks that hold a job, unless it is there: a person may change it."""
    with airflow_api.opened(stack) as api:
        if POOL["name"] not in {each["name"] for each in api.every("pools", "pools")}:
            api.post("pools", POOL)


def _tell(root: Path, stack: Stack, console: Console) -> None:
    names = [file.stem for file in sorted((root / "dags").glob("fmrec_*.py"))]
    others = ", ".join(name.removeprefix("fmrec_") for name in names if name != "fmrec_retrain")
    console.print(
        f"\n  Airflow    {stack.ui}\n"
        f"  login      {USER}\n"
        f"  password   {stack.password}\n"
        f"  DAG        {stack.ui}/dags/fmrec_retrain   (press Trigger)\n"
        f"  others     {others}; see docs/dags.md\n"
        f"  local AWS  {stack.aws}\n"
        "  Airflow's command line   .venv/bin/python -m fmrec airflow ...\n\n"
        "  A DAG is paused until you unpause or trigger it: until then neither its schedule nor\n"
        "  a new champion starts it. make up starts again what has died, make down stops it all.\n",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
