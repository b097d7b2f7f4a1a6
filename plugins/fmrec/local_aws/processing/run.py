"""Runs one processing job: download, process on every host, upload."""

from __future__ import annotations

import codecs
import time
from contextlib import ExitStack
from typing import Literal

from fmrec.local_aws.algorithms import Algorithm, resolve_for
from fmrec.local_aws.api.faults import ApiError, JobFailedError
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.jobs.hosts import Host, hosts_of
from fmrec.local_aws.jobs.run import PlainRun
from fmrec.local_aws.machine.containers import Container, environment
from fmrec.local_aws.machine.runner import JobControl
from fmrec.local_aws.processing.layout import lay_out, outputs_of
from fmrec.local_aws.processing.outputs import OutputFolder

LOG_GROUP = "/aws/sagemaker/ProcessingJobs"
_LONGEST_MESSAGE = 1024  # bytes of an exit message that SageMaker keeps
_POLL_SECONDS = 0.05
_COPY_SECONDS = 1.0

End = Literal["Completed", "Stopped", "MaxRuntimeExceeded"]


class ProcessingRun(PlainRun[End]):
    """The execution of one processing job."""

    prefix = "ProcessingJob"
    ended = "ProcessingEndTime"

    def _finish(self, end: End) -> None:
        if end == "MaxRuntimeExceeded":
            self._move("Stopped", FailureReason="ClientError: MaxRuntimeInSeconds was exceeded")
        else:
            self._move(end)

    def _execute(self, control: JobControl) -> End:
        document = self._update(
            lambda document, now: document.update(ProcessingStartTime=now, LastModifiedTime=now)
        )
        self._reach("Downloading")
        algorithm = self._algorithm(document)
        count = document["ProcessingResources"]["ClusterConfig"]["InstanceCount"]
        hosts = hosts_of(count, self._folder)
        outputs = [
            OutputFolder(output["S3Output"], host, self._place.s3)
            for host in hosts
            for output in outputs_of(document)
        ]
        lay_out(self._place, self._identity, document, hosts)
        control.check_closing()
        if control.stop.is_set():
            return "Stopped"
        self._reach("Processing")
        end, code = self._process(document, algorithm, hosts, outputs, control)
        self._reach("Uploading")
        for output in outputs:
            output.finish(self._place.now())
        failed = end == "Completed" and code != 0
        try:
            message = _exit_message(hosts)
        except JobFailedError:
            if not failed:
                raise
            message = ""  # the exit code says more
        if message:
            self._update(lambda document, now: document.update(ExitMessage=message))
        if failed:
            raise JobFailedError(f"AlgorithmError: , exit code: {code}")
        return end

    def _algorithm(self, document: Document) -> Algorithm:
        image = document["AppSpecification"]["ImageUri"]
        try:
            return resolve_for("process", image, self._place.algorithms)
        except ApiError as gone:  # the server was restarted without it while the job waited
            raise JobFailedError(f"ClientError: {gone}") from None

    def _process(
        self,
        document: Document,
        algorithm: Algorithm,
        hosts: list[Host],
        outputs: list[OutputFolder],
        control: JobControl,
    ) -> tuple[End, int]:
        """Run the command on every host; return how that ended and the first bad exit code, or 0.

        Whatever the end, no process is left.
        """
        started = int(self._place.clock())
        deadline = time.monotonic() + document["StoppingCondition"]["MaxRuntimeInSeconds"]
        continuous = [output for output in outputs if output.continuous]
        with ExitStack() as running:
            containers = []
            for host in hosts:
                container = self._start(document, algorithm, host, len(hosts), started)
                running.callback(container.close)
                containers.append(container)
            copied = time.monotonic()
            end: End = "Completed"
            while end == "Completed" and not _over(containers):
                control.check_closing()
                if control.stop.is_set():
                    end = "Stopped"
                elif time.monotonic() > deadline:
                    end = "MaxRuntimeExceeded"
                    self._move("Stopping")
                elif time.monotonic() - copied > _COPY_SECONDS:
                    for output in continuous:
                        output.copy(self._place.now())
                    copied = time.monotonic()
                else:
                    _wait_for_any(containers)
            if control.stop.is_set():
                end = "Stopped"
            code = next((code for each in containers if (code := each.exit_code())), 0)
            self._end(containers, control)
        # A signal shows as 128 and its number, as Docker tells it.
        return end, code if code >= 0 else 128 - code

    def _start(
        self, document: Document, algorithm: Algorithm, host: Host, count: int, started: int
    ) -> Container:
        arguments = document["AppSpecification"].get("ContainerArguments", [])
        given = document.get("Environment", {})
        variables = environment(
            host.folder,
            max(1, self._place.threads // count),
            {
                "AWS_REGION": self._identity.region,
                **algorithm.environment,
                **{name: host.here(value) for name, value in given.items()},
            },
        )
        stream = f"{self._identity.name}/{host.name}-{started}"
        log = self._place.logs.stream(self._identity.region, LOG_GROUP, stream)

        def take(lines: list[str]) -> None:
            log.write(lines)

        command = [*algorithm.process, *map(host.here, arguments)]
        try:
            return Container(command, variables, host.folder, self._place.ledger, take)
        except (OSError, ValueError) as error:
            raise JobFailedError(f"ClientError: The command cannot be started: {error}") from None

    def _end(self, containers: list[Container], control: JobControl) -> None:
        """Ask those that still run to end and wait, as long as a container is given for that."""
        for container in containers:
            container.ask_to_end()
        kill_at = time.monotonic() + self._place.stop_grace
        while not all(_ended(containers)) and time.monotonic() < kill_at:
            control.check_closing()
            _wait_for_any(containers)


def _ended(containers: list[Container]) -> list[bool]:
    return [container.exit_code() is not None for container in containers]


def _over(containers: list[Container]) -> bool:
    """Return whether all have ended, or one has failed."""
    return all(_ended(containers)) or any(container.exit_code() for container in containers)


def _wait_for_any(containers: list[Container]) -> None:
    """Wait a moment, or less when one of those that run ends."""
    for container, ended in zip(containers, _ended(containers), strict=True):
        if not ended:
            container.wait(_POLL_SECONDS)
            return


def _exit_message(hosts: list[Host]) -> str:
    """Return the messages of all hosts on end, as much of them as SageMaker keeps.

    Raises JobFailedError for one that is not UTF-8.
    """
    messages = []
    for host in hosts:
        path = host.folder / "output/message"
        if not path.is_file():
            continue
        with path.open("rb") as file:
            written = file.read(_LONGEST_MESSAGE + 1)
        whole = len(written) <= _LONGEST_MESSAGE
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            messages.append(decoder.decode(written[:_LONGEST_MESSAGE], final=whole))
        except UnicodeDecodeError as error:
            raise JobFailedError(
                f"ClientError: The exit message in /opt/ml/output/message of {host.name} is not "
                f"UTF-8: {error}"
            ) from None
    return "".join(messages).encode()[:_LONGEST_MESSAGE].decode(errors="ignore")
