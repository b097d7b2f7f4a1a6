"""The request for a tuning job: nothing but data, made from a run, as those in `fmrec.jobs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fmrec import jobs
from fmrec.layout import Run
from fmrec.settings import Deployment, RunSettings
from fmrec.settings.ranges import Range, ranges_of

# What belongs to one training job, or to the tuning job as a whole.
_NOT_SHARED = ("TrainingJobName", "HyperParameters", "Tags")


def objective(settings: RunSettings) -> dict[str, str]:
    """The metric of the watched events that a search goes by, as SageMaker takes it.

    Solver catalogue is not judged by the loss that it minimises, which no test rows could tell.
    """
    if settings.fitted_by == "catalogue":
        return {"Type": "Maximize", "MetricName": "test:ndcg@10"}
    losses = {"rating": "test:rmse"}
    name = losses.get(settings.objective, "test:binary_classification_cross_entropy")
    return {"Type": "Minimize", "MetricName": name}


def tuning_request(
    run: Run,
    deployment: Deployment,
    channels: Mapping[str, Any],
    number: int,
    parents: Sequence[str],
) -> dict[str, Any]:
    """CreateHyperParameterTuningJob for the run; `parents` are tuning jobs to learn from.

    Each of its training jobs is asked for as the run's own would be, but for the hyperparameters
    that are searched. `channels` is what the recordio step returned.
    """
    settings = run.settings
    ranges = ranges_of(settings)
    training = jobs.training_request(run, deployment, channels, number)
    searched = {each.name for each in ranges}
    fixed = {
        name: text for name, text in training["HyperParameters"].items() if name not in searched
    }
    if "bias_init_value" in fixed:
        # The mean differs a little with every day's data, and SageMaker allows few such changes
        # between a tuning job and those that it learns from.
        fixed["bias_init_value"] = f"{channels['bias']:.1f}"
    warm = {
        "WarmStartConfig": {
            "ParentHyperParameterTuningJobs": [
                {"HyperParameterTuningJobName": name} for name in parents
            ],
            "WarmStartType": "TransferLearning",
        }
    }
    return {
        "HyperParameterTuningJobName": run.layout.tuning_job(number),
        "HyperParameterTuningJobConfig": {
            "Strategy": settings.tuning_strategy,
            "HyperParameterTuningJobObjective": objective(settings),
            "ResourceLimits": {
                "MaxNumberOfTrainingJobs": settings.tuning_jobs,
                "MaxParallelTrainingJobs": min(settings.tuning_parallel, settings.tuning_jobs),
            },
            "ParameterRanges": {
                "IntegerParameterRanges": [_range(each) for each in ranges if each.whole],
                "ContinuousParameterRanges": [_range(each) for each in ranges if not each.whole],
                "CategoricalParameterRanges": [],
            },
            # The metric is told once, at the end: there is nothing to stop a training job by.
            "TrainingJobEarlyStoppingType": "Off",
            "RandomSeed": settings.seed,
        },
        "TrainingJobDefinition": {
            "StaticHyperParameters": fixed,
            **{name: value for name, value in training.items() if name not in _NOT_SHARED},
        },
        **(warm if parents else {}),
        "Tags": training["Tags"],
    }


def _range(each: Range) -> dict[str, str]:
    return {
        "Name": each.name,
        "MinValue": each.text(each.low),
        "MaxValue": each.text(each.high),
        "ScalingType": "Logarithmic" if each.log else "Linear",
    }
