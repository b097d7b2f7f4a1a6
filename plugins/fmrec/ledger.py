"""What jobs have cost: an object for each that has ended, by calendar month (UTC)."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from fmrec import prices
from fmrec.errors import ConflictError, DataError
from fmrec.layout import Layout
from fmrec.store import Store

SCHEMA = 1
_TOLD = ("job", "kind", "run", "instance_type", "instances", "billable_seconds", "status")


def month_of(moment: datetime) -> str:
    """The calendar month of an aware moment in UTC, such as "2026-03"."""
    return f"{moment.astimezone(UTC):%Y-%m}"


def months(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The time from `start` to `end`, both aware, cut where calendar months begin in UTC."""
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    while start < end:
        first = start.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        following = min(end, (first + timedelta(days=31)).replace(day=1))
        yield start, following
        start = following


def record(
    store: Store, layout: Layout, region: str, entry: Mapping[str, Any], at: datetime
) -> dict[str, Any]:
    """Write down what a job has cost that has ended, and return what stands there of it.

    `entry` has job, kind, run, instance_type, instances, billable_seconds (of one instance; None
    when unknown) and status; `at` is when it ended, aware, and it belongs to the month of that.
    Where it has `since`, an aware moment, it covers the time from then to `at`, and belongs to the
    month of `since`. A job counts once: what was recorded first stays, also when it is told again
    in another month.
    """
    since: datetime | None = entry.get("since")
    content = {
        "schema": SCHEMA,
        **{name: entry[name] for name in _TOLD},
        "region": region,
        **({} if since is None else {"since": _utc(since)}),
        "at": _utc(at),
        **_priced(entry, region),
    }
    # The month is fixed first, where a later attempt finds it whatever month it is by then.
    job = entry["job"]
    first = _first(store, layout.month_of_cost(job), {"month": month_of(since or at)})
    return _first(store, layout.cost(first["month"], job), content)


def recorded(store: Store, layout: Layout, job: str) -> bool:
    """Whether it is written down what a job has cost."""
    key = layout.month_of_cost(job)
    if not store.exists(key):
        return False
    month: str = json.loads(store.get(key))["month"]
    return store.exists(layout.cost(month, job))


def spent(store: Store, layout: Layout, month: str) -> dict[str, Any]:
    """What the jobs of a month cost together, in the currency of the price list.

    The result is {"month", "currency", "total", "jobs", "runs", "lost", "unknown"}: `total` is the
    sum of the amounts that are known, `runs` the same for each run, `lost` what of that went to
    jobs that did not complete, `jobs` how many jobs there are, and `unknown` the names of those
    whose amount is not known: they are in no sum. One that had no
    price when it ended is priced by today's list. Raises DataError for an object that is no entry.
    """
    amounts: dict[str, list[float]] = {}
    lost: dict[str, list[float]] = {}
    unknown: list[str] = []
    jobs = 0
    for key in store.list(layout.costs(month)):
        if key.endswith("/"):
            continue  # what a console makes of "create folder"
        try:
            entry = json.loads(store.get(key))
            job, run, amount = entry["job"], entry["run"], entry["amount"]
            completed = entry["status"] == "Completed"
            if amount is None:
                amount = _priced(entry, entry["region"])["amount"]
            if not (amount is None or amount >= 0):
                raise ValueError(f"its amount is {amount!r}")
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"s3://{store.bucket}/{key} does not say what a job has cost "
                f"({type(error).__name__}: {error}). Put it back from a backup, or move it away."
            ) from None
        jobs += 1
        if amount is None:
            unknown.append(job)
        else:
            amounts.setdefault(run, []).append(amount)
            if not completed:
                lost.setdefault(run, []).append(amount)
    return {
        "month": month,
        "currency": prices.currency(),
        "total": math.fsum(amount for each in amounts.values() for amount in each),
        "jobs": jobs,
        "runs": {run: math.fsum(each) for run, each in amounts.items()},
        "lost": {run: math.fsum(each) for run, each in lost.items()},
        "unknown": unknown,
    }


def _first(store: Store, key: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """What an object says that is written once: `content`, unless somebody was there before."""
    if not store.exists(key):
        with contextlib.suppress(ConflictError):
            store.put(key, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())
    found: dict[str, Any] = json.loads(store.get(key))
    return found


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def _priced(entry: Mapping[str, Any], region: str) -> dict[str, Any]:
    """What the list says of a job: hourly price and amount, each None where it is not known."""
    found = prices.cost([{"name": entry["job"], **entry}], region)
    [job] = found["jobs"]
    return {
        "currency": found["currency"],
        "hourly": job["hourly"],
        "amount": job["amount"],
        "prices": found["prices"]["date"],
    }
