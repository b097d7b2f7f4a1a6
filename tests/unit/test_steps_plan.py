"""What is fixed when a run begins, and what is refused before anything is paid for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fmrec.errors import ConfigurationError
from fmrec.layout import Run
from fmrec.release import tunings
from fmrec.steps.plan import plan
from steps_world import AS_OF, NOW, World

FOUND = {"epochs": "31", "factors_lr": "0.005"}


def planned(world: World, **params: Any) -> Run:
    given = {"source": "sample"} | params
    return Run.from_xcom(plan("r", AS_OF, given, world.deployment, world.s3))


def tuned(world: World, as_of: datetime, *, adopted: bool = True, **found: str) -> None:
    run = planned(world, hyperparameters_from="project", as_of=as_of.isoformat())
    entry = tunings.Tuning(
        sequence=0,
        kind=run.kind,
        run=run.layout.run,
        as_of=as_of,
        job=f"tuning-of-{as_of:%Y%m%d}",
        trials=4,
        adopted=adopted,
        why="said the test",
        hyperparameters=FOUND | found,
        searched=sorted(FOUND),
        objective={"name": "test:rmse", "value": 0.9},
        control=1.0,
        data="f",
        at=NOW,
    )
    tunings.record(world.store, run.layout, entry)


def test_what_was_tuned_stands_where_nothing_is_set(world: World) -> None:
    own = planned(world).hyperparameters()
    tuned(world, AS_OF - timedelta(days=7))
    run = planned(world, seed=2)
    assert run.hyperparameters() == own | FOUND
    assert planned(world, epochs=5, seed=2).hyperparameters() == own | FOUND | {"epochs": "5"}
    assert planned(world, hyperparameters_from="project").hyperparameters() == own


def test_a_past_day_knows_no_later_tuning_and_none_that_was_not_adopted(world: World) -> None:
    own = planned(world, hyperparameters_from="project").hyperparameters()
    tuned(world, AS_OF + timedelta(seconds=1))
    tuned(world, AS_OF, adopted=False)
    assert planned(world).hyperparameters() == own


def test_a_run_that_is_repeated_keeps_its_hyperparameters(world: World) -> None:
    """Somebody has tuned between the first attempt and the second."""
    tuned(world, AS_OF - timedelta(days=7))
    first = planned(world)
    tuned(world, AS_OF - timedelta(days=1), epochs="99")
    assert planned(world) == first
    assert planned(world, seed=2).hyperparameters()["epochs"] == "99"


def test_another_kind_of_model_is_not_touched(world: World) -> None:
    tuned(world, AS_OF)
    for other in ({"features": "side"}, {"objective": "like"}, {"image": "fmrec"}):
        assert planned(world, **other).tuned is None


@pytest.mark.parametrize("params", [{"epochs": 0}, {"max_runtime_minutes": 301}, {"nonsense": 1}])
def test_a_value_out_of_range_writes_nothing(world: World, params: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(params))):
        planned(world, **params)
    assert list(world.store.list("")) == []


def test_a_bucket_that_is_not_there_is_named(world: World) -> None:
    elsewhere = replace(world.deployment, bucket="nowhere")
    with pytest.raises(ConfigurationError, match="FMREC_BUCKET: there is no bucket 'nowhere'"):
        plan("r", AS_OF, {}, elsewhere, world.s3)


class Refusing:
    """An S3 that answers HeadBucket with a status alone, as it does."""

    def __init__(self, status: int) -> None:
        self._status = status

    def head_bucket(self, Bucket: str) -> None:
        said = {"Error": {"Code": str(self._status), "Message": Bucket}}
        raise ClientError(
            {**said, "ResponseMetadata": {"HTTPStatusCode": self._status}},  # type: ignore[arg-type]
            "HeadBucket",
        )


def test_a_forbidden_bucket_says_what_to_allow(world: World) -> None:
    with pytest.raises(ConfigurationError, match=r"'fmrec' is forbidden.*s3:ListBucket"):
        plan("r", AS_OF, {}, world.deployment, Refusing(403))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"another region than 'us-east-1'"):
        plan("r", AS_OF, {}, world.deployment, Refusing(301))  # type: ignore[arg-type]


def test_a_bad_moment_of_s3_is_left_to_the_retries(world: World) -> None:
    with pytest.raises(ClientError):
        plan("r", AS_OF, {}, world.deployment, Refusing(503))  # type: ignore[arg-type]


def test_a_moment_is_that_of_the_clock_or_of_the_param(world: World) -> None:
    assert planned(world).as_of == AS_OF
    assert planned(world, as_of="1997-12-01").as_of == datetime(1997, 12, 1, tzinfo=UTC)
