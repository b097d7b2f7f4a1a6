"""Laws of the events: nothing lost, nothing twice, nothing out of its time."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pandas as pd
from hypothesis import assume, given
from hypothesis import strategies as st

from fmrec.errors import DataError
from fmrec.events import POLICIES, FeatureSpace, admit, arrange, before, divide

row = st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 5), st.integers(100, 130))
tables = st.lists(row, min_size=1, max_size=60).map(
    lambda rows: pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"]).assign(
        position=range(len(rows))
    )
)


def positions(*parts: pd.DataFrame) -> list[int]:
    return [int(position) for part in parts for position in part["position"]]


@given(tables, st.integers(95, 135))
def test_the_window_is_what_lies_before(table: pd.DataFrame, as_of: int) -> None:
    expected = [
        int(p) for p, t in zip(table["position"], table["timestamp"], strict=True) if t < as_of
    ]
    try:
        assert positions(before(table, as_of)) == expected
    except DataError:
        assert expected == []


@given(tables, st.integers(0, 2**31 - 1))
def test_shuffling_loses_nothing_and_keeps_rows_whole(table: pd.DataFrame, seed: int) -> None:
    untouched = table.copy()
    shuffled = arrange(table, order="shuffled", seed=seed)
    pd.testing.assert_frame_equal(table, untouched)
    restored = shuffled.sort_values("position", ignore_index=True)
    pd.testing.assert_frame_equal(restored, table)


@given(
    tables,
    st.sampled_from([0.0, 0.1, 0.25, 0.4]),
    st.sampled_from([0.1, 0.2, 0.5]),
)
def test_a_split_in_time_loses_nothing_and_never_looks_ahead(
    table: pd.DataFrame, validation: float, test: float
) -> None:
    untouched = table.copy()
    try:
        split = divide(table, "time", validation_fraction=validation, test_fraction=test)
    except DataError:
        # Refused only when the ties leave too few moments for the parts that are wanted.
        cuts = [round((1 - test - validation) * len(table)), round((1 - test) * len(table))]
        moments = sorted(table["timestamp"])
        behind = {
            sum(moment <= moments[cut - 1] for moment in moments) if cut else 0 for cut in cuts
        }
        assert behind & {0, len(table)} or len(behind) == 1
        return
    parts = [split.train, split.validation, split.test]
    assert sorted(positions(*parts)) == list(range(len(table)))
    filled = [part for part in parts if len(part)]
    for earlier, later in pairwise(filled):
        assert earlier["timestamp"].max() < later["timestamp"].min()
    for part in filled:
        assert part["timestamp"].is_monotonic_increasing
        assert part.index.tolist() == list(range(len(part)))
    assert len(split.train) >= round((1 - test - validation) * len(table))
    assert len(split.validation) == 0 or validation > 0
    pd.testing.assert_frame_equal(table, untouched)


@given(tables, st.data())
def test_a_fold_split_loses_nothing(table: pd.DataFrame, data: st.DataObject) -> None:
    fold = data.draw(
        st.lists(st.sampled_from(["base", "test"]), min_size=len(table), max_size=len(table))
    )
    assume(len(set(fold)) == 2)
    split = divide(table.assign(fold=fold), "u3")
    assert positions(split.train) == [i for i, name in enumerate(fold) if name == "base"]
    assert positions(split.test) == [i for i, name in enumerate(fold) if name == "test"]
    assert split.validation.empty


@given(tables, tables)
def test_the_matrix_is_what_a_slow_encoder_makes(train: pd.DataFrame, events: pd.DataFrame) -> None:
    space = FeatureSpace.from_events(train)
    column = {}
    for user in sorted(set(train["user_id"])):
        column[f"user:{user}"] = len(column)
    for item in sorted(set(train["item_id"])):
        column[f"item:{item}"] = len(column)
    slow = np.zeros((len(events), len(column)), dtype=np.float32)
    for at, event in enumerate(events.to_dict("records")):
        for name in (f"user:{event['user_id']}", f"item:{event['item_id']}"):
            if name in column:
                slow[at, column[name]] = 1
    assert space.names() == list(column)
    matrix = space.encode(events)
    np.testing.assert_array_equal(matrix.toarray(), slow)
    assert matrix.nnz == int(slow.sum())
    assert matrix.has_canonical_format


@given(st.sets(st.integers(1, 2**62), min_size=1), st.sets(st.integers(1, 2**62), min_size=1))
def test_a_feature_space_survives_its_file(users: set[int], items: set[int]) -> None:
    space = FeatureSpace.from_ids(users, items)
    again = FeatureSpace.from_bytes(space.to_bytes(), sha256=space.sha256)
    assert again.users.tolist() == sorted(users)
    assert again.items.tolist() == sorted(items)
    assert again.sha256 == space.sha256


@given(tables, tables, st.sampled_from(POLICIES))
def test_no_policy_loses_an_event(train: pd.DataFrame, events: pd.DataFrame, policy: str) -> None:
    space = FeatureSpace.from_events(train)
    users, items = set(train["user_id"]), set(train["item_id"])
    kinds = Counter(
        {(True, True): "known", (False, True): "unknown_user", (True, False): "unknown_item"}.get(
            (event["user_id"] in users, event["item_id"] in items), "unknown_both"
        )
        for event in events.to_dict("records")
    )
    try:
        admission = admit(events, space, policy)
    except DataError:
        assert (policy == "fail" and kinds["known"] < len(events)) or (
            policy == "exclude" and kinds["known"] == 0
        )
        return
    assert sorted(positions(admission.to_score, admission.set_aside)) == list(range(len(events)))
    assert positions(admission.to_score) == sorted(positions(admission.to_score))
    assert admission.set_aside["reason"].tolist().count("known") == 0
    assert admission.counts == {
        "unknown_user": kinds["unknown_user"],
        "unknown_item": kinds["unknown_item"],
        "unknown_both": kinds["unknown_both"],
        "known": kinds["known"],
        "events": len(events),
        "scored": len(admission.to_score),
        "set_aside": len(admission.set_aside),
    }
    if policy == "score":
        assert len(admission.to_score) == len(events)
    else:
        assert len(admission.to_score) == kinds["known"]
