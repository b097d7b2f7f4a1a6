"""The definitions of training jobs within a tuning job: an algorithm, its objective, its ranges."""

from __future__ import annotations

from dataclasses import dataclass

from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.tuning.ranges import Space, parse
from fmrec.local_aws.tuning.trials import Objective


@dataclass(frozen=True)
class Definition:
    """One HyperParameterTrainingJobDefinition; `index` counts from 0 within the tuning job."""

    index: int
    document: Document
    objective: Objective
    space: Space

    @property
    def fixed(self) -> dict[str, str]:
        """The static hyperparameters."""
        return dict(self.document.get("StaticHyperParameters", {}))


def definitions_of(document: Document) -> tuple[Definition, ...]:
    """Read the definitions of a tuning job, or of a request for one that is complete.

    Raises ApiError for ranges that SageMaker does not allow.
    """
    config = document["HyperParameterTuningJobConfig"]
    if "TrainingJobDefinition" in document:
        objective, ranges = config["HyperParameterTuningJobObjective"], config["ParameterRanges"]
        return (_definition(0, document["TrainingJobDefinition"], objective, ranges),)
    return tuple(
        _definition(index, given, given["TuningObjective"], given["HyperParameterRanges"])
        for index, given in enumerate(document["TrainingJobDefinitions"])
    )


def _definition(
    index: int, document: Document, objective: Document, ranges: Document
) -> Definition:
    wanted = Objective(objective["MetricName"], maximize=objective["Type"] == "Maximize")
    return Definition(index, document, wanted, parse(ranges))
