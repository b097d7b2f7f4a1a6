"""Rebuild the movie recommender from all ratings up to one moment.

**What it does.** Reads the ratings of an archive, of the landing zone or of both, keeps those
before `as_of` and of each user and film the latest, splits them, writes them as
RecordIO-protobuf, trains SageMaker Factorization Machines, scores the test events with a batch
transform, and publishes a report that compares the model with baselines and with the champion on
the same rows. A model that is shown to be better becomes the champion of its lane (use, source and
split); one that was overtaken by another run's meanwhile does not, and its last task says so.

**When.** Every day at midnight UTC, for the day that just ended. `as_of` is the end of the data
interval, so `airflow backfill create` rebuilds the model of any past day from what was known
then. A manual run takes the last midnight before its logical date, or the present moment when it
has none; the Param `as_of` overrides all of that.

**What it leaves.** `s3://<bucket>/<prefix>/reports/<as_of>-<run>/` with `report.html`,
`report.json` and, written last, `manifest.json`. Everything else of the run is below
`<prefix>/runs/<as_of>-<run>/`.

**When it fails.** Each error names the file, row or parameter and what to do. A job that failed
is started under a new name when its task is retried or cleared; finished tasks need not be
repeated. After three failed runs in a row Airflow pauses the DAG.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import (
    DAG,
    CronDataIntervalTimetable,
    ExceptionRetryPolicy,
    Param,
    RetryAction,
    RetryRule,
    get_current_context,
    task,
)

from fmrec import errors, operators, settings


@task
def plan() -> dict[str, Any]:
    """Fix the clock and the choices of the run."""
    from fmrec.steps import plan as step

    context = get_current_context()
    return step.plan(
        context["run_id"],
        operators.clock(context),
        context["params"],
        settings.Deployment.of(os.environ),
    )


@task
def ingest(run: dict[str, Any]) -> dict[str, Any]:
    """Read the ratings of the source, checked, into tables."""
    from fmrec.steps import ingest as step

    return step.ingest(run, operators.aws_client("s3"), settings.Deployment.of(os.environ))


@task
def events(run: dict[str, Any], tables: dict[str, Any]) -> dict[str, Any]:
    """Cut at `as_of`, split, and fix which id is which column."""
    from fmrec.steps import events as step

    return step.events(run, tables, operators.aws_client("s3"))


@task
def recordio(run: dict[str, Any], tables: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    """Write the design matrices as RecordIO-protobuf files."""
    from fmrec.steps import recordio as step

    return step.recordio(run, tables, parts, operators.aws_client("s3"))


@task
def evaluate(
    run: dict[str, Any],
    tables: dict[str, Any],
    parts: dict[str, Any],
    channels: dict[str, Any],
    training: dict[str, Any],
    transform: dict[str, Any],
) -> dict[str, Any]:
    """Compare the predictions with what happened, and with the baselines."""
    from fmrec.steps import evaluate as step

    return step.evaluate(
        run,
        tables=tables,
        parts=parts,
        channels=channels,
        training=training,
        transform=transform,
        s3=operators.aws_client("s3"),
        logs=operators.aws_client("logs"),
        region=settings.Deployment.of(os.environ).region,
    )


@task
def publish(run: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    """Put the report where people look for it, the manifest last."""
    from fmrec.steps import publish as step

    return step.publish(run, report, operators.aws_client("s3"))


@task
def release(
    run: dict[str, Any], report: dict[str, Any], published: dict[str, Any]
) -> dict[str, Any]:
    """Make the model the champion, if the gate says so."""
    from fmrec.steps import release as step

    return step.release(run, report, published, operators.aws_client("s3"), datetime.now(UTC))


with DAG(
    dag_id="fmrec_retrain",
    dag_display_name="fmrec: retrain",
    description="Ratings → events → RecordIO → SageMaker Factorization Machines → report",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(1997, 9, 20, tzinfo=UTC),  # the first day of MovieLens 100K
    catchup=False,
    max_active_runs=2,  # runs share no file they write; of two promoted at once one is turned away
    max_consecutive_failed_dag_runs=3,
    dagrun_timeout=timedelta(hours=6),
    default_args={
        "owner": "fmrec",
        "retries": 2,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": True,
        "retry_policy": ExceptionRetryPolicy(
            rules=[
                RetryRule(
                    exception=list(errors.PERMANENT),
                    action=RetryAction.FAIL,
                    reason="repeating it would fail in the same way",
                )
            ]
        ),
    },
    params={name: Param(**each) for name, each in settings.params(os.environ).items()},
    tags=["fmrec", "recommender", "sagemaker"],
):
    run = plan()
    tables = ingest(run)
    parts = events(run, tables)
    channels = recordio(run, tables, parts)
    train = operators.TrainingOperator(
        task_id="train",
        doc_md="A SageMaker training job of Factorization Machines.",
        run=run,
        channels=channels,
    )
    model = operators.ModelOperator(
        task_id="model",
        doc_md="The trained artifact, registered as a SageMaker model.",
        run=run,
        training=train.output,
    )
    score = operators.TransformOperator(
        task_id="score",
        doc_md="A SageMaker batch transform of the test events.",
        run=run,
        channels=channels,
        model=model.output,
    )
    report = evaluate(run, tables, parts, channels, train.output, score.output)
    release(run, report, publish(run, report))
