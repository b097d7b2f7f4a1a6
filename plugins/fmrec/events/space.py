"""The columns of the design matrix: which there are, in which order, what they are called."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fmrec.errors import ConfigurationError, DataError, FormatError
from fmrec.events.encoders import FEATURES, PRESETS, Feature, weekday
from fmrec.events.facts import Facts
from fmrec.events.places import Places

SCHEMA = 3

_LISTS = {
    "user": ("users", "trained"),
    "rated_by": ("users", "trained"),
    "item": ("items", "trained"),
    "rated": ("items", "trained"),
    "previous": ("items", "previous"),
}
"""Features whose values are ids: the list of the file they share, and its key for `trained`."""

VISIT = np.dtype([("user", np.int64), ("hour", np.int64)])
"""The value of a visit: the user's id, and UTC hours since 1970."""


@dataclass(frozen=True, eq=False)
class Found:
    """The values of one feature, ascending, of one length n.

    `value` is int64[n], VISIT[n] or an object array of text; `known` the UTC second from which
    each could be known; `trained` whether it has a training event.
    """

    value: NDArray[Any]
    known: NDArray[np.int64]
    trained: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """The columns of a preset for all values that the visible events have.

    Columns are ordered by the moment from which their value could be known, then by feature, then
    by value. So the columns of a later run begin with those of an earlier one, as long as what
    the tables say of users and items stays the same. Columns without a training event keep their
    place but are never filled: their weights were never learnt.
    """

    preset: str
    found: Mapping[str, Found]

    def __post_init__(self) -> None:
        if not (self.found["user"].trained.any() and self.found["item"].trained.any()):
            raise DataError(
                "no user or no item has a training event: set as_of to a later moment, or choose "
                "another split."
            )

    @classmethod
    def from_facts(cls, facts: Facts, users: pa.Table, items: pa.Table, *, preset: str) -> Self:
        """The space of what the visible events have; `users` and `items` are USERS and ITEMS.

        Raises ConfigurationError for an unknown preset, DataError when nothing was trained on or
        a table describes an id twice.
        """
        user = Found(facts.users, facts.users_known, facts.users_trained > 0)
        item = Found(facts.items, facts.items_known, facts.items_trained > 0)
        found = {"user": user, "item": item}
        for feature in features(preset):
            match feature.name:
                case "user" | "rated_by":
                    found[feature.name] = user
                case "item" | "rated":
                    found[feature.name] = item
                case "previous":
                    found["previous"] = Found(item.value, item.known, facts.previous_trained > 0)
                case "day":
                    found["day"] = Found(facts.days, facts.days_known, facts.days_trained > 0)
                case "weekday":
                    days = facts.days_known, facts.days_trained > 0
                    found["weekday"] = _gathered(pa.array(weekday(facts.days)), *days)
                case "visit":
                    visits = facts.visits_known, facts.visits_trained > 0
                    found["visit"] = Found(_visits(facts), *visits)
                case _ if feature.side == "user":
                    found[feature.name] = _described(feature, users, user)
                case _:
                    found[feature.name] = _described(feature, items, item)
        return cls(preset, found)

    @property
    def features(self) -> tuple[Feature, ...]:
        """The features of the preset, in order."""
        return features(self.preset)

    @property
    def dimension(self) -> int:
        """Number of columns D: the algorithm's `feature_dim`."""
        return self._order.size

    @functools.cached_property
    def _order(self) -> NDArray[np.int64]:
        """For each column its place when the values of all features stand one after another."""
        known = np.concatenate([self.found[feature.name].known for feature in self.features])
        return np.argsort(known, kind="stable")

    @functools.cached_property
    def _columns(self) -> dict[str, NDArray[np.int32]]:
        column = np.empty(self.dimension, np.int32)
        column[self._order] = np.arange(self.dimension, dtype=np.int32)
        sizes = [self.found[feature.name].value.size for feature in self.features]
        parts = np.split(column, np.cumsum(sizes)[:-1])
        return {feature.name: part for feature, part in zip(self.features, parts, strict=True)}

    def column(self, feature: str) -> NDArray[np.int32]:
        """For each of found[feature].value its column, or -1 where it has no training event."""
        return np.where(self.found[feature].trained, self._columns[feature], np.int32(-1))

    @functools.cached_property
    def feature(self) -> NDArray[np.int8]:
        """For each column the place of its feature in `FEATURES`, (D,)."""
        codes = [
            np.full(self.found[feature.name].value.size, FEATURES.index(feature), np.int8)
            for feature in self.features
        ]
        return np.concatenate(codes)[self._order]

    @functools.cached_property
    def trained(self) -> NDArray[np.bool_]:
        """For each column whether it has a training event, (D,)."""
        parts = [self.found[feature.name].trained for feature in self.features]
        return np.concatenate(parts)[self._order]

    @property
    def trained_users(self) -> NDArray[np.int64]:
        """Ids of the users that have a training event, ascending."""
        return self.found["user"].value[self.found["user"].trained]

    @property
    def trained_items(self) -> NDArray[np.int64]:
        """Ids of the items that have a training event, ascending."""
        return self.found["item"].value[self.found["item"].trained]

    @functools.cached_property
    def _known(self) -> tuple[Places, Places]:
        return Places(self.trained_users), Places(self.trained_items)

    def knows_user(self, events: pd.DataFrame) -> NDArray[np.bool_]:
        """Mask over the events: the user has a trained column."""
        return self._known[0].of(events["user_id"].to_numpy()) >= 0

    def knows_item(self, events: pd.DataFrame) -> NDArray[np.bool_]:
        """Mask over the events: the item has a trained column."""
        return self._known[1].of(events["item_id"].to_numpy()) >= 0

    def names(self) -> list[str]:
        """What each column is called, in column order: `user:196`, `genre:Drama`."""
        names = []
        for feature in self.features:
            values = self.found[feature.name].value.tolist()
            if feature.label is str:
                names += [f"{feature.name}:{value}" for value in values]
            else:
                names += [f"{feature.name}:{feature.label(value)}" for value in values]
        return [names[place] for place in self._order.tolist()]

    def columns(self) -> pd.DataFrame:
        """Every column explained, in order: column, name, feature, side, trained, meaning.

        `side` is what alone the value depends on: user, item or event. `feature`, `side` and
        `meaning` are categories.
        """
        code = self.feature
        return pd.DataFrame(
            {
                "column": np.arange(self.dimension),
                "name": self.names(),
                "feature": _categories(code, [feature.name for feature in FEATURES]),
                "side": _categories(code, [feature.side for feature in FEATURES]),
                "trained": self.trained,
                "meaning": _categories(code, [feature.meaning for feature in FEATURES]),
            }
        )

    def to_bytes(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, ASCII, one line.

        Beside `schema`, `features` (the preset) and `checksum` (the sha256 of the same text
        without that key) it has lists of one length under `users`, `items` and the name of each
        feature whose values are no ids: `values`, `known` (UTC seconds) and `trained` (0 or 1);
        `items` also `previous`, like `trained`. The values of visits are pairs of user and hour.
        All else follows. Equal spaces give equal bytes.
        """
        body: dict[str, Any] = {"features": self.preset, "schema": SCHEMA}
        for name, found in self.found.items():
            key, trained = _LISTS.get(name, (name, "trained"))
            lists = body.setdefault(key, {})
            lists[trained] = found.trained.astype(np.int8).tolist()
            if "values" not in lists:
                lists["values"], lists["known"] = found.value.tolist(), found.known.tolist()
        return _canonical(body | {"checksum": _sha256(_canonical(body))})

    @property
    def sha256(self) -> str:
        """Checksum of to_bytes(), for the manifest: what `sha256sum` says of the stored file."""
        return _sha256(self.to_bytes())

    @classmethod
    def from_bytes(cls, data: bytes, *, sha256: str | None = None) -> Self:
        """Read what to_bytes wrote; with `sha256`, only the very file that has it.

        Raises FormatError for anything else: other text, another schema, an altered list.
        """
        if sha256 is not None and _sha256(data) != sha256:
            raise FormatError(
                f"feature space: sha256 is {_sha256(data)}, the manifest says {sha256}: it is not "
                "the one of this run. Run the events step again."
            )
        try:
            body: Any = json.loads(data)
        except ValueError as error:
            raise FormatError(
                f"feature space: not JSON ({error}). Run the events step again."
            ) from error
        if not isinstance(body, dict) or "schema" not in body:
            raise FormatError(
                "feature space: no key `schema`: this file is not a feature space of fmrec."
            )
        preset = body.get("features")
        if body["schema"] != SCHEMA or preset not in list(PRESETS):
            raise FormatError(
                f"feature space: schema {body['schema']!r} with features {preset!r} cannot be read "
                f"by this version, which reads schema {SCHEMA} with features {', '.join(PRESETS)}."
            )
        checksum = body.pop("checksum", None)
        if checksum != _sha256(_canonical(body)):
            raise FormatError(
                "feature space: the checksum inside does not fit the lists: it was altered. "
                "Run the events step again."
            )
        try:
            return cls(preset, {name: _read(body, name) for name in PRESETS[preset]})
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(
                f"feature space: a list is missing or no list ({error!r}): this file was not "
                "written by fmrec."
            ) from error


@functools.cache
def features(preset: str) -> tuple[Feature, ...]:
    """The features of a preset, in order. Raises ConfigurationError for an unknown preset."""
    if preset not in PRESETS:
        raise ConfigurationError(
            f"features {preset!r} is not known: choose one of {', '.join(PRESETS)}."
        )
    return tuple(feature for feature in FEATURES if feature.name in PRESETS[preset])


def _visits(facts: Facts) -> NDArray[np.void]:
    value = np.empty(facts.visits_user.size, VISIT)
    value["user"], value["hour"] = facts.users[facts.visits_user], facts.visits_hour
    return value


def _described(feature: Feature, table: pa.Table, owners: Found) -> Found:
    """The values that a table gives to ids that occur in events."""
    assert feature.read is not None  # noqa: S101 - declared so
    rows, values = feature.read(table)
    of_row = Places(owners.value).of(table[f"{feature.side}_id"].to_numpy())
    place = of_row[rows]
    seen = place >= 0
    return _gathered(
        values.filter(pa.array(seen)), owners.known[place[seen]], owners.trained[place[seen]]
    )


def _gathered(values: pa.Array, known: NDArray[np.int64], trained: NDArray[np.bool_]) -> Found:
    """The distinct values, with the earliest moment and any training of the rows that have one."""
    encoded = values.dictionary_encode()
    distinct = encoded.dictionary
    order = pc.array_sort_indices(distinct).to_numpy()
    place = np.empty(order.size, np.int64)
    place[order] = np.arange(order.size)
    of_row = place[encoded.indices.to_numpy()]
    first = np.full(order.size, np.iinfo(np.int64).max)
    np.minimum.at(first, of_row, known)
    any_trained = np.zeros(order.size, bool)
    any_trained[of_row[trained]] = True
    return Found(distinct.take(order).to_numpy(zero_copy_only=False), first, any_trained)


def _categories(code: NDArray[np.int8], texts: list[str]) -> pd.Series[Any]:
    distinct = list(dict.fromkeys(texts))
    place = np.array([distinct.index(text) for text in texts], np.int8)
    kind = pd.CategoricalDtype(distinct)
    return pd.Series(pd.Categorical.from_codes(place[code], dtype=kind))


def _read(body: dict[str, Any], name: str) -> Found:
    key, trained = _LISTS.get(name, (name, "trained"))
    lists = body[key]
    values = lists["values"]
    kind: Any = object if values and isinstance(values[0], str) else np.int64
    if name == "visit":
        kind, values = VISIT, [tuple(pair) for pair in values]
    return Found(
        np.array(values, kind),
        np.array(lists["known"], np.int64),
        np.array(lists[trained], bool),
    )


def _canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
