"""`up` and `down`: Airflow and the local AWS in the background, for the browser.

The four Airflow components are started one by one rather than through `airflow standalone`: a
standalone that is not interrupted in just the right way leaves its children running, and it
serves logs on all interfaces. docs/decisions/0002-components-not-standalone.md has the details.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from rich.console import Console

from fmrec.cli import environment, processes, sources
from fmrec.errors import FmrecError
from fmrec.settings import Deployment

HOST = "127.0.0.1"
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
        living = processes.members(self.pid)
        leader = [process for process in living if process.pid == self.pid]
        return bool(living) and all(process.create_time() == self.created for process in leader)


@dataclass(frozen=True)
class Stack:
    """What `up` started, as up/stack.json in the state folder has it."""

    ui: str
    aws: str
    password: str
    # The components check each other's tokens with it.
    key: str
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
    folder = environment.state_folder(root) / "up"
    file = folder / "stack.json"
    console = Console()
    there = Stack.load(file)
    if there is not None and any(each.alive() for each in there.started):
        down_ones = [each.name for each in there.started if not each.alive()]
        if down_ones:
            raise FmrecError(f"{', '.join(down_ones)} died; run `make down`, then `make up` again")
        _tell(there, console)
        return
    folder.mkdir(parents=True, exist_ok=True)
    ui_port, aws_port = _free_port("FMREC_UI_PORT", 8080), _free_port("FMREC_AWS_PORT", 5566)
    stack = Stack(
        f"http://{HOST}:{ui_port}",
        f"http://{HOST}:{aws_port}",
        _password(folder),
        secrets.token_hex(32),
        [],
    )
    environ = _environ(root, folder, stack)
    if not environ.get("FMREC_SOURCE"):
        environ["FMREC_SOURCE"] = sources.best(environ, console)
    logs = folder / "logs"

    def begin(name: str, command: list[str]) -> None:
        process = processes.start([sys.executable, "-m", *command], environ, logs / f"{name}.log")
        created = psutil.Process(process.pid).create_time()
        stack.started.append(Started(name, process.pid, created))
        stack.save(file)

    with console.status("starting the local AWS"):
        port = str(aws_port)
        begin("local-aws", ["fmrec.local_aws", "--port", port, "--state", str(folder / "aws")])
        _wait("local-aws", lambda: _answers(stack.aws), stack, logs)
        _make_bucket(environ)
    with console.status("making Airflow's database"):
        command = [sys.executable, "-m", "airflow", "db", "migrate"]
        if processes.start(command, environ, logs / "migrate.log").wait() != 0:
            raise FmrecError(f"Airflow could not make its database; see {logs / 'migrate.log'}")
    with console.status("starting Airflow (about half a minute)"):
        for name, arguments in _COMPONENTS.items():
            begin(name, ["airflow", *arguments])
        _wait("Airflow", lambda: _healthy(stack.ui), stack, logs)
    _tell(stack, console)


def down() -> None:
    """Stop every process that `up` started. Raises FmrecError when one does not end."""
    folder = environment.state_folder(environment.checkout()) / "up"
    file = folder / "stack.json"
    stack = Stack.load(file)
    console = Console()
    if stack is None:
        console.print("Nothing is running.")
        return
    # The local AWS was started first and is ended last: tasks still talk to it.
    for each in reversed(stack.started):
        with console.status(f"stopping {each.name}"):
            if each.alive():
                processes.end(each.pid)
    file.unlink()
    console.print(f"Airflow and the local AWS are stopped; their data stays in {folder}.")


def airflow(arguments: Sequence[str]) -> int:
    """Run Airflow's own command line on the Airflow that `up` started; gives its exit code.

    Raises FmrecError when nothing is up.
    """
    root = environment.checkout()
    folder = environment.state_folder(root) / "up"
    stack = Stack.load(folder / "stack.json")
    if stack is None:
        raise FmrecError("Airflow is not up: start it with `make up`")
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
        **environment.without_aws(os.environ),
        **environment.local_aws(stack.aws),
        **environment.airflow(root, home),
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


def _make_bucket(environ: Mapping[str, str]) -> None:
    client, bucket = environment.s3_client(environ), Deployment.of(environ).bucket
    if bucket not in {each["Name"] for each in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=bucket)


def _wait(what: str, ready: Callable[[], bool], stack: Stack, logs: Path) -> None:
    """Until `ready()` holds; an error as soon as a process has died, or time is over."""
    until = time.monotonic() + START_SECONDS
    while not ready():
        dead = [each.name for each in stack.started if not each.alive()]
        if dead:
            raise FmrecError(f"{dead[0]} ended at once; see {logs / dead[0]}.log, then `make down`")
        if time.monotonic() > until:
            raise FmrecError(f"{what} is not ready after {START_SECONDS} s; see {logs}")
        time.sleep(0.5)


def _answers(url: str) -> bool:
    """Whether anything speaks HTTP there."""
    try:
        urllib.request.urlopen(url, timeout=5).close()  # noqa: S310
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


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
