"""One instance of an endpoint: a model server's process, started again whenever it ends."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fmrec.local_aws.api.faults import JobFailedError
from fmrec.local_aws.endpoints.connections import Connections
from fmrec.local_aws.jobs.model_archive import unpack
from fmrec.local_aws.machine.inference import ServingContainer
from fmrec.local_aws.machine.runner import JobControl
from fmrec.local_aws.state.log_groups import LogWriter
from fmrec.local_aws.workplace import Workplace

LOG = logging.getLogger(__name__)
LOG_GROUP = "/aws/sagemaker/Endpoints"
# What SageMaker says when it is to blame.
SERVICE_FAILED = (
    "Request to service failed. If failure persists after retry, contact customer support."
)
_WATCH_SECONDS = 0.1
_PING_SECONDS = 5.0
_MISSED_PINGS = 3  # after which a process that runs is taken for hung
_LONGEST_PAUSE = 10.0  # seconds between attempts to start a process that never becomes healthy
_CLOSING_SECONDS = 30.0


@dataclass(frozen=True)
class ServerPlan:
    """What the servers of one variant have in common.

    `archive` is the model.tar.gz as it was when the variant was deployed, None for a model
    without data; `address` is where it came from. `start_seconds` is how long a process may take
    until its first ping succeeds.
    """

    variant: str
    command: tuple[str, ...]
    variables: Mapping[str, str]
    archive: Path | None
    address: str
    folder: Path
    start_seconds: float


class ModelServer:
    """A process of a variant, and the thread that watches it.

    `ready` and `under_way` (requests sent to it and not answered yet) belong to `turn`, the lock of
    the endpoint. `failure` says, as SageMaker does, why the last attempt to start failed.
    """

    def __init__(
        self,
        place: Workplace,
        plan: ServerPlan,
        number: int,
        log: LogWriter,
        turn: threading.Condition,
    ) -> None:
        self.ready = False
        self.under_way = 0
        self.failure: str | None = None
        self.connections = Connections(0)
        self._place = place
        self._plan = plan
        self._folder = plan.folder / str(number)
        self._log = log
        self._turn = turn
        self._control = JobControl()
        self._thread = threading.Thread(
            target=self._run, name=f"endpoint-{plan.variant}", daemon=True
        )

    def start(self) -> None:
        """Start the process, and from then on whenever it ends."""
        self._thread.start()

    def stand_down(self) -> None:
        """Send no more requests here until the process has shown that it is there."""
        with self._turn:
            self.ready = False

    def ask_to_end(self) -> None:
        """End the process soon; `close` waits for it."""
        self._control.stop.set()

    def close(self) -> None:
        """End the process; what it has on the disk stays."""
        self.ask_to_end()
        self._thread.join(_CLOSING_SECONDS)

    def remove_folder(self) -> None:
        """Remove what the process had on the disk."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self) -> None:
        pause = 0.0
        while not self._control.stop.wait(pause):
            try:
                self._unpack()
                healthy = self._serve()
            except JobFailedError as fault:
                self._fail(str(fault))
                healthy = False
            except Exception:
                LOG.exception("a server of variant %s could not be started", self._plan.variant)
                self._fail(SERVICE_FAILED)
                healthy = False
            pause = 0.0 if healthy else min(max(2 * pause, 0.1), _LONGEST_PAUSE)

    def _unpack(self) -> None:
        """Put the model into the server's folder, unless a former start did."""
        model = self._folder / "model"
        if model.exists():
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        unfinished = self._folder / "incoming"
        unfinished.mkdir(parents=True)
        if self._plan.archive is not None:
            try:
                unpack(self._plan.archive, unfinished)
            except JobFailedError:
                raise JobFailedError(
                    f'Failed to extract model data archive from URL "{self._plan.address}". Please '
                    "ensure that the object located at the URL is a valid tar.gz archive."
                ) from None
        unfinished.rename(model)

    def _serve(self) -> bool:
        """Run a process until it ends or is to end; return whether it was healthy once."""
        plan = self._plan
        container = ServingContainer(
            plan.command,
            self._folder,
            self._place.threads,
            plan.variables,
            self._place.ledger,
            self._take_lines,
        )
        try:
            if not container.wait_until_healthy(self._control, plan.start_seconds):
                return False
            with self._turn:
                self.connections = Connections(container.port)
                self.failure = None
            self._stand_by()
            self._watch(container)
        except JobFailedError:
            raise JobFailedError(
                f"The primary container for production variant {plan.variant} did not pass the "
                "ping health check. Please check CloudWatch logs for this endpoint."
            ) from None
        finally:
            self.stand_down()
            container.close()
            self.connections.close()
        return True

    def _watch(self, container: ServingContainer) -> None:
        """Return when the process has ended, is to end, or answers no ping any more."""
        missed = 0
        next_ping = time.monotonic() + _PING_SECONDS
        while not self._control.stop.wait(_WATCH_SECONDS):
            code = container.exit_code()
            if code is not None:
                LOG.warning("a server of variant %s ended: exit code %s", self._plan.variant, code)
                return
            # A server that is busy with a request may have no time for a ping.
            if self.ready and (self.under_way or time.monotonic() < next_ping):
                continue
            next_ping = time.monotonic() + _PING_SECONDS
            if container.answers_ping():
                missed = 0
                self._stand_by()
                continue
            missed += 1
            if missed == _MISSED_PINGS:
                LOG.warning("a server of variant %s answers no ping", self._plan.variant)
                return

    def _stand_by(self) -> None:
        with self._turn:
            self.ready = True
            self._turn.notify_all()

    def _fail(self, reason: str) -> None:
        with self._turn:
            self.failure = reason
            self._turn.notify_all()

    def _take_lines(self, lines: list[str]) -> None:
        self._log.write(lines)
