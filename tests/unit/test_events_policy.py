"""Unknown users and items, under each policy; labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fmrec.errors import ConfigurationError, DataError
from fmrec.events import FeatureSpace, admit, labels

SPACE = FeatureSpace.from_ids([1, 2], [5, 6])
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
    assert admission.set_aside["reason"].tolist() == [
        "unknown_user",
        "unknown_item",
        "unknown_both",
    ]
    assert admission.counts == COUNTS | {"scored": 2, "set_aside": 3}


def test_fail_names_the_rows() -> None:
    with pytest.raises(DataError) as caught:
        admit(EVENTS, SPACE, "fail")
    assert str(caught.value) == (
        "3 of 5 events have a user or an item that the training part does not know: row 1 (user 9, "
        "item 5), row 3 (user 2, item 7), row 4 (user 8, item 7). Set unknown_ids to score or "
        "exclude, or train on ratings that have them."
    )


def test_fail_names_the_first_rows_of_many() -> None:
    many = pd.concat([EVENTS] * 10, ignore_index=True)
    with pytest.raises(
        DataError, match=r"30 of 50 events .*row 8 \(user 2, item 7\) and 25 more\."
    ):
        admit(many, SPACE, "fail")


def test_fail_passes_when_all_is_known() -> None:
    known = EVENTS.iloc[[1, 4]].reset_index(drop=True)
    admission = admit(known, SPACE, "fail")
    pd.testing.assert_frame_equal(admission.to_score, known)
    assert admission.counts["set_aside"] == 0


def test_excluding_everything_is_an_error() -> None:
    with pytest.raises(DataError, match="unknown_ids=exclude leaves none of 1 events"):
        admit(EVENTS.iloc[:1], SPACE, "exclude")


def test_another_policy_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'drop' is not known: choose one of score, excl"):
        admit(EVENTS, SPACE, "drop")


def test_a_label_is_the_stars_or_whether_it_is_liked() -> None:
    assert labels(EVENTS, "rating").tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert labels(EVENTS, "like").tolist() == [0.0, 0.0, 0.0, 1.0, 1.0]
    assert labels(EVENTS, "rating").dtype == labels(EVENTS, "like").dtype == np.float32


def test_labels_are_a_copy() -> None:
    made = labels(EVENTS, "rating")
    made[0] = 99
    assert EVENTS["rating"].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_another_objective_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match="'click' is not known: choose one of rating, like"
    ):
        labels(EVENTS, "click")
