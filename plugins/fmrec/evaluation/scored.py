"""Predictors judged by a score for each test event: the uses `rating` and `like`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmrec.evaluation import baselines, diagnostics
from fmrec.evaluation.champion import Answers
from fmrec.evaluation.comparison import compare, compare_all
from fmrec.evaluation.objectives import Scale, objective
from fmrec.evaluation.uses import BIAS, CHAMPION, MEAN, MODEL, Use
from fmrec.events.objectives import labels

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scored:
    """The use, and what the report tells besides.

    `losses` has the main metric's terms of the model, the main baseline and the champion, each of
    shape (n,), nan for events that the champion was trained on.
    """

    use: Use
    losses: dict[str, Array]
    counts: dict[str, int]
    calibration: list[dict[str, Any]]
    residuals: list[dict[str, Any]]


def judge(
    name: str,
    train: pd.DataFrame,
    test: pd.DataFrame,
    scores: Array,
    *,
    scale: Scale,
    seed: int,
    champion: Answers | None = None,
) -> Scored:
    """Judge the scores, shape (n,), of the n test events for the objective `name`.

    The champion is compared with on the events that it was not trained on. Raises EvaluationError
    for another objective, and for scores that are not finite or not in the objective's range.
    """
    goal = objective(name)
    truth, known = (labels(events, name).astype(np.float64) for events in (test, train))
    users = test["user_id"].to_numpy()
    predicted = goal.clip(scores, scale)
    model = baselines.fit_biases(train["user_id"], train["item_id"], known)
    rivals = {
        BIAS: model.predict(test["user_id"], test["item_id"]),
        MEAN: np.full(len(test), model.mean),
    }
    rivals = {key: goal.clip_baseline(values, scale) for key, values in rivals.items()}
    figures = {MODEL: goal.measure(truth, predicted)}
    counts = {}
    if goal.root:
        figures[MODEL][f"{goal.main_metric}_unclipped"] = goal.metrics[goal.main_metric](
            truth, scores
        )
        counts["clipped"] = int(np.count_nonzero(scores != predicted))
    figures |= {key: goal.measure(truth, values) for key, values in rivals.items()}
    losses = {
        key: goal.losses(truth, values) for key, values in {MODEL: predicted, **rivals}.items()
    }
    comparisons = compare_all(
        losses[MODEL], {key: losses[key] for key in rivals}, users, root=goal.root, seed=seed
    )
    kept = {key: losses[key] for key in (MODEL, BIAS)}
    if champion is not None and champion.scores is not None:
        fair, said = champion.fair, goal.clip(champion.scores, scale)
        figures[CHAMPION] = goal.measure(truth[fair], said[fair])
        kept[CHAMPION] = np.where(fair, goal.losses(truth, said), np.nan)
        comparisons[CHAMPION] = compare(
            losses[MODEL][fair], kept[CHAMPION][fair], users[fair], root=goal.root, seed=seed
        )
    return Scored(
        Use(name, goal.main_metric, BIAS, f"{len(test):,} test events", figures, comparisons),
        kept,
        counts,
        diagnostics.calibration(truth, predicted),
        diagnostics.residuals_by_rating(test["rating"].to_numpy(np.float64), truth, predicted),
    )
