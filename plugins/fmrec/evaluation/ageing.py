"""How much a model loses with age, and how often to train a new one therefore.

The age of a model at a rating is the time from the newest rating that the model has learnt from to
that rating: what its run held back for validation and test does not make a model younger. On each
day, models of several ages are asked about the same ratings, of which none has learnt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmrec.evaluation.comparison import Better, compare
from fmrec.evaluation.wording import METRICS
from fmrec.events.window import DAY

AGES = (1, 7, 14, 28)
"""Days; the first is the freshest, by which the others are judged."""

NEGLIGIBLE = 0.005
"""A loss below this share of the freshest models' figure is not worth a retraining."""

# An interval that had to be so much narrower would take thousands of times as many days.
_HOPELESS = 0.02

Ids = NDArray[np.int64]


def tolerance(age: int) -> float:
    """How many days older than `age` a model may be and still stand for it."""
    return max(2.0, age / 2)


@dataclass(frozen=True, eq=False)
class Schedule:
    """Which model stands for which age on which day.

    `days`, shape (n,), are the UTC seconds at which they begin; `models`, shape (n, len(ages)),
    places among the models. Where no day has a model of every age, the oldest ages are left out.
    """

    ages: tuple[int, ...]
    days: Ids
    models: Ids


def schedule(horizons: ArrayLike, days: ArrayLike, ages: Sequence[int] = AGES) -> Schedule:
    """Find, for each day, the model that is nearest to each age and not younger.

    `horizons`, shape (m,), are the UTC seconds of the newest rating that each model has learnt
    from; `days` the seconds at which days begin, ascending. Ages are those at the day's beginning.
    Days without a model of every age are left out, so that all ages are judged by the same ratings.
    """
    learnt, begin = np.asarray(horizons, np.int64), np.asarray(days, np.int64)
    order = np.argsort(learnt, kind="stable")
    found = np.full((begin.size, len(ages)), -1)
    for column, age in enumerate(ages):
        place = np.searchsorted(learnt[order], begin - age * DAY, side="right") - 1
        model = order[np.maximum(place, 0)]
        near = learnt[model] >= begin - (age + tolerance(age)) * DAY
        found[:, column] = np.where((place >= 0) & near, model, -1)
    for number in range(len(ages), 0, -1):
        whole = (found[:, :number] >= 0).all(axis=1)
        if whole.any():
            return Schedule(tuple(ages[:number]), begin[whole], found[whole, :number])
    return Schedule((), begin[:0], found[:0, :0])


@dataclass(frozen=True, kw_only=True)
class Aged:
    """Models of one age.

    `mean_age` is in days, over what was judged; `value` the metric. `loss` is how much worse that
    is than the freshest models' figure, below zero where it is better, with its interval
    `low`..`high` (None for the freshest, and where a single user leaves none). `known_users` and
    `known_items` are the shares of the ratings whose user and whose film these models know.
    """

    age: int
    mean_age: float
    models: int
    value: float
    loss: float
    low: float | None
    high: float | None
    known_users: float
    known_items: float


