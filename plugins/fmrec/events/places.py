"""Where ids stand in a list of ids: a table where ids are small, else a hash."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_DENSE_BELOW = 1 << 24


class Places:
    """Finds ids in a list of distinct ids, each at least 1; several threads may ask at once."""

    def __init__(self, ids: NDArray[np.int64]) -> None:
        largest = int(ids.max(initial=0))
        self._table: NDArray[np.int32] | None = None
        self._index = pd.Index(ids[:0])
        if largest < _DENSE_BELOW:
            # The ends stay empty: whatever lies beyond them is clipped to them.
            self._table = np.full(largest + 2, -1, np.int32)
            self._table[ids] = np.arange(ids.size, dtype=np.int32)
        else:
            self._index = pd.Index(ids)
            # The hash is filled by the first question, which no two threads must be.
            self._index.get_indexer(pd.Index(ids[:1]))

    def of(self, wanted: NDArray[np.int64]) -> NDArray[np.int32]:
        """For each wanted id its place in the list, or -1."""
        if self._table is not None:
            return np.take(self._table, wanted, mode="clip")
        return self._index.get_indexer(pd.Index(wanted)).astype(np.int32)
