"""The hyperparameters of the built-in Factorization Machines algorithm.

Names, defaults and error texts are those of the built-in container (SageMaker Developer Guide,
"Factorization Machines Hyperparameters", and its default-conf.json, which also lists the
undocumented ones). ``_seed``, ``solver`` and what belongs to a solver are our own additions: the
built-in has one solver, which cannot be seeded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from fmrec.errors import ConfigurationError
from fmrec.fm.hyperparameter_kinds import (
    ANY,
    Kind,
    check_known,
    check_required,
    check_values,
    integer,
    number,
    one_of,
)
from fmrec.fm.model import PredictorType

InitMethod = Literal["normal", "uniform", "constant"]
Solver = Literal["adam", "mcmc", "catalogue"]
# The first seed whose bias starts within a quarter of a standard deviation of its mean: the
# bias start shifts the error of the first epoch (docs/decisions/0005-adam-follows-the-builtin.md).
DEFAULT_SEED = 11


_COUNT, _NON_NEGATIVE = integer(1), number()
_METHOD, _BOOL = one_of("normal", "uniform", "constant"), one_of("true", "false")

# Name, kind, default as the container's default-conf.json spells it (None: not in it).
_TABLE: tuple[tuple[str, Kind, str | None], ...] = (
    ("epochs", _COUNT, "1"),
    ("mini_batch_size", _COUNT, "1000"),
    ("use_bias", _BOOL, "true"),
    ("use_linear", _BOOL, "true"),
    ("bias_lr", _NON_NEGATIVE, "0.1"),
    ("linear_lr", _NON_NEGATIVE, "0.001"),
    ("factors_lr", _NON_NEGATIVE, "0.0001"),
    ("bias_wd", _NON_NEGATIVE, "0.01"),
    ("linear_wd", _NON_NEGATIVE, "0.001"),
    ("factors_wd", _NON_NEGATIVE, "0.00001"),
    ("bias_init_method", _METHOD, "normal"),
    ("bias_init_sigma", _NON_NEGATIVE, "0.01"),
    ("linear_init_method", _METHOD, "normal"),
    ("linear_init_sigma", _NON_NEGATIVE, "0.01"),
    ("factors_init_method", _METHOD, "normal"),
    ("factors_init_sigma", _NON_NEGATIVE, "0.001"),
    ("batch_metrics_publish_interval", _COUNT, "500"),
    ("_data_format", one_of("record"), "record"),
    ("_kvstore", ANY, "auto"),
    ("_learning_rate", _NON_NEGATIVE, "1.0"),
    ("_log_level", ANY, "info"),
    ("_num_gpus", ANY, "auto"),
    ("_num_kv_servers", ANY, "auto"),
    ("_optimizer", one_of("adam"), "adam"),
    ("_tuning_objective_metric", ANY, ""),
    ("_use_full_symbolic", ANY, "true"),
    ("_wd", _NON_NEGATIVE, "1.0"),
    ("feature_dim", _COUNT, None),
    ("num_factors", _COUNT, None),
    ("predictor_type", one_of("binary_classifier", "regressor"), None),
    ("bias_init_scale", _NON_NEGATIVE, None),
    ("bias_init_value", number(signed=True), None),
    ("linear_init_scale", _NON_NEGATIVE, None),
    ("linear_init_value", number(signed=True), None),
    ("factors_init_scale", _NON_NEGATIVE, None),
    ("factors_init_value", number(signed=True), None),
    ("clip_gradient", number(above_zero=True), None),
    ("eps", number(above_zero=True), None),
    ("rescale_grad", _NON_NEGATIVE, None),
    ("_seed", integer(0), None),
    ("solver", one_of("adam", "mcmc", "catalogue"), None),
)
# Solver, name, kind, default.
_OWN: tuple[tuple[Solver, str, Kind, str], ...] = (
    ("mcmc", "iterations", _COUNT, "150"),
    ("mcmc", "burn_in", integer(0), "10"),
    ("mcmc", "chains", _COUNT, "8"),
    ("mcmc", "samples", _COUNT, "64"),
    ("catalogue", "dropout", number(below_one=True), "0.5"),
    ("catalogue", "als_factors", integer(0), "64"),
    ("catalogue", "als_weight", _NON_NEGATIVE, "0.25"),
    ("catalogue", "als_sweeps", _COUNT, "16"),
    ("catalogue", "als_regularisation", _NON_NEGATIVE, "0.015"),
    ("catalogue", "als_unobserved_weight", _NON_NEGATIVE, "0.05"),
)
_KINDS = {name: kind for name, kind, _ in _TABLE} | {name: kind for _, name, kind, _ in _OWN}
DEFAULTS: Mapping[str, str] = {name: value for name, _, value in _TABLE if value is not None}
REQUIRED = ("feature_dim", "num_factors", "predictor_type")
# Settings of the built-in's MXNet engine, which have nothing to steer here.
_ENGINE = ("_kvstore", "_log_level", "_num_gpus", "_num_kv_servers", "_use_full_symbolic")
_NO_BIAS = tuple(name for name in _KINDS if name.startswith("bias_"))
_OF_ALL = (*REQUIRED, "_seed", "solver", "_data_format", "_optimizer", "_tuning_objective_metric")
WITHOUT_EFFECT: Mapping[Solver, tuple[str, ...]] = {
    "adam": _ENGINE,
    "catalogue": (*_ENGINE, *_NO_BIAS, "use_bias", "batch_metrics_publish_interval"),
    "mcmc": tuple(name for name, _, _ in _TABLE if name not in _OF_ALL),
}
"""What each solver accepts, as the built-in does, and does not use."""


@dataclass(frozen=True)
class Group:
    """Rates and start values of one parameter group (bias, linear weights or factors)."""

    learning_rate: float
    weight_decay: float
    init_method: InitMethod
    init_argument: float
    used: bool = True


@dataclass(frozen=True)
class Mcmc:
    """What solver mcmc takes: iterations of each chain, and samples that are exported."""

    iterations: int
    burn_in: int
    chains: int
    samples: int


@dataclass(frozen=True)
class Catalogue:
    """What solver catalogue takes; ``als_factors`` 0 leaves the implicit ALS part out."""

    dropout: float
    als_factors: int
    als_weight: float
    als_sweeps: int
    als_regularisation: float
    als_unobserved_weight: float


@dataclass(frozen=True)
class Hyperparameters:
    """A validated configuration; ``configuration`` is the same as strings, defaults included."""

    configuration: Mapping[str, str]
    feature_dim: int
    num_factors: int
    predictor_type: PredictorType
    epochs: int
    mini_batch_size: int
    bias: Group
    linear: Group
    factors: Group
    rescale_grad: float
    clip_gradient: float | None
    eps: float
    batch_metrics_publish_interval: int
    seed: int
    solver: Solver
    mcmc: Mcmc
    catalogue: Catalogue


def parse(provided: Mapping[str, object]) -> Hyperparameters:
    """Return the defaults overlaid with ``provided``, checked and typed.

    Raises ConfigurationError with the text of the built-in container.
    """
    texts = {name: str(value) for name, value in provided.items()}
    check_known(texts, _KINDS)
    _check_solver(texts)
    check_required(texts, REQUIRED)
    check_values(texts, _KINDS)
    solver = cast(Solver, texts.get("solver", "adam"))
    own = {name: default for each, name, _, default in _OWN if each == solver}
    configuration = {**DEFAULTS, **own, **texts}
    batch = int(configuration["mini_batch_size"])
    return Hyperparameters(
        configuration=configuration,
        feature_dim=int(configuration["feature_dim"]),
        num_factors=int(configuration["num_factors"]),
        predictor_type=cast(PredictorType, configuration["predictor_type"]),
        epochs=int(configuration["epochs"]),
        mini_batch_size=batch,
        bias=_group(configuration, "bias", used=configuration["use_bias"] == "true"),
        linear=_group(configuration, "linear", used=configuration["use_linear"] == "true"),
        factors=_group(configuration, "factors", used=True),
        rescale_grad=float(configuration.get("rescale_grad", 1 / batch)),
        clip_gradient=_optional(configuration, "clip_gradient"),
        eps=float(configuration.get("eps", "1e-8")),
        batch_metrics_publish_interval=int(configuration["batch_metrics_publish_interval"]),
        seed=int(configuration.get("_seed", DEFAULT_SEED)),
        solver=solver,
        mcmc=_mcmc(configuration),
        catalogue=_catalogue(configuration),
    )


def _check_solver(texts: Mapping[str, str]) -> None:
    solver = texts.get("solver", "adam")
    foreign = [(owner, name) for owner, name, _, _ in _OWN if owner != solver and name in texts]
    if foreign:
        raise ConfigurationError(
            f"{foreign[0][1]!r} belongs to solver {foreign[0][0]!r}, but the solver is "
            f"{solver!r} (caused by ValidationError): leave it out, or set solver"
        )


def _group(configuration: Mapping[str, str], group: str, *, used: bool) -> Group:
    method = cast(InitMethod, configuration[f"{group}_init_method"])
    argument = {"normal": "sigma", "uniform": "scale", "constant": "value"}[method]
    name = f"{group}_init_{argument}"
    if name not in configuration:
        raise ConfigurationError(
            f"{group}_init_method is {method!r}, which needs {name}: set it, or use 'normal'"
        )
    return Group(
        learning_rate=float(configuration["_learning_rate"]) * float(configuration[f"{group}_lr"]),
        weight_decay=float(configuration["_wd"]) * float(configuration[f"{group}_wd"]),
        init_method=method,
        init_argument=float(configuration[name]),
        used=used,
    )


def _mcmc(configuration: Mapping[str, str]) -> Mcmc:
    texts = _of(configuration, "mcmc")
    return Mcmc(**{name: int(text) for name, text in texts.items()})


def _catalogue(configuration: Mapping[str, str]) -> Catalogue:
    texts = _of(configuration, "catalogue")
    return Catalogue(
        dropout=float(texts["dropout"]),
        als_factors=int(texts["als_factors"]),
        als_weight=float(texts["als_weight"]),
        als_sweeps=int(texts["als_sweeps"]),
        als_regularisation=float(texts["als_regularisation"]),
        als_unobserved_weight=float(texts["als_unobserved_weight"]),
    )


def _of(configuration: Mapping[str, str], solver: Solver) -> dict[str, str]:
    """Return what belongs to a solver; its defaults where the configuration does not name it."""
    return {
        name: configuration.get(name, default) for each, name, _, default in _OWN if each == solver
    }


def _optional(configuration: Mapping[str, str], name: str) -> float | None:
    return float(configuration[name]) if name in configuration else None
