"""A uniform sample of a stream of rows without replacement (Vitter's Algorithm R, 1985)."""

from __future__ import annotations

import numpy as np

from fmrec.local_aws.built_in.channels import Rows


class Reservoir:
    """Keeps ``size`` of the rows that it is given, or all when there are no more."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self._size = size
        self._rng = rng
        self._parts: list[Rows] = []
        # Which rows of the stream are kept, once there are more than fit.
        self._numbers = np.empty(0, np.int64)
        self.seen = 0

    def add(self, rows: Rows) -> None:
        """Take in the next rows of the stream, one or more."""
        features, labels = rows
        fill = min(len(labels), max(0, self._size - self.seen))
        if fill:
            self._parts.append(Rows(features[:fill].copy(), labels[:fill].copy()))
        rest = np.arange(self.seen + fill, self.seen + len(labels))
        self.seen += len(labels)
        if not rest.size:
            return
        kept = self._whole()
        if not self._numbers.size:
            self._numbers = np.arange(self._size)
        slots = self._rng.integers(0, rest + 1)
        # Of rows that draw the same slot the last one stays.
        taken, place = np.unique(slots[::-1], return_index=True)
        source = len(labels) - 1 - place[taken < self._size]
        taken = taken[taken < self._size]
        kept.features[taken] = features[source]
        kept.labels[taken] = labels[source]
        self._numbers[taken] = rest[source - fill]

    def rows(self) -> Rows:
        """Return the sample in the order of the stream."""
        kept = self._whole()
        if self.seen <= self._size:
            return kept
        order = np.argsort(self._numbers)
        return Rows(kept.features[order], kept.labels[order])

    def _whole(self) -> Rows:
        """Return what is kept as one block, in place of the parts."""
        if len(self._parts) > 1:
            joined = (np.concatenate(each) for each in zip(*self._parts, strict=True))
            self._parts = [Rows(*joined)]
        return self._parts[0]
