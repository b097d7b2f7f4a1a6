"""Laws of the columns and of the design matrix, against a slow encoder written from the rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from events_oracle import DAY, OF_PRESET, SlowDesign, slow_facts, with_previous
from fmrec.events.design import Design
from fmrec.events.space import FeatureSpace
from fmrec.fm.features import SIDES
from fmrec.ratings.tables import ITEMS, USERS
from fmrec.steps.xcom import features_of

IDS = st.sampled_from([1, 2, 3, 5, 8, 2**24, 2**40])
SMALL_IDS = st.integers(1, 7)
STARS = st.sampled_from([0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5])
START = 800_000_000


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Any]:
    """Events, which of them are trained on, and what is known of some users and items."""
    ids = draw(st.sampled_from([IDS, SMALL_IDS]))
    pairs = draw(st.lists(st.tuples(ids, ids), min_size=2, max_size=30, unique=True))
    count = len(pairs)
    column = st.lists(STARS, min_size=count, max_size=count)
    days = draw(st.lists(st.integers(0, 12), min_size=count, max_size=count))
    seconds = draw(
        st.lists(st.sampled_from([0, 1, 3_599, 3_600, 50_000]), min_size=count, max_size=count)
    )
    late = draw(st.lists(st.sampled_from([0, 0, 1, 5]), min_size=count, max_size=count))
    time = [START // DAY * DAY + day * DAY + s for day, s in zip(days, seconds, strict=True)]
    events = pd.DataFrame(
        {
            "user_id": np.array([user for user, _ in pairs], np.int64),
            "item_id": np.array([item for _, item in pairs], np.int64),
            "rating": np.array(draw(column), np.float32),
            "timestamp": np.array(time, np.int64),
            "arrived": np.array(
                [(t // DAY + more) * DAY if more else 0 for t, more in zip(time, late, strict=True)]
            ),
        }
    )
    trained = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    assume(trained.any())
    text = st.sampled_from([None, "", "writer", "M", "F", "é", "écrivain"])
    users = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "user_id": ids,
                    "age": st.none() | st.sampled_from([1, 17, 18, 24, 25, 49, 50, 55, 56, 99]),
                    "gender": text,
                    "occupation": text,
                    "zip_code": st.sampled_from([None, "", "90210", "9", "T8H1N", "00000"]),
                }
            ),
            unique_by=lambda row: row["user_id"],
        )
    )
    genres = st.none() | st.lists(st.sampled_from(["Drama", "Comedy", "", None]), max_size=3)
    items = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "item_id": ids,
                    "title": st.none(),
                    "release_year": st.sampled_from([None, 1950, 1995]),
                    "genres": genres,
                }
            ),
            unique_by=lambda row: row["item_id"],
        )
    )
    return {"events": events, "trained": trained, "users": users, "items": items}


def both(
    world: dict[str, Any], preset: str, length: int, *, graded: bool, leave_own_out: bool
) -> tuple[Design, SlowDesign, pd.DataFrame]:
    events = with_previous(world["events"], world["events"][world["trained"]])
    train = events[world["trained"]]
    facts = slow_facts(train, events, length)
    users = pa.Table.from_pylist(world["users"], schema=USERS)
    items = pa.Table.from_pylist(world["items"], schema=ITEMS)
    space = FeatureSpace.from_facts(facts, users, items, preset=preset)
    space = FeatureSpace.from_bytes(space.to_bytes(), sha256=space.sha256)
    how = {"graded": graded, "leave_own_out": leave_own_out}
    design = Design(space, facts, users, items, history_length=length, **how)
    slow = SlowDesign(
        train, events, world["users"], world["items"], preset=preset, length=length, **how
    )
    return design, slow, events


def same(matrix: Any, slow: np.ndarray) -> None:
    assert matrix.dtype == np.float32
    assert matrix.indices.dtype == matrix.indptr.dtype == np.int32
    assert matrix.shape == slow.shape
    np.testing.assert_allclose(matrix.toarray(), slow, rtol=1e-6)
    assert matrix.nnz == np.count_nonzero(slow)
    for row in range(matrix.shape[0]):
        assert (np.diff(matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]) > 0).all()


presets = st.sampled_from(sorted(OF_PRESET))
lengths = st.integers(1, 6)


@settings(deadline=None)  # the first example may compile
@given(worlds(), presets, lengths, st.booleans(), st.booleans())
def test_the_matrix_is_what_a_slow_encoder_makes(
    world: dict[str, Any], preset: str, length: int, graded: bool, leave_own_out: bool
) -> None:
    design, slow, events = both(world, preset, length, graded=graded, leave_own_out=leave_own_out)
    assert design.space.names() == slow.names
    trained = [name for name, is_so in zip(slow.names, design.space.trained, strict=True) if is_so]
    assert set(trained) == slow.trained & set(slow.names)
    same(design.encode(events), slow.encode(events))
    # Strangers too: their times lie before, between and after what was trained on.
    strange = events.assign(user_id=events["user_id"][::-1].to_numpy(), item_id=10**6)
    strange = pd.concat([strange, strange.assign(user_id=10**9, timestamp=START - 10**8)])
    same(design.encode(strange), slow.encode(strange))


@settings(deadline=None)  # the first example may compile
@given(worlds(), presets, lengths, st.booleans(), st.booleans(), st.integers(0, 30))
def test_the_sides_are_what_a_slow_encoder_makes(
    world: dict[str, Any], preset: str, length: int, graded: bool, leave_own_out: bool, of: int
) -> None:
    design, slow, events = both(world, preset, length, graded=graded, leave_own_out=leave_own_out)
    described = [row["user_id"] for row in world["users"]]
    users = [*events["user_id"].tolist(), *described, 4, 10**9]
    moments = [int(events["timestamp"].max()) + DAY, *events["timestamp"].tolist(), START * 9]
    at = moments[of % len(moments)]
    same(design.user_side(np.array(users), at), slow.user_side(users, at))
    items = [*events["item_id"].tolist(), *(row["item_id"] for row in world["items"]), 4]
    same(design.item_side(np.array(items)), slow.item_side(items))


@settings(deadline=None)  # the first example may compile
@given(worlds(), presets, lengths, st.booleans(), st.booleans())
def test_a_row_is_the_sum_of_its_sides(
    world: dict[str, Any], preset: str, length: int, graded: bool, leave_own_out: bool
) -> None:
    design, _, events = both(world, preset, length, graded=graded, leave_own_out=leave_own_out)
    train = events[world["trained"]]
    at = START + 20 * DAY
    if leave_own_out:  # of a pair in a history something is left out
        events = events[~world["trained"]]
    later = with_previous(events.assign(timestamp=at).set_index(events.index + 1000), train)
    sides = design.user_side(later["user_id"].to_numpy(), at) + design.item_side(
        later["item_id"].to_numpy()
    )
    assert (design.encode(later) != sides).nnz == 0


@settings(deadline=None)  # the first example may compile
@given(worlds(), presets, lengths, st.booleans(), st.booleans())
def test_a_pair_asked_about_is_encoded_as_an_event_of_that_moment(
    world: dict[str, Any], preset: str, length: int, graded: bool, leave_own_out: bool
) -> None:
    design, _, events = both(world, preset, length, graded=graded, leave_own_out=leave_own_out)
    at = START + 20 * DAY
    later = events.assign(timestamp=at).set_index(events.index + 1000)
    later = with_previous(later, events[world["trained"]])
    asked = design.asked(later["user_id"].to_numpy(), later["item_id"].to_numpy(), at)
    assert (design.encode(later) != asked).nnz == 0


@settings(deadline=None)  # the first example may compile
@given(worlds(), presets, lengths, st.booleans())
def test_a_compact_row_completed_by_the_records_is_the_whole_row(
    world: dict[str, Any], preset: str, length: int, graded: bool
) -> None:
    design, _, events = both(world, preset, length, graded=graded, leave_own_out=False)
    features = features_of(design)
    compact = design.compact(events)
    whole = design.encode(events)
    np.testing.assert_allclose(features.complete(compact).toarray(), whole.toarray(), rtol=1e-6)
    own = np.isin(features.feature, [0, 1])
    assert [each.name for each in features.features[:2]] == ["user", "item"]
    moment = features.sides == SIDES.index("event")
    known = design.space.knows_user(events) & design.space.knows_item(events)
    assert not compact[known][:, ~(own | moment)].nnz
    for side in ("user", "item"):
        assert sorted(features.owners(side)) == sorted(
            design.space.column(side)[design.space.found[side].trained]
        )


@settings(deadline=None)  # the first example may compile
@given(worlds(), presets, lengths, st.booleans(), st.booleans(), st.integers(1, 9))
def test_rows_do_not_depend_on_the_chunk_they_come_in(
    world: dict[str, Any], preset: str, length: int, graded: bool, leave_own_out: bool, size: int
) -> None:
    design, _, events = both(world, preset, length, graded=graded, leave_own_out=leave_own_out)
    whole = design.encode(events)
    for start in range(0, len(events), size):
        chunk = design.encode(events.iloc[start : start + size])
        assert (chunk != whole[start : start + size]).nnz == 0


@settings(deadline=None)  # the first example may compile
@given(worlds(), presets, st.integers(0, 14), st.sampled_from([0, 1, 50_001]))
def test_the_columns_of_a_later_run_begin_with_those_of_an_earlier(
    world: dict[str, Any], preset: str, day: int, second: int
) -> None:
    events = world["events"]
    cut = START // DAY * DAY + day * DAY + second
    earlier = events[(events["timestamp"] < cut) & (events["arrived"] <= cut)]
    assume(len(earlier) > 0)
    tables = (
        pa.Table.from_pylist(world["users"], schema=USERS),
        pa.Table.from_pylist(world["items"], schema=ITEMS),
    )
    names = []
    for visible in (earlier, events):
        train = with_previous(visible, visible)
        space = FeatureSpace.from_facts(slow_facts(train, visible, 3), *tables, preset=preset)
        names.append(space.names())
    assert names[1][: len(names[0])] == names[0]
    assert len(set(names[1])) == len(names[1])
