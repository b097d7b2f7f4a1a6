"""Puts the local AWS together: a state folder, one process, one loopback port."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from moto.iam.models import iam_backends
from werkzeug.serving import make_server

from fmrec.errors import ConfigurationError
from fmrec.local_aws.algorithms import Algorithms
from fmrec.local_aws.endpoints.invocations import Runtime
from fmrec.local_aws.machine.containers import ContainerLedger, end_strays
from fmrec.local_aws.machine.fault_plan import FaultPlan
from fmrec.local_aws.machine.orphan_watch import OrphanWatch
from fmrec.local_aws.machine.runner import JobRunner
from fmrec.local_aws.operations import Resources
from fmrec.local_aws.s3.durable_s3 import DurableS3
from fmrec.local_aws.s3.object_files import ObjectFiles
from fmrec.local_aws.state.database import Database
from fmrec.local_aws.state.log_groups import LogGroups
from fmrec.local_aws.state.records import Records
from fmrec.local_aws.training.metrics import TrainingMetrics
from fmrec.local_aws.wire.front import Front
from fmrec.local_aws.wire.keep_alive import KeepAliveHandler
from fmrec.local_aws.wire.loopback import LoopbackOnly
from fmrec.local_aws.wire.mishaps import Mishaps
from fmrec.local_aws.workplace import Workplace

LOG = logging.getLogger(__name__)
ACCOUNT = "123456789012"  # the account that moto gives to unknown credentials
# A role that iam:GetRole finds, so that a job can name its role without an ARN.
ROLE = "fmrec-local"
# moto's own copy of an upload lives until it is on disk; above this size it is not in memory.
_BUFFER_BYTES = 1 << 20


class LocalAws:
    """A running local AWS. There is one per process, because moto's memory belongs to the process.

    `host` and `port` are where it listens (port 0: any free one), `state` is its folder, `clock`
    gives Unix seconds, `stop_grace` is the time in seconds between SIGTERM and SIGKILL of a job
    (SageMaker's is 120), `slots` how many jobs run at once. With `allow_remote`, requests may come
    under any host name.

    Raises ConfigurationError when another server has the state folder or the port.
    """

    def __init__(
        self,
        host: str,
        port: int,
        state: Path,
        *,
        algorithms: Algorithms,
        allow_remote: bool = False,
        slots: int = 2,
        stop_grace: float = 120,
        clock: Callable[[], float] = time.time,
    ) -> None:
        state = state.resolve()
        state.mkdir(parents=True, exist_ok=True)
        self.state = state
        self._lock = _lock(state)
        os.environ.setdefault("MOTO_S3_DEFAULT_KEY_BUFFER_SIZE", str(_BUFFER_BYTES))
        self._databases = (
            Database(state / "sagemaker.sqlite3", power_safe=False),
            Database(state / "s3.sqlite3", power_safe=True),
        )
        remembered, stored = self._databases
        self._watch = OrphanWatch()
        self._place = Workplace(
            account=ACCOUNT,
            folder=state / "jobs",
            records=Records(remembered),
            s3=DurableS3(ACCOUNT, ObjectFiles(state / "s3", stored)),
            logs=LogGroups(ACCOUNT, remembered, clock),
            ledger=ContainerLedger(remembered, self._watch),
            runner=JobRunner(slots),
            algorithms=algorithms,
            faults=FaultPlan(state / "faults.json"),
            clock=clock,
            stop_grace=stop_grace,
            threads=max(1, (os.cpu_count() or 1) // slots),
        )
        self._resources = Resources(self._place)
        runtime = Runtime(self._resources.fleet, ACCOUNT, clock)
        front = Front(self._resources.table(), self._place.s3, runtime)
        with _listen(host, port) as listening:
            self._server = make_server(
                host,
                port,
                LoopbackOnly(Mishaps(front, self._place.faults), any_host=allow_remote),
                threaded=True,
                request_handler=KeepAliveHandler,
                fd=listening.fileno(),
            )
        self._restore()
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="local-aws"
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """The address for `endpoint_url`."""
        host = self._server.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._server.port}"

    def close(self) -> None:
        """Stop answering, end the jobs' processes, release the state folder."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        KeepAliveHandler.connections.take_no_more()
        self._place.runner.close()
        self._resources.fleet.close()
        self._watch.close()
        for database in self._databases:
            database.close()
        self._lock.close()

    def _restore(self) -> None:
        ended = [*self._place.ledger.end_left_over(), *end_strays(self._place.folder)]
        if ended:
            LOG.warning("ended process groups that a killed server left behind: %s", ended)
        self._place.s3.restore()
        self._place.logs.restore()
        TrainingMetrics(ACCOUNT, self._place.records, self._place.logs).show()
        _create_role()
        self._resources.recover()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --port."
        ) from None


def _lock(state: Path) -> IO[str]:
    """Take the state folder for this process; the lock goes with the process."""
    path = state / "lock"
    handle = path.open("a+", encoding="ascii")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.seek(0)
        owner = handle.read().strip() or "unknown"
        handle.close()
        raise ConfigurationError(
            f"Another local AWS (process {owner}) uses the state folder {state}. "
            "Stop it, or choose another folder with --state."
        ) from None
    handle.truncate(0)
    handle.write(f"{os.getpid()}\n")
    handle.flush()
    return handle


def _create_role() -> None:
    backend: Any = iam_backends[ACCOUNT]["aws"]
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "sagemaker.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    backend.create_role(
        role_name=ROLE,
        assume_role_policy_document=json.dumps(trust),
        path="/",
        permissions_boundary=None,
        description="Jobs of the local AWS",
        tags=[],
        max_session_duration="3600",
    )
