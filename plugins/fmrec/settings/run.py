"""One run's choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from fmrec.errors import ConfigurationError
from fmrec.settings.fields import checked, default_of, setting, value_type

SPLITS = ("time", "ua", "ub", "u1", "u2", "u3", "u4", "u5")


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """The choices of one run; every field is a Param, an option and a variable."""

    source: str = setting(
        "ml-100k",
        "Data",
        "Source of ratings",
        "MovieLens 100K, or `sample`: generated ratings of the same shape, needing no download.",
        enum=["ml-100k", "sample"],
    )
    split: str = setting(
        "time",
        "Data",
        "Split",
        "`time`: train, validation and test in time order. The others are the source's own files.",
        enum=list(SPLITS),
    )
    as_of: str | None = setting(
        None,
        "Data",
        "As of",
        "Only ratings before this moment are seen. Empty: the end of the data interval. "
        "(`python -m fmrec run` also takes a bare day.)",
        format="date-time",
    )
    validation_fraction: float = setting(
        0.1,
        "Data",
        "Validation fraction",
        "Split `time`: the share of events, after the training ones, that the job reports on.",
        minimum=0.0,
        maximum=0.5,
    )
    test_fraction: float = setting(
        0.1,
        "Data",
        "Test fraction",
        "Split `time`: the share of events, the latest ones, that the model is judged by.",
        exclusiveMinimum=0.0,
        maximum=0.5,
    )
    unknown_ids: str = setting(
        "score",
        "Data",
        "Unknown users and films",
        "Events whose user or film is not in the training part: `score` them by what is known, "
        "`exclude` them (counted and kept aside), or `fail` the run.",
        enum=["score", "exclude", "fail"],
    )
    order: str = setting(
        "shuffled",
        "Data",
        "Order of training rows",
        "The built-in algorithm reads rows in file order; shuffled once, it learns far better.",
        enum=["shuffled", "file"],
    )
    seed: int = setting(
        1,
        "Data",
        "Seed",
        "For the order of the training rows and the resampling in the report.",
        minimum=0,
        maximum=2**31 - 1,
    )
    objective: str = setting(
        "rating",
        "Model",
        "Objective",
        "`rating`: predict the stars (regressor). `like`: predict rating >= 4 (binary classifier).",
        enum=["rating", "like"],
    )
    features: str = setting(
        "ids",
        "Model",
        "Features",
        "Columns of the design matrix: `ids` is one column for each user and each film.",
        enum=["ids"],
    )
    solver: str = setting(
        "adam",
        "Model",
        "Solver",
        "How the machine is fitted: `adam` is what the built-in algorithm does.",
        enum=["adam"],
    )
    image: str = setting(
        "built-in",
        "Model",
        "Image",
        "The algorithm's container: SageMaker's built-in Factorization Machines.",
        enum=["built-in"],
    )
    num_factors: int | None = setting(
        None,
        "Hyperparameters",
        "Factors",
        "Length of each column's factor vector.",
        minimum=1,
        maximum=10_000,
    )
    epochs: int | None = setting(
        None, "Hyperparameters", "Epochs", "Passes over the training rows.", minimum=1
    )
    mini_batch_size: int | None = setting(
        None, "Hyperparameters", "Mini-batch size", "Rows of one update.", minimum=1
    )
    bias_lr: float | None = setting(
        None, "Hyperparameters", "Bias learning rate", "Step size of the bias.", minimum=0.0
    )
    linear_lr: float | None = setting(
        None,
        "Hyperparameters",
        "Linear learning rate",
        "Step size of the linear weights.",
        minimum=0.0,
    )
    factors_lr: float | None = setting(
        None, "Hyperparameters", "Factors learning rate", "Step size of the factors.", minimum=0.0
    )
    bias_wd: float | None = setting(
        None, "Hyperparameters", "Bias weight decay", "L2 pull on the bias.", minimum=0.0
    )
    linear_wd: float | None = setting(
        None,
        "Hyperparameters",
        "Linear weight decay",
        "L2 pull on the linear weights.",
        minimum=0.0,
    )
    factors_wd: float | None = setting(
        None, "Hyperparameters", "Factors weight decay", "L2 pull on the factors.", minimum=0.0
    )
    factors_init_sigma: float | None = setting(
        None,
        "Hyperparameters",
        "Factors initial spread",
        "Standard deviation of the factors before training.",
        exclusiveMinimum=0.0,
    )
    instance_type: str = setting(
        "ml.m5.large",
        "AWS",
        "Instance type",
        "Of the training and the transform job.",
        pattern=r"ml\.[a-z0-9]+\.[a-z0-9]+",
    )
    max_runtime_minutes: int = setting(
        60,
        "AWS",
        "Longest training",
        "SageMaker stops the training job after so many minutes, and the run fails.",
        minimum=1,
        maximum=300,  # below the DAG's own time limit of six hours
    )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> RunSettings:
        """Settings from Params or options, checked.

        A value may be of its own type or its text form (as the environment and a command line
        give it). Raises ConfigurationError that names the parameter and what it takes.
        """
        known = {each.name: each for each in fields(cls)}
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigurationError(
                f"unknown parameter {unknown[0]!r}; the parameters are: {', '.join(known)}"
            )
        settings = cls(**{name: checked(known[name], value) for name, value in values.items()})
        if settings.validation_fraction + settings.test_fraction >= 1:
            raise ConfigurationError(
                "validation_fraction + test_fraction leave no training events: lower one of them"
            )
        if settings.as_of is not None:
            # A Param takes the full form alone; a person may write just the day.
            return replace(settings, as_of=parse_instant(settings.as_of).isoformat())
        return settings

    def hyperparameters(self) -> dict[str, str]:
        """The algorithm's hyperparameters, as SageMaker takes them: text to text.

        What the run does not set is the project's default for the objective
        (docs/benchmarks/hyperparameters.md says how those were chosen).
        """
        predictor, defaults = {
            "rating": ("regressor", RATING_DEFAULTS),
            "like": ("binary_classifier", LIKE_DEFAULTS),
        }[self.objective]
        given = {name: getattr(self, name) for name in defaults}
        chosen = {
            name: default if given[name] is None else given[name]
            for name, default in defaults.items()
        }
        return {"predictor_type": predictor} | {name: str(value) for name, value in chosen.items()}


# Chosen on inner splits of training files only, by tools/choose_hyperparameters.py.
RATING_DEFAULTS: dict[str, float | int] = {
    "num_factors": 32,
    "epochs": 59,
    "mini_batch_size": 200,
    "bias_lr": 0.0037,
    "linear_lr": 0.0016,
    "factors_lr": 0.0013,
    "bias_wd": 0.0,
    "linear_wd": 0.000088,
    "factors_wd": 0.00079,
    "factors_init_sigma": 0.13,
}
LIKE_DEFAULTS: dict[str, float | int] = {
    "num_factors": 8,
    "epochs": 22,
    "mini_batch_size": 500,
    "bias_lr": 0.031,
    "linear_lr": 0.0051,
    "factors_lr": 0.00072,
    "bias_wd": 0.0,
    "linear_wd": 0.00001,
    "factors_wd": 0.000052,
    "factors_init_sigma": 0.0054,
}


def parse_instant(text: str) -> datetime:
    """An ISO 8601 date or moment as an aware UTC datetime; a bare one is taken as UTC.

    Raises ConfigurationError for anything else.
    """
    try:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is None:
            return instant.replace(tzinfo=UTC)
        return instant.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise ConfigurationError(
            f"parameter as_of: {text!r} is not a date or time; write it as 1998-03-08 "
            "or 1998-03-08T00:00:00Z"
        ) from None


def params(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Keyword arguments of one Airflow Param for each field, in form order."""
    names = {str: "string", int: "integer", float: "number"}
    made = {}
    for each in fields(RunSettings):
        kind, optional = value_type(each)
        made[each.name] = {
            "default": default_of(each, environ),
            "type": ["null", names[kind]] if optional else names[kind],
            "title": each.metadata["title"],
            "description_md": each.metadata["description"],
            "section": each.metadata["section"],
            **each.metadata["schema"],
        }
    return made
