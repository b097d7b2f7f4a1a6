"""How much a model loses with age, and how often to train a new one therefore.

The age of a model at a rating is the time from the newest rating that the model has learnt from to
that rating: what its run held back for validation and test does not make a model younger. On each
day, models of several ages are asked about the same ratings, of which none has learnt. Each age is
held against the freshest on the days that have a model of both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmrec.evaluation.comparison import FEWEST_USERS, Better, compare
from fmrec.evaluation.wording import METRICS
from fmrec.events.window import DAY

AGES = (1, 7, 14, 28)
"""Days; the first is the freshest, by which the others are judged."""

NEGLIGIBLE = 0.005
"""A loss below this share of the freshest models' figure is not worth a retraining."""

# An interval that had to be so much narrower would take thousands of times as many days.
_HOPELESS = 0.02

_EXACT = 10  # days, from which on a tenth of one does not matter

Ids = NDArray[np.int64]


def tolerance(age: int) -> float:
    """How many days older than `age` a model may be and still stand for it."""
    return max(2.0, age / 2)


NO_MODEL = -1


@dataclass(frozen=True, eq=False)
class Schedule:
    """Which model stands for which age on which day.

    `days`, shape (n,), are the UTC seconds at which they begin; `models`, shape (n, len(ages)),
    places among the models, or NO_MODEL. Every day has a model of the first age and of another,
    and every age has a day.
    """

    ages: tuple[int, ...]
    days: Ids
    models: Ids


def schedule(horizons: ArrayLike, days: ArrayLike, ages: Sequence[int] = AGES) -> Schedule:
    """Find, for each day, the model that is nearest to each age and not younger.

    `horizons`, shape (m,), are the UTC seconds of the newest rating that each model has learnt
    from; `days` the seconds at which days begin, ascending. Ages are those at the day's beginning.
    Days without a model of the first age and of another are left out, as nothing can be compared
    there, and so are ages without a day: it is empty where nothing can be compared at all.
    """
    learnt, begin = np.asarray(horizons, np.int64), np.asarray(days, np.int64)
    order = np.argsort(learnt, kind="stable")
    found = np.full((begin.size, len(ages)), NO_MODEL)
    for column, age in enumerate(ages):
        place = np.searchsorted(learnt[order], begin - age * DAY, side="right") - 1
        model = order[np.maximum(place, 0)]
        near = learnt[model] >= begin - (age + tolerance(age)) * DAY
        found[:, column] = np.where((place >= 0) & near, model, NO_MODEL)
    there = found != NO_MODEL
    useful = there[:, 0] & there[:, 1:].any(axis=1)
    kept = there[useful].any(axis=0)
    return Schedule(
        tuple(age for age, stays in zip(ages, kept, strict=True) if stays),
        begin[useful],
        found[useful][:, kept],
    )


@dataclass(frozen=True, kw_only=True)
class Aged:
    """Models of one age, judged by the `ratings` of `users` on the `days` that have them.

    `mean_age` is in days, over what was judged; `value` the metric, and `fresh` what the freshest
    models reach on the same ratings. `loss` is how much worse `value` is than `fresh`, below zero
    where it is better, with its interval `low`..`high` (None for the freshest, and where a single
    user leaves none). `known_users` and `known_items` are the shares of the ratings whose user and
    whose film these models know.
    """

    age: int
    mean_age: float
    models: int
    days: int
    ratings: int
    users: int
    value: float
    fresh: float
    loss: float
    low: float | None
    high: float | None
    known_users: float
    known_items: float


@dataclass(frozen=True, kw_only=True)
class Ageing:
    """What models of a lane lose with age.

    `told` is what their runs were told beyond defaults. Judged were `ratings` of `users` on `days`
    days from `first` to `last`, of which each row has its own; `over` says what the metric is a
    mean over. `rerated` ratings were left out, as another one of the same user and film was known
    before. `lag` is how many days before its `as_of` what a run learns ends, the median over the
    runs whose models were asked: so old is a model when it is new. `notes` are sentences on what
    else was left out.
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
    lag: float
    advice: str
    notes: list[str]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of an age besides its figures; see Aged."""

    mean_age: float
    models: int
    days: int
    ratings: int
    known_users: float
    known_items: float


def aged(
    ages: Sequence[int],
    values: ArrayLike,
    judged: ArrayLike,
    users: ArrayLike,
    facts: Sequence[Facts],
    *,
    root: bool,
    better: Better,
    seed: int,
) -> list[Aged]:
    """The figures of each age, and what it loses against the first.

    `values`, shape (len(ages), n), are the metric's terms: losses, or gains with better="more"; of
    one rating or one list each, the same for all ages; `judged`, of the same shape, is False where
    there was no model of the age; `users`, shape (n,), whose they are. An age is held against the
    first on what it was judged by. The interval is the paired one of `fmrec.evaluation.comparison`,
    which says what it raises.
    """
    terms, there, owner = (
        np.asarray(values, np.float64),
        np.asarray(judged, bool),
        np.asarray(users),
    )
    rows = []
    for age, told, ours, own in zip(ages, facts, terms, there, strict=True):
        found = compare(ours[own], terms[0][own], owner[own], root=root, seed=seed, better=better)
        sign = 1 if better == "less" else -1
        low, high = None, None
        if age != ages[0] and found.low is not None and found.high is not None:
            low, high = sorted((sign * found.low, sign * found.high))
        rows.append(
            Aged(
                age=age,
                mean_age=told.mean_age,
                models=told.models,
                days=told.days,
                ratings=told.ratings,
                users=found.users,
                value=found.candidate,
                fresh=found.reference,
                loss=sign * found.difference,
                low=low,
                high=high,
                known_users=told.known_users,
                known_items=told.known_items,
            )
        )
    return rows


