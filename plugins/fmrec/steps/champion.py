"""The champion that a run is compared with, asked about the run's own test events."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmrec.errors import FmrecError
from fmrec.evaluation.champion import Answers, Champion, enough, fair_users
from fmrec.evaluation.objectives import RANKING
from fmrec.events.design import Design
from fmrec.events.places import Places
from fmrec.fm.model import Model
from fmrec.layout import Run
from fmrec.release import champions
from fmrec.steps.lists import Recommender
from fmrec.steps.published import Published
from fmrec.steps.xcom import Xcom, events_of
from fmrec.store import Store

log = logging.getLogger(__name__)

# Rows of one product: those with histories have hundreds of values each.
_CHUNK_ROWS = 1 << 13

Ids = NDArray[np.int64]


def champion_of(
    run: Run,
    rated: Mapping[str, pd.DataFrame],
    users: Ids | None,
    seen: pd.DataFrame,
    store: Store,
) -> Champion | None:
    """What the champion of the run's lane says of the run's test events; None without one.

    `rated` are the run's own events by part, `users` those whose lists are judged, None when none
    are, and `seen` what is kept out of the lists. The champion is scored with its own columns, so
    it may have other features than the run. One that cannot be asked comes back with its problem:
    that is a matter for a person, and no reason to lose the report.
    """
    history = champions.history(store, run.layout, run.lane)
    reference = champions.reference(history, run.layout.run, run.as_of)
    newest = champions.before(history, run.layout.run)
    if newest is None:
        return None
    facts: Xcom = {"newest": {"run": newest.run, "as_of": newest.as_of.isoformat()}}
    nobody = {"run": None, "as_of": None, "objective": None, "features": None}
    if reference is None:
        return Champion(facts | nobody)
    facts |= nobody | {"run": reference.run, "as_of": reference.as_of.isoformat()}
    try:
        past = Published.of(run.layout.of(reference.run), store)
        facts |= {"objective": past.run.settings.objective, "features": past.run.settings.features}
        if past.artifact != reference.artifact:
            problem = (
                f"the champion {reference.run} was trained again since it was promoted: its model "
                f"is {past.artifact} now, and {reference.artifact} was judged"
            )
            return Champion(facts, problem=problem)
        return _asked(facts, run, past, rated, users, seen)
    except FmrecError as error:
        log.warning("The champion %s cannot be asked: %s", reference.run, error)
        return Champion(facts, problem=f"the champion {reference.run} cannot be asked: {error}")


def _asked(
    facts: Xcom,
    run: Run,
    past: Published,
    rated: Mapping[str, pd.DataFrame],
    users: Ids | None,
    seen: pd.DataFrame,
) -> Champion:
    test, name = rated["test"], past.run.layout.run
    fair = ~_among(test, events_of(past.parts["parts"]["train"], past.store))
    if not enough(fair):
        return Champion(facts, problem=_too_few(name, fair, "test events"))
    model, design = past.model(), past.design()
    recommender = Recommender(model, design, run)
    lists = None
    if users is not None:
        untouched = fair_users(fair, users, test)
        if enough(untouched):
            lists = recommender.lists(users, seen)
        elif run.settings.promoted_for == RANKING:
            return Champion(facts, problem=_too_few(name, untouched, "test users' events"))
    # Scores of another objective mean something else, and those of a ranking only order films.
    same = past.run.settings.objective == run.settings.objective != RANKING
    scores = _scores(model, design, rated) if same else None
    return Champion(facts, answers=Answers(fair, scores, lists, recommender.catalogue))


def _too_few(name: str, fair: NDArray[np.bool_], what: str) -> str:
    return (
        f"the champion {name} was trained on {np.count_nonzero(~fair):,} of the {fair.size:,} "
        f"{what}: too few are left to compare by"
    )


def _among(test: pd.DataFrame, train: pd.DataFrame) -> NDArray[np.bool_]:
    """Which test events have a user and film that the training events have together: (n,)."""
    users, items = (np.unique(test[name].to_numpy()) for name in ("user_id", "item_id"))

    def pairs(events: pd.DataFrame) -> NDArray[np.int64]:
        user = Places(users).of(events["user_id"].to_numpy()).astype(np.int64)
        item = Places(items).of(events["item_id"].to_numpy())
        return np.where((user >= 0) & (item >= 0), user * items.size + item, -1)

    return np.isin(pairs(test), pairs(train))


def _scores(model: Model, design: Design, rated: Mapping[str, pd.DataFrame]) -> NDArray[np.float64]:
    """As a container answers: in float32, or the same model would differ from itself."""
    events = _with_previous(rated)
    chunks = (
        model.score(design.encode(events[first : first + _CHUNK_ROWS]))
        for first in range(0, len(events), _CHUNK_ROWS)
    )
    return np.concatenate([each.astype(np.float32) for each in chunks]).astype(np.float64)


def _with_previous(rated: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The test events with the training film that their user rated just before, 0 for none.

    The run itself notes it only where its own features ask for it.
    """
    test = rated["test"].drop(columns="previous_item_id")
    before = rated["train"][["user_id", "timestamp", "item_id"]].sort_values(
        "timestamp", kind="stable"
    )
    found = pd.merge_asof(
        test.reset_index().sort_values("timestamp", kind="stable"),
        before.rename(columns={"item_id": "previous_item_id"}),
        on="timestamp",
        by="user_id",
    )
    found = found.set_index("index").sort_index()
    return found.assign(previous_item_id=found["previous_item_id"].fillna(0).astype(np.int64))
