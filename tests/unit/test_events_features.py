"""The feature space: columns, names, the matrix, and its file."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from fmrec.errors import ConfigurationError, FormatError
from fmrec.events import FeatureSpace


def events(*pairs: tuple[int, int]) -> pd.DataFrame:
    return pd.DataFrame(list(pairs), columns=["user_id", "item_id"], dtype="int64")


TRAIN = events((30, 7), (10, 9), (30, 9), (2, 7))


def test_columns_are_users_then_items_with_ids_ascending() -> None:
    space = FeatureSpace.from_events(TRAIN)
    assert space.names() == ["user:2", "user:10", "user:30", "item:7", "item:9"]
    assert space.dimension == 5


def test_the_matrix_has_a_one_for_the_user_and_a_one_for_the_item() -> None:
    matrix = FeatureSpace.from_events(TRAIN).encode(TRAIN)
    assert matrix.dtype == np.float32
    assert matrix.toarray().tolist() == [
        [0, 0, 1, 1, 0],
        [0, 1, 0, 0, 1],
        [0, 0, 1, 0, 1],
        [1, 0, 0, 1, 0],
    ]
    assert matrix.has_canonical_format


def test_an_id_without_a_column_adds_nothing() -> None:
    space = FeatureSpace.from_events(TRAIN)
    strange = events((11, 7), (10, 8), (1, 100), (31, 6))
    assert space.encode(strange).toarray().tolist() == [
        [0, 0, 0, 1, 0],
        [0, 1, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    assert space.knows_user(strange).tolist() == [False, True, False, False]
    assert space.knows_item(strange).tolist() == [True, False, False, False]


def test_no_events_make_a_matrix_without_rows() -> None:
    assert FeatureSpace.from_events(TRAIN).encode(events()).shape == (0, 5)


def test_the_ids_can_be_given() -> None:
    space = FeatureSpace.from_ids(range(1, 944), range(1, 1683))
    assert space.dimension == 2625
    matrix = space.encode(events((1, 1), (943, 1682)))
    assert matrix.indices.tolist() == [0, 943, 942, 2624]
    same = FeatureSpace.from_ids([30, 2, 10, 10], np.array([9, 7]))
    assert same.to_bytes() == FeatureSpace.from_events(TRAIN).to_bytes()


@pytest.mark.parametrize(("users", "items"), [([], [1]), ([1], []), ([], [])])
def test_a_side_without_ids_is_refused(users: list[int], items: list[int]) -> None:
    with pytest.raises(ConfigurationError, match="at least one user and one item"):
        FeatureSpace.from_ids(users, items)


def test_the_columns_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="read-only"):
        FeatureSpace.from_events(TRAIN).users[0] = 5


def test_the_file_is_canonical_and_its_checksum_is_that_of_the_file() -> None:
    """Written out by hand: a change of these bytes is a change of the schema."""
    body = '{"features":"ids","items":[7,9],"schema":1,"users":[2,10,30]}'
    checksum = hashlib.sha256(body.encode()).hexdigest()
    space = FeatureSpace.from_events(TRAIN)
    assert space.to_bytes() == f'{{"checksum":"{checksum}",{body[1:]}'.encode()
    assert space.sha256 == hashlib.sha256(space.to_bytes()).hexdigest()


def test_the_file_is_read_back() -> None:
    space = FeatureSpace.from_events(TRAIN)
    again = FeatureSpace.from_bytes(space.to_bytes(), sha256=space.sha256)
    assert again.to_bytes() == space.to_bytes()
    assert again.names() == space.names()


def altered(**changes: object) -> bytes:
    body = json.loads(FeatureSpace.from_events(TRAIN).to_bytes()) | changes
    return json.dumps({key: value for key, value in body.items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (altered(users=[2, 10, 31]), "the checksum inside does not fit the ids"),
        (altered(items=[7]), "the checksum inside does not fit the ids"),
        (altered(checksum=None), "the checksum inside does not fit the ids"),
        (altered(schema=2), "schema 2 with features 'ids' cannot be read"),
        (altered(features="history"), "schema 1 with features 'history' cannot be read"),
        (altered(schema=None), "no key `schema`: this file is not an id map"),
        (b"[1, 2]", "no key `schema`: this file is not an id map"),
        (b'{"schema": 1', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"", "not JSON"),
    ],
)
def test_another_file_is_not_taken_for_it(data: bytes, what: str) -> None:
    with pytest.raises(FormatError, match=what):
        FeatureSpace.from_bytes(data)


def test_the_file_of_another_run_is_not_taken_for_it() -> None:
    other = FeatureSpace.from_ids([1], [1]).to_bytes()
    with pytest.raises(FormatError, match="it is not the one of this run"):
        FeatureSpace.from_bytes(other, sha256=FeatureSpace.from_events(TRAIN).sha256)


def test_names_are_in_the_order_of_the_columns() -> None:
    space = FeatureSpace.from_ids(range(1, 12), range(1, 12))
    ids = [int(name.split(":")[1]) for name in space.names()[:11]]
    assert all(one < two for one, two in pairwise(ids))  # by number: user:2 before user:10
