"""Rows in files by bucket."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fmrec.events.intake import EVENT
from fmrec.events.spill import Rows, Spill, taken


def numbered(numbers: np.ndarray) -> Rows:
    rows = np.zeros(numbers.size, EVENT)
    rows["row"], rows["rating"] = numbers, numbers / 2
    return rows


def test_rows_of_a_bucket_keep_their_order(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "rows", EVENT, 3)
    rows = numbered(np.arange(1_000))
    bucket = rows["row"] * 7 % 5 % 2 * 2  # 0 or 2
    for part in (slice(0, 600), slice(600, 600), slice(600, 1_000)):
        spill.add(rows[part], bucket[part])
    assert spill.rows.tolist() == [np.count_nonzero(bucket == each) for each in range(3)]
    for each in range(3):
        np.testing.assert_array_equal(spill.read(each), rows[bucket == each])
        np.testing.assert_array_equal(spill.column(each, "rating"), rows["rating"][bucket == each])
        assert spill.read(each).dtype == EVENT


def test_replaced_rows_are_the_only_ones(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "rows", EVENT, 2)
    spill.add(numbered(np.arange(10)), np.zeros(10, np.int64))
    spill.replace(0, numbered(np.arange(3)))
    assert spill.read(0)["row"].tolist() == [0, 1, 2]
    assert spill.rows.tolist() == [3, 0]
    spill.add(numbered(np.arange(1)), np.zeros(1, np.int64))
    assert spill.read(0)["row"].tolist() == [0, 1, 2, 0]


def test_several_threads_lose_nothing(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "rows", EVENT, 4)
    rows = numbered(np.arange(4_000))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda part: spill.add(part, part["row"] % 4), np.split(rows, 40)))
    for bucket in range(4):
        assert sorted(spill.read(bucket)["row"].tolist()) == list(range(bucket, 4_000, 4))


def test_a_discarded_bucket_takes_no_room(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "rows", EVENT, 2)
    spill.add(numbered(np.arange(10)), np.arange(10) % 2)
    spill.discard(0)
    spill.discard(0)
    assert len(list((tmp_path / "rows").iterdir())) == 1
    assert spill.read(1)["row"].tolist() == [1, 3, 5, 7, 9]


def test_a_folder_that_is_in_use_is_not_shared(tmp_path: Path) -> None:
    Spill(tmp_path / "rows", EVENT, 2)
    with pytest.raises(FileExistsError):
        Spill(tmp_path / "rows", EVENT, 2)


def test_taken_rows_are_those_that_indexing_gives() -> None:
    rows = numbered(np.arange(9))
    for places in ([], [8], [3, 3, 0]):
        index = np.array(places, np.int64)
        np.testing.assert_array_equal(taken(rows, index), rows[index])
