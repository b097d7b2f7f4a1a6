"""From ratings to the events of each part, in the order they are written, and the facts of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fmrec.errors import ConfigurationError, DataError
from fmrec.events import splits
from fmrec.events.facts import Facts
from fmrec.events.histories import Latest, previous
from fmrec.events.intake import Intake, take_in
from fmrec.events.mixing import bucket_of, mixed
from fmrec.events.negatives import sample
from fmrec.events.objectives import LIKED_FROM
from fmrec.events.spill import Rows, Spill, taken
from fmrec.events.splits import PARTS, TRAIN, VALIDATION
from fmrec.events.thinning import thin
from fmrec.events.visits import packed, unpacked
from fmrec.events.window import DAY
from fmrec.ratings import FOLD_SPLITS, SPLITS

EXAMPLES, WATCHED = "examples", "watched"
ORDERS = ("shuffled", "file")
EVENTS = pa.schema(
    [
        ("user_id", pa.int64()),
        ("item_id", pa.int64()),
        ("rating", pa.float32()),
        ("timestamp", pa.int64()),
        ("previous_item_id", pa.int64()),
    ]
)
"""An event; `previous_item_id` is 0 where there is none, or where it was not asked for."""
LABEL = pa.field("label", pa.float32())
"""Of an example besides: 1 for a like, 0 for an item that was sampled, whose rating is NaN."""

_THREADS = 2
_FEW = 1_000
_OUT = np.dtype(
    [
        ("key", np.uint64),
        ("user", np.int32),
        ("item", np.int32),
        ("previous", np.int32),
        ("time", np.uint32),
        ("rating", np.float32),
        ("label", np.float32),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What is to be made of the ratings.

    `history_length` is 0 when no column needs histories, or the number of events they hold;
    `visits` says whether a column needs visits.
    `negatives` is 0, or how many items are sampled for each like; then `negative_exponent` is
    that of their popularity. `shard_rows` is about how many rows a file holds.
    """

    as_of: int
    split: str
    validation_fraction: float
    test_fraction: float
    leave_last: int
    user_least: int
    item_least: int
    order: str
    seed: int
    history_length: int
    negatives: int
    negative_exponent: float
    shard_rows: int
    visits: bool = False


@dataclass(frozen=True, eq=False)
class Prepared:
    """Events in parts. `rows` says how many each part has; `shards` reads them, once.

    `facts` are those of the events; `counts` what became of ratings that are in no part.
    """

    facts: Facts
    counts: dict[str, int]
    rows: dict[str, int]
    _out: dict[str, Spill]
    _shard_rows: int

    def shards(self, part: str) -> list[Callable[[], pa.Table]]:
        """The events of a part, for each file to write a function that reads its table, once.

        Tables are EVENTS, of examples and of what is watched with LABEL; none is empty. A part that
        was not made has none. Shuffled files are about as large as each other and a power of two in
        number, so that hosts can share them evenly; in the order of the source they are as its
        ranges are. The functions may be called in several threads.
        """
        out = self._out.get(part)
        if out is None:
            return []
        groups = np.split(np.arange(out.rows.size), _files(self.rows[part], self._shard_rows, out))
        filled = [group for group in groups if out.rows[group].any()]
        return [functools.partial(self._shard, part, group) for group in filled]

    def _shard(self, part: str, buckets: NDArray[np.int64]) -> pa.Table:
        out = self._out[part]
        read = [out.read(bucket) for bucket in buckets]
        rows = read[0] if len(read) == 1 else np.concatenate(read)
        for bucket in buckets:
            out.discard(bucket)
        rows = taken(rows, np.argsort(rows["key"]))
        if (rows["key"][1:] == rows["key"][:-1]).any():  # one in a billion: then let ids decide
            rows = rows[np.lexsort((rows["label"], rows["item"], rows["user"], rows["key"]))]
        before = rows["previous"]
        items = self.facts.items
        columns = {
            "user_id": self.facts.users[rows["user"]],
            "item_id": items[rows["item"]],
            "rating": np.ascontiguousarray(rows["rating"]),
            "timestamp": rows["time"].astype(np.int64),
            "previous_item_id": np.where(before < 0, 0, items[before]),
        }
        if part not in {EXAMPLES, WATCHED}:
            return pa.table(columns, schema=EVENTS)
        columns["label"] = np.ascontiguousarray(rows["label"])
        return pa.table(columns, schema=EVENTS.append(LABEL))


