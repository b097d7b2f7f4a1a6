"""Unseen items beside liked ones: what a classifier of likes needs in order to rank a catalogue.

Every draw is a hash of the seed, the liked event (user and item), the number of the draw and of
the attempt, so an event's negatives are the same however events are chunked, ordered or joined
with other users'.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmrec.errors import ConfigurationError, DataError
from fmrec.events.mixing import Words, mixed
from fmrec.events.places import Places

ATTEMPTS = 64

_BLOCK = 1 << 14
_UNIT = 2.0**-53

Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Negatives:
    """Sampled pairs, in the order of their liked events; `users` and `items` have one length.

    `kept` is a mask over ratio draws for each liked event: which of them the pairs are. `missing`
    counts draws that were given up because all 64 attempts hit what the user has rated:
    pairs + missing = ratio * liked events. One item may be drawn several times for a user.
    """

    users: Ids
    items: Ids
    kept: NDArray[np.bool_]
    missing: int


def sample(
    liked: tuple[ArrayLike, ArrayLike],
    *,
    seen: tuple[ArrayLike, ArrayLike],
    items: ArrayLike,
    counts: ArrayLike,
    ratio: int,
    exponent: float,
    seed: int,
) -> Negatives:
    """Draw `ratio` items for each liked event, none that its user has a known event of.

    `liked` and `seen` are pairs of id arrays, user and item: the likes, and all events so far of at
    least the same users (`liked` among them), whatever was rated. `items` are the
    candidates, ascending, `counts` how often each was rated or liked: an item is drawn with
    probability in proportion to counts ** exponent among those the user has not rated, so 0 draws
    all alike and 1 draws by popularity.
    Source: Mikolov et al., "Distributed representations of words and phrases", NIPS 2013, section
    2.2 (the exponent); Rendle et al., "BPR", UAI 2009, section 4.1 (unseen items as negatives).

    Raises ConfigurationError for a ratio below 1 or an exponent that is negative or not finite,
    DataError when items and counts do not fit or no item can be drawn.
    """
    if ratio < 1:
        raise ConfigurationError(f"{ratio} negatives for each like: ask for at least one")
    candidates = np.asarray(items, dtype=np.int64)
    steps = _steps(candidates, np.asarray(counts), exponent)
    users, films = (np.asarray(part, dtype=np.int64) for part in liked)
    taken = _Taken(seen, users, candidates)
    found_users, found_items, drawn = [users[:0]], [users[:0]], [np.zeros(0, np.bool_)]
    for start in range(0, users.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        place = _drawn(users[block], films[block], steps, taken, ratio, seed)
        kept = place >= 0
        found_users.append(np.repeat(users[block], ratio)[kept])
        found_items.append(candidates[place[kept]])
        drawn.append(kept)
    kept = np.concatenate(drawn)
    missing = int(np.count_nonzero(~kept))
    return Negatives(np.concatenate(found_users), np.concatenate(found_items), kept, missing)


def _steps(items: Ids, counts: NDArray[np.integer], exponent: float) -> NDArray[np.float64]:
    """The cumulated weights of the items."""
    if not (np.isfinite(exponent) and exponent >= 0):
        raise ConfigurationError(
            f"the popularity exponent is {exponent}: give 0 (all items alike) or more"
        )
    if items.shape != counts.shape or items.ndim != 1 or (items[1:] <= items[:-1]).any():
        raise DataError(
            f"{items.size} items with {counts.size} counts: negatives need one count for each "
            "item, and the items ascending"
        )
    steps = np.cumsum(counts.astype(np.float64) ** exponent)
    if not steps.size or steps[-1] <= 0:
        raise DataError("no item can be drawn as a negative: the training part has no counted item")
    return steps


def _drawn(
    users: Ids, films: Ids, steps: NDArray[np.float64], taken: _Taken, ratio: int, seed: int
) -> Ids:
    """For each like and draw the place of the item, or -1; shape (len(users) * ratio,)."""
    draws = np.arange(ratio)
    place = _at(mixed(seed, users[:, None], films[:, None], draws, 0), steps).ravel()
    again = np.flatnonzero(taken.has(np.repeat(users, ratio), place))
    for attempt in range(1, ATTEMPTS):
        if not again.size:
            return place
        row = again // ratio
        place[again] = _at(mixed(seed, users[row], films[row], again % ratio, attempt), steps)
        again = again[taken.has(users[row], place[again])]
    place[again] = -1
    return place


def _at(words: Words, steps: NDArray[np.float64]) -> Ids:
    share = (words >> np.uint64(11)).astype(np.float64) * _UNIT
    # The product may round up to the whole sum, behind the last item.
    place = np.searchsorted(steps, share * steps[-1], side="right")
    last = int(np.searchsorted(steps, steps[-1]))
    drawn: Ids = np.minimum(place, last)
    return drawn


class _Taken:
    """What the users of the liked events have rated."""

    def __init__(self, seen: tuple[ArrayLike, ArrayLike], users: Ids, items: Ids) -> None:
        owners, films = (np.asarray(part, dtype=np.int64) for part in seen)
        self._users = Places(np.unique(users))
        self._width = items.size
        user = self._users.of(owners).astype(np.int64)
        item = Places(items).of(films)
        known = (user >= 0) & (item >= 0)
        self._keys = np.sort(user[known] * self._width + item[known])

    def has(self, users: Ids, places: Ids) -> NDArray[np.bool_]:
        if not self._keys.size:
            return np.zeros(users.size, np.bool_)
        keys = self._users.of(users).astype(np.int64) * self._width + places
        at = np.minimum(np.searchsorted(self._keys, keys), self._keys.size - 1)
        found: NDArray[np.bool_] = self._keys[at] == keys
        return found
