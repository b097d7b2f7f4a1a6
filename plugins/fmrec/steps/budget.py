"""A month's budget: what is spent, what runs at work will spend, and whether one more fits in."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fmrec import ledger
from fmrec.errors import BudgetError
from fmrec.layout import Layout, Run
from fmrec.steps.xcom import Xcom
from fmrec.store import Store

log = logging.getLogger(__name__)

# No run is at work for longer; one that failed holds what it had reserved for as long.
_HELD = timedelta(days=2)


@dataclass(frozen=True)
class _Reservation:
    """What a run that has begun is expected to cost."""

    run: str
    amount: float
    at: datetime


def check(run: Run, costs: Xcom, budget: float, store: Store, now: datetime) -> None:
    """Reserve what a run is expected to cost; raise BudgetError where the month has not as much.

    Of runs that begin at once the first that reserves comes first: none sees less than what those
    before it have spent and reserved. `costs` is the estimate, `budget` is in its currency, and
    `now` is aware. `settle` gives back what was not needed.
    """
    month, currency = ledger.month_of(now), costs["currency"]
    if costs["expected"] is None:
        raise BudgetError(
            f"it is not known what this run would cost, so the budget of {_said(budget)} "
            f"{currency} for {month} cannot be kept: {' '.join(costs['notes'])} Or choose another "
            "instance_type, or leave FMREC_MONTHLY_BUDGET empty."
        )
    key = run.layout.reservation(month, run.layout.run)
    content = {"run": run.layout.run, "amount": costs["expected"], "at": now.isoformat()}
    store.put(key, (json.dumps(content, sort_keys=True) + "\n").encode(), replace=True)
    spent = ledger.spent(store, run.layout, month)
    if spent["unknown"]:
        log.warning(
            "It is not known what %s job(s) of %s cost, and they are not in the sum: %s",
            len(spent["unknown"]),
            month,
            ", ".join(spent["unknown"]),
        )
    mine = _Reservation(run.layout.run, costs["expected"], now)
    # What completed is a part of what the run is expected to cost; what failed is paid again.
    own, lost = (spent[name].get(mine.run, 0.0) for name in ("runs", "lost"))
    needed = max(mine.amount, own - lost) + lost
    others = spent["total"] - own
    about_to = sum(
        max(each.amount - spent["runs"].get(each.run, 0.0), 0.0)
        for each in _reservations(store, run.layout, month)
        if each.run != mine.run
        and each.at > now - _HELD
        and (each.at, each.run) < (mine.at, mine.run)
    )
    log.info(
        "Budget of %s: %s %s, spent by other runs %s, about to be spent by them %s, this run "
        "about %s",
        month, _said(budget), currency, _said(others), _said(about_to), _said(needed),
    )  # fmt: skip
    if others + about_to + needed > budget:
        store.delete(key)
        following = f"{now.astimezone(UTC).replace(day=1) + timedelta(days=31):%Y-%m}"
        planned = f" and {_said(about_to)} about to be, by runs at work" if about_to else ""
        raise BudgetError(
            f"this run would cost about {_said(needed)} {currency}, and of the budget of "
            f"{_said(budget)} {currency} for {month} (UTC) {_said(others)} are spent{planned}. "
            "Raise FMREC_MONTHLY_BUDGET, let the run do less (tuning_jobs, epochs, instance_type), "
            f"or wait for {following}. Param dry_run tells what it would pay for; what was paid "
            f"for is below {run.layout.uri(run.layout.costs(month))}"
        )


def settle(run: Run, store: Store, now: datetime) -> None:
    """A run's jobs have ended, and the ledger says what they cost: it reserves nothing any more."""
    # One that began in the last days of a month has reserved there.
    for month in {ledger.month_of(now), ledger.month_of(now - _HELD)}:
        store.delete(run.layout.reservation(month, run.layout.run))


def _reservations(store: Store, layout: Layout, month: str) -> list[_Reservation]:
    found = []
    for key in store.list(layout.reservation(month, "").removesuffix(".json")):
        try:
            content = json.loads(store.get(key))
            at = datetime.fromisoformat(content["at"])
            found.append(_Reservation(content["run"], float(content["amount"]), at))
        except (ValueError, KeyError, TypeError) as error:
            uri = f"s3://{store.bucket}/{key}"
            raise BudgetError(
                f"{uri} does not say what a run has reserved ({type(error).__name__}: {error}): "
                "delete it if no run is at work"
            ) from None
    return found


def _said(amount: float) -> str:
    """An amount in words; most jobs cost less than a cent."""
    return f"{amount:,.2f}" if amount >= 1 else f"{amount:.4f}"
