"""The objective of training jobs as they go, read from their logs."""

from __future__ import annotations

from fmrec.local_aws.algorithms import Metric, MetricReader
from fmrec.local_aws.training.hosts import LOG_GROUP
from fmrec.local_aws.tuning.definitions import Definition
from fmrec.local_aws.tuning.trials import Trial
from fmrec.local_aws.workplace import Workplace


class CurveReader:
    """Follows the logs of training jobs' first hosts."""

    def __init__(self, place: Workplace, region: str) -> None:
        self._place = place
        self._region = region
        self._readers: dict[str, MetricReader] = {}
        self._last: dict[str, int] = {}
        self._curves: dict[str, list[float]] = {}

    def read(self, trial: Trial, definition: Definition) -> list[float]:
        """Return all values of the objective that a training job has logged so far."""
        reader = self._readers.get(trial.name)
        if reader is None:
            definitions = definition.document["AlgorithmSpecification"]["MetricDefinitions"]
            metrics = [
                Metric(item["Name"], item["Regex"])
                for item in definitions
                if item["Name"] == definition.objective.metric
            ]
            reader = self._readers[trial.name] = MetricReader(metrics)
        curve = self._curves.setdefault(trial.name, [])
        stream = f"{trial.name}/algo-1-"
        after = self._last.get(trial.name, 0)
        for number, message in self._place.logs.messages(self._region, LOG_GROUP, stream, after):
            self._last[trial.name] = number
            curve.extend(value for _, value in reader.values(message))
        return curve
