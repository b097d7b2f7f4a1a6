"""Models of several ages, read from published runs and asked about the same ratings."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmrec import topn
from fmrec.errors import ConfigurationError, EvaluationError, FmrecError
from fmrec.evaluation import ranking
from fmrec.evaluation.ageing import (
    AGES,
    NO_MODEL,
    Ageing,
    Facts,
    Schedule,
    advice,
    aged,
    schedule,
)
from fmrec.evaluation.comparison import Better
from fmrec.evaluation.objectives import RANKING, objective
from fmrec.events.design import Design
from fmrec.events.objectives import LIKED_FROM, labels
from fmrec.events.prepare import EXAMPLES
from fmrec.events.window import DAY
from fmrec.fm.model import Model
from fmrec.layout import Layout
from fmrec.settings import RunSettings
from fmrec.steps import published
from fmrec.steps.published import Published
from fmrec.steps.xcom import events_of
from fmrec.store import Store

Array = NDArray[np.float64]
Progress = Callable[[int, int], None]
_Answer = Callable[[Published, Model, Design, int, pd.DataFrame], Array]
"""The metric's terms of a day, by the user or the rating: of the ratings that were judged."""

SEED = 1
_BACKFILL = timedelta(days=60)  # four weeks until the oldest age can be had, a month to judge by
_NDCG = "ndcg@10"
# What a run is told that its model does not depend on; of these the lane has the use in it.
_ASIDE = {"Release", "Report", "AWS"}
_PAIR = ["user_id", "item_id"]


def ageing(
    store: Store,
    layout: Layout,
    lane: str | None = None,
    *,
    progress: Progress = lambda done, total: None,
) -> Ageing:
    """Ask the models of a lane about the ratings of the days that have a fresh and an older one.

    Without a lane, the one with the most runs. Of its runs those count that were told the same of
    data and model, as far as they are the most. The ratings are those that the latest of them saw.
    A model is asked at the beginning of the day, so nothing of the day helps it. `progress` is
    called with how many models have been asked, of how many.

    Raises ConfigurationError when no run is published, or none in the lane, and EvaluationError
    when there are too few: both say which backfill makes them.
    """
    notes: list[str] = []
    runs = _alike(_of_lane(_read(store, layout, notes), lane, store, layout), notes)
    latest = runs[-1]
    history = _ratings(latest)
    plan = schedule([_horizon(run) for run in runs], np.unique(history["day"]))
    if len(plan.ages) < 2:
        raise EvaluationError(_too_few(runs))
    if len(plan.ages) < len(AGES):
        left = " or ".join(str(age) for age in AGES if age not in plan.ages)
        notes.append(
            f"No day has a model of {left} days beside a fresh one. A longer backfill gives it: "
            f"`{_backfill(latest)}`"
        )
    by_lists = latest.run.settings.promoted_for == RANKING
    ratings = history[history["day"].isin(plan.days)]
    if by_lists:
        ratings = ratings[ratings["rating"] >= LIKED_FROM]
    rated = _rated_before(ratings, runs, plan, held_back=by_lists)
    ratings = ratings[~rated].sort_values(["day", *_PAIR], ignore_index=True)
    if ratings.empty:
        raise EvaluationError(
            f"on the {plan.days.size} days that have a fresh model and an older one there is "
            f"nothing to judge them by. Make more runs: `{_backfill(latest)}`"
        )
    asked = ratings[["day", "user_id"]].drop_duplicates() if by_lists else ratings
    plan = _with_ratings(plan, ratings)
    if len(plan.ages) < 2:
        raise EvaluationError(_too_few(runs))
    answer = _lists(history) if by_lists else _scores
    values, judged, facts = _ask(asked, ratings, runs, plan, answer, progress)
    metric, better, root = _metric(latest)
    users = asked["user_id"].to_numpy()
    rows = aged(plan.ages, values, judged, users, facts, root=root, better=better, seed=SEED)
    lags = [runs[each].run.as_of.timestamp() - _horizon(runs[each]) for each, _ in _uses(plan)]
    lag = float(np.median(lags)) / DAY
    return Ageing(
        lane=latest.run.lane,
        metric=metric,
        better=better,
        told=_told(latest),
        runs=len(runs),
        rows=rows,
        days=plan.days.size,
        first=_day(plan.days[0]),
        last=_day(plan.days[-1]),
        ratings=len(ratings),
        users=np.unique(users).size,
        over=f"{len(asked):,} lists, one for each user and day" if by_lists else "all ratings",
        rerated=int(rated.sum()),
        lag=lag,
        advice=advice(rows, lag),
        notes=notes,
    )


def _read(store: Store, layout: Layout, notes: list[str]) -> list[Published]:
    """All published runs that can be read, by their moment."""
    runs, damaged = [], []
    for key in published.names(layout, store):
        try:
            run = Published.of(layout.of(key), store)
            _check(run)
            runs.append(run)
        except (FmrecError, ValueError, KeyError, TypeError, AttributeError):
            damaged.append(key)
    if damaged:
        notes.append(f"Left out, as their manifest.json is damaged: {', '.join(damaged)}.")
    return runs


