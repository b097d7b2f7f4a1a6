"""When a training job of a tuning job is stopped early, judged by its objective as it goes.

A curve is the values of the objective that a training job has logged so far, one for each epoch.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean, median

from fmrec.local_aws.api.faults import invalid
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.tuning.trials import Objective

Curves = Mapping[int, Sequence[float]]
# Of so many training jobs that come to a rung, successive halving lets one go on.
_REDUCTION = 3
_MOST_RESOURCE = 20_000
_RESOURCE_NAMES = ("epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs")


class StoppingRule(ABC):
    """Judges the curves of training jobs, which go by their numbers."""

    @abstractmethod
    def hopeless(
        self, number: int, seen: int, curves: Curves, completed: Collection[int], goal: Objective
    ) -> bool:
        """Return whether a training job is to be stopped.

        `curves` are those of its definition, its own among them, of which `seen` values were
        judged before; `completed` are the training jobs that ended by themselves.
        """


class MedianRule(StoppingRule):
    """SageMaker's TrainingJobEarlyStoppingType Auto.

    A training job is stopped when the objective after an epoch is worse than the median of the
    running averages of the completed training jobs up to the same epoch. The first value is not
    judged: an algorithm that tells its objective only at its end does not stop early.
    """

    def hopeless(
        self, number: int, seen: int, curves: Curves, completed: Collection[int], goal: Objective
    ) -> bool:
        """Return whether a training job is to be stopped."""
        others = [curves[item] for item in completed if curves.get(item)]
        if not others:
            return False
        return any(
            goal.better(median(fmean(other[:epoch]) for other in others), curves[number][epoch - 1])
            for epoch in range(max(seen + 1, 2), len(curves[number]) + 1)
        )


class SuccessiveHalving(StoppingRule):
    """Hyperband: brackets of successive halving, asynchronously.

    A training job belongs to a bracket, which has rungs at `least` times 3, 9, … epochs; brackets
    differ in their first rung, and those that begin to judge early get more training jobs. Of at
    least three that came to a rung, it goes on only if it is among the best third there.
    """

    def __init__(self, least: int, most: int, seed: str) -> None:
        self._seed = seed
        self._most = most
        rungs = []
        while least < most:
            rungs.append(least)
            least *= _REDUCTION
        self._brackets = [rungs[first:] for first in range(len(rungs) + 1)]

    def rungs(self, number: int) -> Sequence[int]:
        """Return the epochs after which a training job is judged."""
        last = len(self._brackets) - 1
        shares = [
            (last + 1) / (last - first + 1) * _REDUCTION ** (last - first)
            for first in range(last + 1)
        ]
        source = random.Random(f"{self._seed}/bracket/{number}")  # noqa: S311 - not for secrets
        return source.choices(self._brackets, shares)[0]

    def hopeless(
        self, number: int, seen: int, curves: Curves, completed: Collection[int], goal: Objective
    ) -> bool:
        """Return whether a training job is to be stopped."""
        del completed
        own = curves[number]
        if len(own) > self._most:
            return True
        rungs = self.rungs(number)
        for rung in rungs:
            if not seen < rung <= len(own):
                continue
            rivals = [
                curve[rung - 1]
                for other, curve in curves.items()
                if len(curve) >= rung and self.rungs(other) == rungs
            ]
            ahead = sum(goal.better(value, own[rung - 1]) for value in rivals)
            if len(rivals) >= _REDUCTION and ahead >= len(rivals) // _REDUCTION:
                return True
        return False


def stopping_rule(document: Document, seed: str) -> StoppingRule | None:
    """Return the rule of a tuning job that is complete, or None."""
    config = document["HyperParameterTuningJobConfig"]
    if config["Strategy"] == "Hyperband":
        resources = config["StrategyConfig"]["HyperbandStrategyConfig"]
        return SuccessiveHalving(resources["MinResource"], resources["MaxResource"], seed)
    return MedianRule() if config["TrainingJobEarlyStoppingType"] == "Auto" else None


def hyperband_resources(config: Document, static: Sequence[Mapping[str, str]]) -> Document:
    """Return the HyperbandStrategyConfig with its defaults; `static` are static hyperparameters.

    Raises ApiError for resources that SageMaker does not allow.
    """
    given = config.get("StrategyConfig", {}).get("HyperbandStrategyConfig", {})
    least, most = given.get("MinResource", 1), given.get("MaxResource")
    if most is None:
        found = [
            int(values[name])
            for values in static
            for name in _RESOURCE_NAMES
            if values.get(name, "").isdecimal()
        ]
        if not found:
            raise invalid(
                "MaxResource parameter is not provided and could not be inferred from provided "
                "static hyperparameters of TrainingJobDefinition."
            )
        most = max(found)
    if not least <= most <= _MOST_RESOURCE:
        raise invalid(
            f"MinResource {least} and MaxResource {most} of HyperbandStrategyConfig: MinResource "
            f"must not exceed MaxResource, nor MaxResource {_MOST_RESOURCE}."
        )
    return {"MinResource": least, "MaxResource": most}
