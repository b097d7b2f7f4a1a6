"""What a run can be told, and where it runs: two typed objects, from which everything derives.

`RunSettings` is one run's choices. The DAG's Params (the trigger form), the options of
`python -m fmrec run`, the `FMREC_*` variables that change a default, and docs/settings.md
are all made from its fields. `Deployment` is where the pipeline lives (bucket, role, folders)
and comes from the environment alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_type_hints

from fmrec.errors import ConfigurationError

SPLITS = ("time", "ua", "ub", "u1", "u2", "u3", "u4", "u5")


def _setting(
    default: Any,
    section: str,
    title: str,
    description: str,
    **schema: Any,
) -> Any:
    """A dataclass field that carries its form section, texts and JSON-schema limits."""
    metadata = {"section": section, "title": title, "description": description, "schema": schema}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """The choices of one run; every field is a Param, an option and a variable."""

    source: str = _setting(
        "ml-100k",
        "Data",
        "Source of ratings",
        "MovieLens 100K, or `sample`: generated ratings of the same shape, needing no download.",
        enum=["ml-100k", "sample"],
    )
    split: str = _setting(
        "time",
        "Data",
        "Split",
        "`time`: train, validation and test in time order. The others are the source's own files.",
        enum=list(SPLITS),
    )
    as_of: str | None = _setting(
        None,
        "Data",
        "As of",
        "Only ratings before this moment (UTC) are seen. Empty: the end of the data interval.",
        format="date-time",
    )
    validation_fraction: float = _setting(
        0.1,
        "Data",
        "Validation fraction",
        "Split `time`: the share of events, after the training ones, that the job reports on.",
        minimum=0.0,
        maximum=0.5,
    )
    test_fraction: float = _setting(
        0.1,
        "Data",
        "Test fraction",
        "Split `time`: the share of events, the latest ones, that the model is judged by.",
        exclusiveMinimum=0.0,
        maximum=0.5,
    )
    unknown_ids: str = _setting(
        "score",
        "Data",
        "Unknown users and films",
        "Events whose user or film is not in the training part: `score` them by what is known, "
        "`exclude` them (counted and kept aside), or `fail` the run.",
        enum=["score", "exclude", "fail"],
    )
    order: str = _setting(
        "shuffled",
        "Data",
        "Order of training rows",
        "The built-in algorithm reads rows in file order; shuffled once, it learns far better.",
        enum=["shuffled", "file"],
    )
    seed: int = _setting(
        1,
        "Data",
        "Seed",
        "For everything random in the run.",
        minimum=0,
        maximum=2**31 - 1,
    )
    objective: str = _setting(
        "rating",
        "Model",
        "Objective",
        "`rating`: predict the stars (regressor). `like`: predict rating >= 4 (binary classifier).",
        enum=["rating", "like"],
    )
    features: str = _setting(
        "ids",
        "Model",
        "Features",
        "Columns of the design matrix: `ids` is one column for each user and each film.",
        enum=["ids"],
    )
    solver: str = _setting(
        "adam",
        "Model",
        "Solver",
        "How the machine is fitted: `adam` is what the built-in algorithm does.",
        enum=["adam"],
    )
    image: str = _setting(
        "built-in",
        "Model",
        "Image",
        "The algorithm's container: SageMaker's built-in Factorization Machines.",
        enum=["built-in"],
    )
    num_factors: int | None = _setting(
        None, "Hyperparameters", "Factors", "Length of each column's factor vector.", minimum=1
    )
    epochs: int | None = _setting(
        None, "Hyperparameters", "Epochs", "Passes over the training rows.", minimum=1
    )
    mini_batch_size: int | None = _setting(
        None, "Hyperparameters", "Mini-batch size", "Rows of one update.", minimum=1
    )
    bias_lr: float | None = _setting(
        None, "Hyperparameters", "Bias learning rate", "Step size of the bias.", minimum=0.0
    )
    linear_lr: float | None = _setting(
        None,
        "Hyperparameters",
        "Linear learning rate",
        "Step size of the linear weights.",
        minimum=0.0,
    )
    factors_lr: float | None = _setting(
        None, "Hyperparameters", "Factors learning rate", "Step size of the factors.", minimum=0.0
    )
    bias_wd: float | None = _setting(
        None, "Hyperparameters", "Bias weight decay", "L2 pull on the bias.", minimum=0.0
    )
    linear_wd: float | None = _setting(
        None,
        "Hyperparameters",
        "Linear weight decay",
        "L2 pull on the linear weights.",
        minimum=0.0,
    )
    factors_wd: float | None = _setting(
        None, "Hyperparameters", "Factors weight decay", "L2 pull on the factors.", minimum=0.0
    )
    factors_init_sigma: float | None = _setting(
        None,
        "Hyperparameters",
        "Factors initial spread",
        "Standard deviation of the factors before training.",
        exclusiveMinimum=0.0,
    )
    instance_type: str = _setting(
        "ml.m5.large",
        "AWS",
        "Instance type",
        "Of the training and the transform job.",
        pattern=r"^ml\.[a-z0-9]+\.[a-z0-9]+$",
    )
    max_runtime_minutes: int = _setting(
        60,
        "AWS",
        "Longest training",
        "SageMaker stops the training job after so many minutes, and the run fails.",
        minimum=1,
        maximum=7200,
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
        checked = {name: _checked(known[name], value) for name, value in values.items()}
        settings = cls(**checked)
        if settings.validation_fraction + settings.test_fraction >= 1:
            raise ConfigurationError(
                "validation_fraction + test_fraction leave no training events: lower one of them"
            )
        if settings.as_of is not None:
            parse_instant(settings.as_of)
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
    "epochs": 40,
    "mini_batch_size": 200,
    "bias_lr": 0.01,
    "linear_lr": 0.003,
    "factors_lr": 0.001,
    "bias_wd": 0.01,
    "linear_wd": 0.0001,
    "factors_wd": 0.0003,
    "factors_init_sigma": 0.01,
}
LIKE_DEFAULTS: dict[str, float | int] = dict(RATING_DEFAULTS)


def parse_instant(text: str) -> datetime:
    """An ISO 8601 date or moment as an aware UTC datetime; a bare one is taken as UTC.

    Raises ConfigurationError for anything else.
    """
    try:
        instant = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"parameter as_of: {text!r} is not a date or time; write it as 1998-03-08 "
            "or 1998-03-08T00:00:00Z"
        ) from None
    if instant.tzinfo is None:
        return instant.replace(tzinfo=UTC)
    return instant.astimezone(UTC)


_HINTS = {"str": str, "int": int, "float": float}


def value_type(setting: Field[Any]) -> tuple[type, bool]:
    """The plain type of a RunSettings field (str, int, float), and whether None is allowed."""
    name, _, rest = str(setting.type).partition(" | ")
    return _HINTS[name], rest == "None"


def _checked(setting: Field[Any], value: Any) -> Any:
    """`value` as the field's type, inside its limits."""
    kind, optional = value_type(setting)
    schema: dict[str, Any] = setting.metadata["schema"]
    if value is None or (optional and value == ""):
        if optional:
            return None
        raise ConfigurationError(f"parameter {setting.name}: a value is needed")
    try:
        number = 0.0 if kind is str else float(value)
        if isinstance(value, bool) or (kind is int and number != int(number)):
            raise ValueError
        typed: Any = value if kind is str else kind(number)
        if not (math.isfinite(number) and isinstance(typed, kind)):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise ConfigurationError(
            f"parameter {setting.name}: {value!r} is not {_noun(kind)}"
        ) from None
    allowed = (
        typed in schema.get("enum", [typed])
        and (kind is str or schema.get("minimum", typed) <= typed <= schema.get("maximum", typed))
        and (kind is str or typed > schema.get("exclusiveMinimum", -math.inf))
        and (kind is not str or re.search(str(schema.get("pattern", "")), str(typed)) is not None)
    )
    if not allowed:
        raise ConfigurationError(
            f"parameter {setting.name}: {value!r} is not allowed; it takes "
            f"{describe_limits(setting)}"
        )
    return typed


