"""What changed since the champion, worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fmrec.errors import EvaluationError
from fmrec.evaluation.changes import changes


def lists(*rows: list[int], width: int = 10) -> np.ndarray:
    return np.array([row + [-1] * (width - len(row)) for row in rows])


def made(ours: np.ndarray, theirs: np.ndarray, titles: dict[int, str] | None = None) -> Any:
    return changes(np.arange(1, len(ours) + 1), ours, theirs, titles or {})


TEN = list(range(1, 11))


def test_five_users_worked_by_hand() -> None:
    ours = lists(TEN, TEN, [1, 2, 3], TEN, [])
    theirs = lists(TEN[::-1], [*range(6, 16)], [3, 4], [*range(21, 31)], [])
    found = made(ours, theirs)
    # 1: the same ten in another order; 2: 5 of 15; 3: 1 of 4; 4: none of 20; 5: both empty.
    values = [1, 1 / 3, 1 / 4, 0, 1]
    assert found["users"] == 5
    assert found["jaccard"]["mean"] == pytest.approx(sum(values) / 5)
    assert found["jaccard"]["median"] == pytest.approx(1 / 3)
    assert found["jaccard"]["q25"] == pytest.approx(1 / 4)
    assert found["jaccard"]["q75"] == found["jaccard"]["q95"] == 1
    assert found["jaccard"]["q05"] == pytest.approx(0.05)
    assert (found["same"], found["disjoint"]) == (2, 1)


def test_a_list_beside_an_empty_one_has_nothing_in_common() -> None:
    found = made(lists(TEN), lists([]))
    assert (found["jaccard"]["mean"], found["same"], found["disjoint"]) == (0, 0, 1)


def test_one_film_in_common_is_not_none() -> None:
    found = made(lists(TEN), lists([*range(10, 20)]))
    assert found["jaccard"]["mean"] == pytest.approx(1 / 19)
    assert (found["same"], found["disjoint"]) == (0, 0)


def test_films_that_gain_and_lose_lists_are_named_with_both_numbers() -> None:
    ours = lists([1, 2], [1, 2], [1, 5])
    theirs = lists([3, 2], [3, 2], [1, 4])
    found = made(ours, theirs, {1: "Toy Story (1995)", 3: "Four Rooms (1995)"})
    assert found["risers"] == [
        {"item_id": 1, "title": "Toy Story (1995)", "lists": 3, "lists_before": 1},
        {"item_id": 5, "title": "item 5", "lists": 1, "lists_before": 0},
    ]
    assert found["fallers"] == [
        {"item_id": 3, "title": "Four Rooms (1995)", "lists": 0, "lists_before": 2},
        {"item_id": 4, "title": "item 4", "lists": 0, "lists_before": 1},
    ]


def test_equal_changes_are_named_by_ascending_id_and_ten_at_most() -> None:
    ours = lists([*range(30, 40)], [*range(40, 50)], [7])
    theirs = lists([*range(60, 70)], [*range(50, 60)], [8])
    found = made(ours, theirs)
    assert [each["item_id"] for each in found["risers"]] == [7, *range(30, 39)]
    assert [each["item_id"] for each in found["fallers"]] == [8, *range(50, 59)]


def test_without_a_change_no_film_rises_or_falls_however_many_places_are_empty() -> None:
    found = made(lists([1, 2], [3]), lists([2, 1], [3]))
    assert found["risers"] == found["fallers"] == []
    # A list that was cut short is no rise of nothing.
    assert made(lists([1], [3]), lists([1, 2], [3]))["risers"] == []


def test_only_the_first_ten_of_longer_lists_count() -> None:
    ours = lists([*TEN, 11, 12, 13], width=50)
    theirs = lists([*TEN, 21, 22, 22], width=13)
    found = made(ours, theirs)
    assert (found["same"], found["risers"], found["fallers"]) == (1, [], [])


def test_neither_list_is_changed() -> None:
    ours, theirs = lists(TEN[::-1]), lists(TEN)
    made(ours, theirs)
    np.testing.assert_array_equal(ours, lists(TEN[::-1]))
    np.testing.assert_array_equal(theirs, lists(TEN))


def test_what_cannot_be_compared_is_refused_with_the_place() -> None:
    good = lists(TEN, TEN)

    def refused(says: str, users: list[int], ours: np.ndarray, theirs: np.ndarray) -> None:
        with pytest.raises(EvaluationError, match=says):
            changes(np.array(users), ours, theirs, {})

    refused("there must be users with lists of both models", [], good[:0], good[:0])
    refused(r"lists of the champion have shape \(1, 10\) for 2 users", [1, 2], good, good[:1])
    refused(r"lists of the model have shape \(2, 9\) for 2 users", [1, 2], good[:, :9], good)
    refused(r"lists of the model have shape \(10,\) for 2 users", [1, 2], good[0], good)
    refused("user 4 occurs 2 times", [4, 4], good, good)
    twice = lists(TEN, [5, 1, 2, 5])
    refused("the model's list of user 9 holds item 5 twice", [3, 9], twice, good)
    refused("the champion's list of user 9 holds item 5 twice", [3, 9], good, twice)