def shares(row: Aged) -> tuple[str, str]:
    """The loss as a share of the freshest models' figure, and its interval, as texts.

    Blank where there is none: for the freshest, and where that figure is 0.
    """
    if row.low is None or row.high is None or not row.fresh:
        return "", ""
    low, high = row.low / row.fresh, row.high / row.fresh
    return f"{row.loss / row.fresh:+.2%}", f"{low:+.2%} to {high:+.2%}"


def explained(found: Ageing) -> list[str]:
    """What the figures mean and what they come from, in sentences."""
    fresh = found.rows[0]
    said = [
        f"{METRICS[found.metric][0]} over {found.over}: {found.ratings:,} ratings of "
        f"{found.users:,} users on {_days(found.days)}, {found.first} to {found.last}. Each age is "
        "judged on the days that have a model of it, and no model has learnt any of the ratings.",
        "Age counts from the newest rating that a model learnt from: what its run held back for "
        "validation and test does not make it younger. The mean is over the ratings judged.",
        f"Loss is how much worse the figure is than that of models {fresh.age} day old on the same "
        "ratings (fresh), as a share of it; its interval is paired and resamples users. Two ages "
        "on different days do not compare by their figures, only by their losses.",
    ]
    if found.told:
        told = ", ".join(f"{name}={value}" for name, value in sorted(found.told.items()))
        said.append(f"The {found.runs} runs were told {told}.")
    if found.rerated:
        count = "1 rating was" if found.rerated == 1 else f"{found.rerated:,} ratings were"
        said.append(f"{count} left out: another rating of the same user and film was known before.")
    return said + found.notes


def advice(rows: Sequence[Aged], lag: float, negligible: float = NEGLIGIBLE) -> str:
    """How often to retrain, in words; `lag` is how many days old a model is when it is new.

    An age is harmless when its whole interval lies below `negligible`, a share of the freshest
    models' figure, and harmful when the whole interval lies above; else the ratings do not tell,
    as they never do with fewer than FEWEST_USERS users. The way from an age to an interval between
    runs is what is left of it after the lag.
    """
    share, harmless, said = f"{negligible:.1%}", rows[0], []
    for row in rows[1:]:
        unclear = _unclear(row, negligible)
        if unclear or not _below(row, negligible):
            break
        harmless = row
    else:
        unclear, row = None, None
    if harmless is not rows[0]:
        said.append(f"Models up to {_days(harmless.age)} old lose less than {share}.")
    if row is None:
        said.append("None older was tried.")
    elif unclear is None:
        said.append(
            f"Models {_days(row.age)} old lose more than {share} (95% interval {_span(row)})."
        )
    if unclear is None or harmless is not rows[0]:
        said.append(_often(harmless.age, lag))
    if row is not None and unclear is not None:
        said.append(f"Whether models may be {_days(row.age)} old cannot be told: {unclear}")
    return " ".join(said)


def _below(row: Aged, negligible: float) -> bool:
    return row.high is not None and row.high < negligible * row.fresh


def _unclear(row: Aged, negligible: float) -> str | None:
    """Why the ratings do not tell whether the age is harmful; None where they do."""
    if row.users < FEWEST_USERS or row.low is None or row.high is None:
        count = "1 user is" if row.users == 1 else f"{row.users} users are"
        return (
            f"{count} too few for an interval, which takes {FEWEST_USERS}. Take a longer backfill."
        )
    if not row.fresh:
        return "the figure of the freshest models is 0, of which nothing is a share."
    limit, share = negligible * row.fresh, f"{negligible:.1%}"
    if _below(row, negligible) or row.low > limit:
        return None
    needed = _needed(row, limit, row.days)
    if needed is None:
        more = f"it is so near to {share} that no number of days would settle it."
    else:
        more = f"it comes from {_days(row.days)} of ratings, and about {needed:,} such would tell."
    return f"the interval of their loss, {_span(row)}, includes {share}; {more}"


def _span(row: Aged) -> str:
    assert row.low is not None and row.high is not None  # noqa: S101 - the caller looked
    return f"{row.low / row.fresh:+.1%} to {row.high / row.fresh:+.1%}"


def _often(age: int, lag: float) -> str:
    """How often to train so that no model in use is older than `age`, as far as the lag allows."""
    told = round(lag, None if lag >= _EXACT else 1)
    learnt = f"run of this lane has learnt nothing of its last {_days(told)}"
    if lag >= age:
        return (
            f"A {learnt}, so its model is no younger than {_days(age)} when it is new: hold back "
            "less (validation_fraction, test_fraction) to use this."
        )
    every = max(1, math.floor(age - lag))
    often = f"Retrain every {'day' if every == 1 else _days(every)}"
    return f"{often}: a {learnt}." if told else f"{often}."


def _days(number: float) -> str:
    return "1 day" if number == 1 else f"{number:g} days"


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
