"""A month's budget: what is spent, what runs at work will spend, and whether one more fits in."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fmrec import ledger
from fmrec.errors import BudgetError, StoreError
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

    A run reserves first and looks then, so of two that begin at once one at least sees the other.
    Should both, at the edge of the budget, both are refused. `costs` is the estimate, `budget` is
    in its currency, and `now` is aware. `settle` gives back what was reserved.
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
    try:
        _check(run, costs["expected"], currency, budget, store, now)
    except Exception:
        store.delete(key)
        raise


def _check(
    run: Run, expected: float, currency: str, budget: float, store: Store, now: datetime
) -> None:
    own, month = run.layout.run, ledger.month_of(now)
    # Looked for at once: who comes in between does not see what this run has reserved for itself.
    reserved = {
        each.run: each.amount
        for each in _reservations(store, run.layout, now)
        if each.run != own and each.at > now - _HELD
    }
    spent = ledger.spent(store, run.layout, month)
    if spent["unknown"]:
        log.warning(
            "It is not known what %s job(s) of %s cost, and they are not in the sum: %s",
            len(spent["unknown"]),
            month,
            ", ".join(spent["unknown"]),
        )

    def to_come(name: str, amount: float) -> float:
        """What completed is a part of what a run is expected to cost; what failed is paid again."""
        completed: float = spent["runs"].get(name, 0.0) - spent["lost"].get(name, 0.0)
        return max(amount - completed, 0.0)

    needed = spent["runs"].get(own, 0.0) + to_come(own, expected)
    others = spent["total"] - spent["runs"].get(own, 0.0)
    about_to = sum(to_come(name, amount) for name, amount in reserved.items())
    log.info(
        "Budget of %s: %s %s, spent by other runs %s, about to be spent by them %s, this run "
        "about %s",
        month, _said(budget), currency, _said(others), _said(about_to), _said(needed),
    )  # fmt: skip
    if others + about_to + needed > budget:
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
    for month in _months(now):
        store.delete(run.layout.reservation(month, run.layout.run))


def _months(now: datetime) -> list[str]:
    """The months in which a run that is at work may have reserved."""
    return sorted({ledger.month_of(now - _HELD), ledger.month_of(now)})


def _reservations(store: Store, layout: Layout, now: datetime) -> list[_Reservation]:
    found = []
    prefixes = [layout.reservation(month, "").removesuffix(".json") for month in _months(now)]
    for key in [key for prefix in prefixes for key in store.list(prefix)]:
        try:
            content = json.loads(store.get(key))
            at = datetime.fromisoformat(content["at"])
            found.append(_Reservation(content["run"], float(content["amount"]), at))
        except StoreError:
            if store.exists(key):  # else its run has settled in between
                raise
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