def _check(run: Published) -> None:
    """Ask for what is read of a manifest later; errors of Python's own kinds where it lacks it."""
    _horizon(run), run.manifest["finished"]
    for name, part in run.manifest["events"].items():
        if name != EXAMPLES:
            [each["key"] for each in part["files"]]
    scale = run.manifest["source"]["scale"]
    scale["high"] - scale["low"]


def _of_lane(
    runs: list[Published], lane: str | None, store: Store, layout: Layout
) -> list[list[Published]]:
    """The runs of the lane, or of each lane, by what they were told: one for each moment."""
    if not runs:
        raise ConfigurationError(
            f"no run is published in s3://{store.bucket}/{layout.published}: make those of some "
            "past days, with ml-100k by `python -m fmrec airflow dags unpause fmrec_retrain` and "
            "`python -m fmrec airflow backfill create --dag-id fmrec_retrain --from-date "
            "1998-02-20 --to-date 1998-04-20`"
        )
    groups: dict[tuple[str, str], dict[datetime, Published]] = {}
    for run in sorted(runs, key=lambda run: str(run.manifest["finished"])):
        groups.setdefault((run.run.lane, _kind(run)), {})[run.run.as_of] = run
    found = [list(group.values()) for (name, _), group in groups.items() if lane in (None, name)]
    if not found:
        lanes = ", ".join(sorted({name for name, _ in groups}))
        raise ConfigurationError(f"no run is in lane {lane!r}; there are runs in {lanes}")
    return found


def _kind(run: Published) -> str:
    """What the run was told of its data and its model, as far as the lane does not say it."""
    told = asdict(run.run.settings)
    return json.dumps({name: told[name] for name in _shaping()})


def _shaping() -> list[str]:
    """The settings that data and model depend on, besides the moment."""
    return [
        each.name
        for each in fields(RunSettings)
        if each.metadata["section"] not in _ASIDE and each.name != "as_of"
    ]


def _alike(groups: list[list[Published]], notes: list[str]) -> list[Published]:
    """The largest group, by its moments; the latest of several."""
    chosen = max(groups, key=lambda runs: (len(runs), max(run.run.as_of for run in runs)))
    lane = chosen[0].run.lane
    others = [len(runs) for runs in groups if runs[0].run.lane == lane and runs is not chosen]
    if others:
        count = (
            "1 run of the lane was" if sum(others) == 1 else f"{sum(others)} runs of the lane were"
        )
        notes.append(
            f"{count} told otherwise and left out: a difference would not be one of age alone."
        )
    return sorted(chosen, key=lambda run: run.run.as_of)


def _horizon(run: Published) -> int:
    """The UTC second of the newest rating that the model has learnt from."""
    return int(run.manifest["events"]["train"]["last"])


