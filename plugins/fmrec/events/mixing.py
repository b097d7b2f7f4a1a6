"""Random numbers that depend on what they are for and not on when they are drawn.

The mixer is splitmix64's (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014). A value drawn for a user and an item is the same however the rows are chunked,
ordered or spread over machines.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Words = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def mixed(seed: int, *values: ArrayLike) -> Words:
    """A 64-bit word for each row of the `values`, which are integers and broadcast together."""
    with np.errstate(over="ignore"):
        word = _mix(np.array(seed).astype(np.uint64))
        for value in values:
            word = _mix(word ^ _mix(np.asarray(value).astype(np.uint64)))
    return word


def _mix(word: Words) -> Words:
    word = word + _GOLDEN
    word = (word ^ (word >> np.uint64(30))) * _FIRST
    word = (word ^ (word >> np.uint64(27))) * _SECOND
    result: Words = word ^ (word >> np.uint64(31))
    return result


def bucket_of(words: Words, buckets: int) -> NDArray[np.int64]:
    """Which of `buckets` equal ranges of all 64-bit words each word lies in: ascending with it."""
    return ((words >> np.uint64(32)) * np.uint64(buckets) >> np.uint64(32)).astype(np.int64)
