"""The pipeline's steps as Airflow tasks, for all DAGs; their docstrings are the texts in the UI.

What a step needs is imported when it runs: a DAG file is parsed every half minute.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import get_current_context, task

from fmrec.operators.clients import aws_client, clock
from fmrec.settings import Deployment

Xcom = dict[str, Any]


@task
def plan() -> Xcom:
    """Fix the clock and the choices of the run."""
    from fmrec.steps import plan as step

    context = get_current_context()
    deployment = Deployment.of(os.environ)
    dag_run: Any = context["dag_run"]
    return step.plan(
        dag_run.run_id, clock(context), context["params"], deployment, aws_client("s3")
    )


@task
def ingest(run: Xcom) -> Xcom:
    """Read the ratings of the source, checked, into tables."""
    from fmrec.steps import ingest as step

    return step.ingest(run, aws_client("s3"), Deployment.of(os.environ))


@task
def events(run: Xcom, tables: Xcom) -> Xcom:
    """Cut at `as_of`, split, and fix which id is which column."""
    from fmrec.steps import events as step

    return step.events(run, tables, aws_client("s3"))


@task
def recordio(run: Xcom, tables: Xcom, parts: Xcom) -> Xcom:
    """Write the design matrices as RecordIO-protobuf files."""
    from fmrec.steps import recordio as step

    return step.recordio(run, tables, parts, aws_client("s3"))


@task.branch
def choose(
    run: Xcom, tables: Xcom, parts: Xcom, channels: Xcom, jobs: Mapping[str, Sequence[str]]
) -> Sequence[str]:
    """Go on to the jobs of the run's mode, or to a dry run; to nothing where nothing is new.

    A run that would exceed the month's budget fails here. Only scheduled runs look for what is new.
    """
    from fmrec.steps import choose as step

    dag_run: Any = get_current_context()["dag_run"]
    decision = step.choose(
        run,
        tables=tables,
        parts=parts,
        channels=channels,
        s3=aws_client("s3"),
        deployment=Deployment.of(os.environ),
        scheduled=dag_run.run_type == "scheduled",
        now=datetime.now(UTC),
    )
    return {"skip": [], "rehearse": ["rehearse"], **jobs}[decision]


@task
def rehearse(run: Xcom, channels: Xcom) -> Xcom:
    """Write the requests that would be sent, and what they would cost; send none."""
    from fmrec.steps import rehearse as step

    return step.rehearse(run, channels, aws_client("s3"), Deployment.of(os.environ))


@task
def evaluate(
    run: Xcom, tables: Xcom, parts: Xcom, channels: Xcom, model: Xcom, transform: Xcom
) -> Xcom:
    """Compare the predictions with what happened, and with the baselines."""
    from fmrec.steps import evaluate as step

    return step.evaluate(
        run,
        tables=tables,
        parts=parts,
        channels=channels,
        training=model["training"],
        transform=transform,
        s3=aws_client("s3"),
        logs=aws_client("logs"),
        region=Deployment.of(os.environ).region,
    )


@task
def publish(run: Xcom, report: Xcom) -> Xcom:
    """Put the report where people look for it, the manifest last."""
    from fmrec.steps import publish as step

    return step.publish(run, report, aws_client("s3"))


@task
def release(run: Xcom, report: Xcom, published: Xcom, approval: Xcom) -> Xcom:
    """Make the model the champion, if the gate or the person it asked says so."""
    from fmrec.steps import release as step

    now = datetime.now(UTC)
    return step.release(run, report, published, approval, aws_client("s3"), now)


@task
def adopt(run: Xcom, control: Xcom, tuning: Xcom) -> Xcom:
    """Make what was found the default of later runs, if it beats today's default."""
    from fmrec.steps import adopt as step

    return step.adopt(run, control, tuning, aws_client("s3"), datetime.now(UTC))
