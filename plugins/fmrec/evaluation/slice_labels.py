"""Which slices users, films and events belong to: by what was known of them before the test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from fmrec.evaluation.ranking import Ids
from fmrec.events.encoders import FEATURES

UNKNOWN = "unknown"

MEANINGS: Mapping[str, str] = {
    "user and film": "Known is who or what has a rating in the training part.",
    "user activity": "How many ratings the user has in the training part.",
    "film popularity": "Films by their ratings in the training part, the most rated first: the "
    "head holds the first 20 % of all ratings, the torso the next 60 %, the tail the rest. Films "
    "with equally many ratings stand together.",
    "genre": "A film may have several genres and counts in each, so these rows add up to more "
    "than all.",
    "age": "The user's age in years, in the bands of MovieLens 1M.",
}
"""The dimensions, in the order of the report, and what a reader has to know of each."""

_FAMILIARITY = (
    "known user, known film",
    "new user, known film",
    "known user, new film",
    "new user, new film",
)
_ACTIVITY = (
    "new user",
    "1 to 20 ratings",
    "21 to 50 ratings",
    "51 to 100 ratings",
    "101 to 200 ratings",
    "more than 200 ratings",
)
_ACTIVE_TO = (0, 20, 50, 100, 200)
_POPULARITY = ("head", "torso", "tail", "new film")
_SHARES = (0.2, 0.8)
_NEW_FILM = len(_POPULARITY) - 1


@dataclass(frozen=True, eq=False)
class Dimension:
    """One way to cut rows into slices: row `rows[i]` belongs to the slice `names[codes[i]]`.

    Both arrays have shape (pairs,). Each row is in exactly one slice, but for genres, where it is
    in at least one.
    """

    by: str
    names: tuple[str, ...]
    rows: Ids
    codes: Ids


class Labels:
    """What the training part and the tables say of users and films, as slices.

    `train` has the columns user_id and item_id; `people` and `films` are tables of the schemas
    USERS and ITEMS of `fmrec.ratings.tables`, with any number of rows. Age and genre are the
    values that the features age_band and genre have. Where they are known of some, the others
    are in the slice `unknown`, the last one; where of none, there is no such dimension.
    """

    def __init__(self, train: pd.DataFrame, people: pa.Table, films: pa.Table) -> None:
        self._active = train["user_id"].value_counts()
        self._popular = _popularity(train["item_id"].value_counts())
        self._ages = _described(people, "user_id", "age_band")
        self._genres = _described(films, "item_id", "genre")

    def of_pairs(self, users: Ids, items: Ids) -> Dimension:
        """Known or new user with known or new film; both of shape (n,)."""
        new_user = ~np.isin(users, self._active.index)
        new_film = ~np.isin(items, self._popular.index)
        return _partition("user and film", _FAMILIARITY, new_user + 2 * new_film)

    def of_users(self, users: Ids) -> list[Dimension]:
        """By activity and, if known, by age; of shape (n,), a user may occur repeatedly."""
        ratings = self._active.reindex(users, fill_value=0).to_numpy()
        activity = _partition("user activity", _ACTIVITY, np.searchsorted(_ACTIVE_TO, ratings))
        return [activity, *_joined("age", users, self._ages)]

    def of_items(self, items: Ids) -> list[Dimension]:
        """By popularity and, if known, by genre; of shape (n,), a film may occur repeatedly."""
        place = self._popular.reindex(items, fill_value=_NEW_FILM).to_numpy()
        popularity = _partition("film popularity", _POPULARITY, place)
        return [popularity, *_joined("genre", items, self._genres)]


def _partition(by: str, names: tuple[str, ...], codes: NDArray[np.integer]) -> Dimension:
    return Dimension(by, names, np.arange(codes.size), codes.astype(np.int64))


def _popularity(ratings: pd.Series[int]) -> pd.Series[int]:
    """Of each film its place in _POPULARITY.

    It rests on the share of all ratings that films with more ratings hold, so that equals stay
    together and the most rated film is always in the head.
    """
    numbers, place, films = np.unique(
        ratings.to_numpy(np.int64), return_inverse=True, return_counts=True
    )
    held = numbers * films
    above = (held.sum() - held.cumsum()) / max(held.sum(), 1)
    codes = np.searchsorted(_SHARES, above, side="right")
    return pd.Series(codes[place], index=ratings.index)


def _described(table: pa.Table, key: str, feature: str) -> pd.DataFrame:
    """Distinct pairs of id and value, as the feature reads them."""
    (read,) = (each.read for each in FEATURES if each.name == feature and each.read)
    rows, values = read(table)
    ids = table[key].to_numpy()[rows]
    return pd.DataFrame({"id": ids, "value": values.to_pylist()}).drop_duplicates()


def _joined(by: str, ids: Ids, pairs: pd.DataFrame) -> list[Dimension]:
    """The dimension of values that only some ids have; none when no id has one."""
    known = sorted(set(pairs["value"]) - {UNKNOWN})
    names = (*known, UNKNOWN)
    codes = pairs["value"].map({name: code for code, name in enumerate(names)})
    asked = pd.DataFrame({"id": ids, "row": np.arange(ids.size)})
    found = asked.merge(pairs[["id"]].assign(code=codes.astype(np.int64)), on="id", how="left")
    of_rows = found["code"].fillna(len(known)).to_numpy(np.int64)
    if not (of_rows < len(known)).any():
        return []
    return [Dimension(by, names, found["row"].to_numpy(np.int64), of_rows)]
