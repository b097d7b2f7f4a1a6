"""What an endpoint runs at one time: its variants, their servers, and which one is asked."""

from __future__ import annotations

import random
import shutil
import threading
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

from fmrec.errors import FmrecError
from fmrec.local_aws.algorithms import resolve_for
from fmrec.local_aws.api.faults import ApiError
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.endpoints.server import LOG_GROUP, ModelServer, ServerPlan
from fmrec.local_aws.machine.runner import JobControl
from fmrec.local_aws.s3.sources import parse_uri
from fmrec.local_aws.state.records import Identity
from fmrec.local_aws.workplace import Workplace

# How long SageMaker gives a container to answer its first ping with 200.
_START_SECONDS = 480
# How long SageMaker gives a model to answer a request, so how long an answer may be under way.
_LONGEST_ANSWER = 60.0
_POLL_SECONDS = 0.1


class DeploymentError(FmrecError):
    """The variants could not be brought into service; the text is the FailureReason."""


class RetiredError(FmrecError):
    """The deployment has been replaced: ask the endpoint for its present one."""


class UnknownVariantError(FmrecError):
    """The deployment has no such variant."""


class NotReadyError(FmrecError):
    """No server became ready in time."""


class _Variant:
    def __init__(self, plan: ServerPlan, weight: float) -> None:
        self.plan = plan
        self.weight = weight
        self.servers: list[ModelServer] = []

    def least_busy(self) -> ModelServer | None:
        ready = [server for server in self.servers if server.ready]
        return min(ready, key=lambda server: server.under_way) if ready else None


