"""Rows as solver mcmc reads them: what users and items bring, and what rows hold of their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fmrec.errors import DataError
from fmrec.fm.features import OWNED, Features, Side
from fmrec.fm.model import Matrix

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Columns:
    """A sparse matrix by columns: column ``columns[j]`` has ``values`` in ``rows``."""

    columns: Int64s
    indptr: Int64s
    rows: Int32s
    values: npt.NDArray[np.float32]

    @property
    def arrays(self) -> tuple[Int64s, Int32s, npt.NDArray[np.float32]]:
        """What the kernels take."""
        return self.indptr, self.rows, self.values


@dataclass(frozen=True, eq=False)
class Block:
    """What belongs to users (or items) alone.

    ``owner`` (n,) is the block row of each of n rows, ``count`` the number of rows of each block
    row.
    """

    side: Side
    owner: Int32s
    count: Int64s
    columns: Columns


@dataclass(frozen=True, eq=False)
class Design:
    """n rows as blocks and what is left; ``present`` are the columns that occur, ascending.

    The columns of the blocks and of ``main`` are places in ``present``; no column is in two of
    them.
    """

    blocks: tuple[Block, ...]
    main: Columns
    present: Int64s
    rows: int


def design(X: Matrix, features: Features | None) -> Design:
    """Take rows ``(n, d)`` apart. Without features all columns are left in ``main``.

    Raises DataError for rows that do not fit the records of the channel ``features``.
    """
    row = np.repeat(np.arange(X.shape[0], dtype=np.int32), np.diff(X.indptr))
    left = np.ones(len(X.indices), bool)
    found: list[tuple[Side, Int32s, Int64s, Columns]] = []
    for side in OWNED if features else ():
        assert features is not None  # noqa: S101 - the loop is empty without them
        is_own = np.zeros(features.dimension, bool)
        is_own[features.columns_of(side)] = True
        own = is_own[X.indices]
        single = np.bincount(row[own], minlength=X.shape[0]).max(initial=0) == 1
        if not single or (X.data[own] != 1).any():
            _refuse_if(side in features.records, X, row, own, side)
            continue
        found.append((side, *_block(X, row[own], X.indices[own], features, side)))
        left &= ~own
    rest = _by_column(row[left], X.indices[left], X.data[left], X.shape)
    occurs = np.zeros(X.shape[1], np.int8)
    for matrix in (*(each[-1] for each in found), rest):
        occurs[matrix.columns] += 1
    if occurs.max(initial=0) > 1:
        assert features is not None  # noqa: S101
        entry = int(np.flatnonzero(left & (occurs > 1)[X.indices])[0])
        name = features.names[X.indices[entry]]
        raise DataError(
            f"training row {row[entry]} holds {name}, which the records of features/ hold as well: "
            "write rows without what belongs to their user and item, or leave the records out"
        )
    present = np.flatnonzero(occurs)
    place = occurs.astype(np.int64).cumsum() - 1

    def placed(matrix: Columns) -> Columns:
        return Columns(place[matrix.columns], *matrix.arrays)

    blocks = (Block(side, owner, count, placed(matrix)) for side, owner, count, matrix in found)
    return Design(tuple(blocks), placed(rest), present, X.shape[0])


def _refuse_if(
    records: bool, X: Matrix, row: Int32s, own: npt.NDArray[np.bool_], side: Side
) -> None:
    if records and own.any():
        count = np.bincount(row[own], minlength=X.shape[0])
        wrong = np.bincount(row[own & (X.data != 1)], minlength=X.shape[0])
        at = int(np.flatnonzero((count > 1) | (wrong > 0))[0])
        raise DataError(
            f"training row {at} has {count[at]} columns of the feature {side!r}: with features/"
            f"{side}.pbr each row holds one, with value 1"
        )


def _block(
    X: Matrix, row: Int32s, held: Int32s, features: Features, side: Side
) -> tuple[Int32s, Int64s, Columns]:
    """Rows ``row`` have the own columns ``held``; a row without one gets an empty block row."""
    used = np.flatnonzero(np.bincount(held, minlength=X.shape[1]))
    place = np.full(X.shape[1], -1, np.int32)
    place[used] = np.arange(len(used), dtype=np.int32)
    owner = np.full(X.shape[0], len(used), np.int32)
    owner[row] = place[held]
    count = np.bincount(owner, minlength=len(used) + 1)
    rows, columns = np.arange(len(used), dtype=np.int32), used.astype(np.int32)
    values = np.ones(len(used), np.float32)
    if side in features.records:
        # Of the records those that rows use; an owner without one stands for itself alone.
        records = features.records[side]
        at = place[features.owners(side)]
        of = np.repeat(at, np.diff(records.indptr))
        without = ~np.isin(rows, at)
        rows = np.concatenate([of[of >= 0], rows[without]])
        columns = np.concatenate([records.indices[of >= 0], columns[without]])
        values = np.concatenate([records.data[of >= 0], values[without]])
    return owner, count, _by_column(rows, columns, values, (len(count), X.shape[1]))


def _by_column(
    rows: Int32s, columns: Int32s, values: npt.NDArray[np.float32], shape: tuple[int, int]
) -> Columns:
    matrix = sparse.coo_matrix((values, (rows, columns)), shape=shape).tocsc()
    matrix.eliminate_zeros()
    filled = np.flatnonzero(np.diff(matrix.indptr))
    return Columns(
        filled,
        np.concatenate([[0], matrix.indptr[1:][filled]]).astype(np.int64),
        matrix.indices.astype(np.int32),
        matrix.data.astype(np.float32),
    )