def _ratings(run: Published) -> pd.DataFrame:
    """All ratings that the run saw, whatever part they are in; `day` is when their day began."""
    names = [*_PAIR, "rating", "timestamp"]
    parts = [events_of(part, run.store)[names] for name, part in run.manifest["events"].items()
             if name != EXAMPLES]  # fmt: skip
    events = pd.concat([part for part in parts if len(part)], ignore_index=True)
    return events.assign(day=events["timestamp"] // DAY * DAY)


def _rated_before(
    ratings: pd.DataFrame, runs: list[Published], plan: Schedule, *, held_back: bool
) -> pd.Series[bool]:
    """Which ratings are of a user and film that a run of their day knew another rating of.

    Of what the run was trained on; with `held_back` of the rest too, as far as it is of days
    before: a film that was rated is no find in a list.
    """
    pairs = pd.MultiIndex.from_frame(ratings[_PAIR])
    found = pd.Series(data=False, index=ratings.index)
    for number, places in _uses(plan):
        run = runs[number]
        train = events_of(run.manifest["events"]["train"], run.store)
        days = np.unique(plan.days[[day for day, _ in places]])
        newest = int(train["timestamp"].max())
        if newest != _horizon(run) or newest >= days.min():
            raise EvaluationError(
                f"run {run.run.layout.run} was trained on a rating of the second {newest}, its "
                f"manifest.json says {_horizon(run)}: they are not of one run. Clear its tasks"
            )
        events = _ratings(run) if held_back else train
        for begin in days:
            before = events[events["timestamp"] < begin]
            known = pairs.isin(pd.MultiIndex.from_frame(before[_PAIR]))
            found |= (ratings["day"] == begin) & known
    return found


def _with_ratings(plan: Schedule, ratings: pd.DataFrame) -> Schedule:
    """The plan of the days that have ratings to judge by, and of the ages these leave."""
    there = np.isin(plan.days, ratings["day"])
    kept = (plan.models[there] != NO_MODEL).any(axis=0)
    ages = tuple(age for age, stays in zip(plan.ages, kept, strict=True) if stays)
    return Schedule(ages, plan.days[there], plan.models[there][:, kept])


def _uses(plan: Schedule) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Each model that is asked, and for which day and age: their places."""
    for number in np.unique(plan.models[plan.models != NO_MODEL]).tolist():
        yield number, [(int(day), int(age)) for day, age in np.argwhere(plan.models == number)]


def _ask(
    asked: pd.DataFrame,
    ratings: pd.DataFrame,
    runs: list[Published],
    plan: Schedule,
    answer: _Answer,
    progress: Progress,
) -> tuple[Array, NDArray[np.bool_], list[Facts]]:
    """The terms of the metric of each age, and where there are any, (ages, len(asked)) both.

    And what else is known of the ages. Both frames are sorted by their column `day`.
    """
    values = np.full((len(plan.ages), len(asked)), np.nan)
    judged = np.zeros(values.shape, bool)
    seconds, users, items, count = np.zeros((4, len(plan.ages)))
    uses = list(_uses(plan))
    for done, (number, places) in enumerate(uses):
        progress(done, len(uses))
        run = runs[number]
        model, design = run.model(), run.design()
        for day, age in places:
            begin = int(plan.days[day])
            events = ratings.iloc[_of_day(ratings, begin)]
            values[age, _of_day(asked, begin)] = answer(run, model, design, begin, events)
            judged[age, _of_day(asked, begin)] = True
            count[age] += len(events)
            seconds[age] += (events["timestamp"] - _horizon(run)).sum()
            users[age] += events["user_id"].isin(design.space.trained_users).sum()
            items[age] += events["item_id"].isin(design.space.trained_items).sum()
    progress(len(uses), len(uses))
    facts = []
    for age, models in enumerate(plan.models.T):
        used = models[models != NO_MODEL]
        facts.append(
            Facts(
                mean_age=float(seconds[age] / count[age]) / DAY,
                models=np.unique(used).size,
                days=used.size,
                ratings=int(count[age]),
                known_users=float(users[age] / count[age]),
                known_items=float(items[age] / count[age]),
            )
        )
    return values, judged, facts


def _of_day(frame: pd.DataFrame, begin: int) -> slice:
    days = frame["day"].to_numpy()
    return slice(*np.searchsorted(days, [begin, begin + 1]).tolist())


def _scores(
    run: Published, model: Model, design: Design, begin: int, events: pd.DataFrame
) -> Array:
    """The loss of each rating of the day."""
    told, scale = run.run.settings.objective, run.manifest["source"]["scale"]
    goal = objective(told)
    rows = design.asked(events["user_id"].to_numpy(), events["item_id"].to_numpy(), begin)
    predicted = goal.clip(model.score(rows), (scale["low"], scale["high"]))
    return goal.losses(labels(events, told).astype(np.float64), predicted)


def _lists(history: pd.DataFrame) -> _Answer:
    """The gain of each user who likes something on the day; nothing is listed that was seen."""

    def gains(
        run: Published, model: Model, design: Design, begin: int, events: pd.DataFrame
    ) -> Array:
        users = np.unique(events["user_id"].to_numpy())
        seen = history[(history["day"] < begin) & history["user_id"].isin(users)]
        items, _ = topn.best(model, design, users, seen, ranking.DEPTH, at=begin)
        return ranking.per_user(ranking.hits(users, items, events))[_NDCG]

    return gains


def _metric(run: Published) -> tuple[str, Better, bool]:
    if run.run.settings.promoted_for == RANKING:
        return _NDCG, "more", False
    goal = objective(run.run.settings.objective)
    return goal.main_metric, "less", goal.root


def _told(run: Published) -> dict[str, Any]:
    """What makes a run of this lane with such data and such a model, beyond defaults."""
    told = asdict(run.run.settings)
    default = {each.name: each.default for each in fields(RunSettings)}
    names = [*_shaping(), "use"]
    return {name: told[name] for name in names if told[name] != default[name]}


def _backfill(run: Published) -> str:
    """The command that makes runs like this one, of the days up to it."""
    last = run.run.as_of.date() - timedelta(days=1)
    told = _told(run)
    conf = f" --dag-run-conf {shlex.quote(json.dumps(told))}" if told else ""
    return (
        "python -m fmrec airflow backfill create --dag-id fmrec_retrain "
        f"--from-date {last - _BACKFILL} --to-date {last}{conf}"
    )


def _too_few(runs: list[Published]) -> str:
    horizons = [_horizon(run) for run in runs]
    first, last = _day(min(horizons)), _day(max(horizons))
    count = "1 run was" if len(runs) == 1 else f"{len(runs)} runs were"
    return (
        f"lane {runs[0].run.lane}: {count} told the same, and learnt from ratings up to {first} "
        f"at the earliest and {last} at the latest. On no day with ratings is one model "
        f"{AGES[0]} and another {AGES[1]} days old. Make runs of more days: "
        f"`{_backfill(runs[-1])}`"
    )


def _day(second: float) -> date:
    return datetime.fromtimestamp(int(second), UTC).date()
