"""Everything that is started is ended, whoever dies first. Real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from fmrec.cli import processes
from fmrec.errors import FmrecError

# A leader that ignores a polite request, with a child of its own.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("ready", flush=True)
time.sleep(600)
"""


def soon(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + 20
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def module(tmp_path: Path) -> dict[str, str]:
    """An environment in which `python -m stubborn` works."""
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    return os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}


def test_the_whole_session_is_ended(tmp_path: Path, module: dict[str, str]) -> None:
    log = tmp_path / "log"
    process = processes.start(["stubborn"], module, log)
    assert soon(lambda: log.is_file() and "ready" in log.read_text())
    assert len(processes.members(process.pid)) == 2
    processes.end(process.pid, grace=0.3)
    assert processes.members(process.pid) == []
    assert process.wait() == -signal.SIGKILL


def test_a_process_is_known_again_by_its_start(tmp_path: Path, module: dict[str, str]) -> None:
    process = processes.start(["stubborn"], module, tmp_path / "log")
    began = processes.started_at(process.pid)
    # The kernel's boot clock may be adjusted by fractions of a second.
    assert processes.alive(process.pid, began + 0.5)
    assert not processes.alive(process.pid, began - 3600)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    processes.end(process.pid)
    assert not processes.alive(process.pid, began)


def test_a_leader_that_was_killed_leads_no_more_and_leaves_a_session(
    tmp_path: Path, module: dict[str, str]
) -> None:
    log = tmp_path / "log"
    process = processes.start(["stubborn"], module, log)
    began = processes.started_at(process.pid)
    assert soon(lambda: log.is_file() and "ready" in log.read_text())
    assert processes.leads(process.pid, began)
    assert not processes.leads(process.pid, began - 3600)
    process.kill()
    process.wait()
    assert not processes.leads(process.pid, began)
    assert processes.alive(process.pid, began)
    processes.kill(process.pid)
    assert processes.members(process.pid) == []
    assert not processes.alive(process.pid, began)


def test_a_session_is_killed_without_being_asked(tmp_path: Path) -> None:
    (tmp_path / "polite.py").write_text(POLITE)
    environ = os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    log = tmp_path / "log"
    process = processes.start(["polite"], environ, log)
    assert soon(lambda: log.is_file() and "ready" in log.read_text())
    processes.kill(process.pid)
    assert process.wait() == -signal.SIGKILL
    assert "left in order" not in log.read_text()


def test_a_number_that_was_given_away_at_the_last_start_of_the_machine() -> None:
    own = os.getsid(0)
    assert not processes.alive(own, psutil.boot_time() - 3600)


OWNER = """
import os, sys, time
from pathlib import Path
from fmrec.cli import processes
from fmrec.errors import FmrecError
with processes.tied(["stubborn"], os.environ, Path(sys.argv[1])) as process:
    print(process.pid, flush=True)
    time.sleep(600)
"""


def test_a_tied_command_dies_with_its_owner(tmp_path: Path, module: dict[str, str]) -> None:
    log = tmp_path / "log"
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(log)], env=module, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    session = int(owner.stdout.readline())
    assert soon(lambda: log.is_file() and "ready" in log.read_text())
    assert len(processes.members(session)) == 3
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert soon(lambda: processes.members(session) == [])


POLITE = """
import signal, sys, time
def leave(*_):
    time.sleep(0.5)
    print("left in order", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, leave)
print("ready", flush=True)
time.sleep(600)
"""


def test_a_request_to_end_reaches_the_tied_command(tmp_path: Path) -> None:
    (tmp_path / "polite.py").write_text(POLITE)
    environ = os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    log = tmp_path / "log"
    with processes.tied(["polite"], environ, log) as process:
        assert soon(lambda: "ready" in log.read_text())
    assert process.returncode == 3
    assert "left in order" in log.read_text()
    assert processes.members(process.pid) == []


def test_a_tied_command_s_exit_code_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "leaves.py").write_text("raise SystemExit(7)")
    environ = os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    with processes.tied(["leaves"], environ, tmp_path / "log") as process:
        assert process.wait() == 7


def test_a_local_aws_lives_as_long_as_its_block(tmp_path: Path) -> None:
    with processes.private_local_aws(tmp_path / "aws", os.environ) as aws:
        assert aws.endpoint.startswith("http://127.0.0.1:")
        aws.check()
        pids = [p.pid for p in psutil.process_iter() if str(tmp_path / "aws") in words(p)]
        assert pids
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_local_aws_that_died_is_noticed(tmp_path: Path) -> None:
    with processes.private_local_aws(tmp_path / "aws", os.environ) as aws:
        aws.process.kill()
        aws.process.wait()
        with pytest.raises(FmrecError, match="the local AWS ended"):
            aws.check()


def words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
