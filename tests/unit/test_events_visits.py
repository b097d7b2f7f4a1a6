"""Visits as numbers: they keep their order, and what is no visit is none."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fmrec.events.visits import HOUR, Visits, packed, renumbered, unpacked

users = st.integers(0, 2**31 - 1)
times = st.integers(0, 2**32 - 1)
pairs = st.lists(st.tuples(users, times), max_size=30)
few = st.tuples(st.integers(0, 3), st.integers(0, 4 * HOUR))


def columns(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    user, time = zip(*rows, strict=True) if rows else ((), ())
    return np.array(user, np.int32), np.array(time, np.int64)


@given(pairs)
def test_they_ascend_by_user_then_hour_and_say_both(rows: list[tuple[int, int]]) -> None:
    user, time = columns(rows)
    for kind in (np.int64, np.uint32):
        visits = packed(user, time.astype(kind))
        assert visits.dtype == np.int64
        wanted = [(user, time // HOUR) for user, time in rows]
        of_user, hour = unpacked(visits)
        assert of_user.dtype == hour.dtype == np.int32
        assert list(zip(of_user.tolist(), hour.tolist(), strict=True)) == wanted
        order = np.argsort(visits, kind="stable").tolist()
        assert order == sorted(range(len(rows)), key=lambda at: wanted[at])


@given(st.lists(few, max_size=30))
def test_users_may_get_other_numbers(rows: list[tuple[int, int]]) -> None:
    user, time = columns(rows)
    numbers = np.array([3, 4, 2**30, 2**31 - 1], np.int32)
    changed = renumbered(packed(user, time), numbers)
    assert changed.tolist() == packed(numbers[user], time).tolist()


@given(
    st.lists(few, max_size=30),
    st.lists(
        st.tuples(
            st.sampled_from([-1, 0, 1, 3, 4, 2**31 - 1]),
            st.integers(-HOUR, 4 * HOUR)
            | st.integers(2**21, 2**21 + 4).map(lambda hour: hour * HOUR)
            | st.sampled_from([-(2**63), 2**32, 2**62, 2**63 - 1]),
        ),
        max_size=30,
    ),
)
def test_a_visit_is_found_where_it_stands(
    rows: list[tuple[int, int]], asked: list[tuple[int, int]]
) -> None:
    listed = sorted({(user, time // HOUR) for user, time in rows})
    user, hour = columns(listed)
    found = Visits(user, hour.astype(np.int32)).of(*columns(asked))
    place = {visit: at for at, visit in enumerate(listed)}
    assert found.tolist() == [place.get((user, time // HOUR), -1) for user, time in asked]
