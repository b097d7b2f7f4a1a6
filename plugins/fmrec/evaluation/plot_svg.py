"""Drawing with Matplotlib so that the page decides on colours and fonts.

A drawing is one ``<svg>`` element to be put into HTML. Text stays text, in the page's font, and
never means anything but itself. The same data give the same bytes.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

Rows = Sequence[Mapping[str, Any]]

# Drawn in colours that occur nowhere else, which then become the page's CSS variables.
INK, GRID, MODEL, CHAMPION, PEER, GOOD, BAD, CARD = (f"#0{n}0{n}0{n}" for n in range(1, 9))
_VARIABLES = {
    INK: "--ink-soft",
    GRID: "--line",
    MODEL: "--accent",
    CHAMPION: "--second",
    PEER: "--third",
    GOOD: "--good",
    BAD: "--bad",
    CARD: "--card",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
}
WIDTH = 3.7
"""Inches: narrow, so that a phone does not shrink the text below reading size."""
_LONGEST = 26


@dataclass(frozen=True)
class Look:
    """How a predictor is drawn: each has its own marker and dashes, so colour is never needed."""

    colour: str
    dashes: Any
    marker: str


_LOOKS = {
    "model": Look(MODEL, "-", "o"),
    "champion": Look(CHAMPION, (0, (6, 2)), "s"),
    "popularity": Look(INK, (0, (1, 1.5)), "^"),
    "user_item_bias": Look(INK, (0, (5, 2, 1, 2)), "v"),
    "global_mean": Look(INK, (0, (2, 2)), "x"),
    "item_knn": Look(PEER, (0, (4, 1.5)), "D"),
    "implicit_als": Look(PEER, (0, (3, 1, 1, 1)), "P"),
    "ease": Look(PEER, (0, (1, 1)), "X"),
}


def look(predictor: str) -> Look:
    """The look of a predictor, by its key in report.json."""
    return _LOOKS.get(predictor, Look(PEER, "--", "*"))


def short(text: str) -> str:
    """A text for a label: on one line, and cut where it would not leave room for the drawing."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1].rstrip() + "…"


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places nearest to the wanted ones that leave a gap between neighbours, by least squares.

    They keep the order of the wanted ones and lie within `low` and `high`, unless there are too
    many for that: then they begin at `low` and go on beyond `high`. With the gaps taken off, this
    is isotonic regression: Best and Chakravarti, "Active set algorithms for isotonic regression",
    Mathematical Programming 47, 1990.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks: list[tuple[float, int]] = []
    for n, i in enumerate(order):
        mean, size = wanted[i] - n * gap, 1
        while blocks and blocks[-1][0] > mean:
            before, more = blocks.pop()
            mean, size = (mean * size + before * more) / (size + more), size + more
        blocks.append((mean, size))
    ceiling = max(low, high - (len(wanted) - 1) * gap)
    bases = [min(max(mean, low), ceiling) for mean, size in blocks for _ in range(size)]
    answer = [0.0] * len(wanted)
    for n, i in enumerate(order):
        answer[i] = bases[n] + n * gap
    return answer


def figure_of(axes: Axes) -> Figure:
    """The figure that the axes are of."""
    return cast(Figure, axes.figure)


def label_points(axes: Axes, points: Sequence[tuple[float, float, str, str]]) -> None:
    """Name each point (x, y, text, colour) beside it, where it covers no point and no other name.

    The axes must have their final place and limits. Where all places near a point are taken, the
    name stands further off, joined to its point by a line.
    """
    figure = figure_of(axes)
    at = axes.transData.transform([(x, y) for x, y, _, _ in points])
    scale = figure.dpi / 72
    taken = [Bbox.from_extents(x - 4, y - 4, x + 4, y + 4) for x, y in at]
    room = axes.get_window_extent().padded(-1)
    for (x, y), (_, _, text, colour) in zip(at, points, strict=True):
        written = axes.annotate(text, (0, 0), (0, 0), color=colour, textcoords="offset points")
        size = written.get_window_extent()
        options = [
            _beside(x, y, size.width, size.height, across, up, far * scale)
            for far in (6, 14, 24, 36)
            for across, up in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
        ]
        box = min(options, key=lambda b: _overlap(b, taken) + 9 * _outside(b, room))
        taken.append(box)
        _put(written, box, (x, y), axes, scale)


def _beside(
    x: float, y: float, width: float, height: float, across: int, up: int, far: float
) -> Bbox:
    left = x + across * far + (across - 1) * width / 2
    low = y + up * far + (up - 1) * height / 2
    return Bbox.from_bounds(left, low, width, height)


def _overlap(box: Bbox, others: Sequence[Bbox]) -> float:
    shared = (Bbox.intersection(box.padded(1), other) for other in others)
    return sum(each.width * each.height for each in shared if each is not None)


def _outside(box: Bbox, room: Bbox) -> float:
    inside = Bbox.intersection(box, room)
    return box.width * box.height - (inside.width * inside.height if inside else 0)


def _put(written: Text, box: Bbox, point: tuple[float, float], axes: Axes, scale: float) -> None:
    x, y = point
    reach = max(box.x0 - x, x - box.x1, box.y0 - y, y - box.y1)
    text, colour = written.get_text(), written.get_color()
    written.remove()
    far = reach > 10 * scale
    axes.annotate(
        text,
        tuple(axes.transData.inverted().transform(point)),
        ((box.x0 + box.width / 2 - x) / scale, (box.y0 + box.height / 2 - y) / scale),
        textcoords="offset points",
        color=colour,
        ha="center",
        va="center",
        arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5} if far else None,
    )


def svg(
    draw: Callable[[Axes], None],
    label: str,
    height: float = 2.7,
    *,
    layout: Literal["constrained"] | None = "constrained",
) -> str:
    """What `draw` draws as an ``<svg>`` element, `height` inches high; `label` says it in words.

    Two drawings of a page need different labels: their ids are made from them.
    """
    # A font that is measured with may lack glyphs that the reader's font has.
    with mpl.rc_context({**_STYLE, "svg.hashsalt": label}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(WIDTH, height), layout=layout)
        draw(figure.add_subplot())
        out = io.StringIO()
        # What savefig does besides is to draw everything once more.
        FigureCanvasSVG(figure).print_svg(out)  # type: ignore[no-untyped-call]
    text = out.getvalue()
    return _adapt(text[text.index("<svg") :], html.escape(label))


def _adapt(text: str, label: str) -> str:
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r" font-family: [^;\"]*;", "", text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    # The metadata hold the date of drawing.
    text = re.sub(r"<style.*?</style>|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
