"""`python -m fmrec recommend`: what the champion would show a user, beside what the user rated."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from fmrec import films, topn
from fmrec.cli import zone
from fmrec.errors import DataError
from fmrec.layout import Layout
from fmrec.steps.in_production import InProduction, champion_of, lane_in_use

_LAST_RATED = 10


def show(
    user: int, lane: str | None, top: int, only: str | None, console: Console | None = None
) -> list[dict[str, object]]:
    """Print the films that a user rated last and the best ones not rated; these come back.

    Without a `lane` it is the only one, else that of the default settings. Raises
    ConfigurationError where the lane has no champion or the filter `only` allows no film, DataError
    for a user that the champion does not know.
    """
    console = console or Console()
    if only is not None:
        films.parse(only)  # before anything is opened
    store, deployment = zone.open_store()
    layout = Layout(store.bucket, deployment.prefix, "")
    entry = champion_of(store, layout, lane or lane_in_use(store, layout, os.environ))
    with console.status("opening the champion"):
        champion = InProduction.of(entry, layout, store)
        _check_known(champion, user)
        allowed = champion.allowed(only)
    rated = _rated(champion, user, console)
    rows = topn.recommend(
        champion.model,
        champion.design,
        rated,
        champion.items.to_pandas(),
        user,
        top,
        at=champion.at,
        allowed=allowed,
    )
    _print(console, f"User {user}, and {entry.run}, the champion of {entry.lane}")
    _print(console, f"\nRated last, of {len(rated):,} films in all\n")
    console.print(_last_rated(champion, rated))
    among = "" if only is None else f", of those that meet {only}"
    _print(console, f"\nRecommended{among}\n")
    console.print(_recommended(rows))
    if len(rows) < top:
        _print(console, f"\nNo other film is left: {len(rows)} of the {top} asked for.")
    return rows


def _check_known(champion: InProduction, user: int) -> None:
    known = champion.design.space.trained_users
    if user not in known:
        raise DataError(
            f"user {user} is not known to the champion {champion.entry.run}, which learnt "
            f"{known.size:,} users from {known[0]} to {known[-1]}: choose one of them"
        )


def _rated(champion: InProduction, user: int, console: Console) -> pd.DataFrame:
    columns = (TextColumn("reading the ratings"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        return champion.rated_by(
            user, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )


def _last_rated(champion: InProduction, rated: pd.DataFrame) -> Table:
    last = rated.head(_LAST_RATED)
    table = _columns("stars", "on (UTC)", "film")
    titles = champion.titles(last["item_id"].to_numpy(np.int64))
    days = pd.to_datetime(last["timestamp"], unit="s").dt.strftime("%Y-%m-%d")
    for stars, day, title in zip(last["rating"], days, titles, strict=True):
        table.add_row(f"{stars:g}", day, Text(title))
    return table


def _recommended(rows: list[dict[str, object]]) -> Table:
    table = _columns("rank", "score", "film")
    for row in rows:
        table.add_row(f"{row['rank']}", f"{row['score']:.3f}", Text(str(row["title"])))
    return table


def _columns(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="")
    for name in names:
        film = name == "film"
        table.add_column(
            name, justify="left" if film else "right", no_wrap=not film, overflow="fold"
        )
    return table


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
