"""`python -m fmrec backfill`: the models of past days, and how far they are."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fmrec.cli import airflow_api, history, stack
from fmrec.cli.airflow_api import AirflowApi
from fmrec.errors import ConfigurationError, FmrecError
from fmrec.layout import Run
from fmrec.settings import Deployment, RunSettings

DAG = "fmrec_retrain"
_POLL_SECONDS = 2.0
_OVER = {"success", "failed"}
_AT_ONCE = 2


@dataclass(frozen=True)
class _Day:
    """The run of one day: its logical date, its name and its state."""

    day: date
    run: str
    state: str


def run(
    params: Mapping[str, Any],
    first: date,
    last: date,
    max_active_runs: int | None,
    console: Console | None = None,
) -> None:
    """Rebuild the models of the days from `first` to `last`, and show the table of their figures.

    Called again for the same days it goes on watching, and starts nothing that was started.
    Raises ConfigurationError for days that are no range or not over, and FmrecError when another
    backfill is at work or a day has failed, with its task and the task's error.
    """
    console = console or Console()
    today = datetime.now(UTC).date()
    if not first <= last < today:
        raise ConfigurationError(
            f"--from {first} --to {last}: the first day must not be after the last, and the last "
            f"must be over (today is {today}, UTC)"
        )
    with airflow_api.opened(stack.needed()) as api:
        _unpause(api, console)
        _start(api, params, first, last, max_active_runs or _AT_ONCE, console)
        try:
            days = _watch(api, first, last, console)
        except KeyboardInterrupt:
            console.print("The backfill goes on. The same command shows again how far it is.")
            raise
        failed = [day for day in days if day.state == "failed"]
        told = [_why(api, day) for day in failed]
    history.show(_lane(params), None, False, console)
    if failed:
        raise FmrecError("\n".join([f"{len(failed)} of {len(days)} days have failed:", *told]))


def _unpause(api: AirflowApi, console: Console) -> None:
    if api.get(f"dags/{DAG}")["is_paused"]:
        api.patch(f"dags/{DAG}", {"is_paused": False})
        console.print(f"{DAG} was paused and is not any more: its daily schedule runs, too.")


def _start(
    api: AirflowApi,
    params: Mapping[str, Any],
    first: date,
    last: date,
    at_once: int,
    console: Console,
) -> None:
    """Ask Airflow for the backfill, unless it is at work on it."""
    span = f"{first} to {last}"
    for each in api.every("backfills", "backfills", dag_id=DAG):
        if each["completed_at"] is None:
            days = [each[name][:10] for name in ("from_date", "to_date")]
            if days != [first.isoformat(), last.isoformat()]:
                raise FmrecError(
                    f"a backfill of {days[0]} to {days[1]} is at work, and Airflow takes one at a "
                    "time: wait for it (the same command with its days shows how far it is), or "
                    f"cancel it at {api.ui}/dags/{DAG}/backfills"
                )
            console.print(f"The backfill of {span} is at work already: watching it.")
            return
    body = {
        "dag_id": DAG,
        "from_date": _midnight(first).isoformat(),
        "to_date": _midnight(last).isoformat(),
        "dag_run_conf": dict(params),
        "max_active_runs": at_once,
    }
    api.post("backfills", body)
    console.print(f"Backfill of {span}, {at_once} days at once: {api.ui}/dags/{DAG}/backfills")


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _watch(api: AirflowApi, first: date, last: date, console: Console) -> list[_Day]:
    """Show how far the days are until all are over."""
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("days"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, speed_estimate_period=600) as bar:
        task = bar.add_task("", total=(last - first).days + 1)
        said: set[date] = set()
        while True:
            days = _days(api, first, last)
            for each in days:
                if each.state in _OVER and each.day not in said:
                    said.add(each.day)
                    mark = "[green]done[/]" if each.state == "success" else "[red]failed[/]"
                    bar.console.print(f"  {each.day}  {mark}", highlight=False)
            over = sum(day.state in _OVER for day in days)
            bar.update(task, completed=over, total=len(days), description=_now(api, days))
            if over == len(days):
                return days
            time.sleep(_POLL_SECONDS)


def _days(api: AirflowApi, first: date, last: date) -> list[_Day]:
    """The runs of these days, in their order."""
    found = api.every(
        f"dags/{DAG}/dagRuns",
        "dag_runs",
        run_type="backfill",
        logical_date_gte=_midnight(first).isoformat(),
        logical_date_lt=_midnight(last + timedelta(days=1)).isoformat(),
        order_by="logical_date",
    )
    days = [
        _Day(date.fromisoformat(each["logical_date"][:10]), each["dag_run_id"], each["state"])
        for each in found
    ]
    if not days:
        raise FmrecError(
            f"Airflow has no backfilled run from {first} to {last}: other runs of these days are "
            f"there already, and a backfill replaces none (see {api.ui}/dags/{DAG}/runs)"
        )
    return days


def _now(api: AirflowApi, days: list[_Day]) -> str:
    """What the days at work are at."""
    busy = []
    for each in (day for day in days if day.state == "running"):
        tasks = api.every(f"dags/{DAG}/dagRuns/{each.run}/taskInstances", "task_instances")
        at = [task["task_id"] for task in tasks if task["state"] in {"running", "up_for_retry"}]
        busy.append(f"{each.day:%m-%d} {', '.join(at) or 'between tasks'}")
    failed = Counter(day.state for day in days)["failed"]
    return " · ".join([*([f"{failed} failed"] if failed else []), *busy])


def _why(api: AirflowApi, day: _Day) -> str:
    """The task that made a day fail, and its error."""
    path = f"dags/{DAG}/dagRuns/{day.run}/taskInstances"
    for task in api.every(path, "task_instances"):
        if task["state"] == "failed":
            log = api.get(f"{path}/{task['task_id']}/logs/{task['try_number']}", full_content=True)
            page = f"{api.ui}/dags/{DAG}/runs/{day.run}/tasks/{task['task_id']}"
            return f"  {day.day}, task {task['task_id']}: {_error(log)}\n    {page}"
    return f"  {day.day}: {api.ui}/dags/{DAG}/runs/{day.run}"


def _error(log: Any) -> str:
    """The last exception in a task's log."""
    details = [
        detail
        for line in log["content"]
        if isinstance(line, dict)
        for detail in line.get("error_detail") or []
    ]
    return f"{details[-1]['exc_type']}: {details[-1]['exc_value']}" if details else "see its log"


def _lane(params: Mapping[str, Any]) -> str:
    """The lane of the days' runs."""
    found = stack.found()
    source = {} if found is None else {"source": found.source}
    settings = RunSettings.of(source | dict(params))
    nowhere = Deployment(bucket="", role_arn="")
    return Run.of("", datetime.now(UTC), settings, nowhere).lane
