"""Preparing events once more, slowly: plain Python over a list of rows, written from docs/data.md.

Random numbers are computed anew too; only which items are sampled is taken from `negatives`, whose
own tests recompute it.
"""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from events_oracle import slow_facts, with_previous
from fmrec.events.facts import Facts, History
from fmrec.events.negatives import sample
from fmrec.events.prepare import Choices, Prepared, prepare
from fmrec.ratings.tables import RATINGS

WORD = 2**64
DEFAULT = Choices(
    as_of=2_000_000_000,
    split="time",
    validation_fraction=0.2,
    test_fraction=0.2,
    leave_last=1,
    user_least=1,
    item_least=1,
    order="shuffled",
    seed=1,
    history_length=0,
    negatives=0,
    negative_exponent=0.5,
    shard_rows=1_000,
    visits=False,
)


class Row(NamedTuple):
    """A rating as RATINGS has it."""

    user: int
    item: int
    rating: float
    timestamp: int
    arrived: int = 0
    fold: int = 0


class Event(NamedTuple):
    """A row of EVENTS with LABEL; None where the rating is NaN, as NaN is not equal to itself."""

    user: int
    item: int
    rating: float | None
    timestamp: int
    previous: int
    label: float | None = None


def table(rows: Iterable[Row]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(RATINGS)
    arrays = [pa.array(each, kind.type) for each, kind in zip(columns, RATINGS, strict=True)]
    return pa.Table.from_arrays(arrays, schema=RATINGS)


def cut(rows: list[Row], at: Iterable[int]) -> list[pa.Table]:
    """The rows in several tables; some may be empty, some of several chunks."""
    ends = [0, *sorted(place % (len(rows) + 1) for place in at), len(rows)]
    parts = [table(rows[start:end]) for start, end in pairwise(ends)]
    return [pa.concat_tables(parts[:2]), *parts[2:]]


def chosen(**changes: object) -> Choices:
    return replace(DEFAULT, **changes)  # type: ignore[arg-type]


@dataclass
class Made:
    """What `prepare` made, read whole: the files of each part."""

    prepared: Prepared
    files: dict[str, list[pa.Table]]

    @cached_property
    def events(self) -> dict[str, list[Event]]:
        """The events of each part, file after file."""
        return {
            name: [event for each in parts for event in listed(each)]
            for name, parts in self.files.items()
        }

    @property
    def facts(self) -> Facts:
        return self.prepared.facts

    def same_as(self, other: Made) -> bool:
        return (
            self.facts.to_bytes() == other.facts.to_bytes()
            and self.prepared.counts == other.prepared.counts
            and self.prepared.rows == other.prepared.rows
            and self.files.keys() == other.files.keys()
            and all(written(mine) == written(other.files[n]) for n, mine in self.files.items())
        )


def written(files: list[pa.Table]) -> list[bytes]:
    found = []
    for each in files:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, each.schema) as stream:
            stream.write_table(each)
        found.append(sink.getvalue().to_pybytes())
    return found


def made(tables: Iterable[pa.Table], choices: Choices) -> Made:
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(tables, choices, Path(folder, "work"))
        files = {name: [read() for read in prepared.shards(name)] for name in prepared.rows}
    return Made(prepared, files)


def listed(events: pa.Table) -> list[Event]:
    columns = [column.to_pylist() for column in events.columns]
    columns[2] = [None if value != value else value for value in columns[2]]  # noqa: PLR0124
    return [Event(*row) for row in zip(*columns, strict=True)]


@dataclass
class Slow:
    """The parts in the order in which they are to be written."""

    events: dict[str, list[Event]]
    facts: Facts
    counts: dict[str, int]


