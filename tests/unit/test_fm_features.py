"""The channel `features`: what it says, what it refuses, what it adds to rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from fmrec import recordio
from fmrec.errors import DataError
from fmrec.fm.features import Feature, Features, dump, load, parse

FEATURES = (
    Feature("user", "user"),
    Feature("item", "item"),
    Feature("genre", "item"),
    Feature("rated", "user", "item"),
    Feature("day", "event"),
)
NAMES = ("user:1", "item:7", "user:2", "genre:Drama", "rated:7", "day:1997-09-20")
CODES = np.array([0, 1, 0, 2, 3, 4], np.int16)
RECORDS = {
    "user": sparse.csr_matrix(np.array([[1, 0, 0, 0, 0.5, 0], [0, 0, 1, 0, 0, 0]], np.float32)),
    "item": sparse.csr_matrix(np.array([[0, 1, 0, 2, 0, 0]], np.float32)),
}


def some() -> Features:
    return Features(FEATURES, CODES, NAMES, RECORDS)


def write(folder: Path, features: Features) -> Path:
    folder.mkdir()
    (folder / "columns.json").write_bytes(dump(features))
    for side, records in features.records.items():
        (folder / f"{side}.pbr").write_bytes(recordio.encode(records, None))
    return folder


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    found = load(write(tmp_path / "features", some()), 6)
    assert found is not None
    assert (found.features, found.names) == (FEATURES, NAMES)
    assert found.feature.tolist() == CODES.tolist()
    assert {side: each.toarray().tolist() for side, each in found.records.items()} == {
        side: each.toarray().tolist() for side, each in RECORDS.items()
    }
    assert dump(found) == dump(some())


def test_no_channel_is_no_features(tmp_path: Path) -> None:
    assert load(tmp_path / "features", 6) is None
    (tmp_path / "features").mkdir()
    assert load(tmp_path / "features", 6) is None


def test_sides_columns_and_owners() -> None:
    features = some()
    assert features.sides.tolist() == [0, 1, 0, 1, 0, 2]
    assert features.columns_of("user").tolist() == [0, 2]
    assert features.columns_of("zip_area").tolist() == []
    assert features.owners("user").tolist() == [0, 2]


def test_rows_are_completed_with_what_belongs_to_their_user_and_item() -> None:
    rows = np.array([[1, 1, 0, 0, 0, 1], [0, 1, 1, 0, 0, 0], [0, 0, 0, 5, 0, 0]], np.float32)
    completed = some().complete(sparse.csr_matrix(rows)).toarray()
    assert completed.tolist() == [
        [1, 1, 0, 2, 0.5, 1],
        [0, 1, 1, 2, 0, 0],
        [0, 0, 0, 5, 0, 0],
    ]


def test_without_records_rows_stand_as_they_are() -> None:
    rows = sparse.csr_matrix(np.eye(6, dtype=np.float32))
    assert Features(FEATURES, CODES, NAMES, {}).complete(rows) is rows


def test_a_folder_without_columns_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "features", some())
    (folder / "columns.json").unlink()
    with pytest.raises(DataError, match=r"holds no columns\.json"):
        load(folder, 6)


def test_another_width_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="describes 6 columns, but feature_dim is 7"):
        load(write(tmp_path / "features", some()), 7)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": 2}, "schema 2; this version reads 1"),
        ({"names": ["a"]}, "one entry for each column"),
        ({"names": ["a"] * 6}, "same name"),
        ({"feature": [0, 1, 2, 3, 4, 9]}, "one entry for each column"),
        ({"feature": "abc"}, "is not what"),
        ({"features": [{"name": "user", "side": "left"}] * 5}, "one of user, item, event"),
        ({"features": [{}]}, "is not what"),
        ({"features": [{"name": "a", "side": "user", "lists": "b"}] * 5}, "whose values are"),
    ],
)
def test_other_columns_are_refused(change: dict[str, object], says: str) -> None:
    body = json.loads(dump(some())) | change
    with pytest.raises(DataError, match=says):
        parse(json.dumps(body).encode(), "features/columns.json")


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff"])
def test_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(DataError, match=r"features/columns\.json is not what"):
        parse(text, "features/columns.json")


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ([[1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]], "two records are of the same user"),
        ([[0, 0, 0, 0, 1, 0]], "exactly one column of the feature 'user'"),
        ([[1, 0, 1, 0, 0, 0]], "exactly one column of the feature 'user'"),
        ([[2, 0, 0, 0, 0, 0]], "exactly one column of the feature 'user'"),
        ([[1, 0, 0, 1, 0, 0]], "record 0 holds genre:Drama, which is no column of a user"),
        ([[1, 0, 0, 0, np.inf, 0]], "not finite"),
        ([[1, 0, 0, 0, 0]], "records of 5 features for 6 columns"),
    ],
)
def test_records_at_fault_are_refused(
    tmp_path: Path, records: list[list[float]], says: str
) -> None:
    folder = write(tmp_path / "features", some())
    table = sparse.csr_matrix(np.array(records, np.float32))
    (folder / "user.pbr").write_bytes(recordio.encode(table, None))
    with pytest.raises(DataError, match=rf"features/user\.pbr.*{says}"):
        load(folder, 6)
