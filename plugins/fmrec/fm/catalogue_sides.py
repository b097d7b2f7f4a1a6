"""Compact training rows as two sides: what users have, what films have, and the grades between.

And back: factors of the two sides as one ordinary Factorization Machine.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fmrec.errors import DataError
from fmrec.fm.channels import Rows
from fmrec.fm.features import Feature, Features
from fmrec.fm.model import Matrix, Model

Floats = npt.NDArray[np.float32]
Longs = npt.NDArray[np.int64]


class Ratings(NamedTuple):
    """Own columns of user and item of each training row, and its grade; all (n,)."""

    user: Longs
    item: Longs
    grade: Floats


@dataclass(frozen=True, eq=False)
class Party:
    """All that is known of the users, or of the items.

    ``records`` (parties, d) is what each has, ``owners`` (parties,) its own column, ascending;
    ``trained`` are the places of those that have a training row.
    """

    records: Matrix
    owners: Longs
    trained: Longs

    @property
    def rows(self) -> Matrix:
        """The records of those that have a training row."""
        return self.records[self.trained]


@dataclass(frozen=True, eq=False)
class Sides:
    """What the solver trains on.

    ``targets`` (n, m) holds the grades that the trained users gave to the trained items, the
    catalogue. ``film`` (d,) is for a column of a history the place of its film in the catalogue,
    and -1 for every other column or film. ``used`` (d,) are the columns that have an effect.
    """

    users: Party
    items: Party
    targets: Matrix
    film: Longs
    used: npt.NDArray[np.bool_]

    @functools.cached_property
    def shared(self) -> Longs:
        """The columns that trained users have besides their own, ascending."""
        columns = np.unique(self.users.rows.indices)
        return np.setdiff1d(columns, self.users.owners).astype(np.int64)

    @functools.cached_property
    def of_items(self) -> Longs:
        """The columns that trained items have, ascending."""
        return np.unique(self.items.rows.indices).astype(np.int64)

    @property
    def has_history(self) -> bool:
        """Whether the films that a user rated say who the user is."""
        return bool((self.film[self.shared] >= 0).any())


def ratings_of(rows: Rows, features: Features) -> Ratings:
    """Return who rated what. Raises DataError for a row without exactly one user and one item."""
    row = np.repeat(np.arange(len(rows.labels)), np.diff(rows.features.indptr))
    own = []
    for feature in ("user", "item"):
        columns = features.columns_of(feature)
        if not len(columns):
            raise DataError(
                f"channel 'features' names no column of the feature {feature!r}: solver catalogue "
                "needs the features 'user' and 'item'"
            )
        belongs = np.zeros(features.dimension, np.bool_)
        belongs[columns] = True
        entry = belongs[rows.features.indices] & (rows.features.data != 0)
        wrong = np.flatnonzero(np.bincount(row[entry], minlength=len(rows.labels)) != 1)
        if len(wrong):
            raise DataError(
                f"training row {wrong[0]} (counted from 0) has not exactly one column of the "
                f"feature {feature!r} ({len(wrong)} such rows): solver catalogue needs one user "
                "and one item in each row"
            )
        own.append(rows.features.indices[entry].astype(np.int64))
    return Ratings(own[0], own[1], rows.labels.astype(np.float32, copy=False))


def sides_of(ratings: Ratings, features: Features) -> Sides:
    """Return the sides of what was rated; a pair rated twice counts with its last grade."""
    used = has_effect(features)
    users, user = np.unique(ratings.user, return_inverse=True)
    items, item = np.unique(ratings.item, return_inverse=True)
    pair = user.astype(np.int64) * len(items) + item
    order = np.argsort(pair, kind="stable")
    pair = pair[order]
    last = np.append(pair[1:] != pair[:-1], True)
    place, item = np.divmod(pair[last], len(items))
    targets = sparse.csr_matrix(
        (
            ratings.grade[order][last],
            item.astype(np.int32),
            np.concatenate([[0], np.bincount(place, minlength=len(users)).cumsum()]),
        ),
        shape=(len(users), len(items)),
    )
    return Sides(
        _party(features, "user", users, used),
        _party(features, "item", items, used),
        targets,
        _films(features, items),
        used,
    )


def has_effect(features: Features) -> npt.NDArray[np.bool_]:
    """For each column whether the solver takes it into account, (d,)."""
    effects = np.array([_effect(feature) for feature in features.features], np.bool_)
    used: npt.NDArray[np.bool_] = effects[features.feature]
    return used


def without_effect(features: Features) -> list[str]:
    """Return the names of the features that the solver ignores, in their order."""
    return [feature.name for feature in features.features if not _effect(feature)]


def _effect(feature: Feature) -> bool:
    if feature.lists is None:
        return feature.side != "event"
    return feature.side == "user" and feature.lists == "item"


def _party(features: Features, side: str, own: Longs, used: npt.NDArray[np.bool_]) -> Party:
    described = features.records.get(side)
    owners = np.empty(0, np.int64) if described is None else features.owners(side)
    alone = np.setdiff1d(own, owners)
    ones = np.ones(len(alone), np.float32)
    lone: Matrix = sparse.csr_matrix(
        (ones, alone, np.arange(len(alone) + 1)), shape=(len(alone), features.dimension)
    )
    parts = [lone] if described is None else [described, lone]
    every: Matrix = sparse.vstack(parts, format="csr")
    every.data = every.data * used[every.indices]
    every.eliminate_zeros()
    owners = np.concatenate([owners, alone])
    order = np.argsort(owners)
    owners = owners[order]
    return Party(every[order], owners, np.searchsorted(owners, own))


def _films(features: Features, items: Longs) -> Longs:
    """Link ``rated:50`` with ``item:50``."""
    place = {features.names[column].partition(":")[2]: n for n, column in enumerate(items)}
    film = np.full(features.dimension, -1, np.int64)
    for feature in features.features:
        if feature.side == "user" and feature.lists == "item":
            columns = features.columns_of(feature.name)
            values = (features.names[column].partition(":")[2] for column in columns)
            film[columns] = [place.get(value, -1) for value in values]
    return film


def as_model(sides: Sides, w: Floats, V: Floats) -> Model:
    """Return the FM over whole rows whose score is w_i + <S_u, S_i>.

    ``w`` (d,) are linear weights of the item side and ``V`` (d, k) the factors, S the sums of a
    side. The FM equation has the pairs inside each side besides. They are the same for all rows
    of a user (an item), so their negative goes into the weight of its own column.
    """
    weights = np.zeros(len(w), np.float64)
    on_items = np.unique(sides.items.records.indices)
    weights[on_items] = w[on_items]
    for party in (sides.users, sides.items):
        weights[party.owners] -= pairs_within(party.records, V)
    return Model(0.0, weights.astype(np.float32), V, "regressor")


def linear_of(sides: Sides, model: Model) -> Floats:
    """Return the linear weights ``(d,)`` that ``as_model`` made this model from."""
    weights = model.w.astype(np.float64)
    weights[sides.items.owners] += pairs_within(sides.items.records, model.V)
    linear = np.zeros(len(weights), np.float32)
    on_items = np.unique(sides.items.records.indices)
    linear[on_items] = weights[on_items]
    return linear


def pairs_within(records: Matrix, V: Floats) -> npt.NDArray[np.float64]:
    """Return 1/2 sum_f [(sum_c x_c V_cf)^2 - sum_c (x_c V_cf)^2] of each record, (records,)."""
    sums = records @ V
    squares = np.einsum("df,df->d", V, V, dtype=np.float64)
    every = np.einsum("nf,nf->n", sums, sums, dtype=np.float64)
    result: npt.NDArray[np.float64] = 0.5 * (every - records.multiply(records) @ squares)
    return result
