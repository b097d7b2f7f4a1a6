"""A judgement taken apart: slice by slice, and against the champion list by list."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa

from fmrec.evaluation import slices
from fmrec.evaluation.champion import Answers
from fmrec.evaluation.changes import changes
from fmrec.evaluation.judgement import Judgement
from fmrec.evaluation.listed import Lists
from fmrec.evaluation.objectives import RANKING, objective
from fmrec.evaluation.slice_labels import Labels


def by_slice(
    judged: Judgement, train: pd.DataFrame, test: pd.DataFrame, people: pa.Table, films: pa.Table
) -> list[dict[str, Any]]:
    """The figures of the model's own use by slices; see `fmrec.evaluation.slices`."""
    labels, own = Labels(train, people, films), judged.own
    if own.name == RANKING and judged.listed is not None:
        found = judged.listed
        return slices.of_lists(
            labels, test, found.lists, found.hits, metric=own.metric, against=own.baseline
        )
    if judged.scored is None:
        return []
    return slices.of_scores(
        labels,
        test,
        judged.scored.losses,
        metric=own.metric,
        against=own.baseline,
        root=objective(own.name).root,
    )


def since_champion(
    lists: Lists | None, champion: Answers | None, films: pa.Table
) -> dict[str, Any] | None:
    """What the lists of the model and the champion have in common; None without both.

    All judged users count: what has changed says nothing of who is right.
    """
    if lists is None or champion is None or champion.lists is None:
        return None
    named = films.select(["item_id", "title"]).to_pandas().dropna()
    titles = dict(zip(named["item_id"].tolist(), named["title"].tolist(), strict=True))
    return changes(lists.users, lists.model, champion.lists, titles)
