"""The champion of a lane, opened: its model, its columns, and what its users have rated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fmrec import films
from fmrec.errors import ConfigurationError
from fmrec.events.design import Design
from fmrec.events.prepare import EXAMPLES
from fmrec.events.window import as_seconds
from fmrec.fm.model import Model
from fmrec.layout import Layout, default_lane
from fmrec.release import champions
from fmrec.steps.published import Published
from fmrec.steps.xcom import model_of
from fmrec.store import Store


def lane_in_use(store: Store, layout: Layout, environ: Mapping[str, str]) -> str:
    """The lane that is meant where none is named: the only one, else that of the default settings.

    Raises ConfigurationError for a variable that is wrong.
    """
    known = champions.lanes(store, layout)
    return known[0] if len(known) == 1 else default_lane(environ)


def champion_of(store: Store, layout: Layout, lane: str) -> champions.Champion:
    """The champion in place of a lane.

    Raises ConfigurationError where there is none, with the lanes that have one.
    """
    found = champions.current(champions.history(store, layout, lane))
    if found is None:
        known = ", ".join(champions.lanes(store, layout)) or "none"
        raise ConfigurationError(
            f"lane {lane!r} has no champion; those that have one: {known}. Name one of them, or "
            "trigger fmrec_retrain and let the gate or a person make one"
        )
    return found


@dataclass(frozen=True, eq=False)
class InProduction:
    """A champion. `model` is the one that was judged, though its run may have another since."""

    entry: champions.Champion
    past: Published
    model: Model
    design: Design
    items: pa.Table

    @classmethod
    def of(cls, entry: champions.Champion, layout: Layout, store: Store) -> InProduction:
        """The champion of an entry of a history; `layout` is that of any run.

        Raises StoreError, DataError or FormatError where its run or its model is gone.
        """
        past = Published.of(layout.of(entry.run), store)
        items = store.get_table(past.tables["keys"]["items"])
        model = model_of({"artifact": entry.artifact}, store)
        return cls(entry, past, model, past.design(), items)

    @property
    def at(self) -> int:
        """The moment that it describes, in UTC seconds: when it is asked."""
        return as_seconds(self.entry.as_of)

    @property
    def rated(self) -> list[str]:
        """The keys of all ratings that its run saw, learnt from or not."""
        parts = self.past.parts["parts"]
        # The examples of a ranking hold films that nobody has rated.
        return [
            file["key"]
            for name, part in parts.items()
            if name != EXAMPLES
            for file in part["files"]
        ]

    def rated_by(
        self, user: int, progress: Callable[[int, int], object] = lambda done, total: None
    ) -> pd.DataFrame:
        """What a user has rated, the latest first: item_id, rating, timestamp.

        `progress` is told how many of how many files are read.
        """
        keys, found = self.rated, []
        for number, key in enumerate(keys):
            progress(number, len(keys))
            table = self.past.store.get_table(key)
            own = table.filter(pc.equal(table["user_id"], user))
            found.append(own.select(["user_id", "item_id", "rating", "timestamp"]).to_pandas())
        progress(len(keys), len(keys))
        ratings: pd.DataFrame = pd.concat(found, ignore_index=True)
        return ratings.sort_values(["timestamp", "item_id"], ascending=[False, True])

    def titles(self, item_ids: NDArray[np.int64]) -> list[str]:
        """The titles of films; one without is named by its id."""
        ids, names = (self.items[name].to_pylist() for name in ("item_id", "title"))
        known = dict(zip(ids, names, strict=True))
        return [known.get(item) or f"item {item}" for item in item_ids.tolist()]

    def allowed(self, only: str | None) -> NDArray[np.bool_] | None:
        """Which films of its catalogue a filter allows; None for all.

        Raises ConfigurationError for a filter that is none or allows no film.
        """
        if only is None:
            return None
        catalogue = self.design.space.trained_items
        mask = films.allowed(only, self.items, catalogue)
        if not mask.any():
            raise ConfigurationError(
                f"parameter only: {only!r} allows none of the {catalogue.size:,} films that the "
                f"champion {self.entry.run} knows: ask for more"
            )
        return mask
