"""`python -m fmrec backfill`: the models of past days, and how far they are."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fmrec.cli import airflow_api, history, stack
from fmrec.cli.airflow_api import AirflowApi
from fmrec.errors import ConfigurationError, FmrecError
from fmrec.layout import Run

DAG = "fmrec_retrain"
# Each look costs Airflow a fifth of a second, on cores that the days are to have.
_POLL_SECONDS = 5.0
_OVER = {"success", "failed"}
# As many as there are workers: the tasks of one day wait for each other.
_AT_ONCE = 4
_NOTED_SECONDS = 90


@dataclass(frozen=True)
class _Day:
    """The run of one day: its logical date, its name, conf and state, when it ended."""

    day: date
    run: str
    conf: Mapping[str, Any]
    state: str
    ended: datetime | None


def run(
    params: Mapping[str, Any],
    first: date,
    last: date,
    max_active_runs: int | None,
    console: Console | None = None,
) -> None:
    """Rebuild the models of the days from `first` to `last`, and show the table of their figures.

    Called again for the same days it goes on watching, and repeats only days that have failed or
    were told something else. Raises ConfigurationError for days that are no range or not over, and
    FmrecError when another backfill is at work, the DAG is paused or a day has failed, with its
    task and the task's error.
    """
    console = console or Console()
    _check(params, first, last)
    with airflow_api.opened(stack.needed()) as api:
        _unpause(api, console)
        since = _start(api, params, first, last, max_active_runs or _AT_ONCE, console)
        try:
            days = _watch(api, first, last, since, console)
        except KeyboardInterrupt:
            _say(console, "The backfill goes on. The same command shows again how far it is; it is "
                          f"stopped at {_page(api)}")  # fmt: skip
            raise
        failed = [day for day in days if day.state == "failed"]
        told = [_why(api, day) for day in failed]
        lane = _lane(api, days)
    if lane is not None:
        _show(lane, console)
    if failed:
        raise FmrecError(
            "\n".join(
                [
                    f"{len(failed)} of {len(days)} days have failed:",
                    *told,
                    "Mend the cause; the same command then repeats these days.",
                ]
            )
        )


def _check(params: Mapping[str, Any], first: date, last: date) -> None:
    today = datetime.now(UTC).date()
    if not first <= last < today:
        raise ConfigurationError(
            f"--from {first} --to {last}: the first day must not be after the last, and the last "
            f"must be over (today is {today}, UTC)"
        )
    if params.get("as_of") is not None:
        raise ConfigurationError(
            "--as-of would give all days one moment: leave it out, then each day's model sees the "
            "ratings before the day's end"
        )


def _unpause(api: AirflowApi, console: Console) -> None:
    if api.get(f"dags/{DAG}")["is_paused"]:
        api.patch(f"dags/{DAG}", {"is_paused": False})
        _say(console, f"{DAG} was paused and is not any more: its daily schedule runs, too.")


def _start(
    api: AirflowApi,
    params: Mapping[str, Any],
    first: date,
    last: date,
    at_once: int,
    console: Console,
) -> datetime:
    """Ask Airflow for the backfill, unless it is at work on it; gives when it was asked."""
    span = f"{first} to {last}"
    there = _unfinished(api)
    if there is not None and _span(there) != (first, last):
        _wait_for_its_end(api, there, console)
        there = None
    if there is not None:
        if there["dag_run_conf"] != dict(params):
            raise FmrecError(
                f"the backfill of {span} is at work with {_told(there['dag_run_conf'])}, and not "
                f"with {_told(params)}: wait for it, or cancel it at {_page(api)}"
            )
        _say(console, f"The backfill of {span} is at work already: watching it.")
        return _moment(there["created_at"])
    others = [day for day in _days(api, first, last) if day.conf != dict(params)]
    at_work = [day for day in others if day.state not in _OVER]
    if at_work:
        raise FmrecError(
            f"{at_work[0].day} is at work with {_told(at_work[0].conf)}, and a backfill leaves "
            "that alone: let it end first (perhaps it waits for an answer), or stop it at "
            f"{api.ui}/dags/{DAG}/runs/{at_work[0].run}"
        )
    if others:
        _say(console, f"{len(others)} of the days were told something else before, such as "
                      f"{_told(others[0].conf)}: all days are run again.")  # fmt: skip
    body = {
        "dag_id": DAG,
        "from_date": _midnight(first).isoformat(),
        "to_date": _midnight(last).isoformat(),
        "dag_run_conf": dict(params),
        "max_active_runs": at_once,
        # What is run again finds the jobs of what it was told before.
        "reprocess_behavior": "completed" if others else "failed",
    }
    made = api.post("backfills", body)
    _say(console, f"Backfill of {span}, {at_once} days at once: {_page(api)}")
    return _moment(made["created_at"])


def _told(conf: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in conf.items()) or "no Param"


def _unfinished(api: AirflowApi) -> dict[str, Any] | None:
    """The backfill that Airflow is at; it takes one at a time."""
    found = api.every("backfills", "backfills", dag_id=DAG)
    return next((each for each in found if each["completed_at"] is None), None)


def _span(backfill: Mapping[str, Any]) -> tuple[date, date]:
    first, last = (date.fromisoformat(backfill[name][:10]) for name in ("from_date", "to_date"))
    return first, last


def _wait_for_its_end(api: AirflowApi, other: Mapping[str, Any], console: Console) -> None:
    """Wait until Airflow notes, as it does twice a minute, that a backfill is over.

    Raises FmrecError for one that is not.
    """
    first, last = _span(other)
    until = time.monotonic() + _NOTED_SECONDS
    with console.status(f"Airflow has yet to note that the backfill of {first} to {last} is over"):
        while all(day.state in _OVER for day in _days(api, first, last)):
            if _unfinished(api) is None:
                return
            if time.monotonic() > until:
                break
            time.sleep(_POLL_SECONDS)
    raise FmrecError(
        f"a backfill of {first} to {last} is at work, and Airflow takes one at a time: wait for it "
        f"(the same command with its days shows how far it is), or cancel it at {_page(api)}"
    )


def _page(api: AirflowApi) -> str:
    return f"{api.ui}/dags/{DAG}/backfills"


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _watch(
    api: AirflowApi, first: date, last: date, since: datetime, console: Console
) -> list[_Day]:
    """Show how far the days are until all are over."""
    days = _days(api, first, last)
    missing = (last - first).days + 1 - len(days)
    if missing:
        told = f"{missing} of the days have no run: Airflow makes none before the DAG's start date."
        if not days:
            raise FmrecError(f"{told} Nothing was rebuilt; see {_page(api)}")
        _say(console, told)
    kept = {day.day for day in days if day.ended is not None and day.ended < since}
    if kept:
        _say(console, f"{len(kept)} of the days have been rebuilt before, and are kept.")
    said = set(kept)
    with Live(console=console, transient=True) as live:
        while True:
            for each in days:
                if each.state in _OVER and each.day not in said:
                    said.add(each.day)
                    mark = "[green]done[/]" if each.state == "success" else "[red]failed[/]"
                    live.console.print(f"  {each.day}  {mark}", highlight=False)
            if all(day.state in _OVER for day in days):
                return days
            if api.get(f"dags/{DAG}")["is_paused"]:
                raise FmrecError(
                    f"{DAG} has been paused, and no day goes on until it is unpaused; the same "
                    "command does that, and goes on watching"
                )
            live.update(_picture(days, kept, since, _tasks(api)))
            time.sleep(_POLL_SECONDS)
            days = _days(api, first, last)


def _days(api: AirflowApi, first: date, last: date) -> list[_Day]:
    """The runs of these days, in their order."""
    found = api.every(
        f"dags/{DAG}/dagRuns",
        "dag_runs",
        logical_date_gte=_midnight(first).isoformat(),
        logical_date_lt=_midnight(last + timedelta(days=1)).isoformat(),
        order_by="logical_date",
    )
    return [
        _Day(
            date.fromisoformat(each["logical_date"][:10]),
            each["dag_run_id"],
            each["conf"] or {},
            each["state"],
            None if each["end_date"] is None else _moment(each["end_date"]),
        )
        for each in found
        if _moment(each["logical_date"]) == _midnight(_moment(each["logical_date"]).date())
    ]


def _tasks(api: AirflowApi) -> dict[str, list[str]]:
    """What each run is at, by its name."""
    path = f"dags/{DAG}/dagRuns/~/taskInstances"
    found: dict[str, list[str]] = {}
    for task in api.every(path, "task_instances", state=["running", "up_for_retry"]):
        told = task["task_id"]
        if task["state"] == "up_for_retry":
            told += " (will be retried)"
        elif task["try_number"] > 1:
            told += f" (attempt {task['try_number']})"
        found.setdefault(task["dag_run_id"], []).append(told)
    return found


def _picture(
    days: list[_Day], kept: set[date], since: datetime, tasks: Mapping[str, list[str]]
) -> Group:
    """A bar, how long it will take, and a line for each day at work."""
    over = [day for day in days if day.state in _OVER]
    busy = [day for day in days if day.state == "running"]
    failed = sum(day.state == "failed" for day in over if day.day not in kept)
    line = Table.grid(padding=(0, 1))
    line.add_row(
        ProgressBar(total=len(days), completed=len(over), width=30),
        f"{len(over)} of {len(days)} days over",
        f"{len(busy)} at work",
        Text(f"{failed} failed" if failed else "", "red"),
        _left(len(over) - len(kept), len(days) - len(over), datetime.now(UTC) - since),
    )
    at = [f"  {day.day}  {', '.join(tasks.get(day.run, ['between tasks']))}" for day in busy]
    return Group(line, *(Text(each, no_wrap=True, overflow="ellipsis") for each in at))


def _left(done: int, left: int, elapsed: timedelta) -> str:
    """How long the rest will take at the pace of those that are done."""
    if not done:
        return ""
    minutes = elapsed.total_seconds() / done * left / 60
    return f"about {minutes:.0f} min left" if minutes >= 1.5 else "about a minute left"


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


def _lane(api: AirflowApi, days: list[_Day]) -> str | None:
    """The lane of the days' runs; None where none has got as far as a report."""
    for day in days:
        path = f"dags/{DAG}/dagRuns/{day.run}/taskInstances"
        states = {task["task_id"]: task["state"] for task in api.every(path, "task_instances")}
        if states.get("publish") == "success":
            entry = f"{path}/plan/xcomEntries/return_value"
            return Run.from_xcom(api.get(entry, deserialize=True)["value"]).lane
    return None


def _show(lane: str, console: Console) -> None:
    """The table, unless something keeps it from being made: the days' own end matters more."""
    try:
        history.show(lane, None, False, console)
    except FmrecError as error:
        _say(console, f"The table of their figures cannot be shown: {error}")


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
