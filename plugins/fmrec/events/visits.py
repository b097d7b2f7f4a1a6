"""Visits: a user's events of one UTC hour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HOUR = 3_600  # seconds

# 2**32 seconds, as far as the time of an event reaches, are fewer hours than 2**21.
_HOUR_BITS = 21
_NONE = np.int64(-1)


def packed(user: NDArray[np.integer], timestamp: NDArray[np.integer]) -> NDArray[np.int64]:
    """The visit of each event as one number: they ascend by user, then by hour.

    `timestamp` is in UTC seconds. -1 where there is no user (-1), or for a time far beyond those
    that events have.
    """
    hour = timestamp.astype(np.int64) // HOUR
    visit = (user.astype(np.int64) << _HOUR_BITS) | hour
    return np.where((user >= 0) & (hour >> _HOUR_BITS == 0), visit, _NONE)


def unpacked(visits: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """User and hour since 1970 of each visit that `packed` made."""
    user, hour = visits >> _HOUR_BITS, visits & ((1 << _HOUR_BITS) - 1)
    return user.astype(np.int32), hour.astype(np.int32)


def renumbered(visits: NDArray[np.int64], users: NDArray[np.int32]) -> NDArray[np.int64]:
    """The visits with user u called users[u]; they still ascend when `users` ascend."""
    user, hour = unpacked(visits)
    return (users[user].astype(np.int64) << _HOUR_BITS) | hour


class Visits:
    """Finds visits in a list of them; several threads may ask at once."""

    def __init__(self, user: NDArray[np.int32], hour: NDArray[np.int32]) -> None:
        """The list, ascending by user, then hour since 1970."""
        # The end is greater than all, so that every search ends at a place of the list.
        end = np.iinfo(np.int64).max
        self._packed = np.append((user.astype(np.int64) << _HOUR_BITS) | hour, end)

    def of(self, user: NDArray[np.int32], timestamp: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each user (-1 for none) at a UTC second the place in the list, or -1."""
        wanted = packed(user, timestamp)
        place = np.searchsorted(self._packed, wanted)
        return np.where(self._packed[place] == wanted, place, _NONE)
