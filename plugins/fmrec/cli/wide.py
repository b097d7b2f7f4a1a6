"""A table on a console that may be narrower."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

_NATURAL = 10_000  # characters, in which any table finds room


def print_table(console: Console, table: Table) -> None:
    """As wide as it is: a figure that was cut to the width of a console is another figure."""
    width = console.width
    room = console.options.update(max_width=_NATURAL)
    console.width = max(width, console.measure(table, options=room).maximum)
    try:
        console.print(table)
    finally:
        console.width = width
