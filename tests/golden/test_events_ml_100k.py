"""Events of the real files: the published counts and pairs, and the columns that AWS's run had."""

from __future__ import annotations

import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from fmrec.events.design import Design
from fmrec.events.policy import admit
from fmrec.events.space import FeatureSpace
from fmrec.events.window import as_seconds
from fmrec.ratings import open_archive
from fmrec.ratings.tables import ITEMS, USERS
from prepare_oracle import Made, chosen, made

pytestmark = pytest.mark.data

NOBODY = USERS.empty_table(), ITEMS.empty_table()
COLUMNS = ["user_id", "item_id", "rating", "timestamp"]


def prepared(data_dir: Path, cache_dir: Path, split: str, **changes: object) -> Made:
    with open_archive("ml-100k", data_dir=data_dir, cache_dir=cache_dir) as archive:
        tables = (chunk.ratings for chunk in archive.ratings(split, block_bytes=300_000))
        return made(tables, chosen(split=split, order="file", **changes))


def part(found: Made, name: str) -> pd.DataFrame:
    if not found.files[name]:
        return pd.DataFrame({name: [] for name in COLUMNS})
    frame: pd.DataFrame = pa.concat_tables(found.files[name]).to_pandas()
    return frame[COLUMNS]


def published(data_dir: Path, name: str) -> pd.DataFrame:
    """A file of the archive as it is, without a line of fmrec's."""
    kinds = dict(zip(COLUMNS, ["int64", "int64", "float32", "int64"], strict=True))
    with zipfile.ZipFile(data_dir / "ml-100k.zip") as archive, archive.open(name) as stream:
        return pd.read_csv(stream, sep="\t", names=COLUMNS, dtype=kinds)


@pytest.mark.parametrize(
    ("split", "base", "test"),
    [
        *[(f"u{i}", 80_000, 20_000) for i in range(1, 6)],
        ("ua", 90_570, 9_430),
        ("ub", 90_570, 9_430),
    ],
)
def test_the_files_own_splits_are_the_published_rows_in_their_order(
    data_dir: Path, tmp_path: Path, split: str, base: int, test: int
) -> None:
    found = prepared(data_dir, tmp_path, split)
    assert found.prepared.rows == {"train": base, "validation": 0, "test": test, "filtered": 0}
    assert found.prepared.counts == {
        "superseded": 0,
        "withdrawn": 0,
        "ratings_seen": 100_000,
        "filtered": 0,
    }
    for name, file in (("train", "base"), ("test", "test")):
        expected = published(data_dir, f"ml-100k/{split}.{file}")
        pd.testing.assert_frame_equal(part(found, name), expected)


@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.1), (0.0, 0.25)])
def test_the_split_by_time_is_what_pandas_makes_of_it(
    data_dir: Path, tmp_path: Path, validation: float, test: float
) -> None:
    found = prepared(data_dir, tmp_path, "time", validation_fraction=validation, test_fraction=test)
    ratings = published(data_dir, "ml-100k/u.data")
    moments = ratings["timestamp"].sort_values(ignore_index=True)
    first = moments[round((1 - test - validation) * 100_000) - 1]
    second = moments[round((1 - test) * 100_000) - 1]
    expected = {
        "train": ratings[ratings["timestamp"] <= first],
        "validation": ratings[(ratings["timestamp"] > first) & (ratings["timestamp"] <= second)],
        "test": ratings[ratings["timestamp"] > second],
    }
    for name, rows in expected.items():
        if len(rows):
            pd.testing.assert_frame_equal(part(found, name), rows.reset_index(drop=True))
        else:
            assert found.prepared.rows[name] == 0
    assert sum(found.prepared.rows.values()) == 100_000


