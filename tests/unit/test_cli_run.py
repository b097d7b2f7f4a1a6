"""What `fmrec run` does around the DAG: its folder, its report, the signals it hears."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from fmrec.cli import run
from fmrec.errors import ConfigurationError, FmrecError

FILES = {"report.json": b"{}", "report.html": b"<p>", "manifest.json": b"[]"}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def published(tmp_path: Path) -> Iterator[dict[str, Any]]:
    source = tmp_path / "s3"
    source.mkdir()
    for name, data in FILES.items():
        (source / name).write_bytes(data)
    with served(source) as url:
        yield {"run": "r", "links": {name: f"{url}/{name}?Signature=x" for name in FILES}}


def test_the_report_is_copied_whole(published: dict[str, Any], tmp_path: Path) -> None:
    path = run._fetch(published, None, tmp_path)
    assert path == tmp_path / "reports" / "r" / "report.json"
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == FILES
    assert run._fetch(published, tmp_path / "reports", tmp_path) == (
        tmp_path / "reports" / "report.json"
    )


def test_a_proxy_for_other_machines_is_not_asked(
    published: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    assert run._fetch(published, None, tmp_path).is_file()


def test_a_report_that_cannot_be_copied_says_where_it_is(
    published: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "s3" / "report.html").unlink()
    with pytest.raises(
        FmrecError, match=r"succeeded, but .*\(HTTP 404\); it is at http.*/report.json$"
    ):
        run._fetch(published, None, tmp_path)
    assert not (tmp_path / "reports" / "r" / "manifest.json").exists()


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"--report-to: .*file cannot be written"):
        run._check_folder(tmp_path / "file")
    run._check_folder(tmp_path / "new" / "folder")


def test_a_killed_run_s_folder_goes_and_a_living_one_s_stays(tmp_path: Path) -> None:
    with run._workplace(tmp_path) as living:
        (tmp_path / "run-killed").mkdir()
        (tmp_path / "run-killed" / "half").touch()
        with run._workplace(tmp_path) as other:
            assert {each.name for each in tmp_path.iterdir()} == {living.name, other.name}
        assert living.is_dir()
    assert list(tmp_path.iterdir()) == []


SIGNALLED = """
import os, signal, sys, time
from fmrec.cli import run
number = int(sys.argv[1])
with run._leaving_on_signals():
    try:
        os.kill(os.getpid(), number)
        time.sleep(60)
    finally:
        for impatient in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), impatient)
        print("everything ended", flush=True)
"""


@pytest.mark.parametrize("number", [1, 2, 15])
def test_what_was_started_is_ended_however_impatient_the_user(number: int) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", SIGNALLED, str(number)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.stdout == "everything ended\n"
    assert answer.stderr.startswith("fmrec: ending what was started")
    assert answer.returncode != 0