def slow(rows: list[Row], choices: Choices) -> Slow:
    """What `prepare` is to make; a part may be empty, nothing is refused."""
    seen = visible(rows, choices.as_of)
    won = latest(seen)
    kept = {place: row for place, row in won.items() if row.rating == row.rating}
    parts = thinned(divided(kept, choices), kept, choices)
    train = frame({place: row for place, row in kept.items() if parts[place] == "train"})
    every = frame(kept)
    previous = (
        with_previous(every, train) if choices.history_length else every.assign(previous_item_id=0)
    )
    train = previous.loc[train.index]
    facts = slow_facts(train, frame(seen), choices.history_length)
    if not choices.history_length:
        facts = replace(facts, rated=nothing(facts.users), raters=nothing(facts.items))
    if not choices.visits:
        visits = [name for name in vars(facts) if name.startswith("visits_")]
        facts = replace(facts, **{name: getattr(facts, name)[:0] for name in visits})
    events: dict[str, list[Event]] = {}
    for name in ("train", "validation", "test", "filtered"):
        mine = [place for place in kept if parts[place] == name]
        mine.sort(key=lambda place: key(place, kept[place], choices))
        events[name] = [event(kept[place], previous, place) for place in mine]
    counts = {
        "superseded": len(seen) - len(won),
        "withdrawn": len(won) - len(kept),
        "ratings_seen": len(kept),
        "filtered": len(events["filtered"]),
    }
    if choices.negatives:
        events["examples"], counts["negatives_missing"] = examples(train, train, train, choices)
        validation = previous.loc[[place for place in kept if parts[place] == "validation"]]
        known = validation["user_id"].isin(train["user_id"])
        known &= validation["item_id"].isin(train["item_id"])
        seen = pd.concat([train, validation])
        events["watched"], _ = examples(validation[known], seen, train, choices)
        facts = replace(facts, **trained_on(events["examples"], facts))
    return Slow(events, facts, counts)


