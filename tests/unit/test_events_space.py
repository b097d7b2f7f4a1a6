"""The feature space: columns, names, explanations, and its file."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from events_oracle import OF_PRESET, ids_facts, slow_facts, with_previous
from fmrec.errors import ConfigurationError, DataError, FormatError
from fmrec.events.encoders import FEATURES
from fmrec.events.space import FeatureSpace
from fmrec.ratings.tables import ITEMS, USERS

DAY = 86_400
NONE = USERS.empty_table(), ITEMS.empty_table()
PEOPLE = pa.Table.from_pylist(
    [
        {"user_id": 30, "age": 20, "gender": "F", "occupation": "writer", "zip_code": "90210"},
        {"user_id": 2, "age": 60, "gender": "M", "occupation": None, "zip_code": "T8H1N"},
        {"user_id": 77, "age": 40, "gender": "X", "occupation": "nobody", "zip_code": "1"},
    ],
    schema=USERS,
)
FILMS = pa.Table.from_pylist(
    [
        {"item_id": 7, "title": "Seven", "release_year": 1995, "genres": ["Crime", "Drama"]},
        {"item_id": 9, "title": "Nine", "release_year": None, "genres": ["Drama"]},
    ],
    schema=ITEMS,
)


def events() -> pd.DataFrame:
    """Users 30 and 2 rate films 7 and 9 on days 100 (a Saturday) and 102; the last is for tests."""
    rows = [
        (30, 7, 4.0, 100 * DAY),
        (30, 9, 5.0, 100 * DAY + 10),
        (2, 7, 3.0, 102 * DAY),
    ]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    return with_previous(table.assign(arrived=0), table[:2])


def space(preset: str = "ids") -> FeatureSpace:
    facts = slow_facts(events()[:2], events(), 5)
    return FeatureSpace.from_facts(facts, PEOPLE, FILMS, preset=preset)


def test_columns_stand_in_the_order_in_which_their_values_could_be_known() -> None:
    assert space().names() == ["user:30", "item:7", "item:9", "user:2"]
    assert space().dimension == 4


def test_columns_of_one_moment_stand_by_feature_then_value() -> None:
    assert space("everything").names() == [
        *("user:30", "item:7", "age_band:18-24", "gender:F", "occupation:writer", "zip_area:9"),
        *("genre:Crime", "genre:Drama", "release_year:1995", "day:1970-04-11", "weekday:Sat"),
        *("visit:30@1970-04-11T00", "rated:7", "rated_by:30", "previous:7"),
        *("item:9", "rated:9", "previous:9"),
        *("user:2", "age_band:56+", "gender:M", "zip_area:T", "day:1970-04-13", "weekday:Mon"),
        *("visit:2@1970-04-13T00", "rated_by:2"),
    ]


def test_values_are_ordered_as_what_they_are() -> None:
    facts = ids_facts([10, 9, 2**62], [100, 20])
    names = FeatureSpace.from_facts(facts, *NONE, preset="ids").names()
    assert names == ["user:9", "user:10", f"user:{2**62}", "item:20", "item:100"]


def test_a_column_is_trained_when_a_training_event_has_its_value() -> None:
    table = space("everything").columns()
    untrained = table["name"][~table["trained"]].tolist()
    assert untrained == [
        "previous:9",
        *("user:2", "age_band:56+", "gender:M", "zip_area:T", "day:1970-04-13", "weekday:Mon"),
        *("visit:2@1970-04-13T00", "rated_by:2"),
    ]


def test_what_only_strangers_to_the_events_have_is_no_column() -> None:
    assert not [
        name for name in space("everything").names() if name.endswith((":X", ":nobody", ":1"))
    ]


@pytest.mark.parametrize("preset", sorted(OF_PRESET))
def test_every_column_is_named_and_explained(preset: str) -> None:
    table = space(preset).columns()
    by_name = {feature.name: feature for feature in FEATURES}
    assert table["column"].tolist() == list(range(space(preset).dimension))
    assert table["name"].is_unique
    assert set(table["feature"]) == set(OF_PRESET[preset])
    for row in table.itertuples():
        feature = by_name[row.feature]
        assert row.name.startswith(f"{feature.name}:")
        assert len(row.name) > len(feature.name) + 1
        assert (row.side, row.meaning) == (feature.side, feature.meaning)
    assert pa.Table.from_pandas(table).num_rows == len(table)


def test_known_is_who_was_trained_on() -> None:
    strange = pd.DataFrame({"user_id": [30, 2, 77, 0, -1, 2**40], "item_id": [9, 7, 8, 1, 5, 10]})
    assert space().knows_user(strange).tolist() == [True] + [False] * 5
    assert space().knows_item(strange).tolist() == [True, True] + [False] * 4
    assert space().trained_users.tolist() == [30]
    assert space().trained_items.tolist() == [7, 9]


def test_large_ids_are_known_too() -> None:
    found = FeatureSpace.from_facts(ids_facts([5, 2**50], [2**63 - 1]), *NONE, preset="ids")
    strange = pd.DataFrame({"user_id": [2**50, 5, 6], "item_id": [2**63 - 1, 1, 2**62]})
    assert found.knows_user(strange).tolist() == [True, True, False]
    assert found.knows_item(strange).tolist() == [True, False, False]


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match="one of ids, side, history, profile, full, everything"
    ):
        space("all")


@pytest.mark.parametrize(("users", "items"), [([], [1]), ([1], []), ([], [])])
def test_a_side_without_training_events_is_refused(users: list[int], items: list[int]) -> None:
    with pytest.raises(DataError, match="no user or no item has a training event"):
        FeatureSpace.from_facts(ids_facts(users, items), *NONE, preset="ids")


def test_the_file_is_canonical_and_its_checksum_is_that_of_the_file() -> None:
    """Written out by hand: a change of these bytes is a change of the schema."""
    known = [100 * DAY + 1, 100 * DAY + 11]
    body = (
        f'{{"features":"ids","items":{{"known":[{known[0]},{known[1]}],"trained":[1,1],'
        '"values":[7,9]},"schema":3,'
        f'"users":{{"known":[{102 * DAY + 1},{known[0]}],"trained":[0,1],"values":[2,30]}}}}'
    )
    checksum = hashlib.sha256(body.encode()).hexdigest()
    assert space().to_bytes() == f'{{"checksum":"{checksum}",{body[1:]}'.encode()
    assert space().sha256 == hashlib.sha256(space().to_bytes()).hexdigest()


def test_visits_are_pairs_of_user_and_hour_in_the_file() -> None:
    assert json.loads(space("full").to_bytes())["visit"] == {
        "values": [[2, 102 * 24], [30, 100 * 24]],
        "known": [102 * DAY + 1, 100 * DAY + 1],
        "trained": [0, 1],
    }


@pytest.mark.parametrize("preset", sorted(OF_PRESET))
def test_the_file_is_read_back(preset: str) -> None:
    again = FeatureSpace.from_bytes(space(preset).to_bytes(), sha256=space(preset).sha256)
    assert again.to_bytes() == space(preset).to_bytes()
    pd.testing.assert_frame_equal(again.columns(), space(preset).columns())
    np.testing.assert_array_equal(again.feature, space(preset).feature)


def altered(**changes: Any) -> bytes:
    body = json.loads(space().to_bytes()) | changes
    return json.dumps({key: value for key, value in body.items() if value is not None}).encode()


def sealed(body: dict[str, Any]) -> bytes:
    """A file whose checksum is right, whatever it says."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    checksum = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps(body | {"checksum": checksum}).encode()


