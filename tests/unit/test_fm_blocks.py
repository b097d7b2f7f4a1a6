"""Rows taken apart for the Gibbs sampler say what the whole rows said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from fmrec.errors import DataError
from fmrec.fm.blocks import Columns, Design, design
from fmrec.fm.features import Feature, Features

FEATURES = (
    Feature("user", "user"),
    Feature("age", "user"),
    Feature("item", "item"),
    Feature("genre", "item"),
    Feature("day", "event"),
)
# Columns of features in no order: 4 users, 2 ages, 3 items, 2 genres, 2 days.
CODES = np.random.default_rng(5).permutation([0] * 4 + [1] * 2 + [2] * 3 + [3] * 2 + [4] * 2)
D = len(CODES)
NAMES = tuple(f"{FEATURES[code].name}:{n}" for n, code in enumerate(CODES))


def columns(feature: str) -> np.ndarray:
    return np.flatnonzero(np.array([FEATURES[code].name for code in CODES]) == feature)


def records(side: str, other: str, rng: np.random.Generator, without: int) -> sparse.csr_matrix:
    own = columns(side)[without:]
    table = np.zeros((len(own), D), np.float32)
    table[np.arange(len(own)), own] = 1
    filled = columns(other)
    table[:, filled] = rng.random((len(own), len(filled))) * rng.integers(0, 2, (len(own), 1))
    return sparse.csr_matrix(table[rng.permutation(len(own))])


def whole(made: Design) -> np.ndarray:
    """The rows that a design stands for, (n, d)."""

    def dense(part: Columns, rows: int) -> np.ndarray:
        table = np.zeros((rows, D), np.float32)
        for j, column in enumerate(made.present[part.columns]):
            for p in range(part.indptr[j], part.indptr[j + 1]):
                table[part.rows[p], column] += part.values[p]
        return table

    total = dense(made.main, made.rows)
    for block in made.blocks:
        assert np.bincount(block.owner, minlength=len(block.count)).tolist() == list(block.count)
        total += dense(block.columns, len(block.count))[block.owner]
    return total


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 4), st.booleans(), st.booleans())
def test_a_design_stands_for_the_completed_rows(
    seed: int, without: int, of_users: bool, of_items: bool
) -> None:
    rng = np.random.default_rng(seed)
    table = np.zeros((20, D), np.float32)
    table[np.arange(20), rng.choice(columns("user"), 20)] = 1
    table[np.arange(20), rng.choice(columns("item"), 20)] = 1
    table[:, columns("day")] = rng.integers(0, 3, (20, 2))
    X = sparse.csr_matrix(table)
    kept = {}
    if of_users:
        kept["user"] = records("user", "age", rng, min(without, 3))
    if of_items:
        kept["item"] = records("item", "genre", rng, min(without, 2))
    features = Features(FEATURES, CODES.astype(np.int16), NAMES, kept)
    made = design(X, features)
    assert len(made.blocks) == 2
    assert whole(made) == pytest.approx(features.complete(X).toarray())
    alone = design(X, None)
    assert not alone.blocks
    assert whole(alone) == pytest.approx(table)


def test_a_row_without_an_own_column_has_an_empty_block_row() -> None:
    features = Features(FEATURES, CODES.astype(np.int16), NAMES, {})
    table = np.zeros((3, D), np.float32)
    table[[0, 2], columns("user")[:2]] = 1
    table[1, columns("day")[0]] = 4
    made = design(sparse.csr_matrix(table), features)
    assert [block.side for block in made.blocks] == ["user"]
    assert whole(made) == pytest.approx(table)


def test_own_columns_that_are_no_single_one_are_columns_like_others() -> None:
    features = Features(FEATURES, CODES.astype(np.int16), NAMES, {})
    table = np.zeros((2, D), np.float32)
    table[0, columns("user")[:2]] = 1
    table[1, columns("item")[0]] = 0.5
    made = design(sparse.csr_matrix(table), features)
    assert not made.blocks
    assert whole(made) == pytest.approx(table)


def test_with_records_they_must_be_a_single_one() -> None:
    rng = np.random.default_rng(0)
    features = Features(
        FEATURES, CODES.astype(np.int16), NAMES, {"user": records("user", "age", rng, 0)}
    )
    table = np.zeros((2, D), np.float32)
    table[:, columns("item")[0]] = 1
    table[0, columns("user")[0]] = 1
    table[1, columns("user")[:2]] = 1
    with pytest.raises(DataError, match="training row 1 has 2 columns of the feature 'user'"):
        design(sparse.csr_matrix(table), features)


def test_what_a_record_holds_may_not_stand_in_a_row_as_well() -> None:
    table = np.zeros((1, D), np.float32)
    table[0, [columns("user")[0], columns("age")[0]]] = 1
    own = sparse.csr_matrix(table)
    features = Features(FEATURES, CODES.astype(np.int16), NAMES, {"user": own})
    rows = np.zeros((2, D), np.float32)
    rows[:, columns("user")[0]] = 1
    rows[1, columns("age")[0]] = 1
    with pytest.raises(DataError, match=rf"training row 1 holds {NAMES[columns('age')[0]]}"):
        design(sparse.csr_matrix(rows), features)