def trained_on(examples: list[Event], facts: Facts) -> dict[str, np.ndarray]:
    """How many of the rows each user, item, day and film before has."""
    visits = zip(facts.users[facts.visits_user].tolist(), facts.visits_hour.tolist(), strict=True)
    of = {
        "users_trained": (facts.users.tolist(), Counter(each.user for each in examples)),
        "items_trained": (facts.items.tolist(), Counter(each.item for each in examples)),
        "days_trained": (
            facts.days.tolist(),
            Counter(each.timestamp // 86_400 for each in examples),
        ),
        "visits_trained": (visits, Counter((e.user, e.timestamp // 3_600) for e in examples)),
        "previous_trained": (facts.items.tolist(), Counter(each.previous for each in examples)),
    }
    return {
        name: np.array([counts[value] for value in values], np.int32)
        for name, (values, counts) in of.items()
    }


def visible(rows: list[Row], as_of: int) -> dict[int, Row]:
    return {
        place: row
        for place, row in enumerate(rows)
        if row.timestamp < as_of and row.arrived <= as_of
    }


def latest(rows: dict[int, Row]) -> dict[int, Row]:
    """The last of each pair, by timestamp, then arrival, then place; in the order of places."""
    won: dict[tuple[int, int], int] = {}
    for place, row in rows.items():
        rival = won.get((row.user, row.item))
        if rival is None or (rows[rival].timestamp, rows[rival].arrived) <= row[3:5]:
            won[row.user, row.item] = place
    return {place: rows[place] for place in sorted(won.values())}


def divided(rows: dict[int, Row], choices: Choices) -> dict[int, str]:
    if choices.split == "time":
        times = sorted(row.timestamp for row in rows.values())
        validation, test = choices.validation_fraction, choices.test_fraction
        sizes = round((1 - test - validation) * len(times)), round((1 - test) * len(times))
        train, tune = (times[size - 1] if size else -1 for size in sizes)
        return {
            place: "train"
            if row.timestamp <= train
            else "validation"
            if row.timestamp <= tune
            else "test"
            for place, row in rows.items()
        }
    if choices.split == "leave-last-k":
        return by_user(rows, lambda place, row: (row.timestamp, place), last(choices.leave_last))
    if choices.split == "random":
        return by_user(
            rows,
            lambda _, row: (word(choices.seed, row.user, row.item, 1),),
            shares(choices.validation_fraction, choices.test_fraction),
        )
    return {place: "test" if row.fold == 2 else "train" for place, row in rows.items()}


def by_user(
    rows: dict[int, Row],
    ordered: Callable[[int, Row], tuple[int, ...]],
    deal: Callable[[int], list[str]],
) -> dict[int, str]:
    of_user = defaultdict(list)
    for place, row in rows.items():
        of_user[row.user].append(place)
    parts: dict[int, str] = {}
    for places in of_user.values():
        places.sort(key=lambda place: ordered(place, rows[place]))
        parts |= zip(places, deal(len(places)), strict=True)
    return parts


def last(k: int) -> Callable[[int], list[str]]:
    return lambda size: (
        ["train"] * (size - 2 * k) + ["validation"] * k + ["test"] * k
        if size > 2 * k
        else ["train"] * size
    )


def shares(validation: float, test: float) -> Callable[[int], list[str]]:
    def deal(size: int) -> list[str]:
        dealt = ["test"] * round(test * size) + ["validation"] * round(validation * size)
        return (dealt + ["train"] * size)[:size]

    return deal


def thinned(parts: dict[int, str], rows: dict[int, Row], choices: Choices) -> dict[int, str]:
    """Training events of who has too few go, one user or item at a time."""
    parts = dict(parts)
    while True:
        train = [place for place, part in parts.items() if part == "train"]
        for side, least in ((0, choices.user_least), (1, choices.item_least)):
            counts = Counter(rows[place][side] for place in train)
            few = next((owner for owner, count in counts.items() if count < least), None)
            if few is not None:
                parts |= {place: "filtered" for place in train if rows[place][side] == few}
                break
        else:
            return parts


def examples(
    rows: pd.DataFrame, seen: pd.DataFrame, train: pd.DataFrame, choices: Choices
) -> tuple[list[Event], int]:
    """Likes and what `sample` draws for them, all users at once."""
    likes = rows[rows["rating"] >= 4]
    popular = Counter(train["item_id"])
    items = sorted(popular)
    if not items:
        return [], 0
    found = sample(
        (likes["user_id"], likes["item_id"]),
        seen=(seen["user_id"], seen["item_id"]),
        items=items,
        counts=[popular[item] for item in items],
        ratio=choices.negatives,
        exponent=choices.negative_exponent,
        seed=choices.seed,
    )
    drawn = iter(found.items.tolist())
    kept = found.kept.reshape(-1, choices.negatives)
    keyed = []
    for row, which in zip(likes.itertuples(), kept, strict=True):
        like = Event(row.user_id, row.item_id, row.rating, row.timestamp, row.previous_item_id, 1)
        own = key(row.Index, Row(*like[:4]), choices)
        keyed.append((own, like))
        for draw in np.flatnonzero(which).tolist():
            where = own if choices.order == "file" else word(choices.seed, own, draw, 2)
            keyed.append((where, like._replace(item=next(drawn), rating=None, label=0)))
    keyed.sort(key=lambda each: (each[0], each[1].user, each[1].item, each[1].label))
    return [like for _, like in keyed], found.missing


def key(place: int, row: Row, choices: Choices) -> int:
    return place if choices.order == "file" else word(choices.seed, row.user, row.item, 0)


def event(row: Row, previous: pd.DataFrame, place: int) -> Event:
    return Event(*row[:4], int(previous.loc[place, "previous_item_id"]))


def frame(rows: dict[int, Row]) -> pd.DataFrame:
    """Rows as the other oracle takes them, indexed by their place."""
    columns = list(zip(*rows.values(), strict=True)) or [()] * 6
    kinds = [np.int64, np.int64, np.float32, np.int64, np.int64]
    names = ["user_id", "item_id", "rating", "timestamp", "arrived"]
    arrays = {
        name: np.array(values, kind)
        for name, values, kind in zip(names, columns, kinds, strict=False)
    }
    return pd.DataFrame(arrays, index=list(rows))


def nothing(owners: np.ndarray) -> History:
    return History(
        np.zeros(owners.size + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
    )


def word(seed: int, *values: int) -> int:
    """splitmix64's mixer: of the seed, then of each value mixed in."""
    found = mix(seed % WORD)
    for value in values:
        found = mix(found ^ mix(value % WORD))
    return found


def mix(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) % WORD
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % WORD
    return value ^ (value >> 31)


def same_facts(found: Facts, expected: Facts) -> None:
    for name, value in vars(expected).items():
        mine = getattr(found, name)
        pairs = (
            [(getattr(mine, each), getattr(value, each)) for each in vars(value)]
            if isinstance(value, History)
            else [(mine, value)]
        )
        for one, other in pairs:
            np.testing.assert_array_equal(one, other, err_msg=name)
            assert one.dtype == other.dtype, name
