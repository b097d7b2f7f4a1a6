"""What a tuning job reports of its training jobs, and when it has seen enough."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.tuning.trials import Objective, Trial

# SageMaker gives up when so many training jobs ended and none had a value of the objective. One
# that failed through no fault of its own is not counted.
ATTEMPTS = 5
# An improvement of the best objective by less than this part of it is none.
_IMPROVEMENT = 0.01
# So many training jobs in a row without an improvement are called convergence.
_CONVERGED = 10


def best_of(trials: Iterable[Trial], objective: Objective) -> Trial | None:
    """Return the trial of the best value, the earliest of equals; None when none has a value."""
    best: tuple[float, Trial] | None = None
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.value is not None and (best is None or objective.better(trial.value, best[0])):
            best = (trial.value, trial)
    return best[1] if best else None


def counters(trials: Iterable[Trial]) -> Document:
    """Return TrainingJobStatusCounters and ObjectiveStatusCounters."""
    jobs = dict.fromkeys(
        ("Completed", "InProgress", "RetryableError", "NonRetryableError", "Stopped"), 0
    )
    objectives = dict.fromkeys(("Succeeded", "Pending", "Failed"), 0)
    for trial in trials:
        if trial.live:
            jobs["InProgress"] += 1
        elif trial.status == "Failed":
            jobs["RetryableError" if trial.retryable else "NonRetryableError"] += 1
        else:
            jobs[trial.status] += 1
        objectives[trial.summary["ObjectiveStatus"]] += 1
    return {"TrainingJobStatusCounters": jobs, "ObjectiveStatusCounters": objectives}


@dataclass(frozen=True)
class Stagnation:
    """How long the best objective has not improved: in training jobs, in the order they ended."""

    jobs: int
    converged: float | None  # Unix seconds when it was first called convergence


def stagnation(trials: Iterable[Trial], objective: Objective) -> Stagnation:
    """Return how many training jobs have passed since the best objective improved by 1 %."""
    best: float | None = None
    jobs, converged = 0, None
    for trial in sorted(trials, key=lambda trial: (trial.ended, trial.number)):
        if trial.value is None:
            continue
        gain = 0.0
        if best is not None:
            gain = trial.value - best if objective.maximize else best - trial.value
        if best is None or (gain > 0 and gain >= abs(best) * _IMPROVEMENT):
            best, jobs = trial.value, 0
            continue
        jobs += 1
        if jobs == _CONVERGED and converged is None:
            converged = trial.ended
    return Stagnation(jobs, converged)


def complete(config: Document, trials: Sequence[Trial], objective: Objective) -> bool:
    """Return whether a completion criterion is met by the training jobs that have ended."""
    criteria = config.get("TuningJobCompletionCriteria", {})
    if "TargetObjectiveMetricValue" in criteria:
        # Metrics are in single precision, and so must be what they are compared with.
        target = struct.unpack("<f", struct.pack("<f", criteria["TargetObjectiveMetricValue"]))[0]
        values = [trial.value for trial in trials if trial.value is not None]
        if any(not objective.better(target, value) for value in values):
            return True
    seen = stagnation(trials, objective)
    most = criteria.get("BestObjectiveNotImproving", {}).get("MaxNumberOfTrainingJobsNotImproving")
    if most is not None and seen.jobs >= most:
        return True
    wanted = criteria.get("ConvergenceDetected", {}).get("CompleteOnConvergence") == "Enabled"
    return wanted and seen.converged is not None


def failure(trials: Sequence[Trial], *, last: bool) -> str | None:
    """Return why a tuning job fails: nothing came of any training job; None while it may go on.

    `last` says that no further training job will be started.
    """
    ended = [trial for trial in trials if not trial.live]
    if not ended or any(trial.value is not None for trial in ended):
        return None
    attempts = sum(not trial.retryable for trial in ended)
    if attempts < ATTEMPTS and not (last and len(ended) == len(trials)):
        return None
    if any(trial.status != "Failed" for trial in ended):
        return (
            f"No objective metrics found after running {len(ended)} training jobs. Please ensure "
            "that the custom algorithm is emitting the objective metric as defined by the regular "
            "expression provided."
        )
    if attempts < ATTEMPTS:
        return (
            "All training jobs failed. Please take a look at the training job failures to get "
            "more details."
        )
    return (
        f"No training job succeeded after {ATTEMPTS} attempts. For additional details, please take "
        "a look at the training job failures by listing training jobs for the hyperparameter "
        "tuning job."
    )


def report(
    trials: Sequence[Trial],
    objective: Objective,
    overall: tuple[str, Trial] | None,
) -> Document:
    """Return the members of a tuning job's document that tell of its training jobs.

    `overall` names the best training job of the parents of a warm start and its tuning job.
    """
    seen = stagnation(trials, objective)
    details: Document = {"NumberOfTrainingJobsObjectiveNotImproving": seen.jobs}
    if seen.converged is not None:
        details["ConvergenceDetectedTime"] = seen.converged
    members = {**counters(trials), "TuningJobCompletionDetails": details}
    best = best_of(trials, objective)
    if best is not None:
        members["BestTrainingJob"] = best.summary
    if overall is not None:
        members["OverallBestTrainingJob"] = {**overall[1].summary, "TuningJobName": overall[0]}
    return members
