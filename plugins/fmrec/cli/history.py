"""`python -m fmrec history`: all runs side by side, and what age does to a model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from fmrec.cli import environment, wide, zone
from fmrec.errors import ConfigurationError, EvaluationError, StoreError
from fmrec.evaluation import history, history_page
from fmrec.evaluation.ageing import Ageing, explained, shares
from fmrec.evaluation.history import SHORT, History, Lane, Row
from fmrec.evaluation.wording import METRICS
from fmrec.layout import Layout
from fmrec.release import champions
from fmrec.steps import published
from fmrec.steps.ageing import ageing
from fmrec.store import Store


def show(lane: str | None, page: Path | None, advise: bool, console: Console | None = None) -> Path:
    """Print the runs of the lane, or of each lane, and write the page; its path comes back.

    With `advise`, models of several ages are judged by the same ratings besides. Raises
    ConfigurationError when there is no run, or none of that lane, and as
    `fmrec.steps.ageing.ageing` does; then the runs are still shown.
    """
    console = console or Console()
    store, deployment = zone.open_store()
    layout = Layout(store.bucket, deployment.prefix, "")
    found = _of_lane(_read(store, layout), lane, f"s3://{store.bucket}/{layout.published}")
    for each in found.lanes:
        _print_lane(console, each)
    for key, reason in found.damaged.items():
        _print(console, f"Left out: {key}: {reason}.")
    target = page or (environment.state_folder(environment.checkout()) / "reports" / "history.html")
    _write(target, history_page.render(found, None))
    if advise:
        aged = _aged(console, store, layout, lane)
        _print_ageing(console, aged)
        _write(target, history_page.render(found, aged))
    _print(console, f"\nThe page: {target}")
    return target


def _read(store: Store, layout: Layout) -> History:
    def report(key: str) -> Any:
        try:
            return json.loads(store.get(layout.of(key).published_report("report.json")))
        except StoreError:
            raise EvaluationError("its report.json is missing or was altered") from None
        except (ValueError, RecursionError):
            raise EvaluationError("its report.json is not JSON") from None

    def changes(lane: str) -> list[Mapping[str, Any]]:
        return [asdict(each) for each in champions.history(store, layout, lane)]

    return history.of(published.names(layout, store), report, changes)


def _of_lane(found: History, lane: str | None, where: str) -> History:
    if not found.lanes and not found.damaged:
        raise ConfigurationError(
            f"no run is published in {where}: trigger fmrec_retrain, or make the runs of past days "
            "with `python -m fmrec airflow backfill create`"
        )
    if lane is None:
        return found
    chosen = [each for each in found.lanes if each.name == lane]
    if not chosen:
        known = ", ".join(each.name for each in found.lanes if each.name) or "no lane"
        raise ConfigurationError(f"no run is in lane {lane!r}; there are runs in {known}")
    return History(chosen, found.damaged)


def _print_lane(console: Console, lane: Lane) -> None:
    rows = lane.rows
    named = f"Lane {lane.name}" if lane.name else "Runs whose reports name no lane"
    console.print(Text(f"\n{named}: {len(rows)} run{'s' if len(rows) > 1 else ''}", style="bold"))
    _print(console, "")
    kinds = {(row.objective, row.features) for row in rows}
    for metric in sorted({row.metric for row in rows}):
        own = [row for row in rows if row.metric == metric]
        wide.print_table(console, _table(own, len(kinds) > 1))
    if any(row.crowned for row in rows):
        _print(console, "\n* has been the champion")
    for change in lane.changes[-5:]:
        replaced = f", in place of {change.replaces}" if change.replaces else ""
        _print(console, f"{change.at:%Y-%m-%d %H:%M} UTC, {change.kind}: {change.run}{replaced}")
    if lane.cost is not None and rows:
        _print(console, f"All runs together: {_money(lane.cost, rows[-1].currency)}")


def _table(rows: Iterable[Row], mixed: bool) -> Table:
    """One line for each run: a run is found by its moment and the last part of its key."""
    rows = list(rows)
    first = rows[0]
    title, better = METRICS.get(first.metric, (first.metric, first.better))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="")
    table.add_column("as of", no_wrap=True)
    table.add_column("run", no_wrap=True)
    if mixed:
        table.add_column("learns, from", no_wrap=True)
    rival = SHORT.get(first.rival, first.rival)
    midnight = all(row.as_of.time().isoformat() == "00:00:00" for row in rows)
    for name in (f"{title} {'↓' if better == 'less' else '↑'}", rival, "champion"):
        table.add_column(Text(name), justify="right", no_wrap=True)
    table.add_column("difference, 95% interval", justify="right", no_wrap=True)
    table.add_column("to", no_wrap=True)
    table.add_column("gate", no_wrap=True)
    table.add_column("cost", justify="right", no_wrap=True)
    for row in rows:
        _add_row(
            table,
            f"{row.as_of:%Y-%m-%d}" if midnight else f"{row.as_of:%Y-%m-%d %H:%M}",
            row.run.rpartition("-")[2] + ("*" if row.crowned else ""),
            *([f"{row.objective}, {row.features or '?'}"] if mixed else []),
            *(_figure(each) for each in (row.model, row.baseline, row.champion)),
            _difference(row),
            SHORT.get(row.against, row.against),
            row.decision or "",
            _money(row.cost, row.currency),
        )
    return table


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _difference(row: Row) -> str:
    if row.difference is None:
        return ""
    if row.low is None or row.high is None:
        return f"{row.difference:+.4f}"
    return f"{row.difference:+.4f} {row.low:+.4f}..{row.high:+.4f}"


def _money(amount: float | None, currency: str | None) -> str:
    return "" if amount is None else f"{amount:.4f} {currency or ''}".strip()


def _aged(console: Console, store: Store, layout: Layout, lane: str | None) -> Ageing:
    columns = (TextColumn("asking the models"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        return ageing(
            store,
            layout,
            lane,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def _print_ageing(console: Console, found: Ageing) -> None:
    title = METRICS[found.metric][0]
    console.print(Text(f"\nModels of lane {found.lane} by their age\n", style="bold"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for name in ("age", title, "fresh", "loss", "95% interval", "days", "ratings", "users",
                 "users known", "films known", "mean age", "models"):  # fmt: skip
        table.add_column(name, justify="right", no_wrap=True)
    for row in found.rows:
        _add_row(
            table,
            "1 day" if row.age == 1 else f"{row.age} days",
            f"{row.value:.4f}",
            f"{row.fresh:.4f}",
            *shares(row),
            f"{row.days}",
            f"{row.ratings:,}",
            f"{row.users:,}",
            f"{row.known_users:.1%}",
            f"{row.known_items:.1%}",
            f"{row.mean_age:.1f}",
            f"{row.models}",
        )
    wide.print_table(console, table)
    for sentence in ("", *explained(found), "", found.advice):
        _print(console, sentence)


def _write(target: Path, text: str) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"the page {target} cannot be written ({error.strerror}): name another place with "
            "--page"
        ) from None


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _add_row(table: Table, *cells: str) -> None:
    # What reports say is no markup of Rich.
    table.add_row(*(Text(cell) for cell in cells))
