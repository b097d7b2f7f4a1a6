from __future__ import annotations

import base64
import os
import signal
import sqlite3
import sys
import threading
from types import SimpleNamespace

import pytest
from endpoint_hosting import UNHEALTHY, Hosting, Traffic, captured, running, variant, wait_for

from fmrec.local_aws.endpoints.server import ModelServer, ServerPlan
from fmrec.local_aws.machine.containers import ContainerLedger
from fmrec.local_aws.machine.orphan_watch import OrphanWatch
from fmrec.local_aws.state.database import Database

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def hosting(server):
    return Hosting(server)


def test_a_server_that_is_killed_comes_back(hosting):
    endpoint = hosting.deploy(hosting.config(variant(hosting.model(SAY="alive"))))
    (pid,) = hosting.pids(endpoint)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not running(pid))
    # Those who ask while there is no server wait for the next one.
    word, another = hosting.ask(endpoint).split()
    assert word == "alive"
    assert int(another) != pid
    assert hosting.settled(endpoint)["EndpointStatus"] == "InService"
    hosting.delete(endpoint)


def test_one_of_two_servers_is_killed(hosting):
    endpoint = hosting.deploy(hosting.config(variant(hosting.model(SAY="alive"), servers=2)))
    victim = min(hosting.pids(endpoint))
    with Traffic(hosting, endpoint, threads=2) as traffic:
        wait_for(lambda: traffic.told["alive"] > 20)
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: len(hosting.pids(endpoint) - {victim}) == 2)
        before = traffic.told["alive"]
        wait_for(lambda: traffic.told["alive"] > before + 20)
    # Only what the killed process was working on is lost.
    assert len(traffic.errors) <= 2
    for error in traffic.errors:
        assert error.response["Error"]["Code"] == "ModelError"
    hosting.delete(endpoint)


def test_a_process_that_is_not_healthy_in_time(tmp_path):
    database = Database(tmp_path / "sagemaker.sqlite3", power_safe=False)
    watch = OrphanWatch()
    plan = ServerPlan(
        variant="AllTraffic",
        command=(sys.executable, "-c", "import time; time.sleep(600)"),
        variables={},
        archive=None,
        address="",
        folder=tmp_path / "AllTraffic",
        start_seconds=0.3,
    )
    place = SimpleNamespace(ledger=ContainerLedger(database, watch), threads=1)
    turn = threading.Condition()
    server = ModelServer(place, plan, 0, SimpleNamespace(write=lambda lines: None), turn)
    with turn:
        server.start()
        assert turn.wait_for(lambda: server.failure, timeout=30) == UNHEALTHY
        assert not server.ready
    server.close()
    assert database.rows("SELECT * FROM containers") == []
    watch.close()
    database.close()


def test_a_killed_local_aws_brings_its_endpoints_back(tmp_path, start):
    capture = {
        "InitialSamplingPercentage": 100,
        "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
    }
    with start(tmp_path) as server:
        before = Hosting(server)
        capture["DestinationS3Uri"] = f"s3://{before.bucket}/capture"
        serving = before.deploy(
            before.config(variant(before.model(SAY="old"), servers=2), DataCaptureConfig=capture)
        )
        updating = before.deploy(before.config(variant(before.model(SAY="old"))))
        deleting = before.deploy(before.config(variant(before.model(SAY="old"))))
        stuck = before.config(variant(before.model(PING="500")))
        creating = before.create(stuck)
        before.sagemaker.update_endpoint(EndpointName=updating, EndpointConfigName=stuck)
        wait_for(lambda: before.pids(creating) and len(before.pids(updating)) == 2)
        pids = set().union(*(before.pids(name) for name in (serving, updating, creating)))
        before.s3.delete_object(Bucket=before.bucket, Key="model.tar.gz")
        server.kill()
        wait_for(lambda: not any(running(pid) for pid in pids))
    # As if it had been killed in the midst of a deletion, which takes no time.
    with sqlite3.connect(tmp_path / "sagemaker.sqlite3") as database:
        database.execute(
            "UPDATE resources SET status = 'Deleting', "
            "document = json_set(document, '$.EndpointStatus', 'Deleting') "
            "WHERE kind = 'endpoint' AND name = ?",
            (deleting,),
        )
    database.close()

    with start(tmp_path) as server:
        after = Hosting(server, before.bucket)
        described = after.sagemaker.describe_endpoint(EndpointName=serving)
        assert described["EndpointStatus"] == "InService"
        # The model's data have been deleted meanwhile: what was deployed is what is there.
        assert after.said(serving) == after.said(updating) == "old"
        wait_for(lambda: len(after.pids(serving)) == 2)
        after.sagemaker.get_waiter("endpoint_deleted").wait(
            EndpointName=deleting, WaiterConfig={"Delay": 0.1, "MaxAttempts": 100}
        )
        assert not (tmp_path / "jobs/endpoint/us-east-1" / deleting).exists()
        # Both are taken up again, and find the artifact of the new model gone.
        assert after.settled(creating)["FailureReason"].startswith("Failed to download model data")
        described = after.settled(updating)
        assert described["EndpointStatus"] == "InService"
        assert described["FailureReason"].startswith("Failed to download model data")
        assert after.said(updating) == "old"
        # What is captured is written when the server ends, and not only after a while.
        after.ask(serving, b"last words")
        pids = after.pids(serving) | after.pids(updating)
        assert len(pids) == 3
        assert server.terminate() == 0
        assert not any(running(pid) for pid in pids)
    with start(tmp_path) as server:
        again = Hosting(server, before.bucket)
        inputs = [
            base64.b64decode(event["captureData"]["endpointInput"]["data"])
            for _, event in captured(again, f"capture/{serving}/")
        ]
        assert inputs == [b"a", b"last words"]
