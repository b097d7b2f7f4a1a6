"""Who is told what, over a real socket."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from fmrec.operators import notices


class Hook(HTTPServer):
    """A webhook that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.status = 204
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        self.server.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    server = Hook()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("FMREC_NOTIFY_URL", f"http://127.0.0.1:{server.server_port}/secret")
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_failed_run_is_told(hook: Hook) -> None:
    dag = SimpleNamespace(dag_id="fmrec_retrain")
    notices.failed({"dag": dag, "run_id": "manual__1", "reason": "task_failure"})
    assert hook.told == [
        {
            "event": "failed",
            "text": "Run manual__1 of fmrec_retrain has failed (task_failure).",
            "dag_id": "fmrec_retrain",
            "run_id": "manual__1",
        }
    ]


def test_a_late_run_is_told(hook: Hook) -> None:
    run = {"dag_id": "fmrec_retrain", "dag_run_id": "manual__1", "state": "running"}
    asyncio.run(notices.late({"dag_run": run}))
    assert hook.told[0]["event"] == "late"
    assert hook.told[0]["text"] == "Run manual__1 of fmrec_retrain takes 3 hours more than usual."


def test_a_webhook_that_refuses_costs_nothing_and_is_not_named(
    hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    hook.status = 500
    with caplog.at_level(logging.WARNING):
        notices.send("champion", "A new champion.", {})
    assert "A new champion." in caplog.text
    assert "FMREC_NOTIFY_URL was not told" in caplog.text
    assert "secret" not in caplog.text


def test_without_a_webhook_the_log_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        notices.send("champion", "A new champion.", {})
    assert caplog.messages == ["A new champion."]