@dataclass(frozen=True, kw_only=True)
class Ageing:
    """What models of a lane lose with age.

    `told` is what their runs were told beyond defaults. Judged were `ratings` of `users` on `days`
    days from `first` to `last`; `over` says what the metric is a mean over. `rerated` ratings were
    left out, as a model had learnt another rating of the same user and film. `notes` are sentences
    on what else was left out.
    """

    lane: str
    metric: str
    better: Better
    told: dict[str, Any]
    runs: int
    rows: list[Aged]
    days: int
    first: date
    last: date
    ratings: int
    users: int
    over: str
    rerated: int
    advice: str
    notes: list[str]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of an age besides its figures; see Aged."""

    mean_age: float
    models: int
    known_users: float
    known_items: float


def aged(
    ages: Sequence[int],
    values: ArrayLike,
    users: ArrayLike,
    facts: Sequence[Facts],
    *,
    root: bool,
    better: Better,
    seed: int,
) -> list[Aged]:
    """The figures of each age, and what it loses against the first.

    `values`, shape (len(ages), n), are the metric's terms: losses, or gains with better="more"; of
    one rating or one list each, the same for all ages; `users`, shape (n,), whose they are. The
    interval is the paired one of `fmrec.evaluation.comparison`, which says what it raises.
    """
    terms = np.asarray(values, np.float64)
    rows = []
    for age, told, ours in zip(ages, facts, terms, strict=True):
        found = compare(ours, terms[0], users, root=root, seed=seed, better=better)
        sign = 1 if better == "less" else -1
        low, high = None, None
        if age != ages[0] and found.low is not None and found.high is not None:
            low, high = sorted((sign * found.low, sign * found.high))
        rows.append(
            Aged(
                age=age,
                mean_age=told.mean_age,
                models=told.models,
                value=found.candidate,
                loss=sign * found.difference,
                low=low,
                high=high,
                known_users=told.known_users,
                known_items=told.known_items,
            )
        )
    return rows


def explained(found: Ageing) -> list[str]:
    """What the figures mean and what they come from, in sentences."""
    fresh = found.rows[0]
    said = [
        f"{METRICS[found.metric][0]} over {found.over}: {found.ratings:,} ratings of "
        f"{found.users:,} users on {found.days} days, {found.first} to {found.last}. All ages are "
        "judged by the same ratings, and no model has learnt any of them.",
        "Age counts from the newest rating that a model learnt from: what its run held back for "
        "validation and test does not make it younger. The mean is over the ratings judged.",
        f"Loss is how much worse the figure is than that of models {fresh.age} day old, as a share "
        "of it; its interval is paired and resamples users.",
    ]
    if found.told:
        told = ", ".join(f"{name}={value}" for name, value in sorted(found.told.items()))
        said.append(f"The {found.runs} runs were told {told}.")
    if found.rerated:
        count = "1 rating was" if found.rerated == 1 else f"{found.rerated:,} ratings were"
        said.append(
            f"{count} left out: a model had learnt another rating of the same user and film."
        )
    return said + found.notes


def advice(rows: Sequence[Aged], days: int, negligible: float = NEGLIGIBLE) -> str:
    """How often to retrain, in words; `days` is how many days the figures come from.

    An age is harmless when its whole interval lies below `negligible`, a share of the freshest
    models' figure, and harmful when the whole interval lies above; else the ratings do not tell.
    """
    harmless = rows[0]
    for row in rows[1:]:
        if row.high is None or row.high >= negligible * rows[0].value:
            return _stop(rows[0], harmless, row, negligible, days)
        harmless = row
    return (
        f"Retrain every {harmless.age} days: models of that age lose less than {negligible:.1%}. "
        "None older was tried."
    )


def _stop(fresh: Aged, harmless: Aged, row: Aged, negligible: float, days: int) -> str:
    share, often = f"{negligible:.1%}", f"Retrain every {harmless.age} days: "
    begin = "" if harmless is fresh else f"{often}models of that age lose less than {share}. "
    unknown = f"{begin}Whether models may be {row.age} days old cannot be told: "
    if row.low is None or row.high is None:
        return f"{unknown}a single user leaves no interval. Take a longer backfill."
    span = f"{row.low / fresh.value:+.1%} to {row.high / fresh.value:+.1%}"
    if row.low > negligible * fresh.value:
        begin = begin or "Retrain every day. "
        return f"{begin}At {row.age} days they lose more than {share} (95% interval {span})."
    needed = _needed(row, negligible * fresh.value, days)
    if needed is None:
        more = f"it is so near to {share} that no number of days would settle it."
    else:
        more = f"it comes from {days} days of ratings, and about {needed:,} such days would tell."
    return f"{unknown}the interval of their loss, {span}, includes {share}; {more}"


def _needed(row: Aged, limit: float, days: int) -> int | None:
    """About how many days make the interval narrow enough: its width falls as their root."""
    assert row.low is not None and row.high is not None  # noqa: S101 - the caller looked
    room = abs(limit - row.loss)
    reach = row.high - row.loss if row.loss < limit else row.loss - row.low
    if room < _HOPELESS * reach:
        return None
    wanted = math.ceil(days * (reach / room) ** 2)
    step = int(10 ** max(0, len(str(wanted)) - 2))  # no more digits than such a guess has
    return max(days + 1, math.ceil(wanted / step) * step)
