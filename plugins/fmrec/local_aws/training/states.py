"""The states of a training job, as changes of the document that Describe answers."""

from __future__ import annotations

import math
from typing import Literal

from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.jobs.run import FINAL, LONGEST_REASON

# What SageMaker puts into the log of secondary states.
_MESSAGES = {
    "Starting": "Starting the training job",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Interrupted": "Training job interrupted: the spot capacity was taken back",
    "Restarting": "Restarting the training job after an internal error",
    "Stopping": "Stopping the training job",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "Training job wait time exceeded MaxWaitTimeInSeconds provided",
}
LAUNCHING = "Launching requested ML instances"
PREPARING = "Preparing the instances for training"
NO_CAPACITY = "Insufficient capacity error from EC2 while launching instances, retrying!"
# Members that no response shows: since when the hosts run, and how long they ran before.
_SINCE, _BILLED = "_RunningSince", "_BilledSeconds"

End = Literal["Completed", "Stopped", "MaxRuntimeExceeded", "MaxWaitTimeExceeded"]
StartAgain = Literal["Interrupted", "Restarting"]


def enter(document: Document, state: str, now: float) -> None:
    """Make a secondary state the current one and close the one before."""
    transitions = document.setdefault("SecondaryStatusTransitions", [])
    if transitions:
        transitions[-1]["EndTime"] = now
    transitions.append({"Status": state, "StartTime": now, "StatusMessage": _MESSAGES[state]})
    document["SecondaryStatus"] = state
    document["LastModifiedTime"] = now


def say(document: Document, now: float, message: str) -> None:
    """Give the current state another message."""
    document["SecondaryStatusTransitions"][-1]["StatusMessage"] = message
    document["LastModifiedTime"] = now


def run_hosts(document: Document, now: float) -> None:
    """Note that the job's hosts run: it downloads, and is billed from now on."""
    document.setdefault("TrainingStartTime", now)
    document[_SINCE] = now
    if document["TrainingJobStatus"] == "InProgress":
        enter(document, "Downloading", now)


def start_again(document: Document, now: float, state: StartAgain) -> None:
    """Note that the hosts are gone and others are looked for."""
    _leave_hosts(document, now)
    if document["TrainingJobStatus"] == "InProgress":
        enter(document, state, now)
        enter(document, "Starting", now)


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


def _leave_hosts(document: Document, now: float) -> None:
    if _SINCE in document:
        document[_BILLED] = document.get(_BILLED, 0.0) + now - document.pop(_SINCE)


def _close(document: Document, now: float) -> None:
    document["SecondaryStatusTransitions"][-1]["EndTime"] = now
    document["TrainingEndTime"] = now
    _leave_hosts(document, now)
    if "TrainingStartTime" in document:
        document["TrainingTimeInSeconds"] = math.ceil(now - document["TrainingStartTime"])
        document["BillableTimeInSeconds"] = math.ceil(document[_BILLED])
