"""`python -m fmrec explain`: why a published run gives a user and a film the score it gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text
from scipy import sparse

from fmrec.cli import runs, zone
from fmrec.errors import DataError
from fmrec.events.encoders import FEATURES
from fmrec.events.space import FeatureSpace
from fmrec.events.window import as_seconds
from fmrec.fm.explanation import Explanation, Term, explain
from fmrec.layout import Run

# Features whose values are films: their names show titles.
_FILMS = ("item", "rated", "previous")


def show(run: str, user: int, item: int, top: int, console: Console | None = None) -> Explanation:
    """Print the parts of a score: those of features together, then the largest single ones.

    `run` is the key of a published run, or "latest". A user or a film without training events has
    a score as long as other columns say something of it; what is missing is told. The film's own
    place in the user's history is left out, as in every row of the run, and the moment of asking
    is the run's own.

    Raises ConfigurationError for a run that is not published, DataError for a user or a film
    that no column says anything of.
    """
    console = console or Console()
    store, deployment = zone.open_store()
    past = runs.find(store, deployment, run)
    this, design, model = past.run, past.design(), past.model()
    row = design.asked(np.array([user]), np.array([item]), as_seconds(this.as_of))
    notes = [
        *_missing(this, design.space, row, "user", user),
        *_missing(this, design.space, row, "item", item),
    ]
    titles = _titles(store.get_table(past.tables["keys"]["items"]))
    found = explain(model, row, design.space.names())
    found = replace(found, names=tuple(_readable(name, titles) for name in found.names))
    score = float(model.score(row)[0])
    film = f"{titles[item]}, item {item}" if item in titles else f"item {item}"
    _print(console, f"User {user} and {film}, in run {this.layout.run}")
    for note in notes:
        _print(console, note)
    if found.predictor_type == "binary_classifier":
        told = f"Probability {score:.4f}: log-odds of {found.raw:+.4f}, which is the sum of"
    else:
        told = f"Score {score:.4f}, which is the sum of"
    _print(console, f"\n{told}\n")
    bias, *groups = found.groups()
    console.print(_table(bias, sorted(groups, key=_size), top, len(groups), found.raw))
    _print(console, "\nand, one by one, of\n")
    console.print(_table(bias, found.largest(top), top, found.count - 1, found.raw))
    return found


def _missing(
    run: Run, space: FeatureSpace, row: sparse.csr_matrix, side: str, number: int
) -> list[str]:
    """What is to be said of a user or an item without training events."""
    trained = space.trained_users if side == "user" else space.trained_items
    if number in trained:
        return []
    filled = [FEATURES[code] for code in np.unique(space.feature[row.indices]).tolist()]
    speaking = [feature.name for feature in filled if feature.side == side]
    if not speaking:
        raise DataError(
            f"{side} {number} is not known to run {run.layout.run}: it has no training event, and "
            f"with features={space.preset} nothing else is said of it. Choose one of the "
            f"{trained.size:,} {side}s that the run learnt, from {trained[0]} to {trained[-1]}, or "
            "train on ratings of this one."
        )
    return [f"No training event has {side} {number}: for it speaks {', '.join(speaking)} alone."]


def _titles(items: pa.Table) -> dict[int, str]:
    rows = zip(items["item_id"].to_pylist(), items["title"].to_pylist(), strict=True)
    return {item: title for item, title in rows if title}


def _readable(name: str, titles: dict[int, str]) -> str:
    feature, _, value = name.partition(":")
    shown = titles.get(int(value), value) if feature in _FILMS else value
    return f"{feature}: {shown}"


def _size(term: Term) -> float:
    return -abs(term.contribution)


def _table(bias: Term, terms: Sequence[Term], top: int, count: int, total: float) -> Table:
    """The bias, the first `top` of `count` terms, what the others add up to, and the total."""
    shown = [bias, *terms[:top]]
    left = count - len(shown) + 1
    table = Table(box=None, pad_edge=False, show_header=False, show_footer=True)
    table.add_column(justify="right", no_wrap=True, footer=f"{total:+.4f}")
    table.add_column(overflow="fold", footer="in all")
    for term in shown:
        _add(table, term.contribution, " x ".join(term.names) or "bias, the start of every score")
    if left:
        rest = total - math.fsum(term.contribution for term in shown)
        _add(table, rest, f"{left:,} others")
    return table


def _add(table: Table, contribution: float, what: str) -> None:
    table.add_row(f"{contribution:+.4f}", Text(what))


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