def of_visits(value: object) -> bytes:
    """A file whose checksum is right, with another value for the first visit."""
    body = json.loads(space("full").to_bytes())
    del body["checksum"]
    body["visit"]["values"][0] = value
    return sealed(body)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (altered(users={}), "the checksum inside does not fit the lists"),
        (altered(checksum=None), "the checksum inside does not fit the lists"),
        (altered(schema=2), "schema 2 with features 'ids' cannot be read"),
        (altered(features="all"), "schema 3 with features 'all' cannot be read"),
        (altered(schema=None), "no key `schema`: this file is not a feature space"),
        (b"[1, 2]", "no key `schema`: this file is not a feature space"),
        (b'{"schema": 1', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"", "not JSON"),
        (sealed({"features": "ids", "schema": 3}), "a list is missing"),
        (sealed({"features": ["ids"], "schema": 3}), "cannot be read"),
        (of_visits([2, 2448, 1]), "a list is missing or no list"),
        (of_visits(["2", "b"]), "a list is missing or no list"),
        (of_visits(2448), "a list is missing or no list"),
    ],
)
def test_another_file_is_not_taken_for_it(data: bytes, what: str) -> None:
    with pytest.raises(FormatError, match=what):
        FeatureSpace.from_bytes(data)


def test_the_file_of_another_run_is_not_taken_for_it() -> None:
    with pytest.raises(FormatError, match="it is not the one of this run"):
        FeatureSpace.from_bytes(space("side").to_bytes(), sha256=space().sha256)
