"""What a training job of the algorithm needs around it, in this process."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from fmrec.fm.job import Arrays


class Alone:
    rank, size = 0, 1

    def all_gather(self, data: bytes) -> list[bytes]:
        return [data]


class Kept:
    """Checkpoints in memory."""

    def __init__(self, states: Sequence[Arrays] = ()) -> None:
        self.states = list(states)

    def save(self, state: Arrays) -> None:
        self.states.append({name: array.copy() for name, array in state.items()})

    def load(self) -> Arrays | None:
        return self.states[-1] if self.states else None


class StopAfter(threading.Event):
    """Set from the n-th time it is asked."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._left = times

    def is_set(self) -> bool:
        self._left -= 1
        return self._left < 0
