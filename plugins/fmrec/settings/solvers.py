"""Which solver a run is fitted by, and with what hyperparameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fmrec.errors import ConfigurationError
from fmrec.settings.defaults import DEFAULTS, HYPERPARAMETERS

if TYPE_CHECKING:
    from fmrec.settings.run import RunSettings


def solver_of(settings: RunSettings) -> str:
    """Return the solver that is named, else what fits the image and the objective."""
    if settings.solver is not None:
        return settings.solver
    if settings.image == "built-in":
        return "adam"
    return "catalogue" if settings.objective == "ranking" else "mcmc"


def check(settings: RunSettings) -> None:
    """Raise ConfigurationError unless image, objective, solver and hyperparameters fit."""
    solver = solver_of(settings)
    if settings.image == "built-in" and solver != "adam":
        raise ConfigurationError(
            f"parameter solver: image 'built-in' knows 'adam' alone; for {solver!r} set image "
            "to 'fmrec'"
        )
    lists = settings.objective == "ranking" and settings.image == "fmrec"
    if (solver == "catalogue") != lists:
        raise ConfigurationError(
            f"parameter solver: {solver!r} does not learn objective {settings.objective!r} with "
            f"image {settings.image!r}; leave solver empty"
        )
    used = DEFAULTS[solver][settings.objective][settings.features]
    idle = sorted(
        name for name in HYPERPARAMETERS - set(used) if getattr(settings, name) is not None
    )
    if idle:
        raise ConfigurationError(
            f"parameter {idle[0]}: solver {solver!r} has no such hyperparameter; it has "
            f"{', '.join(used)}"
        )


def hyperparameters(settings: RunSettings) -> dict[str, str]:
    """Return what the algorithm is given: what the run sets, and defaults for the rest."""
    classifies = settings.objective == "like" or settings.samples_negatives
    solver = solver_of(settings)
    defaults = DEFAULTS[solver][settings.objective][settings.features]
    given = {name: getattr(settings, name) for name in defaults}
    values = {
        name: str(default if given[name] is None else given[name])
        for name, default in defaults.items()
    }
    # The built-in image would refuse these.
    own = {"solver": solver, "_seed": str(settings.seed)} if settings.image == "fmrec" else {}
    return {"predictor_type": "binary_classifier" if classifies else "regressor"} | own | values
