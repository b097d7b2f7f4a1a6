"""A model's serving container and the calls to it."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fmrec.errors import FmrecError
from fmrec.local_aws.api.faults import JobFailedError
from fmrec.local_aws.machine.containers import (
    Container,
    ContainerLedger,
    Lines,
    environment,
    free_port,
)
from fmrec.local_aws.machine.runner import JobControl

# How long SageMaker gives a container to answer its first ping with 200.
_START_SECONDS = 480
_POLL_SECONDS = 0.05
_PING_TIMEOUT_SECONDS = 2


class InvocationError(FmrecError):
    """A container did not answer a payload with 200. `status` is None when it did not answer."""

    def __init__(self, status: int | None, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Invoker:
    """Calls POST /invocations of a container; `timeout` in seconds."""

    port: int
    content_type: str | None
    accept: str | None
    timeout: float
    retries: int

    def __call__(self, payload: bytes | Iterable[bytes]) -> bytes:
        """Return the answer to one payload; raise InvocationError when the retries are used up."""
        for attempt in range(self.retries + 1):
            try:
                return self._once(payload)
            except InvocationError as error:
                client_fault = error.status is not None and error.status < 500
                if client_fault or attempt == self.retries:
                    raise
        raise AssertionError  # the loop returns or raises

    def _once(self, payload: bytes | Iterable[bytes]) -> bytes:
        headers = {"Content-Type": self.content_type, "Accept": self.accept}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
        try:
            connection.request(
                "POST",
                "/invocations",
                payload,
                {name: value for name, value in headers.items() if value is not None},
            )
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise InvocationError(
                None, f"Unable to get response from algorithm ({error})"
            ) from None
        finally:
            connection.close()
        if response.status != 200:
            raise InvocationError(response.status, body.decode("utf-8", "replace"))
        return body


class ServingContainer:
    """A container that runs `serve` on a free loopback port."""

    def __init__(
        self,
        command: tuple[str, ...],
        folder: Path,
        threads: int,
        given: Mapping[str, str],
        ledger: ContainerLedger,
        lines: Lines,
    ) -> None:
        self.port = free_port()
        variables = environment(
            folder, threads, {**given, "SAGEMAKER_BIND_TO_PORT": str(self.port)}
        )
        self._container = Container(command, variables, folder, ledger, lines)

    def wait_until_healthy(self, control: JobControl, within: float = _START_SECONDS) -> bool:
        """Wait for the first ping that succeeds; return False when the job is stopped meanwhile.

        Raises JobFailedError when the container ends or is not healthy `within` so many seconds.
        """
        deadline = time.monotonic() + within
        while not self.answers_ping():
            control.check_closing()
            if control.stop.is_set():
                return False
            self.check_running()
            if time.monotonic() > deadline:
                raise JobFailedError("AlgorithmError: The container did not answer /ping in time")
            time.sleep(_POLL_SECONDS)
        return True

    def exit_code(self) -> int | None:
        """Return the container's exit code, negative for a signal, or None while it runs."""
        return self._container.exit_code()

    def check_running(self, within: float = 0.0) -> None:
        """Raise JobFailedError when the container has ended, or ends `within` so many seconds."""
        code = self._container.wait(within)
        if code is not None:
            raise JobFailedError(
                f"AlgorithmError: The serving container ended with exit code {code}"
            )

    def answers_ping(self) -> bool:
        """Return whether the container answers /ping with 200, within two seconds."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=_PING_TIMEOUT_SECONDS
        )
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def close(self) -> None:
        """End the container and everything it started."""
        self._container.close()