class Deployment:
    """The servers of all variants of an endpoint.

    `plan` is one of `endpoint_plans`; `folder` is the deployment's own. Raises DeploymentError when
    an image is not known.
    """

    def __init__(self, place: Workplace, identity: Identity, folder: Path, plan: Document) -> None:
        self.capture: Document | None = plan["Capture"]
        self._place = place
        self.identity = identity
        self._folder = folder
        self._turn = threading.Condition()
        self._retired = False
        self._variants = {
            variant["VariantName"]: _Variant(self._server_plan(variant), variant["Weight"])
            for variant in plan["Variants"]
        }
        self._counts = {variant["VariantName"]: variant["Count"] for variant in plan["Variants"]}

    def keep_archives(self) -> None:
        """Keep the model data as they are now, whatever becomes of the objects in S3.

        Raises DeploymentError when there are none.
        """
        for variant in self._variants.values():
            plan = variant.plan
            plan.folder.mkdir(parents=True)
            if plan.archive is None:
                continue
            stored = self._place.s3.find(*parse_uri(plan.address))
            try:
                if stored is None:
                    raise FileNotFoundError
                _link(stored.path, plan.archive)
            except FileNotFoundError:
                raise DeploymentError(
                    f'Failed to download model data from URL "{plan.address}". Please ensure that '
                    "there is an object located at the URL and that the role passed to CreateModel "
                    "has permissions to download the object."
                ) from None

    def start(self) -> None:
        """Start all servers, without waiting for them."""
        for variant, count in self._counts.items():
            self._add(self._variants[variant], count)

    def wait_until_ready(self, control: JobControl) -> None:
        """Wait until every server is healthy; raise DeploymentError when one is not to become so.

        Raises ServerClosingError when the local AWS ends.
        """
        self._wait_for(
            [server for variant in self._variants.values() for server in variant.servers], control
        )

    def acquire(self, target: str | None, deadline: float) -> tuple[str, ModelServer]:
        """Return a ready server and its variant's name, by weight or of the `target` variant.

        To be given back with `release`. Raises RetiredError, UnknownVariantError and, when no
        server is ready at the `deadline` (monotonic clock), NotReadyError.
        """
        if target is not None and target not in self._variants:
            raise UnknownVariantError(target)
        with self._turn:
            while True:
                if self._retired:
                    raise RetiredError
                chosen = self._choose([target] if target else list(self._variants))
                if chosen:
                    chosen[1].under_way += 1
                    return chosen
                left = deadline - time.monotonic()
                if left <= 0:
                    raise NotReadyError
                self._turn.wait(left)

    def release(self, server: ModelServer) -> None:
        """Take note that a server's answer has come, or never will."""
        with self._turn:
            server.under_way -= 1
            if not server.under_way:
                self._turn.notify_all()

    def rescale(
        self, counts: dict[str, int], weights: dict[str, float], control: JobControl
    ) -> None:
        """Have so many servers of each variant, then send it that share of the requests.

        Raises DeploymentError, having changed nothing, when a further server does not start.
        """
        added: list[tuple[_Variant, ModelServer]] = []
        for name, count in counts.items():
            variant = self._variants[name]
            more = self._add(variant, count - len(variant.servers))
            added.extend((variant, server) for server in more)
        try:
            self._wait_for([server for _, server in added], control)
        except DeploymentError:
            with self._turn:
                for variant, server in added:
                    variant.servers.remove(server)
            self._drain_and_end([server for _, server in added], control)
            raise
        surplus: list[ModelServer] = []
        with self._turn:
            for name, count in counts.items():
                servers = self._variants[name].servers
                surplus.extend(servers[count:])
                del servers[count:]
            for name, weight in weights.items():
                self._variants[name].weight = weight
        self._drain_and_end(surplus, control)

    def retire(self, control: JobControl) -> None:
        """Take no more requests, let those under way be answered, then end."""
        with self._turn:
            self._retired = True
            self._turn.notify_all()
        self._drain_and_end(self._servers(), control)
        shutil.rmtree(self._folder, ignore_errors=True)

    def ask_to_end(self) -> None:
        """End all servers soon; `close` waits for them."""
        with self._turn:
            self._retired = True
            self._turn.notify_all()
        for server in self._servers():
            server.ask_to_end()

    def close(self) -> None:
        """End all servers; what they have on the disk stays."""
        self.ask_to_end()
        for server in self._servers():
            server.close()

    def _servers(self) -> list[ModelServer]:
        return [server for variant in self._variants.values() for server in variant.servers]

    def _add(self, variant: _Variant, count: int) -> list[ModelServer]:
        """Start further servers of a variant and return them."""
        endpoint = self.identity.name
        added = []
        for _ in range(count):
            instance = f"{variant.plan.variant}/i-{uuid.uuid4().hex[:17]}"
            log = self._place.logs.stream(self.identity.region, f"{LOG_GROUP}/{endpoint}", instance)
            server = ModelServer(self._place, variant.plan, len(variant.servers), log, self._turn)
            with self._turn:
                variant.servers.append(server)
            server.start()
            added.append(server)
        return added

    def _choose(self, names: list[str]) -> tuple[str, ModelServer] | None:
        weighted = [name for name in names if self._variants[name].weight]
        found = [
            (name, server)
            for name in weighted or names
            if (server := self._variants[name].least_busy()) is not None
        ]
        if len(found) < 2:
            return found[0] if found else None
        weights = [self._variants[name].weight or 1 for name, _ in found]
        return random.choices(found, weights)[0]  # noqa: S311 - traffic, not secrets

    def _wait_for(self, servers: Iterable[ModelServer], control: JobControl) -> None:
        waiting = list(servers)
        with self._turn:
            while not all(server.ready for server in waiting):
                control.check_closing()
                for server in waiting:
                    if server.failure is not None:
                        raise DeploymentError(server.failure)
                self._turn.wait(_POLL_SECONDS)

    def _drain_and_end(self, servers: list[ModelServer], control: JobControl) -> None:
        """End servers when what they were asked is answered, or when the local AWS ends."""
        deadline = time.monotonic() + _LONGEST_ANSWER
        with self._turn:
            while any(server.under_way for server in servers) and time.monotonic() < deadline:
                if control.closing.is_set():
                    break
                self._turn.wait(_POLL_SECONDS)
        for server in servers:
            server.ask_to_end()
        for server in servers:
            server.close()
            server.remove_folder()

    def _server_plan(self, variant: Document) -> ServerPlan:
        container = variant["Container"]
        try:
            algorithm = resolve_for("serve", container["Image"], self._place.algorithms)
        except ApiError:
            raise DeploymentError(
                "Please make sure all images included in the model for the production variant "
                f"{variant['VariantName']} exist, and that the execution role used to create the "
                "model has permissions to access them."
            ) from None
        folder = self._folder / variant["VariantName"]
        address = container.get("ModelDataUrl")
        return ServerPlan(
            variant=variant["VariantName"],
            command=algorithm.serve,
            variables={
                "AWS_REGION": self.identity.region,
                **algorithm.environment,
                **container.get("Environment", {}),
            },
            archive=folder / "model.tar.gz" if address else None,
            address=address or "",
            folder=folder,
            start_seconds=variant.get("StartSeconds", _START_SECONDS),
        )


def _link(path: Path, second: Path) -> None:
    """Give a file a second name; objects are replaced, never written to, so it keeps its bytes."""
    try:
        second.hardlink_to(path)
    except FileNotFoundError:
        raise
    except OSError:  # the disk knows no such names
        shutil.copyfile(path, second)
