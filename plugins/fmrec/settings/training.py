"""What a run is told of its jobs: train or tune, on what machines, for how long."""

from __future__ import annotations

from dataclasses import dataclass

from fmrec.settings.fields import setting
from fmrec.settings.model import ModelSettings

# No tuning may take longer: the DAGs end it then.
TUNING_HOURS = 24
_INSTANCE_TYPE = r"ml\.[a-z0-9]+\.[a-z0-9]+"


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(ModelSettings):
    """The choices of a run that its SageMaker jobs depend on."""

    hyperparameters_from: str = setting(
        "tuned",
        "Hyperparameters",
        "Hyperparameters that are empty",
        "`tuned`: the best of the latest tuning (`fmrec_tune`) of this source, objective, features "
        "and solver, else the project's own; `project`: the project's own.",
        enum=["tuned", "project"],
    )
    mode: str = setting(
        "train",
        "Training",
        "Train or tune",
        "`train`: one training job. `tune`: a tuning job; its best training job goes on.",
        enum=["train", "tune"],
    )
    tuning_jobs: int = setting(
        12,
        "Training",
        "Training jobs of a tuning",
        "Mode `tune`: so many are tried.",
        minimum=1,
        maximum=100,
    )
    tuning_parallel: int = setting(
        2,
        "Training",
        "Training jobs at once",
        "Mode `tune`: the fewer, the more each learns from those before it.",
        minimum=1,
        maximum=10,
    )
    tuning_strategy: str = setting(
        "Bayesian",
        "Training",
        "Search",
        "Mode `tune`: how the next hyperparameters are chosen.",
        enum=["Bayesian", "Random"],
    )
    tuning_ranges: str | None = setting(
        None,
        "Training",
        "Ranges",
        "Mode `tune`: what is tried, such as `factors_lr=0.0001..0.01 log, epochs=10..60`; `log`: "
        "evenly by orders of magnitude. Empty: a range around the defaults that matter most "
        "(docs/tuning.md).",
    )
    tuning_warm_start: bool = setting(
        True,
        "Training",
        "Learn from earlier tunings",
        "Mode `tune`: start from what the last five tunings of the same kind found.",
    )
    instance_type: str = setting(
        "ml.m5.large",
        "AWS",
        "Instance type",
        "Of the training jobs.",
        pattern=_INSTANCE_TYPE,
    )
    transform_instance_type: str | None = setting(
        None,
        "AWS",
        "Instance type of the batch transform",
        "Empty: that of the training jobs.",
        pattern=_INSTANCE_TYPE,
    )
    spot: bool = setting(
        False,
        "AWS",
        "Spot capacity",
        "Train on capacity that AWS may take back: cheaper, and perhaps later. Image `fmrec` goes "
        "on from its checkpoint, the built-in algorithm starts again.",
    )
    max_runtime_minutes: int = setting(
        60,
        "AWS",
        "Longest training",
        "SageMaker stops a training job after so many minutes, and the run fails.",
        minimum=1,
        maximum=300,  # below the DAG's own time limit
    )
    dry_run: bool = setting(
        False,
        "AWS",
        "Dry run",
        "Prepare the data, write every SageMaker request that would follow, with what it would "
        "cost, and send none.",
    )
