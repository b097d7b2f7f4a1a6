"""All published runs side by side: one table for each lane, and how its champion changed.

Runs in one lane have one use, one source and one split, so their figures can be compared over
time. Reports that were written before there were lanes come together, with blanks where they say
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from reprlib import repr as clipped
from typing import Any, cast

from fmrec.errors import EvaluationError, FmrecError
from fmrec.evaluation.comparison import Better

NO_LANE = ""
"""The lane of reports that name none."""

SHORT = {"user_item_bias": "bias", "global_mean": "mean"}
"""What baselines are called where there is little room."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run. A figure that its report does not have is None.

    `model`, `baseline` and `champion` are figures of `metric`, on the same events. `difference`
    with its interval `low`..`high` is the model minus `against`: the champion where the report
    compares with it, else the main baseline. `over_baseline` is the interval of the model minus the
    main baseline, `rival` what that one is called. `crowned`: it has been the champion.
    """

    as_of: datetime
    run: str
    lane: str
    objective: str
    features: str | None
    metric: str
    better: Better
    model: float | None
    rival: str
    baseline: float | None
    over_baseline: tuple[float, float] | None
    champion: float | None
    against: str
    difference: float | None
    low: float | None
    high: float | None
    decision: str | None
    crowned: bool | None
    cost: float | None
    currency: str | None
    events: int | None


@dataclass(frozen=True, kw_only=True)
class Change:
    """How one champion followed another: `kind` says by what, `replaces` is None for the first."""

    sequence: int
    kind: str
    run: str
    as_of: datetime
    at: datetime
    replaces: str | None


@dataclass(frozen=True)
class Lane:
    """The runs of a lane by their moment, and the changes of its champion in order."""

    name: str
    rows: Sequence[Row]
    changes: Sequence[Change]

    @property
    def cost(self) -> float | None:
        """What the runs cost together; None as soon as the cost of one is not known."""
        costs = [row.cost for row in self.rows]
        return None if None in costs else sum(cost for cost in costs if cost is not None)


@dataclass(frozen=True)
class History:
    """The lanes by name, and what cannot be used, by its run or its own name, with the reason."""

    lanes: Sequence[Lane]
    damaged: Mapping[str, str]


def of(
    keys: Iterable[str],
    report: Callable[[str], Any],
    champions: Callable[[str], Sequence[Mapping[str, Any]]],
) -> History:
    """Bring the reports of the runs with these keys together, one after the other.

    `report` gives the content of a run's report.json; of each only a row is kept. `champions` gives
    what the history of a lane says, oldest first: mappings with sequence, kind, run, as_of, at,
    replaces; empty where there was none. Where either raises FmrecError, and where a report does
    not have the form that it should, that is damaged.
    """
    damaged: dict[str, str] = {}
    rows: dict[str, list[Row]] = {}
    for key in keys:
        try:
            row = _row(key, report(key))
        except FmrecError as error:
            damaged[key] = str(error).removesuffix(".")
        else:
            rows.setdefault(row.lane, []).append(row)
    lanes = []
    for name in sorted(rows):
        own, changes = sorted(rows[name], key=lambda row: (row.as_of, row.run)), []
        if name != NO_LANE:
            try:
                changes = [_change(each) for each in champions(name)]
            except FmrecError as error:
                damaged[f"the champions of {name}"] = str(error).removesuffix(".")
            else:
                crowned = {change.run for change in changes}
                own = [replace(row, crowned=row.run in crowned) for row in own]
        lanes.append(Lane(name, own, changes))
    return History(lanes, dict(sorted(damaged.items())))


def _row(key: str, report: Any) -> Row:
    run, verdict = _part(report, "run"), _part(report, "verdict")
    metric, rival = _text(verdict, "metric"), _text(verdict, "against")
    wanted = _text_or_none(run, "use"), metric, "champion"
    compared = [each for each in _comparisons(report) if _what(each) == wanted]
    told = compared[0] if compared else verdict
    low, high = _figure(verdict, "low"), _figure(verdict, "high")
    cost, champion = _part_or_empty(report, "cost"), _part_or_empty(report, "baselines")
    return Row(
        as_of=_moment(_text(run, "as_of")),
        run=key,
        lane=_text_or_none(run, "lane") or NO_LANE,
        objective=_text(run, "objective"),
        features=_text_or_none(run, "features"),
        metric=metric,
        better=_better(verdict),
        model=_figure(verdict, "candidate"),
        rival=rival,
        baseline=_figure(verdict, "reference"),
        over_baseline=None if low is None or high is None else (low, high),
        champion=_figure(_part_or_empty(champion, "champion"), metric),
        against="champion" if compared else rival,
        difference=_figure(told, "difference"),
        low=_figure(told, "low"),
        high=_figure(told, "high"),
        decision=_text_or_none(_part_or_empty(report, "gate"), "decision"),
        crowned=None,
        cost=_figure(cost, "total"),
        currency=_text_or_none(cost, "currency"),
        events=_count(_part_or_empty(report, "counts"), "events"),
    )


def _comparisons(report: Mapping[str, Any]) -> Sequence[Any]:
    found = report.get("comparisons")
    if not isinstance(found, list | None):
        raise _wrong("comparisons", found, "a list")
    return found or []


def _what(comparison: Any) -> tuple[str, str, str]:
    if not isinstance(comparison, Mapping):
        raise _wrong("comparisons", comparison, "a part")
    return _text(comparison, "use"), _text(comparison, "metric"), _text(comparison, "against")


def _better(verdict: Mapping[str, Any]) -> Better:
    # Before rankings had a verdict, less of a metric was always better.
    value = verdict.get("better", "less")
    if value not in ("less", "more"):
        raise _wrong("better", value, "less or more")
    return cast(Better, value)


def _change(told: Mapping[str, Any]) -> Change:
    given = {each.name: told[each.name] for each in fields(Change)}
    return Change(**given | {name: _moment(given[name]) for name in ("as_of", "at")})


def _part(report: Any, name: str) -> Mapping[str, Any]:
    part = report.get(name) if isinstance(report, Mapping) else None
    if not isinstance(part, Mapping):
        raise EvaluationError(f"its report.json has no {name}")
    return part


def _part_or_empty(report: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = report.get(name)
    if not isinstance(part, Mapping | None):
        raise _wrong(name, part, "a part")
    return part or {}


def _text(part: Mapping[str, Any], name: str) -> str:
    value = _text_or_none(part, name)
    if value is None:
        raise EvaluationError(f"its report.json does not say {name}")
    return value


def _text_or_none(part: Mapping[str, Any], name: str) -> str | None:
    value = part.get(name)
    if not isinstance(value, str | None):
        raise _wrong(name, value, "a text")
    return value


def _figure(part: Mapping[str, Any], name: str) -> float | None:
    value = part.get(name)
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _wrong(name, value, "a finite number")
    return number


def _count(part: Mapping[str, Any], name: str) -> int | None:
    number = _figure(part, name)
    if number is not None and not number.is_integer():
        raise _wrong(name, number, "a count")
    return None if number is None else int(number)


def _wrong(name: str, value: Any, wanted: str) -> EvaluationError:
    return EvaluationError(f"in its report.json {name} is {clipped(value)}, not {wanted}")


def _moment(value: str | datetime) -> datetime:
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise EvaluationError(f"{value!r} is not a moment with a time zone")
    return moment
