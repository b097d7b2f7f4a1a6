"""`python -m fmrec replay`: an archive's ratings land day by day, as if they were given now."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from fmrec import ratings
from fmrec.cli import zone
from fmrec.ratings import replay

_FIRST_DAY = timedelta(days=30)  # before today


def run(
    source: str | None, first_day: date | None, until: date | None, today: date | None = None
) -> list[date]:
    """Land what is missing up to `until`, and give the days that landed.

    `until` is yesterday unless it is given: the last day that is over, which is the last one that
    a run started today sees. `today` is the UTC day unless it is given.
    """
    today = today or datetime.now(UTC).date()
    until = until or today - timedelta(days=1)
    store, deployment = zone.open_store()
    console = Console()
    found = replay.current(store, deployment.prefix)
    replay.agree(found, source, first_day)
    name = found.source if found else str(source)
    unusable = 0
    with (
        console.status(f"opening {name}") as status,
        ratings.open_archive(
            name,
            data_dir=deployment.data_dir,
            cache_dir=deployment.cache_dir,
            progress=lambda done, total: status.update(f"downloading {name}: {done / 1e6:.1f} MB"),
        ) as archive,
    ):
        users, items = archive.users(), archive.items()
        if found is None:
            chunks = (chunk.ratings for chunk in archive.ratings("time"))
            day = first_day or today - _FIRST_DAY
            found = replay.begin(store, deployment.prefix, name, day, chunks)
        tables = []
        for chunk in archive.ratings("time"):
            tables.append(replay.due(chunk.ratings, found, until))
            unusable += chunk.quarantine.num_rows
        status.stop()
        columns = (TextColumn("landing {task.fields[day]}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("", day="", total=None)
            landed = replay.land(
                store,
                deployment.prefix,
                found,
                ratings=tables,
                users=users,
                items=items,
                progress=lambda day, done, total: bar.update(
                    task, day=day, completed=done, total=total
                ),
            )
    _tell(console, store.bucket, deployment.prefix, landed, until)
    if unusable:
        console.print(
            f"{unusable:,} rows of {name} cannot be read and were left out.", soft_wrap=True
        )
    return landed


def _tell(console: Console, bucket: str, prefix: str, landed: list[date], until: date) -> None:
    if not landed:
        console.print(f"Nothing is missing up to {until}.", highlight=False)
        return
    span = f"{landed[0]}" if len(landed) == 1 else f"{landed[0]} to {landed[-1]}"
    console.print(
        f"Landed {len(landed)} day(s), {span}, in s3://{bucket}/{prefix}/landing/.\n"
        "A day is seen by runs whose as_of lies after it: source=landing, or an archive together "
        "with the landing zone.",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
