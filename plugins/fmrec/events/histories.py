"""What a user rated before, and who rated a film: of training events alone, the latest first."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from fmrec.events.facts import History
from fmrec.events.spill import Rows
from fmrec.events.splits import TRAIN

_ENTRY = np.dtype(
    [
        ("owner", np.int32),
        ("other", np.int32),
        ("time", np.uint32),
        ("row", np.uint32),
        ("rating", np.float32),
        ("_", np.uint32),
    ]
)
_ROOM = 2_000_000


def previous(rows: Rows) -> NDArray[np.int32]:
    """For each event the item of its user's training event just before it, or -1.

    `rows` are all events of some users. Of two events in one second the one that stands earlier
    in the source comes before.
    """
    order = np.lexsort((rows["row"], rows["time"], rows["user"]))
    user, trained = rows["user"][order], rows["part"][order] == TRAIN
    at = np.arange(order.size)
    latest = np.maximum.accumulate(np.where(trained, at, -1))
    before = np.append(-1, latest[:-1])
    same = (before >= 0) & (user[before] == user)
    found = np.empty(order.size, np.int32)
    found[order] = np.where(same, rows["item"][order][before], -1)
    return found


class Latest:
    """The latest `length` others of each of `owners` owners, gathered piece by piece."""

    def __init__(self, owners: int, length: int) -> None:
        self._owners, self._length = owners, length
        self._kept: list[Rows] = []
        self._room = _ROOM
        self._lock = threading.Lock()

    def add(self, owner: NDArray[np.int32], other: NDArray[np.int32], events: Rows) -> None:
        """Count in what the training events say; owner and other have a value for each event."""
        entries = np.zeros(events.size, _ENTRY)
        entries["owner"], entries["other"] = owner, other
        for name in ("time", "row", "rating"):
            entries[name] = events[name]
        entries = self._cut(entries)
        with self._lock:
            self._kept.append(entries)
            held = sum(each.size for each in self._kept)
            if held > self._room:
                # What one cut keeps may fill the room by itself: it must not be cut every time.
                self._kept = [self._cut(np.concatenate(self._kept))]
                self._room = max(_ROOM, 2 * self._kept[0].size)

    def _cut(self, entries: Rows) -> Rows:
        order = np.lexsort((~entries["row"], ~entries["time"], entries["owner"]))
        ranked = entries[order]
        owner = ranked["owner"]
        rank = np.arange(owner.size) - np.searchsorted(owner, owner)
        kept: Rows = ranked[rank < self._length]
        return kept

    def history(self) -> History:
        """What was gathered."""
        kept = self._cut(np.concatenate([np.empty(0, _ENTRY), *self._kept]))
        counts = np.bincount(kept["owner"], minlength=self._owners)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return History(
            indptr, np.ascontiguousarray(kept["other"]), np.ascontiguousarray(kept["rating"])
        )
