"""The processes of a training job, one for each host, as one thing that runs and ends."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from fmrec.local_aws.algorithms import Metric, MetricReader, resolve_for
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.jobs.hosts import Host
from fmrec.local_aws.machine.containers import Container, Lines, environment, free_port
from fmrec.local_aws.state.records import Identity
from fmrec.local_aws.workplace import Workplace

LOG_GROUP = "/aws/sagemaker/TrainingJobs"


class TrainingHosts:
    """The started processes. Their logs go to a stream each, their metrics into one list."""

    def __init__(
        self, place: Workplace, identity: Identity, document: Document, hosts: list[Host]
    ) -> None:
        specification = document["AlgorithmSpecification"]
        algorithm = resolve_for("train", specification["TrainingImage"], place.algorithms)
        definitions = specification.get("MetricDefinitions", [])
        self._reader = MetricReader([Metric(item["Name"], item["Regex"]) for item in definitions])
        self._reading = threading.Lock()
        self._hosts = hosts
        self._containers: list[Container] = []
        started = int(place.clock())
        variables = {
            "TRAINING_JOB_NAME": identity.name,
            "TRAINING_JOB_ARN": str(identity),
            "AWS_REGION": identity.region,
            **algorithm.environment,
            **({"FMREC_HOSTS_PORT": str(free_port())} if len(hosts) > 1 else {}),
            **document.get("Environment", {}),
        }
        arguments = specification.get("ContainerArguments", [])
        try:
            for host in hosts:
                stream = f"{identity.name}/{host.name}-{started}"
                self._containers.append(
                    Container(
                        [*algorithm.train, *map(host.here, arguments)],
                        environment(
                            host.folder,
                            place.threads,
                            {name: host.here(value) for name, value in variables.items()},
                        ),
                        host.folder,
                        place.ledger,
                        self._taking(place, identity.region, stream),
                    )
                )
        except BaseException:
            self.close()
            raise

    def wait(self, seconds: float) -> bool:
        """Wait at most so long; return whether the job has ended: all hosts, or one in failure."""
        end = time.monotonic() + seconds
        for container in self._containers:
            container.wait(max(0.0, end - time.monotonic()))
        codes = [container.exit_code() for container in self._containers]
        return None not in codes or any(code for code in codes)

    def ask_to_end(self) -> None:
        """Send SIGTERM to every host's process."""
        for container in self._containers:
            container.ask_to_end()

    def wait_for_all(self, seconds: float) -> bool:
        """Wait at most so long; return whether every host has ended."""
        end = time.monotonic() + seconds
        left = [max(0.0, end - time.monotonic()) for _ in self._containers]
        codes = [item.wait(most) for item, most in zip(self._containers, left, strict=True)]
        return None not in codes

    def failed(self) -> tuple[Path, int] | None:
        """Return the folder and the exit code of the first host that ended in failure."""
        for host, container in zip(self._hosts, self._containers, strict=True):
            code = container.exit_code()
            if code:
                return host.folder, code
        return None

    def kill(self) -> None:
        """Kill every host's processes, as a crash would."""
        for container in self._containers:
            container.kill()

    def close(self) -> None:
        """Kill what still runs and take in the last output."""
        self.kill()
        for container in self._containers:
            container.close()

    def metrics(self) -> list[Document]:
        """Return the FinalMetricDataList so far."""
        with self._reading:
            return self._reader.final()

    def _taking(self, place: Workplace, region: str, stream: str) -> Lines:
        log = place.logs.stream(region, LOG_GROUP, stream)

        def take(lines: list[str]) -> None:
            seconds = log.write(lines) / 1000
            with self._reading:
                for line in lines:
                    self._reader.read(line, seconds)

        return take
