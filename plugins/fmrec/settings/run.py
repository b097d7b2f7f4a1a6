"""One run's choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fmrec.errors import ConfigurationError
from fmrec.settings.data import SPLITS
from fmrec.settings.fields import setting, typed
from fmrec.settings.instants import parse_instant
from fmrec.settings.model import WITH_HISTORIES
from fmrec.settings.ranges import check as check_ranges
from fmrec.settings.solvers import check, hyperparameters, solver_of
from fmrec.settings.training import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class RunSettings(TrainingSettings):
    """The choices of one run; every field is a Param, an option and a variable."""

    use: str | None = setting(
        None,
        "Release",
        "Use of the model",
        "What it is promoted for: `rating` or `like`, to predict them; `ranking`, to make lists of "
        "films. Empty: what the objective says. Whatever learns ratings or likes can be judged as "
        "a ranking too.",
        enum=["rating", "like", "ranking"],
    )
    gate_tolerance: float = setting(
        0.0,
        "Release",
        "Tolerance",
        "By what share of the champion's figure a fresher model may be worse and still be "
        "promoted. 0: it must be shown to be better.",
        minimum=0.0,
        maximum=0.2,
    )
    gate_ask_from: float = setting(
        0.8,
        "Release",
        "Ask a person from",
        "A model that is neither shown to be better nor worse than the champion is brought to a "
        "person when it is better with at least this probability; else the champion stays.",
        minimum=0.5,
        maximum=1.0,
    )
    gate_baselines: str = setting(
        "refuse",
        "Release",
        "Models below a baseline",
        "`refuse` a model that loses to user + item bias (ratings, likes) or popularity (lists), "
        "or `report` it and leave the decision to the comparison with the champion.",
        enum=["refuse", "report"],
    )
    peers: str = setting(
        "none",
        "Report",
        "Peers",
        "Other recommenders fitted to the same ratings, as rows of the report: item-based nearest "
        "neighbours, implicit ALS, EASE. They take memory and time in Airflow's worker.",
        enum=["none", "item_knn", "implicit_als", "ease", "all"],
    )
    only: str | None = setting(
        None,
        "Report",
        "Films to recommend",
        "The films that the recommendations shown are drawn from, such as `genre=Comedy,Drama and "
        "year>=1990`. Lists are judged on the whole catalogue. Empty: all films.",
    )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> RunSettings:
        """Settings from Params or options, checked.

        A value may be of its own type or its text form (as the environment and a command line
        give it). Raises ConfigurationError that names the parameter and what it takes.
        """
        settings = cls(**typed(cls, values))
        if settings.validation_fraction + settings.test_fraction >= 1:
            raise ConfigurationError(
                "validation_fraction + test_fraction leave no training events: lower one of them"
            )
        check(settings)
        if settings.fitted_by == "catalogue" and settings.features not in WITH_HISTORIES:
            raise ConfigurationError(
                f"parameter features: {settings.features!r} has no histories, from which "
                f"solver 'catalogue' learns; it takes {', '.join(WITH_HISTORIES)}"
            )
        if settings.promoted_for not in {settings.objective, "ranking"}:
            raise ConfigurationError(
                f"parameter use: a model that learnt objective {settings.objective!r} does not "
                f"answer as {settings.use!r}; leave use empty, or choose another objective"
            )
        if settings.source == "landing" and settings.split not in SPLITS[:3]:
            raise ConfigurationError(
                f"parameter split: {settings.split!r} needs an archive that comes in such files; "
                f"source 'landing' takes {', '.join(SPLITS[:3])}"
            )
        if settings.source != "landing" and settings.base != "none":
            raise ConfigurationError(
                f"parameter base: {settings.base!r} goes with source 'landing' alone; the source "
                f"is {settings.source!r}"
            )
        if settings.spot and settings.image == "built-in" and settings.max_runtime_minutes > 60:
            raise ConfigurationError(
                f"parameter max_runtime_minutes: {settings.max_runtime_minutes} is too long for "
                "the built-in algorithm on spot capacity, where AWS allows it 60 minutes, because "
                "it keeps no checkpoints; lower it, or set spot to false or image to 'fmrec'"
            )
        check_ranges(settings)
        if settings.as_of is not None:
            # A Param takes the full form alone; a person may write just the day.
            return replace(settings, as_of=parse_instant(settings.as_of).isoformat())
        return settings

    @property
    def fitted_by(self) -> str:
        """The solver, also when none was named."""
        return solver_of(self)

    @property
    def promoted_for(self) -> str:
        """The use that the model is judged for, also when none was named."""
        return self.use or self.objective

    @property
    def completes_rows(self) -> bool:
        """Whether what belongs to a user or film is written once, not in each training row."""
        return self.fitted_by != "adam"

    @property
    def samples_negatives(self) -> bool:
        """Whether unseen films are sampled: what the built-in image needs to learn a ranking."""
        return self.objective == "ranking" and self.image == "built-in"

    @property
    def histories(self) -> int:
        """How many events a history holds, where the features have histories."""
        if self.history_length is not None:
            return self.history_length
        # In rows that are written out whole all of a history would be millions of values.
        return 10_000 if self.completes_rows else 30

    @property
    def archive(self) -> str | None:
        """The archive that the run reads, if any: the source, or what lies below the landings."""
        if self.source != "landing":
            return self.source
        return None if self.base == "none" else self.base

    def hyperparameters(self) -> dict[str, str]:
        """The algorithm's hyperparameters, as SageMaker takes them: text to text.

        What the run does not set is the project's default for the solver, the objective and the
        features (docs/benchmarks says how those were chosen).
        """
        return hyperparameters(self)
