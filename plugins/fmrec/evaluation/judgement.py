"""A model beside its baselines: by the scores of single events, or by lists of recommendations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmrec.errors import EvaluationError
from fmrec.evaluation import baselines, diagnostics, metrics, ranking
from fmrec.evaluation.comparison import Comparison, compare
from fmrec.evaluation.objectives import Scale, objective
from fmrec.events.objectives import labels

Array = NDArray[np.float64]

_UNDEFINED = {
    "f1": "F1 is undefined: no test event is positive and none is predicted to be",
    "auc": "AUC is undefined: all test events have the same label",
}


@dataclass(frozen=True)
class Judgement:
    """Figures of the model and of each baseline, and the comparison on the main metric.

    `over` says in words what the main metric is the mean over; `against` is the baseline of the
    comparison. `calibration` and `residuals` stay empty for lists: a list has no single truth.
    """

    metrics: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]]
    comparison: Comparison
    metric: str
    against: str
    over: str
    counts: Mapping[str, int]
    calibration: list[dict[str, Any]] = field(default_factory=list)
    residuals: list[dict[str, Any]] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """A sentence on each metric that is undefined."""
        return [_UNDEFINED[name] for name, value in self.metrics.items() if math.isnan(value)]


def of_scores(
    name: str, train: pd.DataFrame, test: pd.DataFrame, scores: Array, *, scale: Scale, seed: int
) -> Judgement:
    """Judge one score for each test event, for the objectives `rating` and `like`.

    Raises EvaluationError for another objective, and for scores that are not finite or not in the
    objective's range.
    """
    goal = objective(name)
    truth, known = (labels(events, name).astype(np.float64) for events in (test, train))
    predicted = goal.clip(scores, scale)
    model = baselines.fit_biases(train["user_id"], train["item_id"], known)
    rivals = {
        "global_mean": np.full(len(test), model.mean),
        "user_item_bias": model.predict(test["user_id"], test["item_id"]),
    }
    rivals = {key: goal.clip_baseline(values, scale) for key, values in rivals.items()}
    measured = goal.measure(truth, predicted)
    counts = {}
    if goal.root:
        main = goal.main_metric
        measured[f"{main}_unclipped"] = goal.metrics[main](truth, scores)
        counts["clipped"] = int(np.count_nonzero(scores != predicted))
    comparison = compare(
        goal.losses(truth, predicted),
        goal.losses(truth, rivals["user_item_bias"]),
        test["user_id"].to_numpy(),
        root=goal.root,
        seed=seed,
    )
    return Judgement(
        metrics=measured,
        baselines={key: goal.measure(truth, values) for key, values in rivals.items()},
        comparison=comparison,
        metric=goal.main_metric,
        against="user_item_bias",
        over=f"{len(test):,} test events",
        counts=counts,
        calibration=diagnostics.calibration(truth, predicted),
        residuals=diagnostics.residuals_by_rating(
            test["rating"].to_numpy(np.float64), truth, predicted
        ),
    )


def of_lists(
    train: pd.DataFrame,
    test: pd.DataFrame,
    scores: Array,
    ranked: ranking.Ranked | None,
    *,
    seed: int,
) -> Judgement:
    """Judge lists of ten for each user, and by `auc` the scores of the test events besides.

    The scores need only order the events: they may be of any range. Raises EvaluationError when
    there are no lists, or lists that do not follow the protocol of `fmrec.evaluation.ranking`.
    """
    if ranked is None:
        raise EvaluationError(
            "the objective ranking is judged by lists, and none were given: rank the catalogue "
            "for judged_users(train, test)"
        )
    ranking.check(ranked, train, test)
    truth = labels(test, "ranking").astype(np.float64)
    popularity = ranking.Popularity.of(train)
    popular = popularity.lists(ranked.users, ranked.seen)
    ours = ranking.per_user(ranked.users, ranked.items, test)
    theirs = ranking.per_user(ranked.users, popular, test)
    main = next(iter(ours))
    return Judgement(
        metrics=_means(ours) | {"auc": metrics.auc(truth, scores)},
        baselines={
            "popularity": _means(theirs)
            | {"auc": metrics.auc(truth, popularity.scores(test["item_id"].to_numpy()))}
        },
        comparison=compare(
            ours[main], theirs[main], ranked.users, root=False, seed=seed, better="more"
        ),
        metric=main,
        against="popularity",
        over=f"the lists of {ranked.users.size:,} users",
        counts={"ranked_users": ranked.users.size},
    )


def _means(values: Mapping[str, Array]) -> dict[str, float]:
    return {name: float(each.mean()) for name, each in values.items()}
