"""How a run goes on: dry, or not at all where nothing is new, or within the month's budget."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fmrec import ledger
from fmrec.errors import PERMANENT, BudgetError
from fmrec.layout import Run, split_uri
from fmrec.release import tunings
from fmrec.release.tunings import Tuning
from fmrec.steps import budget as budgets
from fmrec.steps.choose import choose
from fmrec.steps.estimate import estimate
from manifests import crown, published
from steps_world import AS_OF, World

pytestmark = pytest.mark.slow

TODAY = datetime(2026, 12, 31, 23, tzinfo=UTC)
TENTH = datetime(2026, 12, 10, tzinfo=UTC)
DAY_BEFORE = AS_OF - timedelta(days=1)


def decided(world: World, *, budget: float | None = None, **more: Any) -> str:
    x = world.xcom
    given: dict[str, Any] = {"scheduled": True, "releases": True, "now": TODAY} | more
    return choose(
        x["run"],
        tables=x["tables"],
        parts=x["parts"],
        channels=x["channels"],
        s3=world.s3,
        deployment=replace(world.deployment, monthly_budget=budget),
        **given,
    )


def fingerprint(world: World) -> dict[str, Any]:
    return {"data": world.xcom["parts"]["data"]}


def test_without_a_past_or_a_budget_a_run_does_what_it_was_told(world: World) -> None:
    assert decided(world.prepare()) == "train"
    assert decided(world.prepare(mode="tune")) == "tune"


def test_a_dry_run_is_one_whatever_is_known_or_spent(world: World) -> None:
    world.prepare(dry_run=True)
    crown(world, published(world, "before", **fingerprint(world)))
    assert decided(world, budget=0.0) == "rehearse"


def test_a_scheduled_run_is_skipped_when_the_champion_has_seen_the_same(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    run = published(world.prepare(), "before", settings={"epochs": 9}, **fingerprint(world))
    assert decided(world) == "train"  # nobody's champion, and told something else
    crown(world, run)
    with caplog.at_level(logging.INFO):
        assert decided(world, budget=0.0) == "skip"
    said = caplog.text
    assert f"the champion {run.layout.run} of 1997-12-31T00:00:00+00:00 has seen the same" in said
    assert f"{world.xcom['parts']['data']['ratings']:,} ratings are before 1998-01-01T00" in said
    # A person who asks for a run gets one, and so does a backfill.
    assert decided(world, scheduled=False) == "train"


def test_new_ratings_are_a_reason_to_run(world: World) -> None:
    crown(world, published(world.prepare(), "before", data={"fingerprint": "of yesterday"}))
    assert decided(world) == "train"


def test_a_champion_that_does_not_say_what_it_has_seen_is_no_reason_to_skip(world: World) -> None:
    run = published(world.prepare(), "before")
    crown(world, run)
    assert decided(world) == "train"
    world.store.delete(run.layout.published_report("manifest.json"))
    assert decided(world) == "train"


def test_a_run_that_was_told_the_same_is_not_repeated_though_it_was_not_promoted(
    world: World,
) -> None:
    published(world.prepare(), "before", **fingerprint(world))
    assert decided(world) == "skip"


@pytest.mark.parametrize(
    ("run_id", "as_of", "settings"),
    [
        ("later", AS_OF + timedelta(days=1), {}),  # a day that this run may not know of
        ("other", DAY_BEFORE, {"seed": 2}),
        ("lane", DAY_BEFORE, {"split": "random"}),
    ],
)
def test_who_was_told_otherwise_or_describes_a_later_day_does_not_count(
    world: World, run_id: str, as_of: datetime, settings: dict[str, Any]
) -> None:
    published(world.prepare(), run_id, as_of, settings=settings, **fingerprint(world))
    assert decided(world) == "train"


def test_only_the_last_run_that_was_told_the_same_counts(world: World) -> None:
    published(world.prepare(), "first", AS_OF - timedelta(days=3), **fingerprint(world))
    assert decided(world) == "skip"
    published(world, "second", DAY_BEFORE, data={"fingerprint": "ratings withdrawn since"})
    assert decided(world) == "train"


def test_a_run_is_not_skipped_because_of_itself(world: World) -> None:
    own = published(world.prepare(), "r", AS_OF, **fingerprint(world))
    assert own.layout.run == world.xcom["run"]["layout"]["run"]
    crown(world, own)
    assert decided(world) == "train"


def tuned(world: World, name: str, as_of: datetime = DAY_BEFORE, **more: Any) -> Tuning:
    run = Run.from_xcom(world.xcom["run"])
    entry = Tuning(
        sequence=0, kind=run.kind, run=name, as_of=as_of, job=f"fmrec-{name}-1", trials=4,
        adopted=True, why="better", hyperparameters=run.hyperparameters(), searched=["linear_lr"],
        objective={"name": "test:rmse", "value": 1.0}, control=1.1,
        data=world.xcom["parts"]["data"]["fingerprint"], at=TODAY,
    )  # fmt: skip
    return tunings.record(world.store, run.layout, replace(entry, **more))


def test_a_tuning_that_was_adopted_since_is_a_reason_to_run(world: World) -> None:
    crown(world, published(world.prepare(), "before", **fingerprint(world)))
    assert decided(world) == "skip"
    tuned(world, "tuning")
    world.prepare("next")  # which is planned after the tuning
    assert world.xcom["run"]["tuned"]["run"] == "tuning"
    assert decided(world) == "train"
    published(world, "after", **fingerprint(world))
    assert decided(world) == "skip"


def test_the_data_of_the_latest_tuning_decide_whether_to_tune(world: World) -> None:
    world.prepare(mode="tune")
    crown(world, published(world, "champion", **fingerprint(world)))
    assert decided(world, releases=False) == "tune"
    tuned(world, world.xcom["run"]["layout"]["run"])
    assert decided(world, releases=False) == "tune"  # that one is its own
    tuned(world, "earlier", AS_OF - timedelta(days=8), data="of the week before")
    assert decided(world, releases=False) == "tune"
    tuned(world, "last", adopted=False)
    assert decided(world, releases=False) == "skip"
    assert decided(world, releases=False, scheduled=False) == "tune"


def spend(
    world: World,
    job: str,
    run: str,
    seconds: int | None = 36_000,
    at: Any = TODAY,
    status: str = "Completed",
) -> None:
    """1.15 USD."""
    entry = {
        "job": job, "kind": "training", "run": run, "instance_type": "ml.m5.large", "instances": 1,
        "billable_seconds": seconds, "status": status,
    }  # fmt: skip
    layout = Run.from_xcom(world.xcom["run"]).layout
    ledger.record(world.store, layout, "us-east-1", entry, at)


def expected(world: World) -> float:
    run = Run.from_xcom(world.xcom["run"])
    costs = estimate(run, world.xcom["channels"], world.store, "us-east-1", releases=True)
    return float(costs["expected"])


def test_a_run_that_would_go_beyond_the_budget_is_blocked(world: World) -> None:
    world.prepare()
    spend(world, "a", "another")
    needed = expected(world)
    assert decided(world, budget=1.15 + needed + 0.001) == "train"
    said = (
        rf"this run would cost about {needed:.4f} USD, and of the budget of 1.15 USD for 2026-12 "
        r"\(UTC\) 1.15 are spent. Raise FMREC_MONTHLY_BUDGET, .* wait for 2027-01. .* "
        r"s3://fmrec/fmrec/costs/2026-12/"
    )
    with pytest.raises(BudgetError, match=said):
        decided(world, budget=1.15)
    assert BudgetError in PERMANENT
    assert decided(world) == "train"  # no budget, no check


def test_another_month_is_another_budget(world: World) -> None:
    world.prepare()
    spend(world, "a", "another", at=TODAY - timedelta(days=31))
    assert decided(world, budget=1.0) == "train"


def test_what_the_run_itself_has_spent_is_a_part_of_what_it_costs(world: World) -> None:
    world.prepare()
    spend(world, "a", world.xcom["run"]["layout"]["run"])
    assert decided(world, budget=1.16) == "train"
    with pytest.raises(BudgetError, match=re.escape("would cost about 1.15 USD")):
        decided(world, budget=1.14)


def test_what_failed_is_paid_again(world: World) -> None:
    world.prepare()
    spend(world, "a", world.xcom["run"]["layout"]["run"], status="Failed")
    needed = expected(world)
    assert decided(world, budget=1.15 + needed + 0.001) == "train"
    with pytest.raises(BudgetError, match=re.escape(f"would cost about {1.15 + needed:.2f} USD")):
        decided(world, budget=1.15 + needed - 0.001)


def test_runs_that_begin_at_once_do_not_spend_the_same_money(world: World) -> None:
    """The first that reserves goes on, and the second counts what the first is about to spend."""
    world.prepare(seed=1)
    needed = expected(world)
    limit = 1.5 * needed
    assert decided(world, budget=limit, now=TENTH) == "train"
    assert (
        decided(world, budget=limit, now=TENTH) == "train"
    )  # its own reservation is not another's
    first = dict(world.xcom)
    world.prepare(seed=2)
    later = TENTH + timedelta(seconds=1)
    said = f"0.0000 are spent and {needed:.4f} about to be, by runs at work"
    with pytest.raises(BudgetError, match=re.escape(said)):
        decided(world, budget=limit, now=later)
    # Of one that is refused nothing stays, and what its run reserved ends with the first run.
    refused = Run.from_xcom(world.xcom["run"]).layout
    assert not world.store.exists(refused.reservation("2026-12", refused.run))
    budgets.settle(Run.from_xcom(first["run"]), world.store, later)
    assert decided(world, budget=limit, now=later) == "train"


def test_what_another_run_lost_is_paid_again_by_it(world: World) -> None:
    """Its training failed and is being repeated: nothing of what it has reserved is spent yet."""
    world.prepare(seed=1)
    needed = expected(world)
    assert decided(world, budget=9.0, now=TENTH) == "train"
    spend(world, "a", world.xcom["run"]["layout"]["run"], at=TENTH, status="Failed")
    world.prepare(seed=2)
    said = f"1.15 are spent and {needed:.4f} about to be, by runs at work"
    with pytest.raises(BudgetError, match=re.escape(said)):
        decided(world, budget=1.15 + 1.5 * needed, now=TENTH)


def test_what_was_reserved_at_the_end_of_a_month_counts_in_the_next(world: World) -> None:
    world.prepare(seed=1)
    limit = 1.5 * expected(world)
    assert decided(world, budget=limit, now=TODAY) == "train"
    first = dict(world.xcom)
    world.prepare(seed=2)
    soon = TODAY + timedelta(hours=2)
    with pytest.raises(BudgetError, match=r"for 2027-01 .* about to be"):
        decided(world, budget=limit, now=soon)
    budgets.settle(Run.from_xcom(first["run"]), world.store, soon)
    assert decided(world, budget=limit, now=soon) == "train"


def test_what_a_run_that_died_has_reserved_is_free_after_two_days(world: World) -> None:
    world.prepare(seed=1)
    limit = 1.5 * expected(world)
    assert decided(world, budget=limit, now=TENTH) == "train"
    world.prepare(seed=2)
    with pytest.raises(BudgetError):
        decided(world, budget=limit, now=TENTH + timedelta(days=1))
    assert decided(world, budget=limit, now=TENTH + timedelta(days=3)) == "train"


def test_a_run_that_is_over_is_not_asked_what_it_would_cost(world: World, tmp_path: Path) -> None:
    world.prepare().train_and_score(tmp_path).evaluate().release()
    assert decided(world, budget=0.0) == "train"
    # Unless its model is gone: then it would train again.
    world.store.delete(split_uri(world.xcom["training"]["artifact"])[1])
    with pytest.raises(BudgetError):
        decided(world, budget=0.0)


def test_a_reservation_that_cannot_be_read_is_named(world: World) -> None:
    world.prepare()
    world.store.put("fmrec/costs/reserved/2026-12/x.json", b"{}")
    with pytest.raises(BudgetError, match=r"reserved/2026-12/x.json does not say .* delete it"):
        decided(world, budget=9.0)
    this = Run.from_xcom(world.xcom["run"]).layout
    assert not world.store.exists(this.reservation("2026-12", this.run))


def test_what_is_not_known_cannot_be_kept_within_a_budget(world: World) -> None:
    world.prepare(instance_type="ml.q9.large")
    said = "not known what this run would cost, so the budget of 9.00 USD for 2026-12 cannot be"
    with pytest.raises(BudgetError, match=rf"{said} kept: The price of ml.q9.large .* Or choose"):
        decided(world, budget=9.0)


def test_jobs_of_unknown_cost_are_named(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.prepare()
    spend(world, "odd-one", "another", None)
    assert decided(world, budget=9.0) == "train"
    assert "not known what 1 job(s) of 2026-12 cost, and they are not in the sum: odd-one" in (
        caplog.text
    )
