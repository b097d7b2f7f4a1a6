"""Rows of a design matrix put together: what the user brings, what the item brings, the rest."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Int32s = NDArray[np.int32]

_BLOCK = "i8[::1], i4[::1], f4[::1], b1[::1], f8[::1], i4[::1]"
_FIND = f"void(i4[::1], i4[::1], i4[:,::1], {_BLOCK}, i4[::1], {_BLOCK}, i4[::1], i8[:,::1])"
_FILL = f"void(i4[::1], i4[::1], i4[:,::1], {_BLOCK}, {_BLOCK}, i8[:,::1], i4[::1], f4[::1])"


@dataclass(frozen=True, eq=False)
class Block:
    """Columns and values that belong to one user (or one item) alone; a row for each of them.

    Row r is `columns[indptr[r]:indptr[r + 1]]`, ascending, with `values`. Where `history` is set
    the value is a weight w, and what stands in the matrix is w / sqrt(sum of w**2) over the
    history that is used; `squares[r]` is that sum over all of it. `spare[r]` is the column of the
    history that is used only when another one is left out, or -1. Both are empty where no row has
    such a thing: a random access less for every row of the matrix.
    """

    indptr: NDArray[np.int64]
    columns: Int32s
    values: NDArray[np.float32]
    history: NDArray[np.bool_]
    squares: NDArray[np.float64]
    spare: Int32s

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The fields, in order."""
        return (
            self.indptr,
            self.columns,
            self.values,
            self.history,
            self.squares,
            self.spare,
        )


def merged(
    users: Block,
    user: Int32s,
    items: Block,
    item: Int32s,
    context: Int32s,
    own: tuple[Int32s, Int32s] | None,
    dimension: int,
) -> csr_matrix:
    """One float32 row for each n: user[n]'s of `users`, item[n]'s of `items`, 1 in context[n].

    `user` and `item` are rows of the blocks, -1 for none; `context` is (n, few) columns, -1 for
    none, no two of a row the same. `own` holds two columns for each n to leave out, of the user's
    and of the item's history. Column indices ascend within a row and are int32 where they fit.
    """
    find, fill = compiled()
    rows = user.size
    left_user, left_item = own or (np.empty(0, np.int32), np.empty(0, np.int32))
    # For each row: its end; then the entries of the two blocks that are left out, or -1.
    plan = np.empty((rows, 3), np.int64)
    find(user, item, context, *users.arrays, left_user, *items.arrays, left_item, plan)
    ends = plan[:, 0]
    size = int(ends[-1]) if rows else 0
    columns, values = np.empty(size, np.int32), np.empty(size, np.float32)
    fill(user, item, context, *users.arrays, *items.arrays, plan, columns, values)
    fits = size <= np.iinfo(np.int32).max
    indptr: NDArray[Any] = np.zeros(rows + 1, np.int32 if fits else np.int64)
    indptr[1:] = ends
    matrix: csr_matrix = csr_matrix((values, columns, indptr), shape=(rows, dimension), copy=False)
    # By construction; scipy would read the whole matrix to see it.
    matrix.has_canonical_format = True
    return matrix


@functools.cache
def compiled() -> tuple[Callable[..., None], Callable[..., None]]:
    """The machine code of ``_find`` and ``_fill``, from numba's cache folder where possible."""
    try:
        return _compile(cache=True)
    except (RuntimeError, OSError):
        # No folder to write the cache to (read-only installation, no home): compile each time.
        return _compile(cache=False)


def _compile(*, cache: bool) -> tuple[Callable[..., None], Callable[..., None]]:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "cache": cache}
    return numba.njit(_FIND, **options)(_find), numba.njit(_FILL, **options)(_fill)