def _noun(kind: type) -> str:
    return {int: "a whole number", float: "a number", str: "text"}[kind]


def describe_limits(setting: Field[Any]) -> str:
    """What a field takes, in words: for messages and docs."""
    kind, _ = value_type(setting)
    schema = setting.metadata["schema"]
    if "enum" in schema:
        return ", ".join(str(choice) for choice in schema["enum"])
    if "pattern" in schema:
        return f"text like {setting.default}"
    words = {"minimum": "at least", "exclusiveMinimum": "more than", "maximum": "at most"}
    limits = [f"{word} {schema[rule]}" for rule, word in words.items() if rule in schema]
    noun = "an ISO 8601 date or time" if schema.get("format") else _noun(kind)
    return " ".join([noun, " and ".join(limits)]).strip()


def default_of(setting: Field[Any], environ: Mapping[str, str]) -> Any:
    """A field's default: the variable FMREC_<NAME> when it is set, else the project's own."""
    name = env_name(setting)
    if environ.get(name):
        try:
            return _checked(setting, environ[name])
        except ConfigurationError as error:
            raise ConfigurationError(f"environment variable {name}: {error}") from None
    return setting.default


def env_name(setting: Field[Any]) -> str:
    """The environment variable that changes a field's default."""
    return f"FMREC_{setting.name.upper()}"


