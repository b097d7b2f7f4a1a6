"""Histories and previous films of events made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmrec.events import histories
from fmrec.events.histories import Latest, previous
from fmrec.events.intake import EVENT
from fmrec.events.spill import Rows
from fmrec.events.splits import FILTERED, TEST, TRAIN, VALIDATION


def events(rows: list[tuple[int, int, int, int]]) -> Rows:
    """Of (user, item, time, part), in the order of the source."""
    made = np.zeros(len(rows), EVENT)
    for name, values in zip(("user", "item", "time", "part"), zip(*rows, strict=True), strict=True):
        made[name] = values
    made["row"] = np.arange(len(rows))
    made["rating"] = made["item"] / 2
    return made


def test_previous_is_the_users_training_event_just_before() -> None:
    rows = events(
        [(0, 5, 30, TRAIN), (0, 6, 10, TRAIN), (1, 7, 20, TRAIN), (0, 8, 40, TEST), (0, 9, 5, TEST)]
    )
    assert previous(rows).tolist() == [6, -1, -1, 5, -1]


@pytest.mark.parametrize("part", [VALIDATION, TEST, FILTERED])
def test_what_is_not_trained_on_is_nobodys_previous(part: int) -> None:
    rows = events([(0, 5, 10, TRAIN), (0, 6, 20, part), (0, 7, 30, TRAIN), (0, 8, 40, part)])
    assert previous(rows).tolist() == [-1, 5, 5, 7]


def test_within_a_second_the_source_says_what_came_before() -> None:
    rows = events([(0, 5, 10, TRAIN), (0, 6, 10, TEST), (0, 7, 10, TRAIN), (0, 8, 10, TRAIN)])
    assert previous(rows).tolist() == [-1, 5, 5, 7]
    turned = rows[::-1].copy()
    assert previous(turned).tolist() == [7, 5, 5, -1]


def test_another_users_event_is_not_previous() -> None:
    rows = events([(1, 5, 10, TRAIN), (2, 6, 20, TEST), (3, 7, 30, TRAIN)])
    assert previous(rows).tolist() == [-1, -1, -1]


def test_histories_hold_the_latest_first_and_no_more_than_their_length() -> None:
    rows = events([(0, 1, 30, 0), (2, 2, 5, 0), (0, 3, 10, 0), (0, 4, 30, 0), (0, 5, 20, 0)])
    gathered = Latest(4, 3)
    gathered.add(rows["user"], rows["item"], rows)
    found = gathered.history()
    assert found.indptr.tolist() == [0, 3, 3, 4, 4]
    assert found.indices.tolist() == [4, 1, 5, 2]
    assert found.ratings.tolist() == [2.0, 0.5, 2.5, 1.0]
    assert (found.indptr.dtype, found.indices.dtype, found.ratings.dtype) == (
        np.int64,
        np.int32,
        np.float32,
    )


def test_no_events_make_empty_histories() -> None:
    found = Latest(3, 5).history()
    assert found.indptr.tolist() == [0, 0, 0, 0]
    assert found.indices.size == found.ratings.size == 0


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 3)), max_size=60),
    st.lists(st.integers(0, 59), max_size=5),
    st.integers(1, 4),
    st.integers(1, 30),
)
def test_pieces_and_room_do_not_matter(
    pairs: list[tuple[int, int, int]], cuts: list[int], length: int, room: int
) -> None:
    if not pairs:
        return
    rows = events([(*pair, TRAIN) for pair in pairs])
    order = sorted(range(len(pairs)), key=lambda at: (pairs[at][2], at), reverse=True)
    expected = [
        [pairs[at][1] for at in order if pairs[at][0] == user][:length] for user in range(6)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histories, "_ROOM", room)
        gathered = Latest(6, length)
        for part in np.split(rows, sorted(cuts)):
            gathered.add(part["user"], part["item"], part)
        found = gathered.history()
    parts = np.split(found.indices, found.indptr[1:-1])
    assert [part.tolist() for part in parts] == expected
