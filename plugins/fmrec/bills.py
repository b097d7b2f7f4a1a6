"""What an ended SageMaker job is billed for, by what SageMaker says of it.

A bill is a mapping with instance_type, instances and billable_seconds (of one instance; None when
unknown), as `fmrec.prices` and `fmrec.ledger` take it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

_ENDS = ("TrainingEndTime", "TransformEndTime", "HyperParameterTuningEndTime")


def ended(description: Mapping[str, Any]) -> datetime | None:
    """When a job of any kind has ended; None when that is not said."""
    return next((description[name] for name in _ENDS if name in description), None)


def training(description: Mapping[str, Any]) -> dict[str, Any]:
    """The bill of a training job: on spot capacity for less than the time it took."""
    return _bill(description["ResourceConfig"], training_seconds(description))


def training_seconds(description: Mapping[str, Any]) -> int | None:
    """Billable seconds of a training job; 0 when it had no machine, None when unknown."""
    if "TrainingStartTime" not in description:
        return 0
    seconds: int | None = description.get("BillableTimeInSeconds")
    return seconds


def transform(description: Mapping[str, Any]) -> dict[str, Any]:
    """The bill of a transform job: for all the time that it had machines."""
    return _bill(description["TransformResources"], transform_seconds(description))


def transform_seconds(description: Mapping[str, Any]) -> float | None:
    """How long a transform job had machines; 0 when it had none, None when that is not said."""
    if "TransformStartTime" not in description:
        return 0
    if "TransformEndTime" not in description:
        return None
    took = description["TransformEndTime"] - description["TransformStartTime"]
    return round(float(took.total_seconds()), 1)


def tuning(description: Mapping[str, Any], trials: Iterable[int | None]) -> dict[str, Any]:
    """The bill of a tuning job: the sum over its training jobs, whose seconds are `trials`."""
    seconds = list(trials)
    total = None if None in seconds else sum(each or 0 for each in seconds)
    return _bill(description["TrainingJobDefinition"]["ResourceConfig"], total)


def trials(client: Any, name: str) -> list[dict[str, Any]]:
    """SageMaker's summaries of the training jobs of a tuning job, in the order of their start."""
    pages = client.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
        HyperParameterTuningJobName=name, SortBy="CreationTime", SortOrder="Ascending"
    )
    return [each for page in pages for each in page["TrainingJobSummaries"]]


def _bill(machines: Mapping[str, Any], seconds: float | None) -> dict[str, Any]:
    return {
        "instance_type": machines["InstanceType"],
        "instances": machines["InstanceCount"],
        "billable_seconds": seconds,
    }