def prepare(tables: Iterable[pa.Table], choices: Choices, folder: Path) -> Prepared:
    """Cut RATINGS at the clock, keep the latest of each pair, split, thin, order.

    First the split is made; histories and negatives then come from training events alone. The
    result is a function of the visible ratings and their order: not of how they were cut into
    tables, nor of ratings that come later. Works in `folder`, which must be empty; memory grows
    with the number of users, items and, where they are asked for, visits alone.

    Raises ConfigurationError for choices that do not fit, DataError when nothing is visible or a
    part that needs events would have none.
    """
    if choices.order not in ORDERS:
        raise ConfigurationError(
            f"order {choices.order!r} is not known: choose one of {', '.join(ORDERS)}."
        )
    intake = take_in(tables, choices.as_of, folder, visits=choices.visits)
    divide = _divide(intake, choices)
    thinned = choices.user_least > 1 or choices.item_least > 1
    if thinned or choices.negatives:
        _settle(intake, divide)
        divide = _settled
    if thinned:
        thin(intake, choices.user_least, choices.item_least)
    return _Emission(intake, divide, choices, folder).run()


def _files(rows: int, shard_rows: int, out: Spill) -> int:
    """How many files `rows` rows go into: a power of two, from 1 to the number of buckets."""
    if rows < 4 * _FEW:
        return 1 if rows < 2 * _FEW else 2
    return min(max(4, _power_of_two(rows / shard_rows)), out.rows.size)


def _power_of_two(least: float) -> int:
    return 1 << max(0, math.ceil(math.log2(least)))


def _divide(intake: Intake, choices: Choices) -> splits.Divide:
    split = choices.split
    if split in FOLD_SPLITS:
        return splits.ByFold(split)
    if split == "leave-last-k":
        return splits.LeaveLast(choices.leave_last)
    splits.check_fractions(choices.validation_fraction, choices.test_fraction)
    if split == "random":
        return splits.AtRandom(
            choices.validation_fraction,
            choices.test_fraction,
            choices.seed,
            intake.users.values,
            intake.items.values,
        )
    if split != "time":
        raise ConfigurationError(
            f"split {split!r} is not known: choose one of {', '.join(SPLITS)}."
        )
    return splits.by_time(intake.times, choices.validation_fraction, choices.test_fraction)


def _settle(intake: Intake, divide: splits.Divide) -> None:
    """Write each event's part into the files."""

    def settle(bucket: int) -> None:
        rows = intake.read(bucket)
        rows["part"] = divide(rows)
        intake.replace(bucket, rows)

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(settle, intake.each()))


def _settled(rows: Rows) -> NDArray[np.uint8]:
    return rows["part"]


