"""The states of a training job, as changes of the document that Describe answers."""

from __future__ import annotations

import math
from typing import Literal, Protocol

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
FINAL = ("Completed", "Failed", "Stopped")
LIVE = ("InProgress", "Stopping")
LONGEST_REASON = 1024

End = Literal["Completed", "Stopped", "MaxRuntimeExceeded"]


class Change(Protocol):
    """A change of a job's document at a time in Unix seconds."""

    def __call__(self, document: Document, now: float) -> None:
        """Apply the change in place."""


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


def finish(document: Document, end: End, now: float) -> None:
    """End a job that did not fail. A job that ran out of time counts as Stopped."""
    document["TrainingJobStatus"] = "Completed" if end == "Completed" else "Stopped"
    enter(document, end, now)
    _close(document, now)


def fail(document: Document, reason: str, now: float) -> None:
    """End a job as Failed, the reason cut to the 1,024 characters that SageMaker keeps."""
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
