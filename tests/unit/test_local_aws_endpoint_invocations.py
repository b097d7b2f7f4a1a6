from __future__ import annotations

import json
import select
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from fmrec.local_aws.endpoints.connections import (
    BrokenOffError,
    Connections,
    UnreachableError,
)
from fmrec.local_aws.endpoints.deployment import NotReadyError, RetiredError
from fmrec.local_aws.endpoints.invocations import Runtime


class Model(BaseHTTPRequestHandler):
    """Answers with what it was sent; the payload says what to do wrong."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.server.connections.add(self.client_address)
        payload = self.rfile.read(int(self.headers["Content-Length"]))
        if payload == b"hang":
            self.server.released.wait(30)
        if payload == b"break off":
            self.close_connection = True
            return
        self.send_response(201)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)
        self.close_connection = payload == b"last"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def model():
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        server.connections, server.released = set(), threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def connections(model):
    found = Connections(model.server_address[1])
    yield found
    found.close()


def test_a_connection_is_used_again(model, connections):
    for payload in (b"a", b"", b"b" * 1_000_000):
        answer = connections.post(payload, {}, 10)
        assert (answer.status, answer.body) == (201, payload)
    assert len(model.connections) == 1


def test_a_connection_that_the_model_has_closed_is_not(model, connections):
    assert connections.post(b"last", {}, 10).body == b"last"
    (idle,) = connections._idle
    assert select.select([idle.sock], [], [], 10)[0]  # the end of the connection has come
    assert connections.post(b"a", {}, 10).body == b"a"
    assert len(model.connections) == 2


def test_a_model_that_gives_no_answer(model, connections):
    with pytest.raises(TimeoutError):
        connections.post(b"hang", {}, 0.05)
    with pytest.raises(BrokenOffError):
        connections.post(b"break off", {}, 10)
    assert connections.post(b"a", {}, 10).body == b"a"


def test_a_port_at_which_nobody_listens():
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        port = server.server_address[1]
    with pytest.raises(UnreachableError):
        Connections(port).post(b"a", {}, 10)


class Deployed:
    """A deployment of servers that are there or not; raises `trouble` instead of choosing one."""

    capture = None

    def __init__(self, *servers: object, trouble: Exception | None = None) -> None:
        self.servers = list(servers)
        self.trouble = trouble

    def acquire(self, target, deadline):
        if self.trouble is not None:
            raise self.trouble
        for server in self.servers:
            if server.ready:
                server.under_way += 1
                return "v", server
        raise NotReadyError

    def release(self, server):
        server.under_way -= 1


def server_at(port: int) -> SimpleNamespace:
    server = SimpleNamespace(connections=Connections(port), ready=True, under_way=0)
    server.stand_down = lambda: setattr(server, "ready", False)
    return server


def invoke(deployments: list, body: bytes = b"a", **headers: str):
    """Invoke an endpoint that runs one deployment after the other."""
    left = list(deployments)
    fleet = SimpleNamespace(find=lambda *_: left.pop(0) if len(left) > 1 else left[0])
    runtime = Runtime(fleet, "123456789012", time.time, answer_seconds=0.2, start_seconds=0)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    builder = EnvironBuilder(method="POST", data=body, headers=given)
    return runtime.invoke("eu-west-1", "e", Request(builder.get_environ()))


def test_the_next_server_is_asked_when_one_is_not_there(model):
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as closed:
        gone = server_at(closed.server_address[1])
    there = server_at(model.server_address[1])
    answer = invoke([Deployed(gone, there)])
    assert (answer.status_code, answer.data) == (200, b"a")
    assert answer.headers["x-Amzn-Invoked-Production-Variant"] == "v"
    assert (gone.ready, gone.under_way, there.under_way) == (False, 0, 0)
    there.connections.close()


def test_the_next_deployment_is_asked_when_one_is_retired(model):
    there = server_at(model.server_address[1])
    answer = invoke([Deployed(trouble=RetiredError()), Deployed(there)])
    assert (answer.status_code, answer.data) == (200, b"a")
    there.connections.close()


def test_no_server_is_ready():
    answer = invoke([Deployed()])
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (503, "ServiceUnavailable")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"hang", "Your invocation timed out while waiting for a response from container primary"),
        (b"break off", "An error occurred while handling request as the model process exited."),
    ],
)
def test_a_model_without_an_answer_is_an_error_of_status_0(model, body, told):
    there = server_at(model.server_address[1])
    answer = invoke([Deployed(there)], body)
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (424, "ModelError")
    error = json.loads(answer.data)
    assert error["OriginalStatusCode"] == 0
    assert error["OriginalMessage"].startswith(told)
    assert error["Message"].startswith(
        f'Received server error (0) from primary with message "{told}'
    )
    assert error["Message"].endswith(" in account 123456789012 for more information.")
    assert there.under_way == 0
    there.connections.close()


def test_attributes_that_are_too_long():
    answer = invoke([None], X_Amzn_SageMaker_Custom_Attributes="a" * 1025)
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (400, "ValidationError")
    assert "less than or equal to 1024" in json.loads(answer.data)["Message"]
