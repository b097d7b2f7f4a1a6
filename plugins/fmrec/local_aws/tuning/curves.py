"""The objective of training jobs as they go, read from their logs."""

from __future__ import annotations

import math
import re

from fmrec.local_aws.training.hosts import LOG_GROUP
from fmrec.local_aws.tuning.definitions import Definition
from fmrec.local_aws.tuning.trials import Trial
from fmrec.local_aws.workplace import Workplace


class CurveReader:
    """Follows the logs of training jobs' first hosts."""

    def __init__(self, place: Workplace, region: str) -> None:
        self._place = place
        self._region = region
        self._last: dict[str, int] = {}
        self._curves: dict[str, list[float]] = {}

    def read(self, trial: Trial, definition: Definition) -> list[float]:
        """Return all values of the objective that a training job has logged so far."""
        pattern = re.compile(
            next(
                item["Regex"]
                for item in definition.document["AlgorithmSpecification"]["MetricDefinitions"]
                if item["Name"] == definition.objective.metric
            )
        )
        curve = self._curves.setdefault(trial.name, [])
        stream = f"{trial.name}/algo-1-"
        after = self._last.get(trial.name, 0)
        for number, message in self._place.logs.messages(self._region, LOG_GROUP, stream, after):
            self._last[trial.name] = number
            match = pattern.search(message)
            value = _number(match[1]) if match else None
            if value is not None:
                curve.append(value)
        return curve


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
