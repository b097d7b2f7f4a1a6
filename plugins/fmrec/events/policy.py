"""Events whose user or item was not trained on: counted, and handled as declared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmrec.errors import ConfigurationError, DataError
from fmrec.events.space import FeatureSpace

POLICIES = ("score", "exclude", "fail")
REASONS = ("unknown_user", "unknown_item", "unknown_both")
_LISTED = 5


@dataclass(frozen=True)
class Admission:
    """What became of the events: every one of them is in exactly one of the two tables.

    `to_score` and `set_aside` keep the order of the events and have fresh indexes; `set_aside`
    has the further column `reason`, one of REASONS. `counts` has these three, which exclude each
    other, then `known`, `events`, `scored`, `set_aside`.
    """

    to_score: pd.DataFrame
    set_aside: pd.DataFrame
    counts: dict[str, int]


def admit(events: pd.DataFrame, space: FeatureSpace, policy: str) -> Admission:
    """Apply the policy for users and items without a training event.

    `score`: every event is scored, from what is known of it (an unknown side adds nothing, so a
    new user's films are scored by the bias and what the film has). `exclude`: events with an
    unknown id are set aside, out of the channel and the metrics. `fail`: they are an error.

    Raises ConfigurationError for any other policy, DataError for `fail`.
    """
    if policy not in POLICIES:
        raise ConfigurationError(
            f"unknown_ids {policy!r} is not known: choose one of {', '.join(POLICIES)}."
        )
    user, item = space.knows_user(events), space.knows_item(events)
    known = user & item
    reason = np.select(
        [known, item, user], ["known", "unknown_user", "unknown_item"], "unknown_both"
    )
    if policy == "fail" and not known.all():
        raise DataError(_complaint(events, known))
    kept = known if policy == "exclude" else np.ones_like(known)
    to_score = events[kept].reset_index(drop=True)
    set_aside = events.assign(reason=reason)[~kept].reset_index(drop=True)
    counts = {name: int(np.count_nonzero(reason == name)) for name in (*REASONS, "known")}
    counts |= {"events": len(events), "scored": len(to_score), "set_aside": len(set_aside)}
    return Admission(to_score, set_aside, counts)


def _complaint(events: pd.DataFrame, known: NDArray[np.bool_]) -> str:
    rows = np.flatnonzero(~known)
    listed = [
        f"user {events['user_id'].iloc[row]} with item {events['item_id'].iloc[row]}"
        for row in rows[:_LISTED]
    ]
    more = f" and {len(rows) - _LISTED:,} more" if len(rows) > _LISTED else ""
    return (
        f"{len(rows):,} of {len(events):,} events have a user or an item that the training part "
        f"does not know: {', '.join(listed)}{more}. Set unknown_ids to score or exclude, or "
        "train on ratings that have them."
    )
