"""The optional channel ``features``: what the columns are, and what belongs to a user or an item.

The channel holds ``columns.json``::

    {"schema": 1,
     "features": [{"name": "user", "side": "user"}, {"name": "rated", "side": "user",
                   "lists": "item"}, ...],
     "feature": [0, 1, ...],         # for each column the place of its feature in the list
     "names": ["user:196", ...]}     # for each column its name, `<feature>:<value>`

and, if rows are to be completed, ``user.pbr`` and ``item.pbr``: RecordIO-protobuf without labels,
one record for each user (item): all its columns, among them exactly one of the feature ``user``
(``item``) with the value 1, its own. A training or test row then holds of a user only that own
column; a row x stands for x (I + R), where row c of R is the rest of the record of column c. So a
user's history is written once and not with each of its ratings (Rendle, "Scaling Factorization
Machines to Relational Data", VLDB 2013). A row without an own column of a side stands as it is.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fmrec import recordio
from fmrec.errors import DataError
from fmrec.fm.model import Matrix

Side = Literal["user", "item", "event"]
SIDES: tuple[Side, ...] = ("user", "item", "event")
OWNED: tuple[Side, ...] = ("user", "item")
COLUMNS = "columns.json"
SCHEMA = 1


@dataclass(frozen=True)
class Feature:
    """A family of columns. ``lists`` names the feature whose values it repeats, if it does."""

    name: str
    side: Side
    lists: str | None = None


@dataclass(frozen=True, eq=False)
class Features:
    """What is known of d columns.

    ``feature`` (d,) is the place of each column's feature in ``features``. ``records`` holds for
    "user" and "item" all records of the side, (records, d); a side without records is missing.
    """

    features: tuple[Feature, ...]
    feature: npt.NDArray[np.int16]
    names: tuple[str, ...]
    records: Mapping[str, Matrix]

    @property
    def dimension(self) -> int:
        """The number of columns d."""
        return len(self.names)

    @functools.cached_property
    def sides(self) -> npt.NDArray[np.int8]:
        """For each column the place of its side in SIDES, (d,)."""
        codes = np.array([SIDES.index(feature.side) for feature in self.features], np.int8)
        return codes[self.feature]

    def columns_of(self, feature: str) -> npt.NDArray[np.int64]:
        """The columns of a feature, ascending; none when it is not there."""
        places = [n for n, each in enumerate(self.features) if each.name == feature]
        return np.flatnonzero(np.isin(self.feature, places))

    def owners(self, side: str) -> npt.NDArray[np.int64]:
        """The own column of each record of a side, (records,)."""
        records = self.records[side]
        own = np.isin(records.indices, self.columns_of(side))
        return records.indices[own].astype(np.int64)

    def complete(self, X: Matrix) -> Matrix:
        """Return X (I + R), (n, d): the rows with what belongs to their users and items."""
        if not self.records:
            return X
        completed: Matrix = (X + X @ self._rest).tocsr()
        completed.sort_indices()
        return completed

    @functools.cached_property
    def _rest(self) -> Any:
        """R: the row of an own column is its record without that column."""
        rest: Any = 0
        for side, records in self.records.items():
            owners = self.owners(side)
            number = np.arange(len(owners))
            own = sparse.csr_matrix(
                (np.ones(len(owners), np.float32), (number, owners)), shape=records.shape
            )
            rest = rest + own.T @ (records - own)
        rest.eliminate_zeros()
        return rest.tocsr()


def dump(features: Features) -> bytes:
    """Return the text of ``columns.json``; equal features give equal bytes."""
    body = {
        "schema": SCHEMA,
        "features": [
            {"name": each.name, "side": each.side} | ({"lists": each.lists} if each.lists else {})
            for each in features.features
        ],
        "feature": features.feature.tolist(),
        "names": list(features.names),
    }
    return json.dumps(body, separators=(",", ":")).encode()


def load(folder: Path, feature_dim: int) -> Features | None:
    """Return what the channel says; None when ``folder`` is missing or empty.

    Raises DataError, naming the file, for a channel that is damaged or has another width.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    path = folder / COLUMNS
    if not path.is_file():
        raise DataError(
            f"channel 'features' holds no {COLUMNS}: write it, or leave the channel out"
        )
    found = parse(path.read_bytes(), f"features/{COLUMNS}")
    if found.dimension != feature_dim:
        raise DataError(
            f"features/{COLUMNS} describes {found.dimension} columns, but feature_dim is "
            f"{feature_dim}: both must come from the same run"
        )
    records = {str(side): _records(folder / f"{side}.pbr", found, side) for side in OWNED}
    kept = {side: each for side, each in records.items() if each is not None}
    return Features(found.features, found.feature, found.names, kept)


def parse(text: bytes, name: str) -> Features:
    """Read what ``dump`` wrote; records are not in it. Raises DataError that names the file."""
    try:
        body: Any = json.loads(text)
        features = tuple(
            Feature(each["name"], each["side"], each.get("lists")) for each in body["features"]
        )
        feature = np.array(body["feature"], np.int16)
        names = tuple(map(str, body["names"]))
        schema = body["schema"]
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise DataError(f"{name} is not what docs/algorithm.md describes ({error!r})") from error
    if schema != SCHEMA:
        raise DataError(f"{name} has schema {schema!r}; this version reads {SCHEMA}")
    if any(each.side not in SIDES for each in features):
        raise DataError(f"{name}: the side of each feature is one of {', '.join(SIDES)}")
    known = {each.name for each in features}
    if any(each.lists is not None and each.lists not in known for each in features):
        raise DataError(
            f"{name}: `lists` names the feature whose values are repeated, or is left out"
        )
    fits = feature.ndim == 1 and len(feature) == len(names)
    if not fits or (names and not 0 <= feature.min() <= feature.max() < len(features)):
        raise DataError(f"{name}: `feature` and `names` need one entry for each column")
    if len(set(names)) < len(names):
        raise DataError(f"{name}: two columns have the same name")
    return Features(features, feature, names, {})


def _records(path: Path, columns: Features, side: Side) -> Matrix | None:
    if not path.is_file():
        return None
    name = f"features/{path.name}"
    records: Matrix = recordio.decode(path.read_bytes(), name=name).features
    if records.shape[1] != columns.dimension:
        _refuse(name, f"has records of {records.shape[1]} features for {columns.dimension} columns")
    if not np.isfinite(records.data).all():
        _refuse(name, "holds a value that is not finite")
    rows = np.repeat(np.arange(records.shape[0]), np.diff(records.indptr))
    foreign = columns.sides[records.indices] != SIDES.index(side)
    if foreign.any():
        at = int(np.flatnonzero(foreign)[0])
        column = columns.names[records.indices[at]]
        _refuse(name, f"record {rows[at]} holds {column}, which is no column of a {side}")
    own = np.isin(records.indices, columns.columns_of(side))
    count = np.bincount(rows[own], minlength=records.shape[0])
    if (count != 1).any() or (records.data[own] != 1).any():
        _refuse(name, f"each record needs exactly one column of the feature {side!r}, with value 1")
    if len(np.unique(records.indices[own])) < records.shape[0]:
        _refuse(name, f"two records are of the same {side}")
    return records


def _refuse(name: str, what: str) -> NoReturn:
    raise DataError(f"{name}: {what}")