def params(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Keyword arguments of one Airflow Param for each field, in form order."""
    names = {str: "string", int: "integer", float: "number"}
    made = {}
    for setting in fields(RunSettings):
        kind, optional = value_type(setting)
        made[setting.name] = {
            "default": default_of(setting, environ),
            "type": ["null", names[kind]] if optional else names[kind],
            "title": setting.metadata["title"],
            "description": setting.metadata["description"],
            "section": setting.metadata["section"],
            **setting.metadata["schema"],
        }
    return made


def _variable(name: str, default: Any, description: str) -> Any:
    return field(default=default, metadata={"env": name, "description": description})


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Where the pipeline lives; every field is an environment variable."""

    bucket: str = _variable("FMREC_BUCKET", "fmrec", "S3 bucket of everything fmrec writes.")
    prefix: str = _variable("FMREC_PREFIX", "fmrec", "Key prefix inside the bucket.")
    role_arn: str = _variable(
        "FMREC_ROLE_ARN",
        "arn:aws:iam::123456789012:role/fmrec",
        "IAM role that SageMaker jobs assume.",
    )
    region: str = _variable("AWS_DEFAULT_REGION", "us-east-1", "AWS region.")
    data_dir: Path | None = _variable(
        "FMREC_DATA_DIR", None, "Folder where archives (ml-100k.zip) are looked for first."
    )
    cache_dir: Path = _variable(
        "FMREC_CACHE_DIR",
        Path.home() / ".cache" / "fmrec",
        "Folder for downloaded and generated archives.",
    )
    poll_seconds: int = _variable(
        "FMREC_POLL_SECONDS", 30, "Seconds between two looks at a running SageMaker job."
    )

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Deployment:
        """The deployment that the environment describes. Raises ConfigurationError."""
        hints = get_type_hints(cls)
        given: dict[str, Any] = {}
        for each in fields(cls):
            name = each.metadata["env"]
            text = environ.get(name)
            if not text:
                continue
            if hints[each.name] is int:
                if not text.isdecimal() or int(text) < 1:
                    raise ConfigurationError(
                        f"environment variable {name}: {text!r} is not a whole number of at least 1"
                    )
                given[each.name] = int(text)
            elif hints[each.name] is str:
                given[each.name] = text.strip("/") if each.name == "prefix" else text
            else:
                given[each.name] = Path(text).expanduser()
        return cls(**given)
