"""A training job as a tuning job sees it: the values it tries and what came of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.jobs.run import LIVE

# The member of a training job's document that tells of its tuning job; no response shows it.
TUNING = "_Tuning"
_SUMMARISED = (
    *("TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingStartTime"),
    *("TrainingEndTime", "TrainingJobStatus", "FailureReason"),
)
_OWN_FAULT = "InternalServerError"


@dataclass(frozen=True)
class Objective:
    """The metric by which a tuning job compares its training jobs."""

    metric: str
    maximize: bool

    def better(self, one: float, other: float) -> bool:
        """Return whether the first value is better than the second."""
        return one > other if self.maximize else one < other


@dataclass(frozen=True)
class Trial:
    """One training job of a tuning job.

    `number` counts from 1, `definition` from 0; `value` is the objective at the job's end, None
    while it runs and when it has none; `ended` is Unix seconds; `summary` is what SageMaker lists.
    """

    number: int
    definition: int
    status: str
    hyperparameters: Mapping[str, str]
    value: float | None
    ended: float
    summary: Document

    @property
    def name(self) -> str:
        """The training job's name."""
        return str(self.summary["TrainingJobName"])

    @property
    def live(self) -> bool:
        """Whether the training job has not ended."""
        return self.status in LIVE

    @property
    def retryable(self) -> bool:
        """Whether the training job failed through no fault of its own."""
        return str(self.summary.get("FailureReason", "")).startswith(_OWN_FAULT)

    @property
    def tuned(self) -> Mapping[str, str]:
        """The values that the tuning job chose."""
        return dict(self.summary["TunedHyperParameters"])


def trial_of(document: Document) -> Trial:
    """Read a training job's document."""
    known = document[TUNING]
    status = document["TrainingJobStatus"]
    value = _value(document)
    summary = {name: document[name] for name in _SUMMARISED if name in document}
    summary["TunedHyperParameters"] = known["Tuned"]
    if "DefinitionName" in known:
        summary["TrainingJobDefinitionName"] = known["DefinitionName"]
    summary["ObjectiveStatus"] = (
        "Pending" if status in LIVE else "Failed" if value is None else "Succeeded"
    )
    if value is not None:
        summary["FinalHyperParameterTuningJobObjectiveMetric"] = {
            **known["Objective"],
            "Value": value,
        }
    return Trial(
        number=known["Number"],
        definition=known["Definition"],
        status=status,
        hyperparameters=document.get("HyperParameters", {}),
        value=value,
        ended=document.get("TrainingEndTime", 0.0),
        summary=summary,
    )


def _value(document: Document) -> float | None:
    """Return the last value of the objective of a job that ended without failing."""
    if document["TrainingJobStatus"] not in ("Completed", "Stopped"):
        return None
    metric = document[TUNING]["Objective"]["MetricName"]
    for item in document.get("FinalMetricDataList", []):
        if item["MetricName"] == metric and math.isfinite(item["Value"]):
            return float(item["Value"])
    return None
