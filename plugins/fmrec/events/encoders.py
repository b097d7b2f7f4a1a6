"""The features: what each is called, what it says of an event, what it does with the unknown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Side = Literal["user", "item", "event"]
Read = Callable[[pa.Table], tuple[NDArray[np.int64], pa.Array]]

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

_BANDS = ("0-17", "18-24", "25-34", "35-44", "45-49", "50-55", "56+")
_BANDS_FROM = np.array([18, 25, 35, 45, 50, 56])
_NOTHING = "adds nothing"


@dataclass(frozen=True)
class Feature:
    """A family of columns, one for each value, named `<feature>:<label of the value>`.

    A value is unknown when no training event has it. `side` says what alone the feature depends
    on: the user, the item, or the event (its time, or what came before it). `meaning` completes
    the sentence "the column's value is …"; `unknown` says what an unknown value does. `read`, of
    the features that tables of users or items describe, gives pairs of row and value, in the
    order of the rows. `lists` names the feature whose values this one repeats, if it does.
    """

    name: str
    side: Side
    meaning: str
    unknown: str = _NOTHING
    label: Callable[[Any], str] = str
    read: Read | None = None
    lists: str | None = None


def weekday(day: NDArray[np.int64]) -> NDArray[np.int64]:
    """0 for Monday to 6 for Sunday, of UTC days since 1970; day 0 was a Thursday."""
    return (day + 3) % 7


def _given(column: pa.Array) -> tuple[NDArray[np.int64], pa.Array]:
    given = pc.is_valid(column)
    return np.flatnonzero(given.to_numpy(zero_copy_only=False)), column.filter(given)


def _whole(table: pa.Table, name: str) -> pa.Array:
    column = table[name].combine_chunks()
    return pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column


def _text(column: pa.Array) -> tuple[NDArray[np.int64], pa.Array]:
    """Empty text is as unknown as none."""
    return _given(pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column))


def _age_band(users: pa.Table) -> tuple[NDArray[np.int64], pa.Array]:
    rows, ages = _given(_whole(users, "age"))
    band = np.searchsorted(_BANDS_FROM, ages.to_numpy(), side="right")
    return rows, pa.array(_BANDS).take(pa.array(band))


def _gender(users: pa.Table) -> tuple[NDArray[np.int64], pa.Array]:
    return _text(_whole(users, "gender"))


def _occupation(users: pa.Table) -> tuple[NDArray[np.int64], pa.Array]:
    return _text(_whole(users, "occupation"))


def _zip_area(users: pa.Table) -> tuple[NDArray[np.int64], pa.Array]:
    return _text(pc.utf8_slice_codeunits(_whole(users, "zip_code"), 0, 1))


def _genre(items: pa.Table) -> tuple[NDArray[np.int64], pa.Array]:
    lists = _whole(items, "genres")
    of_row = pc.list_parent_indices(lists).to_numpy()
    which, names = _text(pc.list_flatten(lists))
    return of_row[which].astype(np.int64), names


def _release_year(items: pa.Table) -> tuple[NDArray[np.int64], pa.Array]:
    return _given(_whole(items, "release_year"))


def _date(day: int) -> str:
    return str(np.datetime64(day, "D"))


def _visit(visit: tuple[int, int]) -> str:
    user, hour = visit
    return f"{user}@{np.datetime64(hour, 'h')}"


FEATURES = (
    Feature("user", "user", "1 for this user"),
    Feature("item", "item", "1 for this film"),
    Feature("age_band", "user", "1 for a user of this age in years", read=_age_band),
    Feature("gender", "user", "1 for a user of this gender", read=_gender),
    Feature("occupation", "user", "1 for a user of this occupation", read=_occupation),
    Feature(
        "zip_area", "user", "1 for a user whose zip code begins with this character", read=_zip_area
    ),
    Feature("genre", "item", "1 for a film of this genre, which may have others", read=_genre),
    Feature("release_year", "item", "1 for a film released in this year", read=_release_year),
    Feature(
        "day",
        "event",
        "1 for an event on this UTC day",
        "the latest trained day before it takes its place; if there is none, the first trained day",
        _date,
    ),
    Feature(
        "weekday",
        "event",
        "1 for an event on this day of the week, UTC",
        label=lambda value: WEEKDAYS[value],
    ),
    Feature("visit", "event", "1 for an event of this user in this UTC hour", label=_visit),
    Feature(
        "rated",
        "user",
        "the weight of this film among the latest that the user rated in training",
        "adds nothing; a user without training events has no history",
        lists="item",
    ),
    Feature(
        "rated_by",
        "item",
        "the weight of this user among the latest who rated the film in training",
        "adds nothing; a film without training events has no history",
        lists="user",
    ),
    Feature(
        "previous",
        "event",
        "1 when this film was the user's latest training event before",
        "adds nothing; likewise when nothing came before",
        lists="item",
    ),
)
"""Every feature there is, in the order in which columns of one moment stand."""

_IDS = ("user", "item")
_DESCRIBED = tuple(feature.name for feature in FEATURES if feature.read)
_HISTORIES = ("rated", "rated_by")

PRESETS = {
    "ids": _IDS,
    "side": _IDS + _DESCRIBED,
    "history": (*_IDS, *_HISTORIES, "previous"),
    "profile": (*_IDS, *_DESCRIBED, *_HISTORIES),
    "full": (*_IDS, *_DESCRIBED, "day", "visit", *_HISTORIES),
    "everything": tuple(feature.name for feature in FEATURES),
}
"""Which features each value of the Param `features` takes.

What a user rates in one sitting shares a mood and a purpose: the visit stands for it, as a day does
in Koren, "Collaborative filtering with temporal dynamics" (KDD 2009).
"""
