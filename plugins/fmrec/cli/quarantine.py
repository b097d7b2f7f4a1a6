"""`python -m fmrec quarantine` and `readmit`: look at refused rows, and let some in after all."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fmrec.cli import zone
from fmrec.errors import ConfigurationError
from fmrec.ratings import landing
from fmrec.ratings.landing import LandingDay
from fmrec.ratings.quarantine import CHECKS
from fmrec.ratings.readmission import readmit
from fmrec.store import Store


def show(day: date | None, check: str | None, console: Console | None = None) -> int:
    """List the refused rows of a landing day, or of all; gives their number.

    They are read from the landed files themselves, also those of a day that is not over.
    """
    if check not in {None, *CHECKS}:
        raise ConfigurationError(f"--check {check}: the checks are {', '.join(CHECKS)}")
    console = console or Console()
    store, deployment = zone.open_store()
    refused: list[dict[str, Any]] = []
    for each in _days(store, deployment.prefix, day):
        refused.extend(landing.read(store, each).quarantine.to_pylist())
    if day is None:
        refused.extend(landing.strays(store, deployment.prefix).to_pylist())
    refused = [row for row in refused if check in {None, row["check"]}]
    if not refused:
        console.print("Nothing was refused.")
        return 0
    table = Table("file", "row", "check", "reason", "text", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for row in refused:
        number = str(row["row"]) if row["row"] else "all"
        cells = (row["file"], number, row["check"], row["reason"], row["text"])
        table.add_row(*(Text(cell, overflow="fold") for cell in cells))
    console.print(table)
    console.print(f"{len(refused):,} refused", highlight=False)
    return len(refused)


def let_in(day: date, rows: str | None, check: str | None, today: date | None = None) -> str:
    """Land refused rows of a day again, as admitted; gives the key of their file.

    `rows` is FILE:ROW,…; FILE as `show` lists it, or without its dt=…/.
    """
    store, deployment = zone.open_store()
    found = _days(store, deployment.prefix, day)
    if not found:
        raise ConfigurationError(f"nothing landed on {day}")
    done = readmit(
        store,
        deployment.prefix,
        found[0],
        today=today or datetime.now(UTC).date(),
        places=_places(rows, day),
        check=check,
    )
    console = Console()
    word = "landed" if done.is_new else "landed before"
    where = f"s3://{store.bucket}/{done.key}"
    console.print(f"{done.rows:,} row(s) {word}: {where}", highlight=False, soft_wrap=True)
    if done.left:
        console.print(
            f"{done.left:,} more cannot be let in as they are: correct them and land them anew.",
            highlight=False,
            soft_wrap=True,
        )
    return done.key


def _days(store: Store, prefix: str, day: date | None) -> list[LandingDay]:
    end_of_time = datetime.max.replace(tzinfo=UTC)
    return [each for each in landing.days(store, prefix, end_of_time) if day in {None, each.day}]


def _places(rows: str | None, day: date) -> list[tuple[str, int]]:
    found = []
    for word in (rows or "").split(","):
        if not word:
            continue
        name, _, number = word.rpartition(":")
        if not name or not (number.isascii() and number.isdecimal()):
            raise ConfigurationError(f"--rows: {word!r} is not FILE:ROW, such as today.csv:17")
        folder = f"dt={day}/"
        found.append((folder + name.removeprefix(folder), int(number)))
    return found
