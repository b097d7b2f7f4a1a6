"""The report's plots of slices: the model beside its rivals, group of users or films by group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fmrec.evaluation.plot_svg import CARD, GRID, Look, Rows, look, short, svg

_ROW = 0.235


def limits(rows: Rows) -> tuple[float, float]:
    """Ends of an axis that holds the figures of all rows with a little room.

    Those of small slices, which lie anywhere, count only where there are no others.
    """
    sure = [row for row in rows if not row["small"]] or rows
    known = [value for row in sure for value in _figures(row).values() if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    room = 0.06 * (high - low) or 0.05
    return low - room, high + room


def slices(
    rows: Rows, title: str, names: Mapping[str, str], span: tuple[float, float], unit: str
) -> str:
    """The figures of each slice on one line, for slices of one kind judged by one metric.

    `names` tells the keys of the predictors in the places "model", "reference" and "champion" of a
    row; `span` are the ends of the axis; `unit` is "events" or "users", of which each line says
    how many. Small slices have a hollow dot; an arrow is a figure that lies beyond the axis.
    """
    if not rows:
        return ""
    by = rows[0]["by"]

    def draw(axes: Axes) -> None:
        places = range(len(rows) - 1, -1, -1)
        for y, row in zip(places, rows, strict=True):
            known = [value for value in _figures(row).values() if value is not None]
            if known:
                axes.plot([min(known), max(known)], [y, y], color=GRID, linewidth=2.5)
        for place in reversed(list(names)):
            _mark(axes, rows, places, place, look(names[place]), span)
        axes.set_xlim(*span)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_yticks(places, [short(row["slice"]) for row in rows])
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlabel(title)
        for y, row in zip(places, rows, strict=True):
            at = ("axes fraction", "data")
            axes.annotate(f"{row[unit]:,}", (1.05, y), xycoords=at, va="center", fontsize=8)

    return svg(draw, f"{title} by {by}, slice by slice", 0.42 + _ROW * len(rows))


def _mark(
    axes: Axes,
    rows: Rows,
    places: Iterable[int],
    place: str,
    style: Look,
    span: tuple[float, float],
) -> None:
    low, high = span
    marks: dict[tuple[str, bool], list[tuple[float, int]]] = {}
    for y, row in zip(places, rows, strict=True):
        if (value := _figures(row)[place]) is not None:
            marker = "<" if value < low else ">" if value > high else style.marker
            marks.setdefault((marker, row["small"]), []).append((min(max(value, low), high), y))
    for (marker, small), shown in marks.items():
        axes.plot(
            [x for x, _ in shown],
            [y for _, y in shown],
            color=style.colour,
            marker=marker,
            markersize=6 if place == "model" else 4.5,
            markerfacecolor=CARD if small else style.colour,
            linewidth=0,
            clip_on=False,
        )


def _figures(row: Mapping[str, float | None]) -> dict[str, float | None]:
    return {place: row[place] for place in ("model", "reference", "champion")}
