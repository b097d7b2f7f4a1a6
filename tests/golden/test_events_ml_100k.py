"""Events of the real files: the published counts, and the columns that AWS's run had."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from fmrec.events import FeatureSpace, admit, before, divide, labels
from fmrec.ratings import load

pytestmark = pytest.mark.data


def test_ua_has_two_events_whose_film_is_unknown(data_dir: Path, tmp_path: Path) -> None:
    """The published SageMaker run left out the same two: 2,623 columns, 9,428 test rows."""
    ratings = load("ml-100k", split="ua", data_dir=data_dir, cache_dir=tmp_path).ratings
    split = divide(ratings, "ua")
    space = FeatureSpace.from_events(split.train)
    assert space.dimension == 2623
    admission = admit(split.test, space, "exclude")
    assert len(admission.to_score) == 9428
    assert admission.set_aside["item_id"].tolist() == [1582, 1653]
    assert admission.counts["unknown_item"] == 2


def test_u1_with_all_ids_is_the_matrix_of_the_published_run(data_dir: Path, tmp_path: Path) -> None:
    ratings = load("ml-100k", split="u1", data_dir=data_dir, cache_dir=tmp_path).ratings
    split = divide(ratings, "u1")
    space = FeatureSpace.from_ids(range(1, 944), range(1, 1683))
    matrix = space.encode(split.test)
    assert matrix.shape == (20_000, 2_625)
    assert matrix.nnz == 40_000
    expected = np.column_stack([split.test["user_id"] - 1, split.test["item_id"] + 942])
    np.testing.assert_array_equal(matrix.indices.reshape(-1, 2), expected)
    assert labels(split.test, "rating")[:3].tolist() == [5.0, 3.0, 5.0]


def test_time_divides_by_time(data_dir: Path, tmp_path: Path) -> None:
    ratings = load("ml-100k", split="time", data_dir=data_dir, cache_dir=tmp_path).ratings
    split = divide(ratings, "time")
    assert len(split.train) + len(split.validation) + len(split.test) == 100_000
    assert 80_000 <= len(split.train) < 80_050
    assert 9_950 < len(split.validation) <= 10_050
    assert split.train["timestamp"].max() < split.validation["timestamp"].min()
    assert split.validation["timestamp"].max() < split.test["timestamp"].min()


def test_a_past_day_sees_only_what_lay_before_it(data_dir: Path, tmp_path: Path) -> None:
    ratings = load("ml-100k", split="time", data_dir=data_dir, cache_dir=tmp_path).ratings
    march = before(ratings, datetime(1998, 3, 1, tzinfo=UTC))
    assert march["timestamp"].max() < 888_710_400  # date -u -d 1998-03-01 +%s
    assert len(march) == (ratings["timestamp"] < 888_710_400).sum()
