"""Unknown users and items, under each policy."""

from __future__ import annotations

import pandas as pd
import pytest

from events_oracle import ids_facts
from fmrec.errors import ConfigurationError, DataError
from fmrec.events.policy import admit
from fmrec.events.space import FeatureSpace
from fmrec.ratings.tables import ITEMS, USERS

SPACE = FeatureSpace.from_facts(
    ids_facts([1, 2], [5, 6]), USERS.empty_table(), ITEMS.empty_table(), preset="ids"
)
EVENTS = pd.DataFrame(
    {
        "user_id": [9, 1, 2, 8, 1],
        "item_id": [5, 5, 7, 7, 6],
        "rating": pd.Series([1, 2, 3, 4, 5], dtype="float32"),
    }
)
COUNTS = {"unknown_user": 1, "unknown_item": 1, "unknown_both": 1, "known": 2, "events": 5}


def test_score_scores_everything() -> None:
    admission = admit(EVENTS, SPACE, "score")
    pd.testing.assert_frame_equal(admission.to_score, EVENTS)
    assert admission.set_aside.empty
    assert list(admission.set_aside.columns) == [*EVENTS.columns, "reason"]
    assert admission.counts == COUNTS | {"scored": 5, "set_aside": 0}


def test_exclude_sets_aside_with_the_reason() -> None:
    admission = admit(EVENTS, SPACE, "exclude")
    assert admission.to_score["rating"].tolist() == [2.0, 5.0]
    assert admission.to_score.index.tolist() == [0, 1]
    assert admission.set_aside["rating"].tolist() == [1.0, 3.0, 4.0]
    assert admission.set_aside.index.tolist() == [0, 1, 2]
    assert admission.set_aside["reason"].tolist() == [
        "unknown_user",
        "unknown_item",
        "unknown_both",
    ]
    assert admission.counts == COUNTS | {"scored": 2, "set_aside": 3}


def test_the_events_themselves_are_not_touched() -> None:
    before = EVENTS.copy()
    admit(EVENTS, SPACE, "exclude")
    pd.testing.assert_frame_equal(EVENTS, before)


def test_an_id_that_was_seen_but_not_trained_on_is_unknown() -> None:
    facts = ids_facts([1, 2], [5, 6])
    facts.users_trained[1] = facts.items_trained[0] = 0
    space = FeatureSpace.from_facts(facts, USERS.empty_table(), ITEMS.empty_table(), preset="ids")
    counts = admit(EVENTS, space, "score").counts
    assert {name: counts[name] for name in COUNTS} == {
        "unknown_user": 0,
        "unknown_item": 1,
        "unknown_both": 3,
        "known": 1,
        "events": 5,
    }


def test_fail_names_the_rows() -> None:
    with pytest.raises(DataError) as caught:
        admit(EVENTS, SPACE, "fail")
    assert str(caught.value) == (
        "3 of 5 events have a user or an item that the training part does not know: user 9 with "
        "item 5, user 2 with item 7, user 8 with item 7. Set unknown_ids to score or exclude, or "
        "train on ratings that have them."
    )


def test_fail_names_the_first_rows_of_many() -> None:
    many = pd.concat([EVENTS] * 10, ignore_index=True)
    with pytest.raises(DataError, match=r"30 of 50 events .*user 2 with item 7 and 25 more\. Set"):
        admit(many, SPACE, "fail")


def test_fail_passes_when_all_is_known() -> None:
    known = EVENTS.iloc[[1, 4]].reset_index(drop=True)
    admission = admit(known, SPACE, "fail")
    pd.testing.assert_frame_equal(admission.to_score, known)
    assert admission.counts["set_aside"] == 0


def test_excluding_everything_is_counted() -> None:
    admission = admit(EVENTS.iloc[:1], SPACE, "exclude")
    assert admission.to_score.empty
    assert admission.to_score.dtypes.equals(EVENTS.dtypes)
    assert admission.counts["set_aside"] == admission.counts["events"] == 1


def test_another_policy_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'drop' is not known: choose one of score, excl"):
        admit(EVENTS, SPACE, "drop")
