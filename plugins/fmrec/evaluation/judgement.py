"""A model beside its baselines, its peers and the champion, for every use that it can have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmrec.errors import EvaluationError
from fmrec.evaluation import listed, scored
from fmrec.evaluation.champion import Answers
from fmrec.evaluation.listed import Listed, Lists
from fmrec.evaluation.objectives import RANKING, Scale
from fmrec.evaluation.scored import Scored
from fmrec.evaluation.uses import BIAS, CHAMPION, MEAN, MODEL, POPULARITY, Use

Array = NDArray[np.float64]

_UNDEFINED = {
    "f1": "F1 is undefined: no test event is positive and none is predicted to be",
    "auc": "AUC is undefined: all test events have the same label",
    **{
        f"{name}@10": f"{name.capitalize()} is undefined: no list holds a film"
        for name in ("gini", "novelty", "popularity")
    },
}


@dataclass(frozen=True, eq=False)
class Judgement:
    """What was found, by single scores and by lists; either may be missing, not both.

    `own` is the use that the model is meant for.
    """

    own: Use
    scored: Scored | None
    listed: Listed | None

    @property
    def uses(self) -> list[Use]:
        """All uses that the model was judged for."""
        return [each.use for each in (self.scored, self.listed) if each is not None]

    @property
    def metrics(self) -> dict[str, float]:
        """Every figure of the model."""
        return self._of(MODEL)

    @property
    def baselines(self) -> dict[str, dict[str, float]]:
        """Every figure of each baseline, the champion among them when there is one."""
        found = {name: self._of(name) for name in (MEAN, BIAS, POPULARITY, CHAMPION)}
        return {name: values for name, values in found.items() if values}

    @property
    def peers(self) -> dict[str, dict[str, float]]:
        """Every figure of each peer."""
        if self.listed is None:
            return {}
        known = {MODEL, MEAN, BIAS, POPULARITY, CHAMPION}
        return {
            name: dict(values)
            for name, values in self.listed.use.metrics.items()
            if name not in known
        }

    @property
    def comparisons(self) -> list[dict[str, Any]]:
        """The model against each rival, for each use."""
        return [row for use in self.uses for row in use.rows()]

    @property
    def counts(self) -> dict[str, int]:
        """What was counted on the way."""
        counts = {} if self.scored is None else dict(self.scored.counts)
        return (
            counts
            if self.listed is None
            else counts | {"ranked_users": self.listed.hits[MODEL].users.size}
        )

    @property
    def notes(self) -> list[str]:
        """A sentence on each metric that is undefined."""
        return [
            _UNDEFINED[name]
            for name, value in self.metrics.items()
            if name in _UNDEFINED and math.isnan(value)
        ]

    def _of(self, predictor: str) -> dict[str, float]:
        return {
            name: value
            for use in self.uses
            for name, value in use.metrics.get(predictor, {}).items()
        }


def of(
    run: Mapping[str, Any],
    train: pd.DataFrame,
    test: pd.DataFrame,
    scores: Array,
    lists: Lists | None,
    champion: Answers | None,
    *,
    scale: Scale,
) -> Judgement:
    """Judge the candidate by its scores of the test events, by its lists, or by both.

    `run` has the objective, the use and the seed. Raises EvaluationError when the use needs lists
    and there are none, and for whatever `scored.judge` and `listed.judge` raise.
    """
    seed = int(run["seed"])
    name = run["objective"]
    by_score = by_list = None
    if name != RANKING:
        by_score = scored.judge(
            name, train, test, scores, scale=scale, seed=seed, champion=champion
        )
    if lists is not None:
        ordering = scores if name == RANKING else None
        by_list = listed.judge(train, test, lists, scores=ordering, seed=seed, champion=champion)
    found = {each.use.name: each.use for each in (by_score, by_list) if each is not None}
    if run["use"] not in found:
        raise EvaluationError(
            f"the use {run['use']} is judged by "
            + ("lists, and none were given" if run["use"] == RANKING else "scores of another kind")
            + f": a model of objective {name} can be judged for {', '.join(found) or 'nothing'}"
        )
    return Judgement(found[run["use"]], by_score, by_list)
