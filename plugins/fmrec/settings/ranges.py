"""What a tuning job searches: the Param `tuning_ranges`, and ranges for a run that names none."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from fmrec.errors import ConfigurationError
from fmrec.settings.data import SPLITS
from fmrec.settings.defaults import DEFAULTS
from fmrec.settings.fields import value_type
from fmrec.settings.model import ModelSettings
from fmrec.settings.solvers import hyperparameters, solver_of
from fmrec.settings.training import TUNING_HOURS

if TYPE_CHECKING:
    from fmrec.settings.run import RunSettings

# SageMaker's own table for its Factorization Machines: whole numbers, and all others.
_BUILT_IN_WHOLE = {"epochs": (1, 1000), "mini_batch_size": (100, 10_000)}
_BUILT_IN = (1e-8, 512.0)
# How far around its default each is searched, by solver: docs/tuning.md says why these.
_AROUND: Mapping[str, Mapping[str, float]] = {
    "adam": {"epochs": 1.5, "factors_lr": 2, "factors_wd": 3},
    "mcmc": {"num_factors": 2, "burn_in": 2},
    "catalogue": {"epochs": 1.5, "factors_lr": 2, "factors_wd": 2, "als_factors": 2},
}
_FORM = "such as factors_lr=0.0001..0.01 log, epochs=10..60"
_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_RANGE = re.compile(rf"(\w+)\s*=\s*({_NUMBER})\s*\.\.\s*({_NUMBER})(?:\s+(log))?")


@dataclass(frozen=True)
class Range:
    """The values from `low` to `high`, both included, that are tried for a hyperparameter.

    Whole numbers alone where `whole`; evenly on a logarithmic scale where `log`.
    """

    name: str
    low: float
    high: float
    whole: bool
    log: bool

    def text(self, value: float) -> str:
        """An end of the range, as SageMaker takes it."""
        return str(int(value)) if self.whole else repr(value)


def ranges_of(settings: RunSettings) -> tuple[Range, ...]:
    """What a tuning job of the run searches: what it says, else around each default.

    Raises ConfigurationError that names the parameter and the range.
    """
    allowed = _allowed(settings)
    if settings.tuning_ranges is None:
        found = _around_defaults(settings, allowed)
    else:
        found = _parsed(settings.tuning_ranges, settings, allowed)
    _check_burn_in(settings, {each.name: each for each in found})
    return found


def check(settings: RunSettings) -> None:
    """Raise ConfigurationError for a search that is refused, or that would deceive."""
    if settings.mode != "tune" and settings.tuning_ranges is None:
        return
    found = ranges_of(settings)
    if settings.mode == "tune":
        _check_watched(settings)
        _check_time(settings)
    if all(each.whole for each in found):
        choices = math.prod(int(each.high - each.low) + 1 for each in found)
        if choices < settings.tuning_jobs:
            raise ConfigurationError(
                f"parameter tuning_jobs: {settings.tuning_jobs} jobs are more than the "
                f"{choices} choices that the ranges hold: lower it, or widen tuning_ranges"
            )


def _check_time(settings: RunSettings) -> None:
    """Refuse a search that could be stopped before its last training job has ended."""
    rounds = math.ceil(settings.tuning_jobs / settings.tuning_parallel)
    hours = rounds * settings.max_runtime_minutes / 60
    if hours > TUNING_HOURS:
        raise ConfigurationError(
            f"parameter tuning_jobs: {settings.tuning_jobs} jobs, {settings.tuning_parallel} at "
            f"once, each of at most {settings.max_runtime_minutes} minutes (max_runtime_minutes), "
            f"may take {hours:.0f} hours, and a tuning is stopped after {TUNING_HOURS}: lower "
            "max_runtime_minutes to what a job needs, or tuning_jobs, or raise tuning_parallel"
        )


def _check_watched(settings: RunSettings) -> None:
    """Refuse to choose the model by the events that it is judged by."""
    if settings.split not in SPLITS[:3]:
        raise ConfigurationError(
            f"parameter mode: 'tune' chooses by validation events, of which split "
            f"{settings.split!r} has none; it takes {', '.join(SPLITS[:3])}"
        )
    if settings.split != "leave-last-k" and not settings.validation_fraction:
        raise ConfigurationError(
            "parameter validation_fraction: mode 'tune' chooses by validation events: let it be "
            "more than 0, such as 0.1"
        )


@dataclass(frozen=True)
class _Allowed:
    """What values a hyperparameter takes: whole numbers or all, from `low` to `high`."""

    whole: bool
    low: float
    high: float
    above: bool = False  # whether `low` itself is too low


def _allowed(settings: RunSettings) -> dict[str, _Allowed]:
    """What may be searched: those of the solver, in the limits of the image."""
    known = {each.name: each for each in fields(ModelSettings)}
    found = {}
    for name in DEFAULTS[solver_of(settings)][settings.objective][settings.features]:
        whole = value_type(known[name])[0] is int
        if settings.image == "built-in":
            if whole and name not in _BUILT_IN_WHOLE:
                continue  # num_factors is not in SageMaker's table
            found[name] = _Allowed(whole, *_BUILT_IN_WHOLE.get(name, _BUILT_IN))
            continue
        schema = known[name].metadata["schema"]
        above = schema.get("exclusiveMinimum")
        low = schema["minimum"] if above is None else above
        high = schema.get("maximum", 1_000_000 if whole else 1_000.0)
        found[name] = _Allowed(whole, low, high, above is not None)
    return found


def _parsed(text: str, settings: RunSettings, allowed: Mapping[str, _Allowed]) -> tuple[Range, ...]:
    found: dict[str, Range] = {}
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise _wrong(f"{part.strip()!r} is no range; it takes ranges {_FORM}")
        name = match[1]
        if name not in allowed:
            raise _wrong(
                f"{name!r} cannot be searched with image {settings.image!r} and solver "
                f"{solver_of(settings)!r}; they take {', '.join(allowed)}"
            )
        if name in found:
            raise _wrong(f"{name} has two ranges: leave one of them out")
        if getattr(settings, name) is not None:
            raise _wrong(
                f"{name} is searched, and parameter {name} sets it to {getattr(settings, name)}: "
                "leave one of the two out"
            )
        found[name] = _range(name, match[2], match[3], allowed[name], log=match[4] is not None)
    return tuple(found.values())


def _range(name: str, first: str, second: str, allowed: _Allowed, *, log: bool) -> Range:
    low, high = float(first), float(second)
    goes = f"{name} goes from {first} to {second}"
    if low > high:
        raise _wrong(f"{goes}: write the lower bound first")
    if low == high:
        raise _wrong(f"{goes}, which is one value: set parameter {name} to it instead")
    if allowed.whole and not (low.is_integer() and high.is_integer()):
        raise _wrong(f"{goes}: it takes whole numbers")
    if low < allowed.low or high > allowed.high or (allowed.above and low == allowed.low):
        least = "more than" if allowed.above else "at least"
        raise _wrong(f"{goes}: it takes {least} {allowed.low:g} and at most {allowed.high:g}")
    if log and low <= 0:
        raise _wrong(f"{goes}: a logarithmic scale (log) needs a lower bound above 0")
    return Range(name, low, high, allowed.whole, log)


def _around_defaults(settings: RunSettings, allowed: Mapping[str, _Allowed]) -> tuple[Range, ...]:
    solver = solver_of(settings)
    found = []
    for name, factor in _AROUND[solver].items():
        if getattr(settings, name) is not None:
            continue
        default = float(DEFAULTS[solver][settings.objective][settings.features][name])
        limits = allowed[name]
        low, high = max(default / factor, limits.low), min(default * factor, limits.high)
        if name == "burn_in":
            high = min(high, float(hyperparameters(settings)["iterations"]) - 1)
            if low >= high:
                continue
        if limits.whole:
            low, high = float(math.ceil(low)), float(math.floor(high))
        else:
            low, high = float(f"{low:.3g}"), float(f"{high:.3g}")
        found.append(Range(name, low, high, limits.whole, log=True))
    if not found:
        raise _wrong(
            f"the run sets {' and '.join(_AROUND[solver])}, which are searched where there are no "
            "ranges: leave one of them empty, or say what to search"
        )
    return tuple(found)


def _check_burn_in(settings: RunSettings, found: Mapping[str, Range]) -> None:
    """Refuse what solver mcmc would refuse in some of the jobs."""
    given = hyperparameters(settings)
    if "burn_in" not in given:
        return
    most = found["burn_in"].high if "burn_in" in found else float(given["burn_in"])
    least = found["iterations"].low if "iterations" in found else float(given["iterations"])
    if most >= least:
        raise _wrong(
            f"burn_in may be {most:.0f} where iterations is {least:.0f}, which leaves no "
            "iteration to learn from: keep burn_in below iterations"
        )


def _wrong(what: str) -> ConfigurationError:
    return ConfigurationError(f"parameter tuning_ranges: {what}")
