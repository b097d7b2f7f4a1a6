"""The training jobs of one tuning job: found in the records, started, stopped."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from typing import Any

from fmrec.local_aws.algorithms import resolve
from fmrec.local_aws.api.faults import ApiError
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.jobs.run import LIVE
from fmrec.local_aws.state.records import Listing
from fmrec.local_aws.training.jobs import TrainingJobs
from fmrec.local_aws.tuning.definitions import Definition
from fmrec.local_aws.tuning.trials import TUNING, Trial, trial_of
from fmrec.local_aws.workplace import Workplace

# A member of a tuning job's document that no response shows: tells it, and its training jobs, from
# those of a deleted tuning job that had its name.
ORIGIN = "_Origin"
_ALL = 1_000_000
_COPIED = (
    *("RoleArn", "InputDataConfig", "VpcConfig", "OutputDataConfig", "ResourceConfig"),
    *("StoppingCondition", "EnableNetworkIsolation", "EnableInterContainerTrafficEncryption"),
    *("EnableManagedSpotTraining", "RetryStrategy", "Environment"),
)


class Children:
    """The training jobs of a tuning job, named by the tuning job's name and its origin."""

    def __init__(self, place: Workplace, region: str, name: str, origin: str) -> None:
        self._place = place
        self._region = region
        self._name = name
        self._origin = origin
        self._jobs = TrainingJobs(place)

    def conditions(self) -> Sequence[tuple[str, Any]]:
        """Return the conditions in SQL, each with its parameter, that find them."""
        return [
            ("name >= ?", f"{self._name}-"),
            ("name < ?", f"{self._name}."),
            # A text that no other document holds.
            ("instr(document, ?) > 0", self._origin),
        ]

    def all(self) -> list[Trial]:
        """Return every training job that was started and not deleted."""
        return self._found([])

    def live(self) -> list[Trial]:
        """Return those that have not ended."""
        return self._found([("instr(?, status) > 0", " ".join(LIVE))])

    def find(self, name: str) -> Trial | None:
        """Return one of them; None when it was deleted."""
        identity = self._place.identity("training-job", self._region, name)
        document = self._place.records.find(identity)
        return None if document is None else trial_of(document)

    def check(self, definition: Definition) -> None:
        """Raise ApiError when training jobs of a definition would be refused."""
        self._jobs.completed(self._region, self._request(1, definition, {}))

    def start(self, number: int, definition: Definition, values: dict[str, str]) -> Trial:
        """Record and queue training job `number`; its name follows from it, so none starts twice.

        Raises ApiError for what training jobs refuse.
        """
        request = self._request(number, definition, values)
        objective = definition.objective
        told = {
            "Origin": self._origin,
            "Number": number,
            "Definition": definition.index,
            "Tuned": values,
            "Objective": {
                "Type": "Maximize" if objective.maximize else "Minimize",
                "MetricName": objective.metric,
            },
        }
        if "DefinitionName" in definition.document:
            told["DefinitionName"] = definition.document["DefinitionName"]
        document = {
            **self._jobs.completed(self._region, request),
            "TuningJobArn": self._arn(),
            TUNING: told,
        }
        identity = self._jobs.admit(self._region, document)
        return trial_of(self._place.records.find(identity) or {})

    def stop(self, trial: Trial) -> None:
        """Ask a training job to stop, unless it has ended meanwhile."""
        with contextlib.suppress(ApiError):
            self._jobs.stop(self._region, {"TrainingJobName": trial.name})

    def _request(self, number: int, definition: Definition, values: dict[str, str]) -> Document:
        given = definition.document
        digest = hashlib.sha256(f"{self._origin}/{number}".encode()).hexdigest()
        name = f"{self._name}-{number:03d}-{digest[:8]}"
        specification = dict(given["AlgorithmSpecification"])
        if resolve(specification["TrainingImage"], self._place.algorithms).built_in:
            del specification["MetricDefinitions"]  # they cannot be given, only read
        request: Document = {
            **{member: given[member] for member in _COPIED if member in given},
            "TrainingJobName": name,
            "HyperParameters": {**definition.fixed, **values},
            "AlgorithmSpecification": specification,
            "Tags": self._place.records.tags(self._arn()),
        }
        if "CheckpointConfig" in given:
            # Training jobs that share a place for checkpoints would go on from each other's.
            place = given["CheckpointConfig"]
            address = f"{place['S3Uri'].rstrip('/')}/{name}"
            request["CheckpointConfig"] = {**place, "S3Uri": address}
        return request

    def _arn(self) -> str:
        return str(self._place.identity("hyper-parameter-tuning-job", self._region, self._name))

    def _found(self, more: Sequence[tuple[str, Any]]) -> list[Trial]:
        # SQLite looks at the conditions in this order, so at few documents when few are live.
        listing = Listing({"MaxResults": _ALL}, "Ascending", where=[*more, *self.conditions()])
        page, _ = self._place.records.page("training-job", self._region, listing)
        return sorted((trial_of(item) for item in page), key=lambda trial: trial.number)
