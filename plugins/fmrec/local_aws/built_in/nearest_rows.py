"""The index of k-NN: vectors, perhaps in cells, and the search for those nearest to a query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from fmrec.local_aws.built_in.single import single

# Distances held at a time: 32 MiB.
CELLS = 1 << 22

Metric = Literal["L2", "INNER_PRODUCT"]
Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Cells:
    """An inverted file: the center ``(cells, d)`` of each cell, and the cell ``(n,)`` of each row.

    A search looks into the ``nprobe`` cells whose centers are nearest.
    """

    centers: Floats
    cell: Places
    nprobe: int


@dataclass(frozen=True, eq=False)
class Codes:
    """Product quantisation of what rows differ by from their cell's center.

    ``codebooks`` ``(m, 256, width)`` are the vectors that parts are replaced by, ``codes``
    ``(n, m)`` say by which.
    """

    codebooks: Floats
    codes: npt.NDArray[np.uint8]

    def decoded(self) -> Floats:
        """Return the differences that the codes stand for ``(n, m * width)``."""
        parts = [book[self.codes[:, m]] for m, book in enumerate(self.codebooks)]
        return np.concatenate(parts, axis=1)


@dataclass(frozen=True, eq=False)
class Index:
    """Vectors ``(n, d)`` to search. With ``codes`` they are what the codes stand for."""

    metric: Metric
    vectors: Floats
    cells: Cells | None = None
    codes: Codes | None = None

    def search(self, queries: Floats, k: int) -> Iterator[tuple[Places, Floats]]:
        """Yield the ``k`` nearest rows of each query ``(q, d)`` and their distances.

        k is at most the number of rows. It comes in blocks ``(some of q, k)``. Distances are what
        faiss gives: squared Euclidean for L2, the inner product otherwise. They ascend, so under
        INNER_PRODUCT, where more is nearer, the nearest row is the last. Of rows at the same
        distance, in single precision, the first counts as nearer.
        """
        rows, width = self.vectors.shape
        step = max(1, min(CELLS // rows, CELLS // (k * width)))
        for first in range(0, len(queries), step):
            part = queries[first : first + step].astype(np.float64)
            yield self._search(part, k)

    def _search(self, queries: npt.NDArray[np.float64], k: int) -> tuple[Places, Floats]:
        products = queries @ self._exact.T
        if self.metric == "L2":
            norms = np.square(queries).sum(axis=1)
            keys = single(self._norms + norms[:, None] - 2 * products)
        else:
            keys = single(-products)
        if self.cells is not None:
            keys[~self._in_reach(queries, self.cells, k)] = np.inf
        found = _smallest(keys, k)
        if self.metric == "L2":
            # From the differences: a row has the distance 0 to itself, whatever its coordinates.
            near = self._exact[found] - queries[:, None, :]
            distances = single(np.square(near).sum(axis=2))
            return _ordered(found, distances, np.argsort(distances, axis=1, kind="stable"))
        distances = np.take_along_axis(keys, found, axis=1)
        order = np.argsort(distances, axis=1, kind="stable")[:, ::-1]
        return _ordered(found, -distances, order)

    def _in_reach(
        self, queries: npt.NDArray[np.float64], cells: Cells, k: int
    ) -> npt.NDArray[np.bool_]:
        """Return which rows stand in the cells to look into; further cells until there are k."""
        centers = cells.centers.astype(np.float64)
        keys = -(queries @ centers.T)
        if self.metric == "L2":
            keys = np.square(centers).sum(axis=1) + 2 * keys
        order = np.argsort(keys, axis=1, kind="stable")
        sizes = np.bincount(cells.cell, minlength=len(centers))
        before = np.cumsum(sizes[order], axis=1) - sizes[order]
        probed = np.zeros(keys.shape, np.bool_)
        wanted = (np.arange(len(centers)) < cells.nprobe) | (before < k)
        np.put_along_axis(probed, order, wanted, axis=1)
        return probed[:, cells.cell]

    @cached_property
    def _exact(self) -> npt.NDArray[np.float64]:
        return self.vectors.astype(np.float64)

    @cached_property
    def _norms(self) -> npt.NDArray[np.float64]:
        norms: npt.NDArray[np.float64] = np.square(self._exact).sum(axis=1)
        return norms


def _smallest(keys: Floats, k: int) -> Places:
    """Return the places of the ``k`` smallest keys of each row, ascending; the first of equals."""
    border = np.partition(keys, k - 1, axis=1)[:, k - 1 : k]
    chosen = keys <= border
    for row in np.flatnonzero(chosen.sum(axis=1) > k):
        equal = np.flatnonzero(keys[row] == border[row])
        less = int((keys[row] < border[row]).sum())
        chosen[row, equal[k - less :]] = False
    return np.nonzero(chosen)[1].reshape(len(keys), k)


def _ordered(found: Places, distances: Floats, order: Places) -> tuple[Places, Floats]:
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(distances, order, axis=1)
