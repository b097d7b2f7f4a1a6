"""`up` starts again what has died, and that alone. Real processes stand in for the components."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import time
import urllib.error
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from fmrec.cli import processes, stack
from fmrec.cli.started import Stack
from fmrec.errors import FmrecError

# Each component has a child, as the scheduler has its workers, and ends it when it is asked to end.
AIRFLOW = """
import os, signal, subprocess, sys, time
print("called", sys.argv[1:], flush=True)
if sys.argv[1:] == ["fails"]:
    sys.exit(1)
if "--port" in sys.argv:
    print(f"ready on http://127.0.0.1:{sys.argv[2]}, state in {sys.argv[4]}", flush=True)
if sys.argv[1:] != ["db", "migrate"]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    signal.signal(signal.SIGTERM, lambda *_: (child.kill(), child.wait(), sys.exit()))
    time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a stack with two components of Airflow; its processes are ended afterwards."""
    (tmp_path / "airflow.py").write_text(AIRFLOW)
    own = stack._environ

    def environ(*arguments: Any) -> dict[str, str]:
        made = own(*arguments)
        return made | {"PYTHONPATH": f"{tmp_path}:{made['PYTHONPATH']}"}

    begun: list[subprocess.Popen[bytes]] = []
    start = processes.start

    def kept(*arguments: Any) -> subprocess.Popen[bytes]:
        begun.append(start(*arguments))
        return begun[-1]

    monkeypatch.setattr(processes, "start", kept)
    monkeypatch.setenv("FMREC_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("FMREC_SOURCE", "sample")
    monkeypatch.setattr(stack, "_environ", environ)
    names = ("api-server", "scheduler")
    monkeypatch.setattr(stack, "_AIRFLOW", {name: ["airflow", name] for name in names})
    monkeypatch.setattr(stack, "_PORTS", {})
    monkeypatch.setattr(stack, "_AWS_MODULE", "airflow")
    monkeypatch.setattr(stack.environment, "make_bucket", lambda _: None)
    monkeypatch.setattr(stack, "_healthy", lambda *_: True)
    monkeypatch.setattr(stack, "_make_pool", lambda _: None)
    yield tmp_path / "state" / "up"
    for process in begun:
        processes.kill(process.pid)
        process.wait()


def read(folder: Path) -> Stack:
    found = Stack.load(folder / "stack.json")
    assert found is not None
    return found


def pids(folder: Path) -> dict[str, int]:
    return {each.name: each.pid for each in read(folder).started}


def soon(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + 20
    while not holds() and time.monotonic() < until:
        time.sleep(0.05)
    return holds()


def killed(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    assert soon(lambda: all(each.pid != pid for each in processes.members(pid)))


def test_a_dead_component_is_started_again_and_no_other(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.up()
    before = read(folder)
    scheduler = pids(folder)["scheduler"]
    assert soon(lambda: len(processes.members(scheduler)) == 2)
    (worker,) = [each.pid for each in processes.members(scheduler) if each.pid != scheduler]
    killed(scheduler)
    assert psutil.pid_exists(worker), "its worker is left, and would go on with its task"
    capsys.readouterr()
    stack.up()
    after = read(folder)
    assert "scheduler had ended: starting it again" in capsys.readouterr().out
    assert pids(folder) == {
        **{each.name: each.pid for each in before.started},
        "scheduler": pids(folder)["scheduler"],
    }
    assert pids(folder)["scheduler"] != scheduler
    assert soon(lambda: processes.members(scheduler) == [])
    assert (after.ui, after.aws, after.key) == (before.ui, before.aws, before.key)
    assert [each.name for each in after.started] == [each.name for each in before.started]
    assert after.dead() == []
    log = (folder / "logs" / "migrate.log").read_text()
    assert log.count("called") == 1, "the database is in use"


def test_the_log_of_what_died_is_kept(folder: Path) -> None:
    stack.up()
    log = folder / "logs" / "scheduler.log"
    assert soon(lambda: "called" in log.read_text())
    log.write_text("the last words\n")
    killed(pids(folder)["scheduler"])
    stack.up()
    assert (folder / "logs" / "scheduler.ended.log").read_text() == "the last words\n"


def test_a_local_aws_comes_back_at_its_address(folder: Path) -> None:
    stack.up()
    before = read(folder)
    for name in ("local-aws", "scheduler"):
        killed(pids(folder)[name])
    stack.up()
    assert read(folder).aws == before.aws
    assert read(folder).dead() == []
    assert f"ready on {before.aws}," in (folder / "logs" / "local-aws.log").read_text()


def test_what_runs_is_left_alone(folder: Path) -> None:
    stack.up()
    before = read(folder)
    stack.up()
    assert read(folder) == before


def test_where_all_has_died_everything_is_new(folder: Path) -> None:
    stack.up()
    before = read(folder)
    for each in before.started:
        killed(each.pid)
    stack.up()
    after = read(folder)
    assert after.key != before.key
    assert after.dead() == []
    assert all(processes.members(each.pid) == [] for each in before.started)


def test_one_that_ends_at_once_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(stack._AIRFLOW, "scheduler", ["airflow", "fails"])
    monkeypatch.setattr(stack, "_healthy", lambda *_: False)
    with pytest.raises(FmrecError, match=r"scheduler ended at once; see .*scheduler\.log"):
        stack.up()


def test_down_ends_what_a_dead_scheduler_has_left(folder: Path) -> None:
    stack.up()
    before = read(folder)
    scheduler = pids(folder)["scheduler"]
    assert soon(lambda: len(processes.members(scheduler)) == 2)
    killed(scheduler)
    stack.down()
    assert all(processes.members(each.pid) == [] for each in before.started)


def test_the_pool_is_the_one_that_others_import() -> None:
    file = Path(__file__).resolve().parents[2] / "docs" / "pools.json"
    (name, pool), *others = json.loads(file.read_text()).items()
    assert others == []
    assert {"name": name, **pool} == stack.POOL


ADDRESSES = Stack("http://x", "http://y", "http://z", "p", "k", "sample", [])


def health(monkeypatch: pytest.MonkeyPatch, beat: datetime, status: str = "healthy") -> None:
    content = {
        "metadatabase": {"status": "healthy"},
        "scheduler": {"status": status, "latest_scheduler_heartbeat": beat.isoformat()},
        "dag_processor": {"status": "healthy", "latest_dag_processor_heartbeat": None},
    }
    answer = json.dumps(content).encode()
    monkeypatch.setattr(stack.urllib.request, "urlopen", lambda *_, **__: io.BytesIO(answer))


def test_what_is_said_of_the_dead_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    since = {"scheduler": now, "api-server": now}
    health(monkeypatch, now - timedelta(seconds=5))
    assert stack._healthy(ADDRESSES, {})
    assert not stack._healthy(ADDRESSES, since)
    health(monkeypatch, now + timedelta(seconds=5))
    assert stack._healthy(ADDRESSES, since)
    assert not stack._healthy(ADDRESSES, {"dag-processor": now})
    health(monkeypatch, now, "unhealthy")
    assert not stack._healthy(ADDRESSES, {})


def test_an_api_that_does_not_answer_yet_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("refused")

    monkeypatch.setattr(stack.urllib.request, "urlopen", refused)
    assert not stack._healthy(ADDRESSES, {})
