"""What a tuning has found becomes the default of later runs when it is better, and only then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fmrec.layout import Run
from fmrec.release import tunings
from fmrec.steps.adopt import adopt
from fmrec.steps.plan import plan
from steps_world import AS_OF, NOW, World

pytestmark = pytest.mark.slow

FOUND = {"epochs": "41", "factors_lr": "0.00345"}


def tuning(value: float, job: str = "fmrec-tuning-1") -> dict[str, Any]:
    """What the tune task returns: the best training job, and all that were tried."""
    trial = {"name": f"{job}-001-ab", "status": "Completed", "value": value,
             "billable_seconds": 9, "hyperparameters": FOUND}  # fmt: skip
    failed = trial | {"name": f"{job}-002-cd", "status": "Failed", "value": None}
    return {
        "name": trial["name"],
        "hyperparameters": FOUND,
        "metrics": {"test:rmse": value},
        "tuning": {
            "name": job,
            "objective": {"name": "test:rmse", "value": value},
            "jobs": [failed, trial],
            "parents": [],
            "billable_seconds": 18,
        },
    }


def planned(world: World, run_id: str = "r", as_of: datetime = AS_OF, **params: Any) -> Run:
    given = {"source": "sample", "mode": "tune"} | params
    return Run.from_xcom(plan(run_id, as_of, given, world.deployment, world.s3))


def adopted(
    world: World, run: Run, value: float, today: float | None = 0.95, **more: Any
) -> dict[str, Any]:
    metrics = {} if today is None else {"test:rmse": today, "train:rmse": 0.1}
    parts = {"data": {"fingerprint": "f" * 64}}
    return adopt(run.to_xcom(), parts, {"metrics": metrics}, tuning(value, **more), world.s3, NOW)


def history(world: World, run: Run) -> list[tunings.Tuning]:
    return tunings.history(world.store, run.layout, run.kind)


def test_what_is_better_is_the_default_of_the_runs_after_it(world: World) -> None:
    run = planned(world)
    told = adopted(world, run, 0.9)
    assert told["adopted"]
    assert told["why"] == (
        "adopted: test:rmse 0.90000 with what was found, 0.95000 with today's defaults"
    )
    assert told["hyperparameters"] == run.hyperparameters() | FOUND
    assert (told["kind"], told["control"]) == (run.kind, 0.95)
    assert told["objective"] == {"name": "test:rmse", "value": 0.9}
    later = planned(world, "later", AS_OF + timedelta(days=1), mode="train", num_factors=8)
    assert later.hyperparameters() == run.hyperparameters() | FOUND | {"num_factors": "8"}
    earlier = planned(world, "earlier", AS_OF - timedelta(days=1), mode="train")
    assert earlier.hyperparameters() == run.hyperparameters()
    project = planned(world, "p", AS_OF + timedelta(days=1), hyperparameters_from="project")
    assert project.hyperparameters() == run.hyperparameters()
    other = planned(world, "like", AS_OF + timedelta(days=1), objective="like")
    assert other.tuned is None


@pytest.mark.parametrize("value", [0.95, 0.96])
def test_what_is_no_better_is_recorded_for_later_tunings_alone(world: World, value: float) -> None:
    run = planned(world)
    told = adopted(world, run, value)
    assert not told["adopted"]
    assert told["why"].startswith(f"not adopted: test:rmse {value:.5f} with what was found, 0.95")
    [entry] = history(world, run)
    assert (entry.job, entry.trials, entry.adopted) == ("fmrec-tuning-1", 2, False)
    assert (entry.data, entry.searched) == ("f" * 64, sorted(FOUND))
    later = planned(world, "later", AS_OF + timedelta(days=7))
    assert later.tuned is None
    # As soon as its ranges are what was searched, it starts from there.
    assert tunings.parents(history(world, run), later) == ["fmrec-tuning-1"]


@pytest.mark.parametrize("today", [None, float("nan")])
def test_without_something_to_compare_with_nothing_is_adopted(
    world: World, today: float | None
) -> None:
    told = adopted(world, planned(world), 0.1, today)
    assert not told["adopted"]
    assert told["control"] is None
    assert "it is not known what today's defaults reach" in told["why"]


def test_a_repeated_task_changes_nothing(world: World) -> None:
    run = planned(world)
    first = adopted(world, run, 0.9)
    assert adopted(world, run, 0.99, job="fmrec-tuning-2") == first
    [entry] = history(world, run)
    assert entry.job == "fmrec-tuning-1"


def test_what_was_not_searched_stays_as_it_was_when_it_was_found(world: World) -> None:
    """A search of one hyperparameter does not undo what an earlier one found of others."""
    adopted(world, planned(world), 0.9)
    second = planned(world, "second", AS_OF + timedelta(days=7),
                     tuning_ranges="factors_wd=0.0001..0.01 log")  # fmt: skip
    assert second.hyperparameters()["epochs"] == "41"
    found = tuning(0.8, "fmrec-tuning-2")
    found["hyperparameters"] = {"factors_wd": "0.002"}
    parts = {"data": {"fingerprint": "g"}}
    adopt(second.to_xcom(), parts, {"metrics": {"test:rmse": 0.9}}, found, world.s3,
          datetime(2026, 1, 8, tzinfo=UTC))  # fmt: skip
    third = planned(world, "third", AS_OF + timedelta(days=8), mode="train")
    values = third.hyperparameters()
    assert (values["epochs"], values["factors_wd"]) == ("41", "0.002")
