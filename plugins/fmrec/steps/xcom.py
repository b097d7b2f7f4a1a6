"""What steps hand to each other."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fmrec.events.design import Design
from fmrec.events.encoders import FEATURES
from fmrec.events.facts import Facts
from fmrec.events.space import FeatureSpace
from fmrec.fm import artifact
from fmrec.fm.features import OWNED, Feature, Features
from fmrec.fm.model import Model
from fmrec.layout import Run, split_uri
from fmrec.store import Store

Xcom = dict[str, Any]


def without(values: Xcom, *names: str) -> Xcom:
    """A mapping without some of its keys."""
    return {name: value for name, value in values.items() if name not in names}


def design_of(run: Run, tables: Xcom, parts: Xcom, store: Store) -> Design:
    """The run's design matrix; `tables` and `parts` are what ingest and events returned."""
    id_map, facts = parts["id_map"], parts["facts"]
    return Design(
        FeatureSpace.from_bytes(store.get(id_map["key"]), sha256=id_map["sha256"]),
        Facts.from_bytes(store.get(facts["key"])),
        store.get_table(tables["keys"]["users"]),
        store.get_table(tables["keys"]["items"]),
        history_length=run.settings.histories,
        graded=is_graded(run),
        # In a row that is written out whole and holds its own event the model would read from the
        # history which film it is asked about, and could not do so afterwards. Solver mcmc weighs
        # a history by a prior of its own, and catalogue takes the film out while it trains.
        leave_own_out=not run.settings.completes_rows,
    )


def features_of(design: Design) -> Features:
    """What the algorithm is told of the columns, and what belongs to whom."""
    space = design.space
    known = {feature.name: n for n, feature in enumerate(space.features)}
    of_column = np.array([known.get(feature.name, -1) for feature in FEATURES], np.int16)
    return Features(
        tuple(Feature(each.name, each.side, each.lists) for each in space.features),
        of_column[space.feature],
        tuple(space.names()),
        {side: design.records(side) for side in OWNED},
    )


def model_of(training: Xcom, store: Store) -> Model:
    """The model that a training job left; `training` is what its task returned."""
    _, key = split_uri(training["artifact"])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, artifact.ARCHIVE)
        file.write_bytes(store.get(key))
        return artifact.load(file)


def is_graded(run: Run) -> bool:
    """Whether the run learns graded ratings: what solver catalogue makes a ranking of."""
    return run.settings.fitted_by == "catalogue"


def events_of(part: Xcom, store: Store) -> pd.DataFrame:
    """All events of a part, in order, as one frame; `part` is an entry of the events step's."""
    tables = [store.get_table(each["key"]).to_pandas() for each in part["files"]]
    columns = ["user_id", "item_id", "rating", "timestamp"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
