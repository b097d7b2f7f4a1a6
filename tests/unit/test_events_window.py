"""The as-of cut and the order of training rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pandas as pd
import pytest

from fmrec.errors import ConfigurationError, DataError
from fmrec.events import arrange, before

RATINGS = pd.DataFrame(
    {
        "user_id": [3, 1, 2, 1],
        "item_id": [7, 7, 8, 9],
        "rating": pd.Series([4, 5, 1, 3], dtype="float32"),
        "timestamp": [888_000_300, 888_000_100, 888_000_200, 888_000_200],
        "fold": [""] * 4,
    }
)


def test_the_moment_itself_is_not_seen() -> None:
    assert before(RATINGS, 888_000_200)["timestamp"].tolist() == [888_000_100]
    assert before(RATINGS, 888_000_201)["timestamp"].tolist() == [
        888_000_100,
        888_000_200,
        888_000_200,
    ]


def test_order_and_columns_stay_and_the_index_is_fresh() -> None:
    seen = before(RATINGS, 888_000_300)
    assert seen["user_id"].tolist() == [1, 2, 1]
    assert seen.index.tolist() == [0, 1, 2]
    assert list(seen.columns) == list(RATINGS.columns)


def test_a_moment_is_the_same_in_every_zone_and_as_seconds() -> None:
    moment = datetime.fromtimestamp(888_000_200, UTC)
    elsewhere = moment.astimezone(timezone(timedelta(hours=5, minutes=30)))
    for as_of in (moment, elsewhere):
        pd.testing.assert_frame_equal(before(RATINGS, as_of), before(RATINGS, 888_000_200))


def test_parts_of_a_second_count() -> None:
    just_after = datetime.fromtimestamp(888_000_200, UTC) + timedelta(microseconds=1)
    assert len(before(RATINGS, just_after)) == 3


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"write it as 1998-03-08T00:00:00\+00:00"):
        before(RATINGS, datetime(1998, 3, 8))  # noqa: DTZ001


def test_an_empty_window_says_what_there_is_and_what_to_set() -> None:
    with pytest.raises(DataError) as caught:
        before(RATINGS, 888_000_100)
    assert str(caught.value) == (
        "No rating lies before as_of 1998-02-20T18:41:40+00:00 (timestamp 888000100): the 4 "
        "ratings lie between 1998-02-20T18:41:40+00:00 (timestamp 888000100) and "
        "1998-02-20T18:45:00+00:00 (timestamp 888000300). Set as_of to a later moment, or choose "
        "a source that reaches further back."
    )


def test_no_ratings_at_all_is_said_so() -> None:
    with pytest.raises(DataError, match="there are no ratings at all"):
        before(RATINGS.iloc[:0], 888_000_100)


def test_shuffled_is_a_permutation_that_the_seed_decides() -> None:
    many = pd.DataFrame({"user_id": range(1000), "item_id": range(1000)}, index=range(5, 1005))
    first, again = arrange(many, order="shuffled", seed=1), arrange(many, order="shuffled", seed=1)
    other = arrange(many, order="shuffled", seed=2)
    pd.testing.assert_frame_equal(first, again)
    assert first["user_id"].tolist() != other["user_id"].tolist()
    assert first["user_id"].tolist() != many["user_id"].tolist()
    assert sorted(first["user_id"]) == list(range(1000))
    assert (first["user_id"] == first["item_id"]).all()
    assert first.index.tolist() == list(range(1000))


def test_file_order_stays() -> None:
    kept = arrange(RATINGS, order="file", seed=1)
    pd.testing.assert_frame_equal(kept, RATINGS)
    assert kept is not RATINGS


def test_another_order_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match="'sorted' is not known: choose one of shuffled, f"
    ):
        arrange(RATINGS, order="sorted", seed=1)