def _search(columns: Int32s, first: int, last: int, wanted: int) -> int:
    """Where `wanted` stands among columns[first:last], which ascend, or -1."""
    low, high = first, last
    while low < high:
        middle = (low + high) >> 1
        if columns[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low if low < last and columns[low] == wanted else -1


def _least(columns: Int32s, above: int) -> np.int32:
    """The least of the columns above this one, or 2**31 - 1. They are few, so it looks at each."""
    found = np.int32(2**31 - 1)
    for column in columns:
        if above < column < found:
            found = column
    return found


# Compiled with the two loops that call them, not here.
_place: Any = numba.njit(_search, nogil=True)
_next: Any = numba.njit(_least, nogil=True)


def _find(
    user: Int32s,
    item: Int32s,
    context: Int32s,
    u_indptr: NDArray[np.int64],
    u_columns: Int32s,
    u_values: NDArray[np.float32],
    u_history: NDArray[np.bool_],
    u_squares: NDArray[np.float64],
    u_spare: Int32s,
    u_own: Int32s,
    i_indptr: NDArray[np.int64],
    i_columns: Int32s,
    i_values: NDArray[np.float32],
    i_history: NDArray[np.bool_],
    i_squares: NDArray[np.float64],
    i_spare: Int32s,
    i_own: Int32s,
    plan: NDArray[np.int64],
) -> None:
    """Where each row ends, and which entry of the user's and of the item's it leaves out."""
    end = np.int64(0)
    for n in range(user.size):
        plan[n, 1] = plan[n, 2] = -1
        if user[n] >= 0:
            row = user[n]
            first, last = u_indptr[row], u_indptr[row + 1]
            left_out = np.int64(-1)
            if u_own.size > 0:
                left_out = _place(u_columns, first, last, u_own[n])
            if left_out < 0 and u_spare.size > 0:
                left_out = _place(u_columns, first, last, u_spare[row])
            plan[n, 1] = left_out
            end += last - first - (left_out >= 0)
        if item[n] >= 0:
            row = item[n]
            first, last = i_indptr[row], i_indptr[row + 1]
            left_out = np.int64(-1)
            if i_own.size > 0:
                left_out = _place(i_columns, first, last, i_own[n])
            if left_out < 0 and i_spare.size > 0:
                left_out = _place(i_columns, first, last, i_spare[row])
            plan[n, 2] = left_out
            end += last - first - (left_out >= 0)
        for c in range(context.shape[1]):
            end += context[n, c] >= 0
        plan[n, 0] = end


def _fill(
    user: Int32s,
    item: Int32s,
    context: Int32s,
    u_indptr: NDArray[np.int64],
    u_columns: Int32s,
    u_values: NDArray[np.float32],
    u_history: NDArray[np.bool_],
    u_squares: NDArray[np.float64],
    u_spare: Int32s,
    i_indptr: NDArray[np.int64],
    i_columns: Int32s,
    i_values: NDArray[np.float32],
    i_history: NDArray[np.bool_],
    i_squares: NDArray[np.float64],
    i_spare: Int32s,
    plan: NDArray[np.int64],
    columns: Int32s,
    values: NDArray[np.float32],
) -> None:
    """Merge the three ascending runs of each row."""
    none = np.int32(2**31 - 1)
    one = np.float32(1)
    at = np.int64(0)
    for n in range(user.size):
        u = u_end = i = i_end = np.int64(0)
        u_scale = i_scale = one
        u_left, i_left = plan[n, 1], plan[n, 2]
        if user[n] >= 0:
            row = user[n]
            u, u_end = u_indptr[row], u_indptr[row + 1]
            if u_squares.size > 0:
                squares = u_squares[row]
                if u_left >= 0:
                    squares -= np.float64(u_values[u_left]) ** 2
                u_scale = np.float32(1 / np.sqrt(squares))
        if item[n] >= 0:
            row = item[n]
            i, i_end = i_indptr[row], i_indptr[row + 1]
            if i_squares.size > 0:
                squares = i_squares[row]
                if i_left >= 0:
                    squares -= np.float64(i_values[i_left]) ** 2
                i_scale = np.float32(1 / np.sqrt(squares))
        of_context = _next(context[n], -1)
        u += u == u_left
        i += i == i_left
        from_user = u_columns[u] if u < u_end else none
        from_item = i_columns[i] if i < i_end else none
        end = plan[n, 0]
        while at < end:
            if from_user < from_item and from_user < of_context:
                columns[at] = from_user
                values[at] = u_values[u] * u_scale if u_history[u] else u_values[u]
                u += 1
                u += u == u_left
                from_user = u_columns[u] if u < u_end else none
            elif from_item < of_context:
                columns[at] = from_item
                values[at] = i_values[i] * i_scale if i_history[i] else i_values[i]
                i += 1
                i += i == i_left
                from_item = i_columns[i] if i < i_end else none
            else:
                columns[at] = of_context
                values[at] = one
                of_context = _next(context[n], of_context)
            at += 1
