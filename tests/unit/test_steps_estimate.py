"""What a run will cost: as such runs did, else by a careful table, and at most."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fmrec.layout import Run
from fmrec.steps.estimate import estimate
from manifests import ROWS, published
from steps_world import AS_OF, World

pytestmark = pytest.mark.slow


def told(world: World, *, releases: bool = True, region: str = "us-east-1") -> dict[str, Any]:
    run = Run.from_xcom(world.xcom["run"])
    return estimate(run, world.xcom["channels"], world.store, region, releases=releases)


def by_kind(found: dict[str, Any]) -> dict[str, Any]:
    return {each["kind"]: each for each in found["jobs"]}


def rows(world: World, part: str) -> int:
    return sum(each["rows"] for each in world.xcom["channels"]["files"][part])


@pytest.mark.parametrize(
    ("params", "releases", "kinds"),
    [
        ({}, True, ["training", "batch transform"]),
        ({"mode": "tune"}, True, ["tuning", "batch transform"]),
        ({"mode": "tune"}, False, ["training", "tuning"]),
    ],
)
def test_all_jobs_of_the_run_are_in_it(
    world: World, params: dict[str, Any], releases: bool, kinds: list[str]
) -> None:
    found = told(world.prepare(**params), releases=releases)
    assert [each["kind"] for each in found["jobs"]] == kinds
    for name in ("expected", "at_most"):
        assert found[name] == pytest.approx(sum(each[name] for each in found["jobs"]))
    assert 0 < found["expected"] < found["at_most"]
    assert found["currency"] == "USD"
    assert all("no such run was published yet" in each["basis"] for each in found["jobs"])


def test_at_most_every_job_runs_until_it_is_stopped(world: World) -> None:
    world.prepare(mode="tune", tuning_jobs=7, max_runtime_minutes=30,
                  transform_instance_type="ml.m5.xlarge")  # fmt: skip
    jobs = by_kind(told(world))
    assert jobs["tuning"]["jobs"] == 7
    assert jobs["tuning"]["at_most"] == pytest.approx(7 * 0.5 * 0.115)
    assert jobs["batch transform"]["at_most"] == pytest.approx(8 * 0.23)


def test_a_longest_training_bounds_what_is_expected(world: World) -> None:
    world.prepare(epochs=1_000_000, max_runtime_minutes=1)
    training = by_kind(told(world))["training"]
    assert training["seconds"] == training["longest"] == 60


def test_the_longest_of_the_last_three_such_runs_is_scaled(world: World) -> None:
    world.prepare(epochs=4)
    for days, seconds in ((1, 100), (2, 160), (3, 80), (4, 9_999)):
        published(
            world, f"r{days}", AS_OF - timedelta(days=days),
            jobs={"training": {"artifact": "a", "billable_seconds": seconds},
                  "transform": {"seconds": seconds}},
        )  # fmt: skip
    jobs = by_kind(told(world))
    # 4 epochs for their 2, and as many more rows.
    more = 2 * rows(world, "train") / ROWS["train"]
    assert jobs["training"]["seconds"] == pytest.approx(160 * more)
    assert "the longest of the last 3 such runs" in jobs["training"]["basis"]
    assert jobs["batch transform"]["seconds"] == pytest.approx(
        160 * max(rows(world, "test") / ROWS["test"], 1)
    )


def test_less_work_is_not_thought_to_take_no_time(world: World) -> None:
    published(world.prepare(), "r0", settings={"epochs": 2_000})
    assert by_kind(told(world))["training"]["seconds"] == 100  # all of it: no more than a start
    jobs = {
        "training": {"artifact": "a", "billable_seconds": 4_000},
        "transform": {"seconds": 4_000},
    }
    published(world, "r1", AS_OF, settings={"epochs": 2_000}, jobs=jobs)
    assert by_kind(told(world))["training"]["seconds"] == 120
    assert by_kind(told(world))["batch transform"]["seconds"] >= 4_000


@pytest.mark.parametrize(
    "settings",
    [
        {"instance_type": "ml.m5.xlarge"},
        {"spot": True},
        {"objective": "like"},
        {"features": "side"},
    ],
)
def test_runs_of_another_kind_or_on_other_machines_say_nothing(
    world: World, settings: dict[str, Any]
) -> None:
    published(world.prepare(), "other", settings=settings)
    assert "no such run was published yet" in by_kind(told(world))["training"]["basis"]


def test_a_past_that_does_not_say_how_long_it_took_says_nothing(world: World) -> None:
    jobs = {
        "training": {"artifact": "a", "billable_seconds": None},
        "transform": {"seconds": None},
    }
    published(world.prepare(), "before", jobs=jobs)
    assert all("no such run was published yet" in each["basis"] for each in told(world)["jobs"])


def test_a_search_is_as_dear_as_its_dearest_job(world: World) -> None:
    world.prepare(epochs=None, mode="tune", tuning_ranges="epochs=4..90, factors_lr=0.001..0.01")
    jobs = {"training": {"artifact": "a", "billable_seconds": 10}, "transform": {"seconds": 10}}
    published(world, "before", jobs=jobs)
    found = by_kind(told(world, releases=False))
    own = int(Run.from_xcom(world.xcom["run"]).hyperparameters()["epochs"])
    assert found["tuning"]["seconds"] / found["training"]["seconds"] == pytest.approx(90 / own)


@pytest.mark.parametrize(
    "params",
    [
        {"image": "fmrec"},
        {"image": "fmrec", "objective": "ranking", "features": "history"},
        {"image": "fmrec", "solver": "adam", "epochs": 2},
        {"features": "full"},
    ],
)
def test_every_solver_has_a_throughput(world: World, params: dict[str, Any]) -> None:
    training = by_kind(told(world.prepare(**params)))["training"]
    assert 120 < training["seconds"] < 3600


def test_more_work_takes_longer_by_the_table(world: World) -> None:
    def seconds(**params: Any) -> float:
        return float(by_kind(told(world.prepare(**params)))["training"]["seconds"])

    assert seconds() < seconds(epochs=200) < seconds(epochs=200, features="full")
    assert seconds() < seconds(num_factors=6_400)


def test_without_a_price_nothing_is_said_to_cost_nothing(world: World) -> None:
    found = told(world.prepare(), region="eu-west-3")
    assert found["expected"] is found["at_most"] is found["jobs"][0]["expected"] is None
    assert "Prices of region eu-west-3 are not known here" in found["notes"][0]
    assert "cheaper" not in found["notes"]
    notes = told(world.prepare(spot=True))["notes"]
    assert notes == [
        "On spot capacity, training costs less than without; how much less is only known from runs "
        "that used it."
    ]
