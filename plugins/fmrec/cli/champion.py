"""`python -m fmrec champion`: who is in production, and a person's word on who shall be."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fmrec.cli import zone
from fmrec.errors import ConfigurationError, FmrecError, StoreError
from fmrec.layout import Layout
from fmrec.release import champions
from fmrec.steps.published import Published
from fmrec.store import Store


def show(lane: str | None, appointed: str | None, console: Console | None = None) -> None:
    """Print the champions of each lane, the latest last.

    A run that is `appointed` is made the champion of its lane first. Raises ConfigurationError when
    there is no champion to show, none in `lane`, or the run is not published or has no model, and
    as `fmrec.release.champions.appoint` does.
    """
    console = console or Console()
    store, deployment = zone.open_store()
    layout = Layout(store.bucket, deployment.prefix, "")
    if appointed is not None:
        lane = _appoint(store, layout, appointed, lane, console)
    lanes = champions.lanes(store, layout)
    if lane is not None and lane not in lanes:
        known = ", ".join(lanes) or "none"
        raise ConfigurationError(f"lane {lane!r} has no champion; those that have one: {known}")
    if not lanes:
        raise ConfigurationError(
            f"there is no champion in s3://{store.bucket}/{layout.champions('')[:-1]} yet: trigger "
            "fmrec_retrain, or appoint a published run"
        )
    for each in lanes if lane is None else [lane]:
        console.print(f"\nLane {each}", highlight=False, markup=False)
        console.print(_table(champions.history(store, layout, each)))


def _appoint(store: Store, layout: Layout, key: str, lane: str | None, console: Console) -> str:
    try:
        past = Published.of(layout.of(key), store)
    except StoreError:
        raise ConfigurationError(
            f"run {key!r} is not published in s3://{store.bucket}/{layout.published}: name one "
            "that is (`python -m fmrec history` lists them)"
        ) from None
    try:
        past.model()
    except FmrecError as error:
        raise ConfigurationError(
            f"run {key!r} has no model that could be in production: {error}"
        ) from None
    own = past.run.lane
    if lane not in {None, own}:
        raise ConfigurationError(f"run {key} is of lane {own}, not of {lane!r}: leave --lane out")
    entry = champions.appoint(
        store,
        layout,
        own,
        run=key,
        as_of=past.run.as_of,
        manifest=past.run.layout.published_report("manifest.json"),
        artifact=past.artifact,
        at=datetime.now(UTC),
        by=_person(),
    )
    instead = "" if entry.replaces in {None, key} else f", in place of {entry.replaces}"
    console.print(f"{key} is the champion of {own}{instead}", highlight=False, soft_wrap=True)
    return own


def _person() -> str | None:
    """Who runs this command; None where the machine has no name for them."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None


def _table(history: list[champions.Champion]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("no.", "ratings before", "run", "since (UTC)"):
        table.add_column(name, no_wrap=True, justify="right" if name == "no." else "left")
    table.add_column("by", overflow="fold")
    for each in history:
        # As it is, whatever it looks like.
        run, by = Text(each.run), Text(_decided(each))
        table.add_row(
            str(each.sequence),
            f"{each.as_of:%Y-%m-%d}",
            run,
            f"{each.at:%Y-%m-%d %H:%M}",
            by,
            style="bold" if each is history[-1] else None,
        )
    return table


def _decided(entry: champions.Champion) -> str:
    """Who made it the champion, how, and why."""
    if entry.by == champions.GATE:
        return "the gate"
    how = entry.kind if entry.decision is None else "asked by the gate"
    why = "" if entry.reason is None else f": {entry.reason}"
    return f"{entry.by or 'a person'} ({how}){why}"