class _Emission:
    """The last look at each user's events: counts, histories, negatives, and where they go."""

    def __init__(
        self, intake: Intake, divide: splits.Divide, choices: Choices, folder: Path
    ) -> None:
        self._intake, self._divide, self._choices = intake, divide, choices
        users, items = intake.users.values.size, intake.items.values.size
        length = choices.history_length + 1
        self._rated, self._raters = Latest(users, length), Latest(items, length)
        self._users = np.zeros(users, np.int32)
        self._items, self._previous = np.zeros(items, np.int32), np.zeros(items, np.int32)
        self._popular = np.zeros(items, np.int64)
        self._days = np.zeros(intake.days.values.size, np.int32)
        self._visits = np.zeros(intake.visits.values.size, np.int32)
        self._missing = 0
        most = intake.events * (1 + choices.negatives)
        buckets = max(4, _power_of_two(most / choices.shard_rows))
        names = [*PARTS, EXAMPLES, WATCHED] if choices.negatives else PARTS
        # Finer than the files will be: how many rows a part has shows only at the end.
        self._out = {name: Spill(folder / name, _OUT, buckets) for name in names}

    def run(self) -> Prepared:
        if self._choices.negatives:
            for bucket in self._intake.each():
                rows = self._intake.read(bucket)
                trained = rows["item"][rows["part"] == TRAIN]
                self._popular += np.bincount(trained, minlength=self._popular.size)
        with ThreadPoolExecutor(_THREADS) as pool:
            for found in pool.map(self._emit, self._intake.each()):
                self._count(*found)
        sizes = {name: int(out.rows.sum()) for name, out in self._out.items()}
        self._check(sizes)
        counts = self._intake.counts | {
            "ratings_seen": self._intake.events,
            "filtered": sizes["filtered"],
        }
        if self._choices.negatives:
            counts["negatives_missing"] = self._missing
        return Prepared(self._facts(), counts, sizes, self._out, self._choices.shard_rows)

    def _emit(self, bucket: int) -> tuple[Rows, int]:
        """Send the events of a bucket; the rows that are trained on, and what _sampled says."""
        rows = self._intake.read(bucket)
        self._intake.discard(bucket)
        rows["part"] = self._divide(rows)
        trained = np.flatnonzero(rows["part"] == TRAIN)
        train = taken(rows, trained)
        before = np.full(rows.size, -1, np.int32)
        if self._choices.history_length:
            before = previous(rows)
            self._rated.add(train["user"], train["item"], train)
            self._raters.add(train["item"], train["user"], train)
        made = np.zeros(rows.size, _OUT)
        for name in ("user", "item", "time", "rating"):
            made[name] = rows[name]
        made["previous"] = before
        made["key"] = self._keys(rows)
        for number, name in enumerate(PARTS):
            self._send(name, taken(made, np.flatnonzero(rows["part"] == number)))
        train = taken(made, trained)
        if not self._choices.negatives:
            return train, 0
        validation = taken(made, np.flatnonzero(rows["part"] == VALIDATION))
        # Lists are made for users that training knows, of items that it knows.
        known = np.isin(validation["user"], train["user"]) & (self._popular[validation["item"]] > 0)
        self._sampled(WATCHED, validation[known], np.concatenate([train, validation]))
        return self._sampled(EXAMPLES, train, train)

    def _keys(self, rows: Rows) -> NDArray[np.uint64]:
        """What the rows are written in order of."""
        if self._choices.order == "file":
            # Spread over all words, so that equal ranges of keys hold about as many rows.
            return rows["row"].astype(np.uint64) * np.uint64((2**64 - 1) // self._intake.rows)
        users, items = self._intake.users.values, self._intake.items.values
        return mixed(self._choices.seed, users[rows["user"]], items[rows["item"]], 0)

    def _send(self, part: str, rows: Rows) -> None:
        if rows.size:
            out = self._out[part]
            out.add(rows, bucket_of(rows["key"], out.rows.size))

    def _sampled(self, part: str, rows: Rows, seen: Rows) -> tuple[Rows, int]:
        """Send likes and sampled items; these rows, and how many could not be sampled."""
        likes = rows[rows["rating"] >= LIKED_FROM]
        likes["label"] = 1
        users, items = self._intake.users.values, self._intake.items.values
        candidates = np.flatnonzero(self._popular)
        found = sample(
            (users[likes["user"]], items[likes["item"]]),
            seen=(users[seen["user"]], items[seen["item"]]),
            items=items[candidates],
            counts=self._popular[candidates],
            ratio=self._choices.negatives,
            exponent=self._choices.negative_exponent,
            seed=self._choices.seed,
        )
        made = np.repeat(likes, self._choices.negatives)[found.kept]
        made["item"] = np.searchsorted(items, found.items)
        made["rating"], made["label"] = np.nan, 0
        draw = np.tile(np.arange(self._choices.negatives), likes.size)[found.kept]
        # A sampled row must not stand beside the like it was sampled for.
        made["key"] = mixed(self._choices.seed, made["key"], draw, 2)
        if self._choices.order == "file":
            made["key"] = np.repeat(likes["key"], self._choices.negatives)[found.kept]
        examples = np.concatenate([likes, made])
        self._send(part, examples)
        return examples, found.missing

    def _count(self, trained: Rows, missing: int) -> None:
        """Count the rows that are trained on: of a ranking the examples, else the events."""
        before = trained["previous"][trained["previous"] >= 0]
        self._users += np.bincount(trained["user"], minlength=self._users.size).astype(np.int32)
        self._items += np.bincount(trained["item"], minlength=self._items.size).astype(np.int32)
        self._previous += np.bincount(before, minlength=self._previous.size).astype(np.int32)
        days = self._intake.days.values
        of_day = np.bincount(trained["time"] // DAY, minlength=int(days[-1]) + 1)
        self._days += of_day[days].astype(np.int32)
        if self._choices.visits:
            visits, counts = np.unique(packed(trained["user"], trained["time"]), return_counts=True)
            place = np.searchsorted(self._intake.visits.values, visits)
            self._visits[place] += counts.astype(np.int32)
        self._missing += missing

    def _check(self, rows: dict[str, int]) -> None:
        needed = ["train", "test"]
        if self._choices.split in ("time", "random") and self._choices.validation_fraction:
            needed.insert(1, "validation")
        empty = [name for name in needed if not rows[name]]
        if empty:
            filtered = f", {rows['filtered']:,} were filtered" if rows["filtered"] else ""
            raise DataError(
                f"split {self._choices.split!r} leaves no rating for {' and '.join(empty)}: "
                f"{self._intake.span}{filtered}. Set as_of to a later moment, or choose another "
                "split."
            )
        if self._choices.negatives and not rows[EXAMPLES]:
            raise DataError(
                f"no training event has {LIKED_FROM} stars or more: objective ranking learns from "
                "likes. Choose another objective, or a source with likes."
            )

    def _facts(self) -> Facts:
        intake = self._intake
        user, hour = unpacked(intake.visits.values)
        return Facts(
            users=intake.users.values,
            users_known=intake.users.since,
            users_trained=self._users,
            items=intake.items.values,
            items_known=intake.items.since,
            items_trained=self._items,
            days=intake.days.values,
            days_known=intake.days.since,
            days_trained=self._days,
            visits_user=user,
            visits_hour=hour,
            visits_known=intake.visits.since,
            visits_trained=self._visits,
            previous_trained=self._previous,
            rated=self._rated.history(),
            raters=self._raters.history(),
        )
