"""Events into rows that a model reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix

from fmrec.errors import DataError
from fmrec.events.encoders import FEATURES, Feature, weekday
from fmrec.events.facts import Facts, History
from fmrec.events.merging import Block, Int32s, merged
from fmrec.events.objectives import graded as grade
from fmrec.events.places import Places
from fmrec.events.space import FeatureSpace
from fmrec.events.visits import Visits
from fmrec.events.window import DAY

_Moment = Callable[[Int32s, NDArray[np.int64]], Int32s]
"""Gives the column, or -1, of each user at a UTC second."""

_HISTORIES = [n for n, feature in enumerate(FEATURES) if feature.name in ("rated", "rated_by")]


@dataclass(frozen=True, eq=False)
class _Party:
    """The users, or the items: `ids` seen in events, then those that only a table describes.

    `listed[j]` is the column under which others' histories hold the j-th; the last, for place -1,
    is -1. `alone` holds less than `block`: of who has a column of its own just that column.
    """

    places: Places
    block: Block
    alone: Block
    listed: Int32s


class Design:
    """The design matrix of a feature space; `encode` may run in several threads at once."""

    def __init__(
        self,
        space: FeatureSpace,
        facts: Facts,
        users: pa.Table,
        items: pa.Table,
        *,
        history_length: int,
        graded: bool,
        leave_own_out: bool,
    ) -> None:
        """Join what is known of users (USERS) and items (ITEMS); `facts` are those of the space.

        Histories hold the latest `history_length` training events, each weighing 1 / sqrt(their
        number); with `graded` the films a user rated weigh g(stars) / ||g|| instead. With
        `leave_own_out` encode leaves an event's own film out of its user's history and its own
        user out of its film's, and takes the latest `history_length` others. Otherwise a training
        row holds itself, as no other row does, and the row is always the sum of its two sides.

        Raises DataError when a table describes an id twice.
        """
        self.space = space
        self._leaves_out = leave_own_out and any(
            feature.name == "rated" for feature in space.features
        )
        rated, raters = facts.rated, facts.raters
        stars = grade(rated.ratings) if graded else _ones(rated)
        self._users = _party(
            space,
            "user",
            facts.users,
            users,
            ("rated", rated, stars),
            "rated_by",
            history_length,
            spares=self._leaves_out,
        )
        self._items = _party(
            space,
            "item",
            facts.items,
            items,
            ("rated_by", raters, _ones(raters)),
            "rated",
            history_length,
            spares=self._leaves_out,
        )
        self._context = _Context(space, facts)

    def encode(self, events: pd.DataFrame) -> csr_matrix:
        """One row for each event, in order: float32, (len(events), D).

        `events` has int64 user_id and item_id; with days or visits timestamp, with previous films
        previous_item_id (0 for none). Column indices ascend within a row.
        """
        user = self._users.places.of(events["user_id"].to_numpy())
        item = self._items.places.of(events["item_id"].to_numpy())
        own = (self._items.listed[item], self._users.listed[user]) if self._leaves_out else None
        return self._rows(user, item, self._context.of_events(user, events), own)

    def compact(self, events: pd.DataFrame) -> csr_matrix:
        """Rows as encode makes them, without what `records` says of their users and items.

        A user or item without a column of its own is described in the row, as in encode.
        """
        user = self._users.places.of(events["user_id"].to_numpy())
        item = self._items.places.of(events["item_id"].to_numpy())
        context = self._context.of_events(user, events)
        return merged(
            self._users.alone, user, self._items.alone, item, context, None, self.space.dimension
        )

    def records(self, side: str) -> csr_matrix:
        """What belongs to each "user" (or "item") that was trained on, (trained, D).

        With nothing left out, an encoded row is the compact one, completed by these.
        """
        ids = self.space.trained_users if side == "user" else self.space.trained_items
        places = (self._users if side == "user" else self._items).places.of(ids)
        nobody, context = np.full(ids.size, -1, np.int32), np.empty((ids.size, 0), np.int32)
        user, item = (places, nobody) if side == "user" else (nobody, places)
        return self._rows(user, item, context, None)

    def asked(
        self, user_ids: NDArray[np.int64], item_ids: NDArray[np.int64], at: int
    ) -> csr_matrix:
        """One row for each user asked about an item at `at` (UTC seconds), (n, D).

        It is user_side + item_side, but leaves out what encode leaves out of an event.
        """
        user = self._users.places.of(np.asarray(user_ids))
        item = self._items.places.of(np.asarray(item_ids))
        own = (self._items.listed[item], self._users.listed[user]) if self._leaves_out else None
        return self._rows(user, item, self._context.of_users(user, at), own)

    def user_side(self, user_ids: NDArray[np.int64], at: int) -> csr_matrix:
        """What rows of these users have whatever the item, (n, D).

        Besides the user's own features: the day, weekday and visit of `at` (UTC seconds) and the
        user's latest training film as the previous one. user_side + item_side is the row that
        encode makes of such an event, when it leaves nothing out.
        """
        user = self._users.places.of(np.asarray(user_ids))
        context = self._context.of_users(user, at)
        return self._rows(user, np.full(user.size, -1, np.int32), context, None)

    def item_side(self, item_ids: NDArray[np.int64]) -> csr_matrix:
        """What rows of these items have whatever the user and the moment, (n, D)."""
        item = self._items.places.of(np.asarray(item_ids))
        context = np.empty((item.size, 0), np.int32)
        return self._rows(np.full(item.size, -1, np.int32), item, context, None)

    def _rows(
        self, user: Int32s, item: Int32s, context: Int32s, own: tuple[Int32s, Int32s] | None
    ) -> csr_matrix:
        users, items = self._users.block, self._items.block
        return merged(users, user, items, item, context, own, self.space.dimension)


class _Context:
    """The columns that belong to neither user nor item alone: the moment, and the film before."""

    def __init__(self, space: FeatureSpace, facts: Facts) -> None:
        names = {feature.name for feature in space.features}
        self._moments: list[_Moment] = []
        if "day" in names:
            self._moments.append(_day(space))
        if "weekday" in names:
            self._moments.append(_weekday(space))
        if "visit" in names:
            self._moments.append(_visit(space, facts))
        self._has_previous = "previous" in names
        if self._has_previous:
            self._films = Places(facts.items)
            self._previous = np.append(space.column("previous"), np.int32(-1))
            filled = np.diff(facts.rated.indptr) > 0
            self._latest = np.full(facts.users.size, -1, np.int32)
            self._latest[filled] = facts.rated.indices[facts.rated.indptr[:-1][filled]]

    def of_events(self, user: Int32s, events: pd.DataFrame) -> Int32s:
        """Of these events of these users: (n, 0 to 4), -1 for none."""
        columns = [moment(user, events["timestamp"].to_numpy()) for moment in self._moments]
        if self._has_previous:
            film = self._films.of(events["previous_item_id"].to_numpy())
            columns.append(self._previous[film])
        return _beside(columns, user.size)

    def of_users(self, user: Int32s, at: int) -> Int32s:
        """Likewise, for what these users would do next at the UTC second `at`."""
        columns = [moment(user, np.full(user.size, at)) for moment in self._moments]
        if self._has_previous:
            seen = (user >= 0) & (user < self._latest.size)
            film = np.where(seen, self._latest[np.where(seen, user, 0)], -1)
            columns.append(self._previous[film])
        return _beside(columns, user.size)


def _day(space: FeatureSpace) -> _Moment:
    column = space.column("day")
    days, columns = space.found["day"].value[column >= 0], column[column >= 0]
    first, last = int(days[0]), int(days[-1])
    every = np.arange(first, last + 1)
    # Before the first trained day there is none, so the first stands in.
    latest = columns[np.searchsorted(days, every, side="right") - 1]
    return lambda _, timestamp: latest[np.clip(timestamp // DAY, first, last) - first]


def _weekday(space: FeatureSpace) -> _Moment:
    columns = np.full(7, -1, np.int32)
    columns[space.found["weekday"].value] = space.column("weekday")
    return lambda _, timestamp: columns[weekday(timestamp // DAY)]


def _visit(space: FeatureSpace, facts: Facts) -> _Moment:
    visits = Visits(facts.visits_user, facts.visits_hour)
    columns = np.append(space.column("visit"), np.int32(-1))
    return lambda user, timestamp: columns[visits.of(user, timestamp)]


def _ones(history: History) -> NDArray[np.float32]:
    return np.ones(history.indices.size, np.float32)


def _beside(columns: list[Int32s], rows: int) -> Int32s:
    return np.column_stack(columns) if columns else np.empty((rows, 0), np.int32)


def _party(
    space: FeatureSpace,
    side: str,
    ids: NDArray[np.int64],
    table: pa.Table,
    history: tuple[str, History, NDArray[np.float32]],
    listed_as: str,
    length: int,
    *,
    spares: bool,
) -> _Party:
    features = {feature.name: feature for feature in space.features if feature.side == side}
    described = [feature for feature in features.values() if feature.read]
    if described:
        ids = np.concatenate([ids, _only_described(table[f"{side}_id"].to_numpy(), ids, side)])
    places = Places(ids)
    own = space.column(side)
    entries = [_Entries(np.arange(own.size), own, np.ones(own.size, np.float32))]
    entries += [_described(space, feature, table, places) for feature in described]
    nameless = np.append(own < 0, np.ones(ids.size - own.size, bool))
    alone = [entries[0], *(each.of(nameless) for each in entries[1:])]
    squares: NDArray[np.float64] = np.zeros(0)
    spare = np.empty(0, np.int32)
    name, lists, weights = history
    if name in features:
        row = np.repeat(np.arange(lists.indptr.size - 1), np.diff(lists.indptr))
        rank = np.arange(row.size) - lists.indptr[row]
        column = space.column(name)[lists.indices]
        if spares:
            spare = np.full(ids.size, -1, np.int32)
            last = rank == length
            spare[row[last]] = column[last]
        kept = rank < length + spares
        row, column, weights = row[kept], column[kept], weights[kept]
        squares = np.zeros(ids.size)
        np.add.at(squares, row, weights.astype(np.float64) ** 2)
        entries.append(_Entries(row, column, weights))
    listed = np.full(ids.size + 1, -1, np.int32)
    if any(feature.name == listed_as for feature in space.features):
        columns = space.column(listed_as)
        listed[: columns.size] = columns
    block = _block(space, ids.size, entries, squares, spare)
    nothing = np.zeros(0), np.empty(0, np.int32)
    return _Party(places, block, _block(space, ids.size, alone, *nothing), listed)


@dataclass(frozen=True, eq=False)
class _Entries:
    """What stands where in a block, in any order; column -1 stands nowhere."""

    row: NDArray[np.int64]
    column: Int32s
    value: NDArray[np.float32]

    def of(self, rows: NDArray[np.bool_]) -> _Entries:
        """Those of some rows, given as a mask."""
        kept = rows[self.row]
        return _Entries(self.row[kept], self.column[kept], self.value[kept])


def _only_described(
    described: NDArray[np.int64], ids: NDArray[np.int64], side: str
) -> NDArray[np.int64]:
    """Ids that the table has and the events have not."""
    distinct, counts = np.unique(described, return_counts=True)
    if distinct.size < described.size:
        twice = distinct[counts > 1]
        raise DataError(
            f"{side} {twice[0]} has {counts.max()} rows in the table of {side}s, and "
            f"{twice.size:,} have several: leave the one that is right."
        )
    return np.setdiff1d(distinct, ids, assume_unique=True)


def _described(space: FeatureSpace, feature: Feature, table: pa.Table, places: Places) -> _Entries:
    assert feature.read is not None  # noqa: S101 - declared so
    rows, values = feature.read(table)
    known = pa.array(space.found[feature.name].value.tolist(), type=values.type)
    at = pc.index_in(values, value_set=known).fill_null(len(known)).to_numpy()
    column = np.append(space.column(feature.name), np.int32(-1))[at]
    row = places.of(table[f"{feature.side}_id"].to_numpy())[rows].astype(np.int64)
    # A film's list may name a genre twice.
    once = np.unique(row * (space.dimension + 1) + column + 1)
    row, column = once // (space.dimension + 1), (once % (space.dimension + 1) - 1).astype(np.int32)
    return _Entries(row, column, np.ones(row.size, np.float32))


def _block(
    space: FeatureSpace,
    rows: int,
    entries: list[_Entries],
    squares: NDArray[np.float64],
    spare: Int32s,
) -> Block:
    row = np.concatenate([each.row for each in entries])
    column = np.concatenate([each.column for each in entries])
    value = np.concatenate([each.value for each in entries])
    filled = column >= 0
    shape = (rows, space.dimension)
    matrix = coo_matrix((value[filled], (row[filled], column[filled])), shape=shape).tocsr()
    return Block(
        matrix.indptr.astype(np.int64),
        matrix.indices.astype(np.int32),
        matrix.data,
        np.isin(space.feature[matrix.indices], _HISTORIES),
        squares,
        spare,
    )
