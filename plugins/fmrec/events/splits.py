"""Dividing events into what is trained on, what is tuned on and what is judged on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmrec.errors import ConfigurationError
from fmrec.events.mixing import mixed
from fmrec.events.spill import Rows
from fmrec.events.window import DAY

TRAIN, VALIDATION, TEST, FILTERED = range(4)
PARTS = ("train", "validation", "test", "filtered")

Parts = NDArray[np.uint8]
Divide = Callable[[Rows], Parts]
"""Says of each event in which part it is; the rows are all events of some users."""


@dataclass(frozen=True)
class ByTime:
    """Later parts are strictly later: training up to `train` (UTC seconds), then up to `tune`."""

    train: int
    tune: int

    def __call__(self, rows: Rows) -> Parts:
        """The part of each event, by its timestamp."""
        time = rows["time"]
        return (time > self.train).astype(np.uint8) + (time > self.tune)


@dataclass(frozen=True)
class ByFold:
    """As the source's own files divide it: base is trained on, test is the test."""

    split: str

    def __call__(self, rows: Rows) -> Parts:
        """The part of each event. Raises ConfigurationError for rows without a fold."""
        if not rows["fold"].all():
            raise ConfigurationError(
                f"split {self.split!r} needs ratings that come divided into files: choose "
                "source ml-100k or sample, or another split."
            )
        return np.where(rows["fold"] == 2, TEST, TRAIN).astype(np.uint8)


@dataclass(frozen=True)
class LeaveLast:
    """Each user's last `k` events are the test and the `k` before them the validation part.

    Users with no more than 2k events are wholly trained on. Events of one second are ordered by
    their place in the source.
    """

    k: int

    def __call__(self, rows: Rows) -> Parts:
        """The part of each event."""
        order = np.lexsort((rows["row"], rows["time"], rows["user"]))
        place, size = _places(rows["user"][order])
        left = size - place - 1
        long = size > 2 * self.k
        parts = np.empty(rows.size, np.uint8)
        parts[order] = np.select(
            [long & (left < self.k), long & (left < 2 * self.k)], [TEST, VALIDATION]
        )
        return parts


@dataclass(frozen=True)
class AtRandom:
    """Of each user the same shares, rounded, drawn by a hash of seed, user and item."""

    validation: float
    test: float
    seed: int
    users: NDArray[np.int64]
    items: NDArray[np.int64]

    def __call__(self, rows: Rows) -> Parts:
        """The part of each event."""
        drawn = mixed(self.seed, self.users[rows["user"]], self.items[rows["item"]], 1)
        order = np.lexsort((drawn, rows["user"]))
        place, size = _places(rows["user"][order])
        tested = np.rint(self.test * size)
        tuned = tested + np.rint(self.validation * size)
        parts = np.empty(rows.size, np.uint8)
        parts[order] = np.select([place < tested, place < tuned], [TEST, VALIDATION])
        return parts


def by_time(
    times: Callable[[], Iterable[NDArray[np.uint32]]], validation: float, test: float
) -> ByTime:
    """Where a split by time cuts, from all timestamps in pieces, asked for twice.

    The latest `test` share of the events is the test part, the `validation` share before it the
    validation part. Events of one second are never divided: a cut that falls among them moves
    behind them. Memory does not grow with the number of events.
    """
    days: NDArray[np.int64] = np.zeros(0, np.int64)
    for time in times():
        found = np.bincount(time // DAY)
        longer, shorter = (days, found) if days.size >= found.size else (found, days)
        days = longer.copy()
        days[: shorter.size] += shorter
    until = np.cumsum(days)
    total = int(until[-1])
    wanted = [round((1 - test - validation) * total), round((1 - test) * total)]
    chosen = [int(np.searchsorted(until, rows)) for rows in wanted]
    seconds = {day: np.zeros(DAY, np.int64) for day in chosen}
    for time in times():
        for day, counts in seconds.items():
            np.add(counts, np.bincount(time[time // DAY == day] % DAY, minlength=DAY), out=counts)
    cuts = []
    for rows, day in zip(wanted, chosen, strict=True):
        before = int(until[day]) - int(days[day])
        second = int(np.searchsorted(before + np.cumsum(seconds[day]), rows))
        cuts.append(day * DAY + second if rows else -1)
    return ByTime(cuts[0], cuts[1])


def check_fractions(validation: float, test: float) -> None:
    """Raise ConfigurationError for shares that leave nothing to train on or to test."""
    if not (validation >= 0 and test > 0 and validation + test < 1):
        raise ConfigurationError(
            f"validation_fraction {validation} and test_fraction {test} do not "
            "fit: the first is at least 0, the second above 0, and together they stay below 1."
        )


def _places(users: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of rows in the order of their users: the place of each among its user's, and their number."""
    starts = np.flatnonzero(np.append(True, users[1:] != users[:-1]))
    sizes = np.diff(np.append(starts, users.size))
    return np.arange(users.size) - np.repeat(starts, sizes), np.repeat(sizes, sizes)