def test_a_past_day_sees_only_what_lay_before_it(data_dir: Path, tmp_path: Path) -> None:
    march = as_seconds(datetime(1998, 3, 1, tzinfo=UTC))
    assert march == 888_710_400  # date -u -d 1998-03-01 +%s
    found = prepared(data_dir, tmp_path, "random", as_of=march)
    ratings = published(data_dir, "ml-100k/u.data")
    seen = ratings[ratings["timestamp"] < march]
    parts = pd.concat([part(found, name) for name in ("train", "validation", "test")])
    pairs = ["user_id", "item_id"]
    pd.testing.assert_frame_equal(
        parts.sort_values(pairs, ignore_index=True), seen.sort_values(pairs, ignore_index=True)
    )
    assert found.facts.users.tolist() == sorted(set(seen["user_id"]))


def test_visits_are_what_pandas_makes_of_them(data_dir: Path, tmp_path: Path) -> None:
    facts = prepared(data_dir, tmp_path, "u1", visits=True).facts
    parts = [published(data_dir, f"ml-100k/u1.{file}") for file in ("base", "test")]
    every = pd.concat(parts).assign(trained=np.repeat([1, 0], [80_000, 20_000]))
    grouped = every.groupby(["user_id", every["timestamp"] // 3_600])
    expected = grouped.agg(known=("timestamp", "min"), trained=("trained", "sum"))
    users, hours = (expected.index.get_level_values(level).to_numpy() for level in (0, 1))
    np.testing.assert_array_equal(facts.users[facts.visits_user], users)
    np.testing.assert_array_equal(facts.visits_hour, hours)
    np.testing.assert_array_equal(facts.visits_known, expected["known"] + 1)
    np.testing.assert_array_equal(facts.visits_trained, expected["trained"])
    # A visit holds some thirty ratings: far fewer columns than ratings.
    assert facts.visits_user.size == len(expected) < 4_000


def test_leave_last_tests_one_rating_of_everybody(data_dir: Path, tmp_path: Path) -> None:
    """Everybody in ML-100K has at least 20 ratings (its README)."""
    found = prepared(data_dir, tmp_path, "leave-last-k", leave_last=5)
    assert found.prepared.rows["test"] == found.prepared.rows["validation"] == 5 * 943
    train, test = part(found, "train"), part(found, "test")
    last = train.groupby("user_id")["timestamp"].max()
    assert (test.groupby("user_id")["timestamp"].min() >= last).all()


def test_u1_has_a_column_for_each_person_and_film(data_dir: Path, tmp_path: Path) -> None:
    """The published matrix of u1 has 943 + 1,682 columns and two values in each row."""
    found = prepared(data_dir, tmp_path, "u1")
    space = FeatureSpace.from_facts(found.facts, *NOBODY, preset="ids")
    assert space.dimension == 943 + 1682
    assert set(space.names()) == {
        *(f"user:{user}" for user in range(1, 944)),
        *(f"item:{item}" for item in range(1, 1683)),
    }
    design = Design(
        space, found.facts, *NOBODY, history_length=0, graded=False, leave_own_out=False
    )
    base, test = part(found, "train"), part(found, "test")
    matrix = design.encode(base.assign(previous_item_id=0))
    assert matrix.shape == (80_000, 2_625)
    names = np.array(space.names(), object)[matrix.indices.reshape(-1, 2)]
    expected = [
        {f"user:{user}", f"item:{item}"}
        for user, item in zip(base["user_id"], base["item_id"], strict=True)
    ]
    assert [set(pair) for pair in names] == expected
    unknown = ~test["item_id"].isin(base["item_id"])
    assert unknown.any()
    assert design.encode(test.assign(previous_item_id=0)).nnz == 40_000 - unknown.sum()


def test_ua_has_two_events_whose_film_is_unknown(data_dir: Path, tmp_path: Path) -> None:
    """The published SageMaker run left out the same two: 2,623 columns, 9,428 test rows."""
    found = prepared(data_dir, tmp_path, "ua")
    space = FeatureSpace.from_facts(found.facts, *NOBODY, preset="ids")
    assert int(space.trained.sum()) == 2623
    admission = admit(part(found, "test"), space, "exclude")
    assert len(admission.to_score) == 9428
    assert admission.set_aside["item_id"].tolist() == [1582, 1653]
    assert admission.counts["unknown_item"] == 2
