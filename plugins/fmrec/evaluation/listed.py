"""Predictors judged by a list of films for each user: the use `ranking`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmrec.evaluation import baselines, metrics, ranking
from fmrec.evaluation.champion import Answers, fair_users
from fmrec.evaluation.comparison import compare, compare_all
from fmrec.evaluation.exposure import exposure
from fmrec.evaluation.objectives import RANKING
from fmrec.evaluation.uses import BIAS, CHAMPION, MODEL, POPULARITY, Use
from fmrec.events.objectives import labels

Array = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Lists:
    """What was listed for the m users of `ranking.judged_users`, best first.

    `seen` (columns user_id, item_id) is what was kept out: the events of the training and of the
    validation part. `model` and each of `peers` are (m, DEPTH), ending in -1 where a user has
    fewer films left.
    """

    users: Ids
    seen: pd.DataFrame
    model: Ids
    peers: Mapping[str, Ids]


@dataclass(frozen=True, eq=False)
class Listed:
    """The use, and what the report tells besides.

    `lists` and `hits` are those of the model, of popularity and of the champion; row i of a list is
    that of user i of its hits. The champion has those of users alone none of whose test events it
    was trained on.
    """

    use: Use
    lists: dict[str, Ids]
    hits: dict[str, ranking.Hits]
    facts: dict[str, Any]


def judge(
    train: pd.DataFrame,
    test: pd.DataFrame,
    lists: Lists,
    *,
    scores: Array | None,
    seed: int,
    champion: Answers | None = None,
) -> Listed:
    """Judge lists by what their users like in the test part.

    `scores`, shape (len(test),), where the model's order the test events, are judged by `auc`: they
    may be of any range. Raises EvaluationError when lists do not follow the protocol of
    `fmrec.evaluation.ranking`.
    """
    users, seen = lists.users, lists.seen
    popularity = ranking.Popularity.of(train)
    bias = baselines.fit_biases(train["user_id"], train["item_id"], labels(train, RANKING))
    best_rated = bias.item_ids[np.argsort(-bias.item_bias, kind="stable")]
    for name, items in {MODEL: lists.model, **lists.peers}.items():
        ranking.check_lists(name, users, items, seen, train, test)
    everyone = {
        MODEL: lists.model,
        POPULARITY: popularity.lists(users, seen),
        BIAS: ranking.first_unseen(best_rated, users, seen),
        **lists.peers,
    }
    hits = {name: ranking.hits(users, items, test) for name, items in everyone.items()}
    gains = {name: ranking.per_user(each) for name, each in hits.items()}
    main = next(iter(gains[MODEL]))
    comparisons = compare_all(
        gains[MODEL][main],
        {name: gains[name][main] for name in everyone if name != MODEL},
        users,
        root=False,
        seed=seed,
        better="more",
    )
    if champion is not None and champion.lists is not None:
        ranking.check_lists(
            CHAMPION, users, champion.lists, seen, train, test, catalogue=champion.catalogue
        )
        fair = fair_users(champion.fair, users, test)
        everyone[CHAMPION] = champion.lists[fair]
        hits[CHAMPION] = ranking.hits(users[fair], everyone[CHAMPION], test)
        gains[CHAMPION] = ranking.per_user(hits[CHAMPION])
        comparisons[CHAMPION] = compare(
            gains[MODEL][main][fair],
            gains[CHAMPION][main],
            users[fair],
            root=False,
            seed=seed,
            better="more",
        )
    figures = {
        name: {metric: float(values.mean()) for metric, values in gains[name].items()}
        | exposure(items, train)
        for name, items in everyone.items()
    }
    if scores is not None:
        truth, asked = labels(test, RANKING).astype(np.float64), test["item_id"].to_numpy()
        orders = {
            MODEL: scores,
            POPULARITY: popularity.scores(asked),
            BIAS: bias.predict(test["user_id"], asked),
        }
        for name, values in orders.items():
            figures[name]["auc"] = metrics.auc(truth, values)
    kept = [name for name in (MODEL, POPULARITY, CHAMPION) if name in everyone]
    return Listed(
        Use(RANKING, main, POPULARITY, f"the lists of {users.size:,} users", figures, comparisons),
        {name: everyone[name] for name in kept},
        {name: hits[name] for name in kept},
        {
            "users": users.size,
            "depth": ranking.DEPTH,
            "cutoffs": list(ranking.CUTOFFS),
            "curves": {name: ranking.curves(each) for name, each in hits.items()},
        },
    )
