"""Films that a model puts first, among those that its users have not rated."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmrec import topn
from fmrec.evaluation import ranking
from fmrec.events.design import Design
from fmrec.events.window import as_seconds
from fmrec.fm.model import Model
from fmrec.layout import Run
from fmrec.steps.xcom import Xcom

RECOMMENDED = 10

Ids = NDArray[np.int64]


class Recommender:
    """A model with its own columns, asked at the moment that a run describes."""

    def __init__(self, model: Model, design: Design, run: Run) -> None:
        self._model, self._design, self._at = model, design, as_seconds(run.as_of)

    def lists(self, users: Ids, seen: pd.DataFrame) -> Ids:
        """The lists that the report judges: (len(users), DEPTH)."""
        items, _ = topn.best(self._model, self._design, users, seen, ranking.DEPTH, at=self._at)
        return items

    @property
    def catalogue(self) -> Ids:
        """The films that the model knows, ascending."""
        return self._design.space.trained_items

    def recommendations(
        self,
        rated: Mapping[str, pd.DataFrame],
        items: pd.DataFrame,
        allowed: NDArray[np.bool_] | None,
    ) -> Xcom:
        """Ten films for the user of the latest training event, none that the run saw rated."""
        events = rated["train"]
        known = events[events["user_id"].isin(self._design.space.trained_users)]
        user = int(known.sort_values("timestamp", kind="stable")["user_id"].iloc[-1])
        seen = seen_in(rated, *rated)
        rows = topn.recommend(
            self._model, self._design, seen, items, user, RECOMMENDED, at=self._at, allowed=allowed
        )
        return {"user_id": user, "items": rows}


def seen_in(rated: Mapping[str, pd.DataFrame], *parts: str) -> pd.DataFrame:
    """Which user has rated which film in these parts of the events: user_id, item_id."""
    return pd.concat([rated[part][["user_id", "item_id"]] for part in parts], ignore_index=True)
