"""What jobs have cost: each once, in the month it ended in, whatever it came to."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from fmrec import ledger
from fmrec.errors import ConflictError, DataError
from fmrec.layout import Layout
from fmrec.store import Store

LAYOUT = Layout("bbb", "movies", "any")
MARCH = datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC)


def record(store: Store, name: str, at: datetime = MARCH, **told: Any) -> dict[str, Any]:
    entry = {
        "job": name,
        "kind": "training",
        "run": "r",
        "instance_type": "ml.m5.large",
        "instances": 1,
        "billable_seconds": 3600,
        "status": "Completed",
    } | told
    return ledger.record(store, LAYOUT, told.pop("region", "us-east-1"), entry, at)


def test_a_month_that_has_no_jobs_cost_nothing(store: Store) -> None:
    assert ledger.spent(store, LAYOUT, "2026-03") == {
        "month": "2026-03", "currency": "USD", "total": 0, "jobs": 0, "runs": {}, "lost": {},
        "unknown": [],
    }  # fmt: skip


def test_every_end_is_paid_for_and_summed_by_run(store: Store) -> None:
    record(store, "a")
    record(store, "b", status="Failed", billable_seconds=1800, run="s")
    record(store, "c", status="Stopped", instance_type="ml.m5.xlarge", instances=2, run="s")
    found = ledger.spent(store, LAYOUT, "2026-03")
    assert found["runs"] == pytest.approx({"r": 0.115, "s": 0.115 / 2 + 0.46})
    assert found["lost"] == pytest.approx({"s": 0.115 / 2 + 0.46})
    assert found["total"] == pytest.approx(0.115 * 1.5 + 0.46)
    assert (found["jobs"], found["unknown"]) == (3, [])


def test_an_entry_says_what_it_rests_on(store: Store) -> None:
    told = record(store, "a", MARCH.astimezone(timezone(timedelta(hours=9))))
    assert json.loads(store.get("movies/costs/2026-03/a.json")) == told
    assert told == {
        "schema": 1,
        "job": "a",
        "kind": "training",
        "run": "r",
        "instance_type": "ml.m5.large",
        "instances": 1,
        "billable_seconds": 3600,
        "status": "Completed",
        "region": "us-east-1",
        "at": "2026-03-31T23:59:59+00:00",
        "currency": "USD",
        "hourly": 0.115,
        "amount": pytest.approx(0.115),
        "prices": told["prices"],
    }


def test_a_job_that_is_recorded_again_counts_once_also_in_the_month_after(store: Store) -> None:
    first = record(store, "a")
    april = MARCH + timedelta(seconds=2)
    # A later attempt at the task may tell it in other words.
    again = record(store, "a", april, billable_seconds=7200, status="Stopped")
    assert again == first
    assert ledger.spent(store, LAYOUT, "2026-03")["total"] == pytest.approx(0.115)
    assert ledger.spent(store, LAYOUT, "2026-04")["jobs"] == 0
    record(store, "b", april)
    assert ledger.spent(store, LAYOUT, "2026-04")["jobs"] == 1


@pytest.mark.parametrize(
    ("start", "end", "months"),
    [
        ("2026-03-31T23:00+00:00", "2026-04-01T00:00+00:00", ["2026-03"]),
        ("2026-04-01T00:00+00:00", "2026-04-01T00:00+00:00", []),
        ("2026-12-31T20:00-04:00", "2027-03-01T00:00+00:00", ["2027-01", "2027-02"]),
        ("2028-01-31T00:00+00:00", "2028-03-01T00:01+00:00", ["2028-01", "2028-02", "2028-03"]),
    ],
)
def test_a_stretch_of_time_is_cut_where_months_begin(
    start: str, end: str, months: list[str]
) -> None:
    first, last = datetime.fromisoformat(start), datetime.fromisoformat(end)
    parts = list(ledger.months(first, last))
    assert [ledger.month_of(since) for since, _ in parts] == months
    assert sum(((until - since) for since, until in parts), timedelta()) == last - first
    assert [each[0] for each in parts[1:]] == [each[1] for each in parts[:-1]]


def test_what_covers_a_stretch_of_time_belongs_to_the_month_of_its_start(store: Store) -> None:
    told = record(store, "a", MARCH + timedelta(seconds=1), since=MARCH - timedelta(hours=1))
    assert (told["since"], told["at"]) == ("2026-03-31T22:59:59+00:00", "2026-04-01T00:00:00+00:00")
    assert ledger.spent(store, LAYOUT, "2026-03")["jobs"] == 1


def test_a_record_that_was_cut_short_is_completed_in_its_month(store: Store) -> None:
    put = store.put

    def cut(key: str, *_: Any, **__: Any) -> str:
        if "2026-03" in key:
            raise RuntimeError("the worker is gone")
        return put(key, *_, **__)

    store.put = cut  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        record(store, "a")
    store.put = put  # type: ignore[method-assign]
    record(store, "a", MARCH + timedelta(days=40))
    assert ledger.spent(store, LAYOUT, "2026-03")["jobs"] == 1


def test_of_two_at_once_the_first_counts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    exists, first = store.exists, []

    def slow(key: str) -> bool:
        found = exists(key)
        if not first:
            first.append(key)
            record(store, "a", billable_seconds=60)
        return found

    monkeypatch.setattr(store, "exists", slow)
    told = record(store, "a")
    assert told["billable_seconds"] == 60
    assert ledger.spent(store, LAYOUT, "2026-03")["jobs"] == 1


def test_what_is_not_known_is_counted_and_is_not_nothing(store: Store) -> None:
    record(store, "a")
    assert record(store, "b", billable_seconds=None)["amount"] is None
    assert record(store, "c", instance_type="ml.q9.large")["hourly"] is None
    assert record(store, "d", region="eu-west-3")["amount"] is None
    found = ledger.spent(store, LAYOUT, "2026-03")
    assert found["unknown"] == ["b", "c", "d"]
    assert found["jobs"] == 4
    assert found["total"] == pytest.approx(0.115)


def test_a_price_that_is_known_later_counts_later(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(store, "a", instance_type="ml.q9.large")
    listed = {
        "currency": "USD", "date": "later", "source": "s",
        "regions": {"us-east-1": {"ml.q9.large": 2.0, "ml.m5.large": 9.0}},
    }  # fmt: skip
    record(store, "b")
    monkeypatch.setattr("fmrec.prices._listed", lambda: listed)
    # What had a price when it ended keeps it.
    assert ledger.spent(store, LAYOUT, "2026-03")["total"] == pytest.approx(2.115)


def test_what_is_no_entry_is_named(store: Store) -> None:
    store.put("movies/costs/2026-03/", b"")
    store.put("movies/costs/2026-03/x.json", b'{"job": "x"}')
    with pytest.raises(DataError, match=r"s3://bbb/movies/costs/2026-03/x.json does not say"):
        ledger.spent(store, LAYOUT, "2026-03")


def test_a_conflict_that_is_no_other_entry_is_not_hidden(store: Store) -> None:
    def refuse(key: str, *_: Any, **__: Any) -> str:
        raise ConflictError(key)

    store.put = refuse  # type: ignore[method-assign]
    with pytest.raises(Exception, match="does not exist"):
        record(store, "a")
