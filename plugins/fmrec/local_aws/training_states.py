"""The states of a training job, as changes of the document that Describe answers."""

from __future__ import annotations

import math
from typing import Literal

from fmrec.local_aws.job_run import FINAL, LONGEST_REASON
from fmrec.local_aws.json_wire import Document

# What SageMaker puts into the log of secondary states.
_MESSAGES = {
    "Starting": "Starting the training job",
    "Preparing": "Preparing the instances for training",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Stopping": "Stopping the training job",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
}

End = Literal["Completed", "Stopped", "MaxRuntimeExceeded"]


def enter(document: Document, state: str, now: float) -> None:
    """Make a secondary state the current one and close the one before."""
    transitions = document.setdefault("SecondaryStatusTransitions", [])
    if transitions:
        transitions[-1]["EndTime"] = now
    transitions.append({"Status": state, "StartTime": now, "StatusMessage": _MESSAGES[state]})
    document["SecondaryStatus"] = state
    document["LastModifiedTime"] = now


def prepare(document: Document, now: float) -> None:
    """Note that a slot was found: still Starting, with another message."""
    document["SecondaryStatusTransitions"][-1]["StatusMessage"] = _MESSAGES["Preparing"]
    document["LastModifiedTime"] = now


def request_stop(document: Document, now: float) -> None:
    """Enter Stopping; a job that stops already stays as it is."""
    if document["TrainingJobStatus"] == "InProgress":
        document["TrainingJobStatus"] = "Stopping"
        enter(document, "Stopping", now)


def finish(document: Document, now: float, end: End) -> None:
    """End a job that did not fail. A job that ran out of time counts as Stopped."""
    document["TrainingJobStatus"] = "Completed" if end == "Completed" else "Stopped"
    enter(document, end, now)
    _close(document, now)


def fail(document: Document, now: float, reason: str) -> None:
    """End a job as Failed, the reason cut to the 1,024 characters that SageMaker keeps."""
    if document["TrainingJobStatus"] in FINAL:
        return
    document["TrainingJobStatus"] = "Failed"
    document["FailureReason"] = reason[:LONGEST_REASON]
    enter(document, "Failed", now)
    _close(document, now)


def _close(document: Document, now: float) -> None:
    document["SecondaryStatusTransitions"][-1]["EndTime"] = now
    document["TrainingEndTime"] = now
    if "TrainingStartTime" in document:
        seconds = math.ceil(now - document["TrainingStartTime"])
        document["TrainingTimeInSeconds"] = document["BillableTimeInSeconds"] = seconds
