"""Ratings in, one event for each user and item out: what may be seen, the latest of each pair.

Rows are dealt to files by user as they come; then each file is worked on alone, so memory does not
grow with their number. Nothing depends on how the rows were cut into tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fmrec.errors import DataError
from fmrec.events.mixing import bucket_of
from fmrec.events.spill import Rows, Spill, taken
from fmrec.events.visits import packed, renumbered
from fmrec.events.window import DAY, Span, moment, visible

BUCKETS = 64
_THREADS = 2
_MOST_ROWS = 2**32
_BATCH_ROWS = 1 << 20
_NEVER = np.iinfo(np.int64).max

_RAW = np.dtype(
    [
        ("user", np.int64),
        ("item", np.int64),
        ("time", np.uint32),
        ("row", np.uint32),
        ("rating", np.float32),
        ("arrived", np.uint16),  # in days
        ("fold", np.uint8),
        ("_", np.uint8),
    ]
)

EVENT = np.dtype(
    [
        ("user", np.int32),  # indices into Intake.users and .items
        ("item", np.int32),
        ("time", np.uint32),
        ("row", np.uint32),  # place among the visible ratings of the source
        ("rating", np.float32),
        ("fold", np.uint8),
        ("part", np.uint8),
        ("_", np.uint16),
    ]
)


@dataclass(frozen=True, eq=False)
class Known:
    """Values, ascending, and the least clock (UTC second) of a run that sees each."""

    values: NDArray[np.int64]
    since: NDArray[np.int64]


_NOTHING = Known(np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(frozen=True, eq=False)
class Intake:
    """The events a run sees: each user's item once, with the latest rating.

    They lie in buckets, a user's all in one. `users`, `items`, `days` and `visits` (`packed`; none
    where they were not asked for) are of everything that was seen, before the latest rating won.
    `counts`: ratings `superseded` by a later one of the pair,
    ratings `withdrawn`. `rows` is the number of visible ratings; `span` is of all ratings, for
    errors.
    """

    _buckets: Spill
    _own: dict[int, tuple[Known, Known]]
    users: Known
    items: Known
    days: Known
    visits: Known
    counts: dict[str, int]
    rows: int
    span: Span

    def each(self) -> Iterator[int]:
        """The buckets that hold events."""
        return (int(bucket) for bucket in np.flatnonzero(self._buckets.rows))

    def read(self, bucket: int) -> Rows:
        """The EVENT rows of a bucket; user and item are indices into users and items."""
        rows = self._buckets.read(bucket)
        if bucket in self._own:
            # Until the ids of all buckets were known, the indices in a bucket were its own.
            users, items = self._own[bucket]
            rows["user"] = _places(users, self.users)[rows["user"]]
            rows["item"] = _places(items, self.items)[rows["item"]]
        return rows

    def times(self) -> Iterator[NDArray[np.uint32]]:
        """The timestamps of all events, bucket by bucket."""
        return (self._buckets.column(bucket, "time") for bucket in self.each())

    def replace(self, bucket: int, rows: Rows) -> None:
        """Let a bucket hold these rows from now on."""
        self._buckets.replace(bucket, rows)
        self._own.pop(bucket, None)

    def discard(self, bucket: int) -> None:
        """Give back the room that a bucket takes."""
        self._buckets.discard(bucket)

    @property
    def events(self) -> int:
        """How many events there are."""
        return int(self._buckets.rows.sum())


def take_in(
    tables: Iterable[pa.Table], as_of: int, folder: Path, *, visits: bool = False
) -> Intake:
    """Read RATINGS tables, in order, and keep what a run with this clock sees.

    Of several ratings of one item by one user the one with the latest timestamp counts; of those
    with the same timestamp the one that arrived last, then the one that stands last. Raises
    DataError when nothing is visible.
    """
    raw, span = _deal(tables, as_of, folder / "raw")
    if not raw.rows.any():
        raise DataError(
            f"No rating lies before as_of {moment(as_of)} and had arrived by then: {span}. "
            "Set as_of to a later moment, or choose a source that reaches further back."
        )
    visible_rows = int(raw.rows.sum())
    dealt = [int(bucket) for bucket in np.flatnonzero(raw.rows)]
    kept: list[_Kept] = []
    events = Spill(folder / "events", EVENT, BUCKETS)
    with ThreadPoolExecutor(_THREADS) as pool:
        kept.extend(pool.map(lambda bucket: _latest(raw, bucket, events, visits=visits), dealt))
    users = _merged([each.users for each in kept])
    items = _merged([each.items for each in kept])
    days = _merged([each.days for each in kept])
    counts = {
        "superseded": sum(each.superseded for each in kept),
        "withdrawn": sum(each.withdrawn for each in kept),
    }
    intake = Intake(
        events,
        {each.bucket: (each.users, each.items) for each in kept},
        users,
        items,
        days,
        _visits(kept, users),
        counts,
        visible_rows,
        span,
    )
    if not intake.events:
        raise DataError(
            f"every rating before as_of {moment(as_of)} was withdrawn: {span}. Set as_of to "
            "another moment."
        )
    return intake


def _deal(tables: Iterable[pa.Table], as_of: int, folder: Path) -> tuple[Spill, Span]:
    raw = Spill(folder, _RAW, BUCKETS)
    span, count = Span(), 0
    with ThreadPoolExecutor(1) as pool:
        dealing: Future[None] | None = None
        for batch in (batch for table in tables for batch in table.to_batches(_BATCH_ROWS)):
            user, item, rating, time, arrived, fold = (
                column.to_numpy(zero_copy_only=False) for column in batch.columns
            )
            span.add(time)
            seen = visible(time, arrived, as_of)
            rows = np.zeros(time.size, _RAW)
            rows["user"], rows["item"], rows["time"], rows["rating"] = user, item, time, rating
            rows["arrived"], rows["fold"] = arrived // DAY, fold
            if not seen.all():
                rows = rows[seen]
            if count + rows.size > _MOST_ROWS:
                raise DataError(f"more than {_MOST_ROWS:,} ratings: leave out the oldest")
            rows["row"] = np.arange(count, count + rows.size)
            count += rows.size
            # One thread keeps the order; it deals while the next rows are read.
            if dealing is not None:
                dealing.result()
            dealing = pool.submit(_add, raw, rows)
        if dealing is not None:
            dealing.result()
    return raw, span


def _add(raw: Spill, rows: Rows) -> None:
    # A multiplicative hash (Knuth, "The art of computer programming", volume 3, section 6.4).
    spread = rows["user"].view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    raw.add(rows, bucket_of(spread, BUCKETS))


@dataclass(frozen=True, eq=False)
class _Kept:
    bucket: int
    users: Known
    items: Known
    days: Known
    visits: Known
    superseded: int
    withdrawn: int


def _latest(raw: Spill, bucket: int, events: Spill, *, visits: bool) -> _Kept:
    rows = raw.read(bucket)
    raw.discard(bucket)
    users, user = _encoded(rows["user"])
    items, item = _encoded(rows["item"])
    time = rows["time"].astype(np.int64)
    known = np.maximum(time + 1, rows["arrived"].astype(np.int64) * DAY)
    day = time // DAY
    pair = user * np.int64(items.size) + item
    keep: NDArray[np.integer] | slice = slice(None)
    if _repeats(pair):
        order = np.lexsort((rows["row"], rows["arrived"], rows["time"], pair))
        ends = np.flatnonzero(np.append(np.diff(pair[order]) != 0, True))
        keep = np.sort(order[ends])
    won = rows[keep]
    stays = np.flatnonzero(~np.isnan(won["rating"]))
    made = np.zeros(won.size, EVENT)
    made["user"], made["item"] = user[keep], item[keep]
    for name in ("time", "row", "rating", "fold"):
        made[name] = won[name]
    if stays.size < made.size:
        made = taken(made, stays)
    events.replace(bucket, made)
    return _Kept(
        bucket,
        Known(users, _least(user, known, users.size)),
        Known(items, _least(item, known, items.size)),
        _known_days(day, known),
        _known(packed(user, time), known) if visits else _NOTHING,
        rows.size - won.size,
        won.size - made.size,
    )


def _repeats(values: NDArray[np.int64]) -> bool:
    ordered = np.sort(values)
    return bool((ordered[1:] == ordered[:-1]).any())


def _encoded(ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct ids, ascending, and the place of each row's id among them."""
    encoded = pa.array(np.ascontiguousarray(ids)).dictionary_encode()
    found = encoded.dictionary.to_numpy()
    order = np.argsort(found)
    place = np.empty(found.size, np.int64)
    place[order] = np.arange(found.size)
    return found[order], place[encoded.indices.to_numpy()]


def _least(code: NDArray[np.int64], since: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    least = np.full(size, _NEVER)
    np.minimum.at(least, code, since)
    return least


def _known(values: NDArray[np.int64], since: NDArray[np.int64]) -> Known:
    distinct, code = _encoded(values)
    return Known(distinct, _least(code, since, distinct.size))


def _known_days(day: NDArray[np.int64], since: NDArray[np.int64]) -> Known:
    """As `_known`, for numbers that are small."""
    least = _least(day, since, int(day.max()) + 1)
    distinct = np.flatnonzero(least < _NEVER)
    return Known(distinct, least[distinct])


def _merged(parts: list[Known]) -> Known:
    return _known(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.since for part in parts]),
    )


def _places(own: Known, among: Known) -> NDArray[np.int32]:
    return np.searchsorted(among.values, own.values).astype(np.int32)


def _visits(kept: list[_Kept], users: Known) -> Known:
    """Those of all buckets, of which no two share a user, with the places of `users`."""
    parts = [renumbered(each.visits.values, _places(each.users, users)) for each in kept]
    values, since = np.concatenate(parts), np.concatenate([each.visits.since for each in kept])
    order = np.argsort(values)
    return Known(values[order], since[order])
