"""All published runs side by side: one table for each lane, and how its champion changed.

Runs in one lane have one use, one source and one split, so their figures can be compared over
time. Reports that were written before there were lanes come together, with blanks where they say
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from fmrec.errors import EvaluationError

NO_LANE = ""
"""The lane of reports that name none."""


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
    better: str
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
    reports: Mapping[str, Any],
    champions: Mapping[str, Sequence[Mapping[str, Any]]],
    unreadable: Mapping[str, str] | None = None,
) -> History:
    """Bring the reports together.

    `reports` has the content of report.json by the key of the run. `champions` has, by lane, what
    the lane's history says, oldest first: mappings with sequence, kind, run, as_of, at, replaces.
    `unreadable` are runs whose report is no JSON, or what else cannot be read, with the reason;
    they count as damaged.
    """
    damaged = dict(unreadable or {})
    rows: dict[str, list[Row]] = {name: [] for name in champions}
    for key, report in reports.items():
        try:
            row = _row(key, report, champions)
        except EvaluationError as error:
            damaged[key] = str(error)
        else:
            rows.setdefault(row.lane, []).append(row)
    lanes = [
        Lane(
            name,
            sorted(rows[name], key=lambda row: (row.as_of, row.run)),
            [_change(each) for each in champions.get(name, [])],
        )
        for name in sorted(rows)
    ]
    return History(lanes, dict(sorted(damaged.items())))


def lane_of(report: Any) -> str:
    """The lane that a report names, or NO_LANE."""
    run = report.get("run") if isinstance(report, Mapping) else None
    lane = run.get("lane") if isinstance(run, Mapping) else None
    return lane if isinstance(lane, str) else NO_LANE


def _row(key: str, report: Any, champions: Mapping[str, Sequence[Mapping[str, Any]]]) -> Row:
    run, verdict = _part(report, "run"), _part(report, "verdict")
    metric, rival = _text(verdict, "metric"), _text(verdict, "against")
    use, lane = run.get("use"), lane_of(report)
    compared = [
        each
        for each in report.get("comparisons") or []
        if (each["use"], each["metric"], each["against"]) == (use, metric, "champion")
    ]
    told = compared[0] if compared else verdict
    low, high = verdict.get("low"), verdict.get("high")
    cost, gate = report.get("cost") or {}, report.get("gate") or {}
    rivals = report.get("baselines") or {}
    return Row(
        as_of=_moment(_text(run, "as_of")),
        run=key,
        lane=lane,
        objective=_text(run, "objective"),
        features=run.get("features"),
        metric=metric,
        # Before rankings had a verdict, less of a metric was always better.
        better=verdict.get("better", "less"),
        model=verdict.get("candidate"),
        rival=rival,
        baseline=verdict.get("reference"),
        over_baseline=None if low is None or high is None else (low, high),
        champion=(rivals.get("champion") or {}).get(metric),
        against="champion" if compared else rival,
        **{name: told.get(name) for name in ("difference", "low", "high")},
        decision=gate.get("decision"),
        crowned=None if lane not in champions else key in {c["run"] for c in champions[lane]},
        cost=cost.get("total"),
        currency=cost.get("currency"),
        events=(report.get("counts") or {}).get("events"),
    )


def _change(told: Mapping[str, Any]) -> Change:
    given = {each.name: told[each.name] for each in fields(Change)}
    return Change(**given | {name: _moment(given[name]) for name in ("as_of", "at")})


def _part(report: Any, name: str) -> Mapping[str, Any]:
    part = report.get(name) if isinstance(report, Mapping) else None
    if not isinstance(part, Mapping):
        raise EvaluationError(f"its report.json has no {name}")
    return part


def _text(part: Mapping[str, Any], name: str) -> str:
    value = part.get(name)
    if not isinstance(value, str):
        raise EvaluationError(f"its report.json does not say {name}")
    return value


def _moment(value: str | datetime) -> datetime:
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise EvaluationError(f"{value!r} is not a moment with a time zone")
    return moment
