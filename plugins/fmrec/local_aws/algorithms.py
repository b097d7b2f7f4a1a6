"""Which command an image stands for. The one place where image repositories map to code."""

from __future__ import annotations

import logging
import math
import re
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import regex

from fmrec.fm.joblog import MEASURES
from fmrec.local_aws.api.faults import invalid
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.built_in import metrics as built_in_metrics


@dataclass(frozen=True)
class Metric:
    """A metric's name and the regular expression whose first group is its value in a log line."""

    name: str
    regex: str


Use = Literal["train", "serve", "process"]
_PURPOSES: Mapping[Use, str] = {
    "train": "training jobs",
    "serve": "models",
    "process": "processing jobs",
}


@dataclass(frozen=True)
class Algorithm:
    """The commands of an image, run with the folder of the job in FMREC_ML_ROOT.

    An image that lacks a command cannot be used for that purpose. `environment` holds the
    variables that the image sets; those of a request prevail. A `built_in` algorithm brings its own
    metrics and allows no others, as on AWS. `batch_accept` is what batch transform asks for when
    the job names no Accept.
    """

    train: tuple[str, ...] = ()
    serve: tuple[str, ...] = ()
    process: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    built_in: bool = False
    metrics: tuple[Metric, ...] = ()
    batch_accept: str | None = None


LOG = logging.getLogger(__name__)
_SEARCH_SECONDS = 1.0

Algorithms = Mapping[str, Algorithm]


def _quality(name: str, logged: str) -> list[Metric]:
    """Spell the four metrics that a built-in algorithm derives from one measure it logs."""
    host = r"#quality_metric: host=\S+, "
    value = re.escape(logged) + r"=(\S+)"
    return [
        Metric(f"train:{name}", f"{host}train {value}"),
        Metric(f"train:{name}:epoch", host + r"epoch=\S+, train " + value),
        Metric(f"train:{name}:batch", host + r"epoch=\S+, batch=\S+ train " + value),
        Metric(f"test:{name}", f"{host}test {value}"),
    ]


def _factorization_machines_metrics() -> tuple[Metric, ...]:
    return (
        Metric("train:progress", r"#progress_metric: host=\S+, completed (\S+) %"),
        Metric(
            "train:throughput",
            r"#throughput_metric: host=\S+, train throughput=(\S+) records/second",
        ),
        *(metric for name, logged in MEASURES.items() for metric in _quality(name, logged)),
    )


def _built_in(name: str, metrics: tuple[tuple[str, str], ...]) -> Algorithm:
    command = (sys.executable, "-P", "-m", "fmrec.local_aws.built_in", name)
    return Algorithm(
        train=(*command, "train"),
        serve=(*command, "serve"),
        built_in=True,
        metrics=tuple(Metric(*each) for each in metrics),
        batch_accept="application/jsonlines",
    )


IMAGES: Algorithms = MappingProxyType(
    {
        "factorization-machines": Algorithm(
            train=(sys.executable, "-P", "-m", "fmrec.fm", "train"),
            serve=(sys.executable, "-P", "-m", "fmrec.fm", "serve"),
            built_in=True,
            metrics=_factorization_machines_metrics(),
            batch_accept="application/jsonlines",
        ),
        "knn": _built_in("knn", built_in_metrics.KNN),
        "kmeans": _built_in("kmeans", built_in_metrics.KMEANS),
        "fmrec-fm": Algorithm(  # the project's own image
            train=(sys.executable, "-P", "-m", "fmrec.fm", "train"),
            serve=(sys.executable, "-P", "-m", "fmrec.fm", "serve"),
            batch_accept="application/jsonlines",
        ),
    }
)


def resolve(image: str, algorithms: Algorithms) -> Algorithm:
    """Return the algorithm of an image URI; raise ValidationException naming the known ones."""
    repository = re.sub(r"(@sha256:[0-9a-f]+|:[\w.-]+)$", "", image.rpartition("/")[2])
    if repository not in algorithms:
        raise invalid(
            f"The local AWS has no algorithm for the image {image!r}. "
            f"Known image repositories: {', '.join(sorted(algorithms))}."
        )
    return algorithms[repository]


def resolve_for(use: Use, image: str, algorithms: Algorithms) -> Algorithm:
    """Return the algorithm of an image URI that is to be used so.

    Raises ValidationException when the image is unknown or has no command for that.
    """
    algorithm = resolve(image, algorithms)
    if not getattr(algorithm, use):
        raise invalid(
            f"The image {image!r} cannot be used for {_PURPOSES[use]}: it has no command "
            f"`{use}`. Register one in the file that the local AWS is given with --images."
        )
    return algorithm


def metrics_of(algorithm: Algorithm, requested: Sequence[Document]) -> tuple[Metric, ...]:
    """Return the metrics to read from a job's log, given its MetricDefinitions."""
    if algorithm.built_in:
        if requested:
            raise invalid(
                "You can't override the metric definitions for Amazon SageMaker algorithms. "
                "Please retry the request without specifying metric definitions."
            )
        return algorithm.metrics
    metrics = tuple(Metric(item["Name"], item["Regex"]) for item in requested)
    for metric in metrics:
        _check_regex(metric)
    return metrics


class MetricReader:
    """Finds metrics in log lines and keeps the last value of each."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = {metric.name: regex.compile(metric.regex) for metric in metrics}
        self._last: dict[str, tuple[float, float]] = {}

    def values(self, line: str) -> Iterator[tuple[str, float]]:
        """Yield the metrics that stand in a line, by name."""
        for name, pattern in list(self._metrics.items()):
            try:
                # re would hold every other thread up while it tries all ways to match.
                match = pattern.search(line, timeout=_SEARCH_SECONDS, concurrent=True)
            except TimeoutError:
                LOG.warning("metric %s is read no further: its Regex takes too long", name)
                del self._metrics[name]
                continue
            if match is None:
                continue
            try:
                # SageMaker reports metrics in single precision.
                value = struct.unpack("<f", struct.pack("<f", float(match[1])))[0]
            except (ValueError, OverflowError):
                continue
            # CloudWatch takes no other metric, and JSON has no such number.
            if math.isfinite(value):
                yield name, value

    def read(self, line: str, seconds: float) -> None:
        """Take in a line that was logged at this Unix time."""
        for name, value in self.values(line):
            self._last[name] = (value, seconds)

    def final(self) -> list[Document]:
        """Return the FinalMetricDataList."""
        return [
            {"MetricName": name, "Value": value, "Timestamp": seconds}
            for name, (value, seconds) in self._last.items()
        ]


def _check_regex(metric: Metric) -> None:
    try:
        groups = regex.compile(metric.regex).groups
    except regex.error as error:
        raise invalid(f"The Regex of metric {metric.name!r} is not valid: {error}.") from None
    if groups < 1:
        raise invalid(f"The Regex of metric {metric.name!r} has no group that captures its value.")
