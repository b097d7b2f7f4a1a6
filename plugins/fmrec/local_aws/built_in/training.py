"""The frame of a training job: configuration in, log and ``output/failure`` out."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fmrec.errors import ConfigurationError
from fmrec.fm import failure
from fmrec.fm.channels import read_config
from fmrec.fm.joblog import JobLog
from fmrec.local_aws.built_in.hyperparameters import WITHOUT_EFFECT, KMeans, Knn

# What the containers call themselves in their #metrics lines.
LOG_NAMES: Mapping[str, str] = {"knn": "AWS/KNN", "kmeans": "AWS/KMeansWebscale"}

Configuration = TypeVar("Configuration", Knn, KMeans)


@dataclass(frozen=True)
class Job:
    """What an algorithm's ``fit`` is given. When ``stop`` is set it ends soon, with what it has."""

    ml_root: Path
    log: JobLog
    stop: threading.Event
    started: float

    def configuration(
        self,
        parse: Callable[[Mapping[str, object]], Configuration],
        defaults: Mapping[str, str],
    ) -> Configuration:
        """Return the checked hyperparameters; the log has all that went in and came out."""
        provided = read_config(self.ml_root, "hyperparameters")
        self.log.info(f"Reading default configuration from {parse.__module__}: {dict(defaults)}")
        path = self.ml_root / "input" / "config" / "hyperparameters.json"
        self.log.info(f"Merging with provided configuration from {path}: {provided}")
        hp = parse(provided)
        self.log.info(f"Final configuration: {dict(hp.configuration)}")
        ignored = [name for name in WITHOUT_EFFECT if name in provided]
        if ignored:
            self.log.warning(f"Accepted but without effect here: {', '.join(ignored)}")
        return hp

    def save(self, name: str, content: bytes) -> None:
        """Write ``model/<name>``, whole or not at all."""
        folder = self.ml_root / "model"
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f".{name}.part"
        unfinished.write_bytes(content)
        unfinished.replace(folder / name)


def run(
    algorithm: str,
    fit: Callable[[Job], None],
    ml_root: Path,
    clock: Callable[[], float],
    stop: threading.Event,
) -> int:
    """Run a training job in ``ml_root`` and return its exit code.

    A failure is explained on the log and in ``output/failure``, as the built-ins do:
    ``AlgorithmError: `` and what is wrong with the request or the data, or what went wrong here.
    """
    log = JobLog(sys.stdout, clock, algorithm=LOG_NAMES[algorithm])
    try:
        log.line("Docker entrypoint called with argument(s): train")
        log.line("Running default environment configuration script")
        resources = read_config(ml_root, "resourceconfig")
        log.host = resources.get("current_host", log.host)
        hosts = resources.get("hosts", [log.host])
        if len(hosts) > 1:
            raise ConfigurationError(
                f"{algorithm} trains here on one instance, but the job has {len(hosts)}: set "
                "InstanceCount to 1"
            )
        fit(Job(ml_root, log, stop, clock()))
    except Exception as error:  # noqa: BLE001 - whatever it is, the job must say so
        advice = None
        if isinstance(error, MemoryError):
            advice = (
                f"out of memory ({error}): lower mini_batch_size or sample_size, or use "
                "dimension reduction"
            )
        failure.report(error, ml_root, log, advice)
        return 1
    return 0
