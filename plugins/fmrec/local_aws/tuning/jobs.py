"""The SageMaker operations on hyperparameter tuning jobs."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from fmrec.local_aws.api.faults import ApiError
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.api.operation import Operation
from fmrec.local_aws.jobs.operations import Jobs
from fmrec.local_aws.state.records import SORT_COLUMNS, Identity, Listing
from fmrec.local_aws.tuning.admission import check_total, completed
from fmrec.local_aws.tuning.children import ORIGIN, Children
from fmrec.local_aws.tuning.definitions import definitions_of
from fmrec.local_aws.tuning.run import TuningRun
from fmrec.local_aws.tuning.trials import trial_of
from fmrec.local_aws.tuning.warm_start import PARENTS, checked_parents, parents_trials

_NAME = "HyperParameterTuningJobName"
# The final value of a training job's objective, in SQL; NULL where trial_of finds none.
_VALUE = (
    "(SELECT json_extract(value, '$.Value') FROM json_each(document, '$.FinalMetricDataList') "
    "WHERE status IN ('Completed', 'Stopped') AND json_extract(value, '$.MetricName') = "
    "json_extract(document, '$._Tuning.Objective.MetricName'))"
)


class TuningJobs(Jobs):
    """Create…, Describe…, List…, Stop…, DeleteHyperParameterTuningJob, and List… of its jobs."""

    kind = "hyper-parameter-tuning-job"
    prefix = "HyperParameterTuningJob"
    missing_text = "Amazon SageMaker can't find a tuning job called {name}. Type another name."
    default_order = "Ascending"
    supervises = True

    def operations(self) -> Mapping[str, Operation]:
        """Return the operations by the names that SageMaker gives them."""
        return {
            **super().operations(),
            "DeleteHyperParameterTuningJob": self.delete,
            "ListTrainingJobsForHyperParameterTuningJob": self.list_training_jobs,
        }

    def run(self, identity: Identity) -> TuningRun:
        """Return the execution of a job."""
        return TuningRun(self._place, identity)

    def completed(self, region: str, request: Document) -> Document:
        """Return the request with SageMaker's defaults; refuse what cannot be honoured here."""
        name = request[_NAME]
        if self._place.records.find(self.identity(region, request)) is not None:
            raise ApiError(
                "ResourceInUse",
                f"A hyperparameter tuning job with the name, {name}, already exists. Choose a "
                "different name.",
            )
        document = completed(self._place, request)
        definitions = definitions_of(document)
        origin = secrets.token_hex(8)
        document[ORIGIN] = origin
        document[PARENTS] = checked_parents(self._place, region, document, definitions)
        check_total(len(parents_trials(self._place, region, document)), document)
        children = Children(self._place, region, name, origin)
        for definition in definitions:
            children.check(definition)
        return document

    def describe(self, region: str, request: Document) -> Document:
        """Return a job's document."""
        document = self._place.records.find(self.identity(region, request))
        if document is None:
            raise ApiError("ResourceNotFound", self.missing_text.format(name=request[_NAME]))
        seconds = int(self._place.now() - document["CreationTime"])
        return {"ConsumedResources": {"RuntimeInSeconds": seconds}, **document}

    def list(self, region: str, request: Document) -> Document:
        """Return a page of summaries."""
        found = super().list(region, {"SortBy": "Name", **request})
        for document in found["HyperParameterTuningJobSummaries"]:
            config = document["HyperParameterTuningJobConfig"]
            document["Strategy"] = config["Strategy"]
            document["ResourceLimits"] = config["ResourceLimits"]
        return found

    def list_training_jobs(self, region: str, request: Document) -> Document:
        """Return a page of summaries of a job's training jobs."""
        document = self.describe(region, request)
        children = Children(self._place, region, request[_NAME], document[ORIGIN])
        where = [*children.conditions()]
        if request.get("SortBy") == "FinalObjectiveMetricValue":
            where.append((f"{_VALUE} IS NOT ?", None))
        listing = Listing(
            {"SortBy": "Name", **request},
            "Ascending",
            where,
            {**SORT_COLUMNS, "FinalObjectiveMetricValue": _VALUE},
        )
        page, token = self._place.records.page("training-job", region, listing)
        return {
            "TrainingJobSummaries": [trial_of(item).summary for item in page],
            "NextToken": token,
        }
