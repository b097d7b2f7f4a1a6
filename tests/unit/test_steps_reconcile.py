"""Jobs that ended with nobody waiting: each comes into the ledger once, and no one else's does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fmrec import ledger
from fmrec.layout import Run
from fmrec.steps.reconcile import reconcile
from serving_world import NOW, Serving, emptied, refusal

MACHINES = {"InstanceType": "ml.m5.large", "InstanceCount": 1}
ENDED = datetime(2026, 3, 5, 3, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def world(s3: Any) -> Serving:
    return Serving(emptied(s3))


def has(world: Serving, kind: str, name: str, **told: Any) -> str:
    """SageMaker has such a job, which was stopped."""
    world.sagemaker.jobs[name] = {
        f"{kind}Name": name, f"{kind}Status": "Stopped", "LastModifiedTime": ENDED, **told,
    }  # fmt: skip
    return name


def trained(world: Serving, name: str, output: str, **told: Any) -> str:
    given = {
        "OutputDataConfig": {"S3OutputPath": output}, "ResourceConfig": MACHINES,
        "TrainingStartTime": ENDED - HOUR, "TrainingEndTime": ENDED, "BillableTimeInSeconds": 3600,
    }  # fmt: skip
    return has(world, "TrainingJob", name, **given | told)


def models_of(run: Run) -> str:
    return run.layout.uri(run.layout.models)


def brought(world: Serving, now: datetime = NOW, guard: Any = None, **told: Any) -> list[str]:
    guard = guard or (lambda what: nullcontext())
    given = {"dry_run": False, "guard": guard} | told
    return reconcile(world.sagemaker, world.store, world.layout, "us-east-1", now, **given)


def spent(world: Serving, month: str = "2026-03") -> Any:
    return ledger.spent(world.store, world.layout, month)


def test_every_kind_of_job_that_nobody_waited_for_is_recorded_once(world: Serving) -> None:
    run = world.run("r")
    layout = run.layout
    train = trained(world, layout.job("train", 2), models_of(run))
    tune = has(
        world, "HyperParameterTuningJob", layout.tuning_job(1),
        TrainingJobDefinition={
            "OutputDataConfig": {"S3OutputPath": models_of(run)}, "ResourceConfig": MACHINES,
        },
        HyperParameterTuningEndTime=ENDED,
    )  # fmt: skip
    world.sagemaker.trials[tune] = [
        trained(world, f"{tune}-00{number}-abc", models_of(run)) for number in (1, 2)
    ]
    score = has(
        world, "TransformJob", layout.job("score", 1),
        TransformOutput={"S3OutputPath": layout.uri(layout.predictions("x"))},
        TransformResources=MACHINES,
        TransformStartTime=ENDED - HOUR / 2, TransformEndTime=ENDED,
    )  # fmt: skip
    assert brought(world, dry_run=True) == [train, tune, score]
    assert spent(world)["jobs"] == 0
    assert brought(world) == [train, tune, score]
    found = spent(world)
    assert found["runs"] == {layout.run: pytest.approx((1 + 2 + 0.5) * 0.115)}
    assert (found["jobs"], found["unknown"]) == (3, [])
    assert brought(world) == []
    assert spent(world) == found


def test_a_job_counts_in_the_month_that_it_ended_in(world: Serving) -> None:
    run = world.run("r")
    end = datetime(2026, 2, 28, 23, 59, tzinfo=UTC)
    told = {"TrainingEndTime": end, "LastModifiedTime": end}
    trained(world, run.layout.job("train", 1), models_of(run), **told)
    brought(world)
    assert spent(world, "2026-02")["jobs"] == 1
    assert spent(world)["jobs"] == 0


def test_what_its_task_has_recorded_stays(world: Serving) -> None:
    run = world.run("r")
    name = trained(world, run.layout.job("train", 1), models_of(run))
    entry = {
        "job": name, "kind": "training", "run": run.layout.run, "instance_type": "ml.m5.large",
        "instances": 1, "billable_seconds": 60, "status": "Completed",
    }  # fmt: skip
    ledger.record(world.store, world.layout, "us-east-1", entry, ENDED)
    assert brought(world) == []
    assert world.sagemaker.calls.count("DescribeTrainingJob") == 0
    # One that was cut short between its two objects is made whole.
    world.store.delete(world.layout.cost("2026-03", name))
    assert brought(world) == [name]
    assert spent(world)["jobs"] == 1


def test_jobs_of_others_are_not_recorded(world: Serving) -> None:
    """Of other deployments in the account, of people, and of this project under other names."""
    run, other = world.run("r"), world.run("other")
    mine = run.layout.job("train", 1)
    foreign = [
        (mine, models_of(run).replace("s3://fmrec/fmrec/", "s3://fmrec/fmrec2/")),
        (mine + "1", models_of(run).replace("s3://fmrec/", "s3://theirs/")),
        (mine + "2", models_of(other)),
        (mine + "-mine", models_of(run)),
        (mine + "3", "s3://fmrec/elsewhere"),
        ("my-" + mine, models_of(run)),
        (f"fmrec-train-{run.layout.run}x-1", models_of(run)),
        ("fmrec-train-mine", models_of(run)),
        ("theirs", models_of(run)),
    ]
    for name, output in foreign:
        trained(world, name, output)
    has(world, "HyperParameterTuningJob", "fmrec-mine")  # with several definitions
    assert brought(world) == []


def test_jobs_that_run_still_or_ended_long_ago_are_left(world: Serving) -> None:
    run = world.run("r")
    for number, state in enumerate(("InProgress", "Stopping")):
        trained(world, run.layout.job("train", number), models_of(run), TrainingJobStatus=state)
    past = {"LastModifiedTime": NOW - timedelta(days=32)}
    trained(world, run.layout.job("train", 9), models_of(run), **past)
    assert brought(world) == []


def test_what_cannot_be_looked_at_keeps_nothing_else_from_the_ledger(world: Serving) -> None:
    run = world.run("r")
    trained(world, run.layout.job("train", 1), models_of(run))
    score = has(
        world, "TransformJob", run.layout.job("score", 1), TransformResources=MACHINES,
        TransformOutput={"S3OutputPath": run.layout.uri(run.layout.predictions("x"))},
    )  # fmt: skip
    no = refusal("DescribeTrainingJob", "AccessDeniedException", "no")
    world.sagemaker.refuse["DescribeTrainingJob"] = no
    problems: list[str] = []

    @contextmanager
    def guard(what: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            problems.append(f"{what}: {error}")

    assert brought(world, guard=guard) == [score]
    [problem] = problems
    assert problem.startswith(f"what {run.layout.job('train', 1)} cost: ")
