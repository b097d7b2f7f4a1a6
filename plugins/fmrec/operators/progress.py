"""What a job says of itself, as lines for the task log."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from fmrec.operators.refusals import code, is_of_the_moment, means_missing

log = logging.getLogger(__name__)

# So many lines of a job's log are shown at each look.
_MOST_LINES = 300
_METRIC = "#quality_metric"
_BARS = "▁▂▃▄▅▆▇█"
_WIDEST = 60


class Watch:
    """What is new about one job, told to the task's log."""

    def __init__(self, logs: Any, group: str, job: str, told: Any) -> None:
        """`logs` and `group` as for `Tail`; `told` is the log of the task."""
        self._tail = Tail(logs, group, job)
        self._job = job
        self._log = told
        self._history: list[str] = []
        self._lines: list[str] = []

    def look(self, history: list[str], *, ended: bool) -> None:
        """Tell what has happened since, and what the job has printed; at its end, all of that.

        Of many lines the last are told: a fast job may print thousands between two looks.
        """
        for place, line in enumerate(history):
            if self._history[place : place + 1] != [line]:
                self._log.info("%s: %s", self._job, line)
        self._history = history
        lines = self._tail.read(to_end=ended)
        if len(lines) > _MOST_LINES:
            left_out = len(lines) - _MOST_LINES
            self._log.info("… %d lines before these are in CloudWatch", left_out)
        for line in lines[-_MOST_LINES:]:
            self._log.info("%s", line)
        self._lines += (line for line in lines if _METRIC in line)
        if ended:
            self._show_curve()

    def _show_curve(self) -> None:
        if found := curve(self._lines):
            self._log.info("Learning curve:\n%s", "\n".join(found))


class Tail:
    """The CloudWatch log of one job, read from where the last look ended."""

    def __init__(self, logs: Any, group: str, job: str) -> None:
        """`logs` is a CloudWatch Logs client, `group` the last part of the log group's name."""
        self._logs = logs
        self._group = f"/aws/sagemaker/{group}"
        self._job = job
        self._tokens: dict[str, str | None] = {}
        self._readable = True

    def read(self, *, to_end: bool) -> list[str]:
        """The lines that are new: all of them, or as many as one answer has.

        A log that cannot be read costs one warning and nothing else.
        """
        lines: list[str] = []
        if not self._readable:
            return lines
        try:
            for stream in self._streams():
                lines += self._new(stream, to_end=to_end)
        except (ClientError, BotoCoreError) as error:
            # The group appears with the account's first job, a stream when its host starts.
            absent = isinstance(error, ClientError) and means_missing(error)
            if not absent and not is_of_the_moment(error):
                self._readable = False
                why = code(error) if isinstance(error, ClientError) else error
                log.warning(
                    "The log of %s cannot be shown here (%s); grant logs:DescribeLogStreams and "
                    "logs:GetLogEvents on %s to see it.",
                    self._job, why, self._group,
                )  # fmt: skip
        return lines

    def _streams(self) -> Iterator[str]:
        pages = self._logs.get_paginator("describe_log_streams")
        named = {"logGroupName": self._group, "logStreamNamePrefix": f"{self._job}/"}
        for page in pages.paginate(**named):
            for stream in page["logStreams"]:
                yield stream["logStreamName"]

    def _new(self, stream: str, *, to_end: bool) -> Iterator[str]:
        named = {"logGroupName": self._group, "logStreamName": stream, "startFromHead": True}
        while True:
            token = self._tokens.get(stream)
            place = {} if token is None else {"nextToken": token}
            answer = self._logs.get_log_events(**named, **place)
            self._tokens[stream] = answer["nextForwardToken"]
            for event in answer["events"]:
                yield from filter(str.strip, event["message"].splitlines())
            # The same token again says that this is the end, for now.
            if not to_end or answer["nextForwardToken"] == token:
                return


def transitions(description: Mapping[str, Any]) -> list[str]:
    """What a training job has been through, a line for each state."""
    states = description.get("SecondaryStatusTransitions", [])
    return [f"{each['Status']}: {each.get('StatusMessage', '')}" for each in states]


def trials(description: Mapping[str, Any]) -> str:
    """Where a tuning job stands: trials done and running, the best so far."""
    counts = description.get("TrainingJobStatusCounters", {})
    limits = description["HyperParameterTuningJobConfig"]["ResourceLimits"]
    failed = counts.get("NonRetryableError", 0) + counts.get("RetryableError", 0)
    words = [
        f"{counts.get('Completed', 0)} of {limits.get('MaxNumberOfTrainingJobs')} trials done",
        f"{counts.get('InProgress', 0)} running",
        *([f"{failed} failed"] if failed else []),
        *([f"{counts['Stopped']} stopped"] if counts.get("Stopped") else []),
    ]
    best = description.get("BestTrainingJob", {})
    metric = best.get("FinalHyperParameterTuningJobObjectiveMetric")
    if metric is not None:
        tuned = best.get("TunedHyperParameters", {})
        found = ", ".join(f"{name}={value}" for name, value in sorted(tuned.items()))
        words.append(f"best {metric['MetricName']} {metric['Value']:.5g} with {found}")
    return ", ".join(words)


def curve(lines: Iterable[str]) -> list[str]:
    """The learning curve in a training job's log lines: a line for each metric; often none."""
    from fmrec.evaluation import learning_curve
    from fmrec.evaluation.wording import METRICS

    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    final: dict[tuple[str, str], float] = {}
    for point in learning_curve.parse(lines):
        name = (point.channel, point.metric)
        if point.epoch is None:
            final[name] = point.value
        else:
            found.setdefault(name, []).append((point.epoch, point.value))
    told = []
    for (channel, metric), points in found.items():
        _, better = METRICS.get(metric, ("", "less"))
        values = [value for _, value in points]
        finite = [each for each in points if math.isfinite(each[1])]
        choose = max if better == "more" else min
        best = choose(finite, key=lambda each: each[1]) if finite else None
        said = "none is a number" if best is None else f"best {best[1]:.4g} (epoch {best[0]})"
        told.append(
            f"{f'{channel} {metric}':<20} {sparkline(values)}  "
            f"{values[0]:.4g} → {values[-1]:.4g}, {said}"
        )
    told += [
        f"{f'{channel} {metric}':<20} {value:.4g} (the finished model)"
        for (channel, metric), value in final.items()
        if (channel, metric) not in found
    ]
    return told if found else []


def sparkline(values: Sequence[float]) -> str:
    """Values as bars of eight heights, at most 60 of them; ! for what is no number."""
    step = max(1, math.ceil(len(values) / _WIDEST))
    shown = values[::step]
    finite = [value for value in shown if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(
        _BARS[round((value - low) * scale)] if math.isfinite(value) else "!" for value in shown
    )
