"""The pipeline's steps as Airflow tasks, for all DAGs; their docstrings are the texts in the UI.

What a step needs is imported when it runs: a DAG file is parsed every half minute.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import get_current_context, task

from fmrec.operators import assets, notices
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


@task(outlets=[assets.RATINGS])
def ingest(run: Xcom) -> Xcom:
    """Read the ratings of the source, checked, into tables."""
    from fmrec.steps import ingest as step

    tables = step.ingest(run, aws_client("s3"), Deployment.of(os.environ))
    facts = {name: tables[name] for name in ("ratings", "refused_by_check", "erased", "notes")}
    assets.note(assets.RATINGS, {"source": tables["origin"]["sentence"], **facts})
    return tables


@task
def events(run: Xcom, tables: Xcom) -> Xcom:
    """Cut at `as_of`, split, and fix which id is which column."""
    from fmrec.steps import events as step

    return step.events(run, tables, aws_client("s3"))


@task(outlets=[assets.CHANNELS])
def recordio(run: Xcom, tables: Xcom, parts: Xcom) -> Xcom:
    """Write the design matrices as RecordIO-protobuf files."""
    from fmrec.steps import recordio as step

    channels = step.recordio(run, tables, parts, aws_client("s3"))
    facts = {
        "run": run["layout"]["run"],
        "feature_dim": channels["feature_dim"],
        "rows": {name: each["rows"] for name, each in parts["parts"].items()},
        "id_map_sha256": parts["id_map"]["sha256"],
        "data_sha256": parts["data"]["fingerprint"],
    }
    assets.note(assets.CHANNELS, facts)
    return channels


@task.branch
def choose(
    run: Xcom,
    tables: Xcom,
    parts: Xcom,
    channels: Xcom,
    jobs: Mapping[str, Sequence[str]],
    releases: bool = True,
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
        releases=releases,
        now=datetime.now(UTC),
    )
    return {"skip": [], "rehearse": ["rehearse"], **jobs}[decision]


@task
def rehearse(run: Xcom, channels: Xcom, releases: bool = True) -> Xcom:
    """Write the requests that would be sent, and what they would cost; send none."""
    from fmrec.steps import rehearse as step

    deployment = Deployment.of(os.environ)
    return step.rehearse(run, channels, aws_client("s3"), deployment, releases=releases)


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


@task(outlets=[assets.REPORT])
def publish(run: Xcom, report: Xcom) -> Xcom:
    """Put the report where people look for it, the manifest last."""
    from fmrec.steps import publish as step

    published = step.publish(run, report, aws_client("s3"))
    facts = {"run": run["layout"]["run"], "as_of": run["as_of"], "files": published["files"]}
    told = {
        "metrics": report["metrics"],
        "cost": report["cost"],
        "gate": report["gate"]["headline"],
    }
    assets.note(assets.REPORT, facts | told)
    return published


@task(outlets=[assets.NEW_CHAMPION])
def release(run: Xcom, report: Xcom, published: Xcom, approval: Xcom | None) -> Xcom:
    """Make the model the champion, if the gate or the person it asked says so."""
    from fmrec.steps import release as step

    now = datetime.now(UTC)
    released = step.release(run, report, published, approval, aws_client("s3"), now)
    if released["promoted"] and assets.is_news(released["since"]):
        facts = {"lane": released["lane"], "run": run["layout"]["run"], "as_of": run["as_of"]}
        assets.update(assets.NEW_CHAMPION, assets.CHAMPION, facts)
        told = facts | {"metrics": report["metrics"], "cost": report["cost"]}
        notices.send("champion", f"{facts['run']} is the champion of {facts['lane']}.", told)
    return released


@task(outlets=[assets.NEW_HYPERPARAMETERS])
def adopt(run: Xcom, parts: Xcom, control: Xcom, tuning: Xcom) -> Xcom:
    """Make what was found the default of later runs, if it beats today's default."""
    from fmrec.steps import adopt as step

    adopted = step.adopt(run, parts, control, tuning, aws_client("s3"), datetime.now(UTC))
    if adopted["adopted"]:
        assets.update(assets.NEW_HYPERPARAMETERS, assets.HYPERPARAMETERS, adopted)
    return adopted
