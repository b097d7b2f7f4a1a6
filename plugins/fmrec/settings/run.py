"""One run's choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from fmrec.errors import ConfigurationError
from fmrec.settings.data import SPLITS, DataSettings
from fmrec.settings.fields import checked, setting
from fmrec.settings.instants import parse_instant
from fmrec.settings.solvers import check, hyperparameters, solver_of

WITH_HISTORIES = ("history", "profile", "full", "everything")


@dataclass(frozen=True, kw_only=True)
class RunSettings(DataSettings):
    """The choices of one run; every field is a Param, an option and a variable."""

    objective: str = setting(
        "rating",
        "Model",
        "Objective",
        "`rating`: predict the stars (regressor). `like`: predict rating >= 4 (binary "
        "classifier). `ranking`: lists of films (built-in image: a classifier of likes and "
        "sampled unseen films; own image: graded ratings).",
        enum=["rating", "like", "ranking"],
    )
    features: str = setting(
        "ids",
        "Model",
        "Features",
        "Columns of the design matrix: `ids` users and films; `side` also what is known of them; "
        "`history` ids, who rated what, and the film before; `profile` what is known and who "
        "rated what; `full` also the day and the user's visit; `everything` all (docs/data.md).",
        enum=["ids", "side", *WITH_HISTORIES],
    )
    history_length: int | None = setting(
        None,
        "Model",
        "Length of histories",
        "Features from `history` to `everything`: the latest so many films of a user, and users "
        "of a film. Empty: all; 30 for solver `adam`, whose rows are written out whole.",
        minimum=1,
        maximum=10_000,
    )
    negative_ratio: int = setting(
        16,
        "Model",
        "Unseen films for each like",
        "Objective `ranking`, built-in image: so many are sampled.",
        minimum=1,
        maximum=1_000,
    )
    negative_exponent: float = setting(
        0.5,
        "Model",
        "Popularity of unseen films",
        "They are sampled in proportion to their ratings to this power: 0 all alike, 1 as popular.",
        minimum=0.0,
        maximum=2.0,
    )
    solver: str | None = setting(
        None,
        "Model",
        "Solver",
        "How the machine is fitted. `adam`: what the built-in image does. Image `fmrec` has two "
        "more: `mcmc`, Bayesian, the most accurate for ratings and likes; `catalogue`, for "
        "rankings. Empty: what fits the image and the objective.",
        enum=["adam", "mcmc", "catalogue"],
    )
    image: str = setting(
        "built-in",
        "Model",
        "Image",
        "The algorithm's container: SageMaker's built-in Factorization Machines, or `fmrec`, this "
        "project's own (on AWS the image that FMREC_IMAGE_URI names).",
        enum=["built-in", "fmrec"],
    )
    num_factors: int | None = setting(
        None,
        "Hyperparameters",
        "Factors",
        "Length of each column's factor vector.",
        minimum=1,
        maximum=10_000,
    )
    iterations: int | None = setting(
        None, "Hyperparameters", "Iterations", "Solver `mcmc`: sweeps of each chain.", minimum=1
    )
    burn_in: int | None = setting(
        None,
        "Hyperparameters",
        "Burn-in",
        "Solver `mcmc`: sweeps of each chain that no sample is taken of.",
        minimum=0,
    )
    chains: int | None = setting(
        None, "Hyperparameters", "Chains", "Solver `mcmc`: as many are averaged.", minimum=1
    )
    samples: int | None = setting(
        None,
        "Hyperparameters",
        "Samples",
        "Solver `mcmc`: drawn models in the artifact, which has samples x factors in all.",
        minimum=1,
    )
    epochs: int | None = setting(
        None, "Hyperparameters", "Epochs", "Passes over the training rows or users.", minimum=1
    )
    mini_batch_size: int | None = setting(
        None,
        "Hyperparameters",
        "Mini-batch size",
        "Rows of one update; solver `catalogue`: users.",
        minimum=1,
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
    dropout: float | None = setting(
        None,
        "Hyperparameters",
        "Dropout",
        "Solver `catalogue`: share of a user's history that is left out in training.",
        minimum=0.0,
        maximum=0.99,
    )
    als_factors: int | None = setting(
        None,
        "Hyperparameters",
        "ALS factors",
        "Solver `catalogue`: factors of an implicit ALS model beside the others; 0 for none.",
        minimum=0,
        maximum=10_000,
    )
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
