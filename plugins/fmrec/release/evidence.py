"""What a report says for a model and against it: its comparisons, checked, and in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fmrec.errors import EvaluationError
from fmrec.evaluation.comparison import CONFIDENCE, FEWEST_USERS
from fmrec.evaluation.uses import BIAS, CHAMPION, POPULARITY
from fmrec.evaluation.wording import BASELINES, METRICS

REQUIRED = {"rating": BIAS, "like": BIAS, "ranking": POPULARITY}
"""The baseline that a model has to beat, by what the model is used for."""

_ROUNDING = 1e-6
_SPREAD = ("low", "high", "probability")


@dataclass(frozen=True)
class Row:
    """A comparison, turned so that more is better: `gain`, `low` and `high` are the candidate's.

    `candidate` and `reference` are the figures as the report has them, of which `up` says whether
    more is better; `metric` is what they are called there, `rival` what the reference is called
    for people. Without an interval `low`, `high` and `probability` are None.
    """

    use: str
    metric: str
    rival: str
    up: bool
    candidate: float
    reference: float
    gain: float
    low: float | None
    high: float | None
    probability: float | None
    users: int

    @property
    def surely_better(self) -> bool:
        """Whether all that is known of the gain is above zero, and enough is known."""
        return self.gain > 0 and self.low is not None and self.low > 0 and not self.few

    @property
    def few(self) -> bool:
        """Whether there are too few users for an interval to be trusted."""
        return self.users < FEWEST_USERS

    @property
    def same(self) -> bool:
        """Whether nothing but rounding tells the two apart: containers answer in float32."""
        if self.low is None or self.high is None:
            return self.gain == 0
        return max(-self.low, self.high, abs(self.gain)) <= _ROUNDING * abs(self.reference)

    @property
    def figures(self) -> str:
        """The two figures and what is known of the gain, as part of a sentence."""
        title, _ = METRICS.get(self.metric, (self.metric, ""))
        side = "above" if (self.gain > 0) == self.up else "below"
        if self.gain == 0:
            side = "exactly"
        said = f"{title} {self.candidate:.4f} is {side} the {self.reference:.4f} of {self.rival}"
        if self.low is None or self.high is None:
            return f"{said}, without an interval, since a single user cannot be resampled"
        ends = f"{signed(self.low)} to {signed(self.high)}"
        few = ", too few to trust it" if self.few else ""
        return f"{said} ({CONFIDENCE:.0%} interval of the gain {ends}, {self.users:,} users{few})"


def rows(comparisons: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Row]:
    """Of the comparisons of a report those that a gate asks about, by use and rival.

    These are, for each use, the one with its baseline and the one with the champion. Raises
    EvaluationError when a field is missing or holds no such value, and when comparisons of one use
    contradict each other.
    """
    found: dict[tuple[str, str], Row] = {}
    for each in comparisons:
        use, rival = (get(each, name, "report.comparisons") for name in ("use", "against"))
        if use not in REQUIRED or rival not in {REQUIRED[use], CHAMPION}:
            continue
        if (use, rival) in found:
            raise EvaluationError(f"report.comparisons compares with {rival} twice for use {use!r}")
        found[use, rival] = _row(each, f"the comparison with {rival} for use {use!r}")
    for use in REQUIRED:
        metrics = {row.metric for (of_use, _), row in found.items() if of_use == use}
        if len(metrics) > 1:
            raise EvaluationError(
                f"report.comparisons judges use {use!r} by {' and '.join(sorted(metrics))}: only "
                "one can decide"
            )
    return found


def _row(each: Mapping[str, Any], where: str) -> Row:
    better = get(each, "better", where)
    if better not in {"less", "more"}:
        raise EvaluationError(f"{where}: better is {better!r}; it takes 'less' or 'more'")
    up = better == "more"
    low, high, probability = _spread(each, where)
    if not up and low is not None and high is not None:
        low, high = -high, -low
    rival = get(each, "against", where)
    return Row(
        use=get(each, "use", where),
        metric=get(each, "metric", where),
        rival="the champion" if rival == CHAMPION else BASELINES[rival],
        up=up,
        candidate=_number(each, "candidate", where),
        reference=_number(each, "reference", where),
        gain=_number(each, "difference", where) * (1 if up else -1),
        low=low,
        high=high,
        probability=probability,
        users=get(each, "users", where),
    )


def _spread(
    each: Mapping[str, Any], where: str
) -> tuple[float, float, float] | tuple[None, None, None]:
    given = [get(each, name, where) for name in _SPREAD]
    if given == [None, None, None]:
        return None, None, None
    low, high, probability = (_number(each, name, where) for name in _SPREAD)
    if low > high or not 0 <= probability <= 1:
        raise EvaluationError(
            f"{where}: {low} to {high} with probability {probability} is no interval"
        )
    return low, high, probability


def _number(each: Mapping[str, Any], name: str, where: str) -> float:
    value = get(each, name, where)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise EvaluationError(f"{where}: {name} is {value!r}, which is no finite number")
    return float(value)


def get(values: Mapping[str, Any], name: str, where: str) -> Any:
    """The field of a report. Raises EvaluationError when it is not there."""
    try:
        return values[name]
    except KeyError:
        raise EvaluationError(
            f"{where} lacks {name!r}, which the gate decides by: evaluate the run again"
        ) from None


def moment(values: Mapping[str, Any], name: str, where: str) -> datetime:
    """The moment in a field of a report, UTC. Raises EvaluationError when there is none."""
    text = get(values, name, where)
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise EvaluationError(
            f"{where}: {name} is {text!r}, which is no moment in ISO 8601"
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def day(of: datetime) -> str:
    """A moment for people: its day and, unless it is midnight, its time."""
    time = "" if of == of.replace(hour=0, minute=0, second=0) else f", {of:%H:%M}"
    return f"{of.day} {of:%B %Y}{time}"


def signed(value: float) -> str:
    """A number with its sign: four decimals, or two digits of what would round to zero."""
    return f"{value:+.4f}" if value == 0 or abs(value) >= 5e-5 else f"{value:+.1e}"
