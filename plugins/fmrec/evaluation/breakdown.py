"""A judgement taken apart: slice by slice, and against the champion list by list."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from fmrec.evaluation import slices
from fmrec.evaluation.changes import changes
from fmrec.evaluation.judgement import Judgement
from fmrec.evaluation.objectives import RANKING, objective
from fmrec.evaluation.slice_labels import Labels
from fmrec.evaluation.uses import CHAMPION, MODEL


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


def since_champion(judged: Judgement, films: pa.Table) -> dict[str, Any] | None:
    """What the lists of the model and the champion have in common; None without both."""
    found = judged.listed
    if found is None or CHAMPION not in found.lists:
        return None
    named = films.select(["item_id", "title"]).to_pandas().dropna()
    titles = dict(zip(named["item_id"].tolist(), named["title"].tolist(), strict=True))
    users = found.hits[CHAMPION].users
    ours = found.lists[MODEL][np.isin(found.hits[MODEL].users, users)]
    return changes(users, ours, found.lists[CHAMPION], titles)
