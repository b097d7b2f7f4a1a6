"""`up` and `down`: Airflow and the local AWS in the background, for the browser.

The four Airflow components are started one by one rather than through `airflow standalone`: a
standalone that is not interrupted in just the right way leaves its children running, and it
serves logs on all interfaces. docs/decisions/0002-components-not-standalone.md has the details.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from fmrec.cli import environment, processes, sources
from fmrec.errors import FmrecError

HOST = "127.0.0.1"
FILE = "stack.json"
USER = "admin"
START_SECONDS = 180
_COMPONENTS = {
    "api-server": ["api-server", "--host", HOST],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}


@dataclass(frozen=True)
class Started:
    """A process that `up` started: enough to know it again."""

    name: str
    pid: int
    created: float

    def alive(self) -> bool:
        """Whether this very process, or another one of its session, still runs."""
        return processes.alive(self.pid, self.created)


@dataclass(frozen=True)
class Stack:
    """What `up` started, as up/stack.json in the state folder has it."""

    ui: str
    aws: str
    password: str
    # The components check each other's tokens with it.
    key: str
    source: str
    started: list[Started]

    @classmethod
    def load(cls, file: Path) -> Stack | None:
        """The stack that was started, or None."""
        if not file.is_file():
            return None
        content = json.loads(file.read_text())
        return cls(**content | {"started": [Started(**each) for each in content["started"]]})

    def save(self, file: Path) -> None:
        """Write it whole: `down` must find every process that was started."""
        partial = file.with_suffix(".part")
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(asdict(self), indent=2))
        partial.replace(file)


def up() -> None:
    """Start everything that is not running, wait until it is healthy, say where to look.

    Raises FmrecError when a component does not come up; what was started stays for `down`.
    """
    root = environment.checkout()
    folder = _folder(root)
    console = Console()
    with _alone(folder):
        there = Stack.load(folder / FILE)
        if there is None or not any(each.alive() for each in there.started):
            there = _start(root, folder, console)
        dead = [each.name for each in there.started if not each.alive()]
    if dead:
        raise FmrecError(f"{', '.join(dead)} died; run `make down`, then `make up` again")
    _tell(there, console)


def _start(root: Path, folder: Path, console: Console) -> Stack:
    """Start every process; each is in the file before the next one is begun."""
    environment.isolate()
    base = os.environ | environment.airflow(root, folder / "airflow")
    source = base.get("FMREC_SOURCE") or sources.best(base | environment.local_aws(""), console)
    # Looked for last: a port that is free now may soon not be.
    ui_port, aws_port = _free_port("FMREC_UI_PORT", 8080), _free_port("FMREC_AWS_PORT", 5566)
    stack = Stack(
        ui=f"http://{HOST}:{ui_port}",
        aws=f"http://{HOST}:{aws_port}",
        password=_password(folder),
        key=secrets.token_hex(32),
        source=source,
        started=[],
    )
    environ = _environ(root, folder, stack)
    logs = folder / "logs"

    def begin(name: str, command: list[str]) -> None:
        (logs / f"{name}.log").unlink(missing_ok=True)
        process = processes.start(command, environ, logs / f"{name}.log")
        stack.started.append(Started(name, process.pid, processes.started_at(process.pid)))
        stack.save(folder / FILE)

    with console.status("starting the local AWS"):
        port = str(aws_port)
        begin("local-aws", ["fmrec.local_aws", "--port", port, "--state", str(folder / "aws")])
        # Its own word, for whatever answers on the port may be a stranger.
        said = logs / "local-aws.log"
        _wait("local-aws", lambda: f"ready on {stack.aws}," in said.read_text(), stack, logs)
        environment.make_bucket(environ)
    with console.status("making Airflow's database"):
        log = logs / "migrate.log"
        with processes.tied(["airflow", "db", "migrate"], environ, log) as migration:
            if migration.wait() != 0:
                raise FmrecError(f"Airflow could not make its database; see {log}")
    with console.status("starting Airflow (about half a minute)"):
        for name, arguments in _COMPONENTS.items():
            begin(name, ["airflow", *arguments])
        _wait("Airflow", lambda: _healthy(stack.ui), stack, logs)
    return stack


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
            if each.alive():
                processes.ask(each.pid)
        for each in reversed(stack.started):
            with console.status(f"stopping {each.name}"):
                try:
                    if each.alive():
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


def local_aws_address() -> str | None:
    """Where the local AWS that `up` started answers, or None when it does not run."""
    stack = found()
    if stack is None or not any(
        each.name == "local-aws" and each.alive() for each in stack.started
    ):
        return None
    return stack.aws


def airflow(arguments: Sequence[str]) -> int:
    """Run Airflow's own command line on the Airflow that `up` started; gives its exit code.

    Raises FmrecError when nothing is up.
    """
    root = environment.checkout()
    folder = _folder(root)
    stack = Stack.load(folder / FILE)
    if stack is None:
        raise FmrecError("Airflow is not up: start it with `make up`")
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
        "AIRFLOW__API__PORT": stack.ui.rpartition(":")[2],
        "AIRFLOW__API__BASE_URL": stack.ui,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": stack.key,
        "AIRFLOW__API_AUTH__JWT_SECRET": stack.key,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{stack.ui}/execution/",
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


def _free_port(variable: str, preferred: int) -> int:
    """The port that `variable` names, else `preferred` or the next one that is free."""
    named = os.environ.get(variable)
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
    raise FmrecError(f"port {first} is taken; set {variable} to a free one")


def _wait(what: str, ready: Callable[[], bool], stack: Stack, logs: Path) -> None:
    """Until `ready()` holds; an error as soon as a process has died, or time is over."""
    until = time.monotonic() + START_SECONDS
    while True:
        dead = [each.name for each in stack.started if not each.alive()]
        if dead:
            raise FmrecError(f"{dead[0]} ended at once; see {logs / dead[0]}.log, then `make down`")
        if ready():
            return
        if time.monotonic() > until:
            raise FmrecError(f"{what} is not ready after {START_SECONDS} s; see {logs}")
        time.sleep(0.5)


def _healthy(ui: str) -> bool:
    """Whether all of Airflow's components report that they are."""
    try:
        with urllib.request.urlopen(f"{ui}/api/v2/monitor/health", timeout=5) as answer:  # noqa: S310
            health = json.load(answer)
    except OSError:
        return False
    return all(part.get("status") == "healthy" for part in health.values())


def _tell(stack: Stack, console: Console) -> None:
    console.print(
        f"\n  Airflow    {stack.ui}\n"
        f"  login      {USER}\n"
        f"  password   {stack.password}\n"
        f"  DAG        {stack.ui}/dags/fmrec_retrain   (press Trigger)\n"
        f"  local AWS  {stack.aws}\n"
        "  Airflow's command line   .venv/bin/python -m fmrec airflow ...\n\n"
        "  make down stops all of it.\n",
        highlight=False,
        markup=False,
    )
