"""`python -m fmrec status`: what runs, what is in production, what it has cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fmrec import ledger
from fmrec.cli import airflow_api, stack, wide, zone
from fmrec.cli.airflow_api import AirflowApi
from fmrec.cli.started import Stack
from fmrec.errors import FmrecError
from fmrec.layout import Layout
from fmrec.release import champions
from fmrec.settings import Deployment
from fmrec.store import Store

_STATES = ("running", "queued", "success", "failed")
_AT = {
    "running": "runs",
    "deferred": "is watched by the triggerer",
    "awaiting_input": "waits for a person",
    "up_for_retry": "will be retried",
}


def show(console: Console | None = None) -> None:
    """Print how things stand. Raises FmrecError when there is no AWS to ask.

    What is known of an Airflow on this machine is shown before that.
    """
    console = console or Console()
    found = stack.found()
    if found is not None:
        _components(console, found)
        try:
            with airflow_api.opened(found) as api:
                _runs(console, api)
        except FmrecError as error:
            _head(console, str(error))
    store, deployment = zone.open_store()
    _jobs(console, zone.client("sagemaker"))
    layout = Layout(store.bucket, deployment.prefix, "")
    _champions(console, store, layout)
    _costs(console, store, layout, deployment)


def _components(console: Console, found: Stack) -> None:
    _head(console, f"Started by `make up`: {found.ui}, local AWS {found.aws}")
    table = _table("component", "process", "since (UTC)", "")
    for each in found.started:
        alive = each.runs()
        since = datetime.fromtimestamp(each.created, UTC)
        state = Text("runs") if alive else Text("has ended: `make up` starts it again", "red")
        table.add_row(each.name, str(each.pid), f"{since:%Y-%m-%d %H:%M}", state)
    wide.print_table(console, table)


def _runs(console: Console, api: AirflowApi) -> None:
    _head(console, "DAGs")
    table = _table("DAG", "", *_STATES, "next run (UTC)", right=_STATES)
    counts = {
        dag["dag_id"]: {each["state"]: each["count"] for each in dag["stats"]}
        for dag in api.get("dagStats")["dags"]
    }
    for dag in api.every("dags", "dags", order_by="dag_id"):
        name, paused = dag["dag_id"], dag["is_paused"]
        following = (dag["next_dagrun_run_after"] or "")[:16].replace("T", " ")
        table.add_row(
            name,
            "paused" if paused else "",
            *(str(counts.get(name, {}).get(state, 0)) for state in _STATES),
            "" if paused else following,
        )
    wide.print_table(console, table)
    for task in api.every("dags/~/dagRuns/~/taskInstances", "task_instances", state=list(_AT)):
        at = f"{task['task_id']} {_AT[task['state']]}"
        _say(console, f"{task['dag_id']} {task['dag_run_id']}: {at}")


def _jobs(console: Console, sagemaker: Any) -> None:
    """What SageMaker is at, and what costs money by the hour."""
    try:
        busy = list(_in_progress(sagemaker))
        endpoints = list(_endpoints(sagemaker))
    except (ClientError, BotoCoreError) as error:
        _head(console, f"SageMaker does not say what it is at ({error})")
        return
    _head(console, f"SageMaker: {_many(len(busy), 'job')} in progress, "
                   f"{_many(len(endpoints), 'endpoint')}")  # fmt: skip
    for line in (*busy, *endpoints):
        _say(console, line)


def _in_progress(sagemaker: Any) -> Iterator[str]:
    for operation, entries, name, kind in (
        ("list_training_jobs", "TrainingJobSummaries", "TrainingJobName", "training"),
        (
            "list_hyper_parameter_tuning_jobs",
            "HyperParameterTuningJobSummaries",
            "HyperParameterTuningJobName",
            "tuning",
        ),
        ("list_transform_jobs", "TransformJobSummaries", "TransformJobName", "batch transform"),
    ):
        pages = sagemaker.get_paginator(operation)
        for page in pages.paginate(NameContains="fmrec-", StatusEquals="InProgress"):
            for each in page[entries]:
                yield f"{kind} {each[name]} since {_moment(each['CreationTime'])}"


def _endpoints(sagemaker: Any) -> Iterator[str]:
    pages = sagemaker.get_paginator("list_endpoints")
    for page in pages.paginate(NameContains="fmrec-"):
        for each in page["Endpoints"]:
            since = _moment(each["CreationTime"])
            yield f"endpoint {each['EndpointName']} {each['EndpointStatus']} since {since}"


def _champions(console: Console, store: Store, layout: Layout) -> None:
    lanes = champions.lanes(store, layout)
    _head(console, "Champions" if lanes else "No champion yet")
    if not lanes:
        return
    table = _table("lane", "ratings before", "run", "since (UTC)", "by")
    for lane in lanes:
        entry = champions.history(store, layout, lane)[-1]
        table.add_row(
            Text(lane),
            f"{entry.as_of:%Y-%m-%d}",
            Text(entry.run),
            _moment(entry.at),
            Text(entry.by or "a person"),
        )
    wide.print_table(console, table)


def _costs(console: Console, store: Store, layout: Layout, deployment: Deployment) -> None:
    spent = ledger.spent(store, layout, ledger.month_of(datetime.now(UTC)))
    budget = deployment.monthly_budget
    limit = "no budget is set" if budget is None else f"of a budget of {budget:,.2f}"
    _head(
        console,
        f"{spent['month']}: {spent['total']:,.4f} {spent['currency']} for "
        f"{_many(spent['jobs'], 'job')}, {limit}",
    )
    if spent["unknown"]:
        _say(console, f"Not in the sum, as no price is known: {', '.join(spent['unknown'])}")


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _moment(of: datetime) -> str:
    return f"{of.astimezone(UTC):%Y-%m-%d %H:%M}"


def _head(console: Console, text: str) -> None:
    console.print(Text(f"\n{text}", style="bold"), soft_wrap=True)


def _say(console: Console, text: str) -> None:
    console.print(f"  {text}", highlight=False, markup=False, soft_wrap=True)


def _table(*names: str, right: Iterable[str] = ()) -> Table:
    table = Table(box=None, pad_edge=True, padding=(0, 1), header_style="")
    for name in names:
        table.add_column(name, no_wrap=True, justify="right" if name in right else "left")
    return table
