"""The search strategies: which values the next training job of a tuning job tries."""

from __future__ import annotations

import hashlib
import itertools
import random
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.tuning.definitions import Definition
from fmrec.local_aws.tuning.ranges import Categories, Space
from fmrec.local_aws.tuning.trials import Trial

Values = dict[str, str]

# So many draws that were all taken before mean that hardly any choice is left.
_TRIES = 10_000
_BAYESIAN_TRIES = 5
# The first choices of Bayesian search are random ones.
_RANDOM_CHOICES = 5


@dataclass(frozen=True)
class Proposal:
    """What a training job is to try."""

    definition: Definition
    values: Values


class Search(ABC):
    """Chooses values. What `propose` returns depends on its arguments and the seed alone.

    Training jobs of several definitions take turns.
    """

    def __init__(self, definitions: Sequence[Definition], seed: str) -> None:
        self._definitions = definitions
        self._seed = seed

    @abstractmethod
    def propose(self, number: int, trials: Sequence[Trial]) -> Proposal:
        """Return what training job `number`, counted from 1, tries, given the others so far."""

    def _turn(self, number: int) -> Definition:
        return self._definitions[(number - 1) % len(self._definitions)]


class GridSearch(Search):
    """Every combination of the categories once, definition after definition."""

    def propose(self, number: int, trials: Sequence[Trial]) -> Proposal:
        """Return what training job `number` tries."""
        del trials
        choices = (
            Proposal(definition, values)
            for definition in self._definitions
            for values in grid(definition.space)
        )
        return next(itertools.islice(choices, number - 1, None))


class RandomSearch(Search):
    """Draws, each different from those before: the n-th follows from the seed and n."""

    def __init__(self, definitions: Sequence[Definition], seed: str) -> None:
        super().__init__(definitions, seed)
        self._sources = [_source(seed, item.index) for item in definitions]
        self._drawn: list[list[Values]] = [[] for _ in definitions]

    def propose(self, number: int, trials: Sequence[Trial]) -> Proposal:
        """Return what training job `number` tries."""
        del trials
        definition = self._turn(number)
        drawn = self._drawn[definition.index]
        wanted = (number - 1) // len(self._definitions)
        while len(drawn) <= wanted:
            drawn.append(_fresh(definition.space, self._sources[definition.index], drawn))
        return Proposal(definition, drawn[wanted])


class BayesianSearch(Search):
    """Tree-structured Parzen estimation (optuna) over all results so far.

    `parents` are the trials of a warm start. Training jobs under way count as bad ones, so that
    those that run at once do not try the same.
    """

    def __init__(
        self, definitions: Sequence[Definition], seed: str, parents: Sequence[Trial]
    ) -> None:
        super().__init__(definitions, seed)
        self._parents = parents

    def propose(self, number: int, trials: Sequence[Trial]) -> Proposal:
        """Return what training job `number` tries."""
        definition = self._turn(number)
        own = [trial for trial in trials if trial.definition == definition.index]
        taken = [dict(trial.tuned) for trial in own]
        for attempt in range(_BAYESIAN_TRIES):
            values = _estimated(definition, [*self._parents, *own], (self._seed, number, attempt))
            if values not in taken:
                return Proposal(definition, values)
        source = _source(self._seed, number)
        return Proposal(definition, _fresh(definition.space, source, taken))


def search_of(
    document: Document,
    definitions: Sequence[Definition],
    seed: str,
    parents: Sequence[Trial],
) -> Search:
    """Return the strategy of a tuning job. Hyperband draws at random and stops what is worse."""
    strategy = document["HyperParameterTuningJobConfig"]["Strategy"]
    if strategy == "Bayesian":
        return BayesianSearch(definitions, seed, parents)
    return (GridSearch if strategy == "Grid" else RandomSearch)(definitions, seed)


def grid(space: Space) -> Sequence[Values]:
    """Return every combination of a space that has categories alone."""
    names = [item.name for item in space]
    lists = [item.values for item in space if isinstance(item, Categories)]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*lists)]


def _fresh(space: Space, source: random.Random, taken: Sequence[Values]) -> Values:
    """Draw values that are not taken; what is drawn last when hardly any choice is left."""
    for _ in range(_TRIES):
        values = {item.name: item.draw(source) for item in space}
        if values not in taken:
            break
    return values


def _source(*parts: object) -> random.Random:
    return random.Random("/".join(map(str, parts)))  # noqa: S311 - not for secrets


def _estimated(definition: Definition, trials: Sequence[Trial], seed: tuple[object, ...]) -> Values:
    import optuna  # noqa: PLC0415 - takes a second, and few servers need it
    from optuna.distributions import (  # noqa: PLC0415
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
    )

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    shapes: dict[str, BaseDistribution] = {
        item.name: CategoricalDistribution(item.values)
        if isinstance(item, Categories)
        else FloatDistribution(0.0, 1.0)
        for item in definition.space
    }
    digest = hashlib.sha256("/".join(map(str, seed)).encode()).digest()
    study = optuna.create_study(
        direction="maximize" if definition.objective.maximize else "minimize",
        sampler=optuna.samplers.TPESampler(
            seed=int.from_bytes(digest[:4]),
            n_startup_trials=_RANDOM_CHOICES,
            multivariate=True,
            constant_liar=True,
        ),
    )
    states = optuna.trial.TrialState
    for trial in trials:
        places = {
            item.name: item.place(trial.hyperparameters.get(item.name, ""))
            for item in definition.space
        }
        if None in places.values() or (trial.value is None and not trial.live):
            continue
        study.add_trial(
            optuna.trial.create_trial(
                state=states.RUNNING if trial.live else states.COMPLETE,
                params=places,
                distributions=shapes,
                value=trial.value,
            )
        )
    chosen = study.ask(shapes).params
    return {item.name: item.text(chosen[item.name]) for item in definition.space}
