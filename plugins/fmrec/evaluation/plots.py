"""The report's plots as SVG text that takes its colours from the page.

Each function returns one ``<svg>`` element to be put into HTML, or "" when there is nothing to
draw. Text stays text, in the page's font. The same data give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Rows = Sequence[Mapping[str, Any]]

# Drawn in colours that occur nowhere else, which then become the page's CSS variables.
_INK, _GRID, _MODEL, _REFERENCE = "#010101", "#020202", "#030303", "#040404"
_VARIABLES = {_INK: "--ink-soft", _GRID: "--line", _MODEL: "--accent", _REFERENCE: "--second"}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
}
_SIZE = (4.3, 2.9)
_STRIP = (4.3, 1.2)


def learning_curve(rows: Rows, metric: str, title: str, watched: str) -> str:
    """The metric per epoch on the training rows, and the finished model's on the test channel.

    `watched` is what the job was given as that channel: the test events or the validation events.
    """
    train = [row for row in rows if row["metric"] == metric and row["channel"] == "train"]
    steps = [row for row in train if row["epoch"] is not None and row["value"] is not None]
    tests = [row for row in rows if row["metric"] == metric and row["channel"] == "test"]
    final = [row["value"] for row in tests if row["epoch"] is None and row["value"] is not None]
    if not steps:
        return ""

    def draw(axes: Axes) -> None:
        axes.plot(
            [row["epoch"] + 1 for row in steps],
            [row["value"] for row in steps],
            color=_MODEL,
            marker="o",
            markersize=2.5,
            label="training, as it learns",
        )
        if final:
            axes.axhline(final[-1], color=_REFERENCE, label=f"{watched}, finished model", ls="--")
        axes.set_xlabel("epoch")
        axes.set_ylabel(title)
        axes.set_xlim(0.5, steps[-1]["epoch"] + 1.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.legend()

    return _svg(draw, f"Learning curve: {title} per epoch")


def calibration(rows: Rows, quantity: str) -> str:
    """Mean truth against mean prediction, a dot per bin, beside the diagonal of a perfect model."""
    if not rows:
        return ""

    def draw(axes: Axes) -> None:
        x = np.array([row["predicted"] for row in rows])
        y = np.array([row["actual"] for row in rows])
        low, high = min(x.min(), y.min()), max(x.max(), y.max())
        axes.plot([low, high], [low, high], color=_REFERENCE, ls="--", label="perfect calibration")
        axes.plot(x, y, color=_MODEL, marker="o", markersize=4, label="model")
        axes.set_xlabel(f"predicted {quantity}")
        axes.set_ylabel(f"actual {quantity}")
        axes.legend()

    return _svg(draw, f"Calibration: actual against predicted {quantity}")


def residuals(rows: Rows, quantity: str) -> str:
    """Predicted minus actual for each rating given: median, quartiles, and the middle 90%."""
    if not rows:
        return ""

    def draw(axes: Axes) -> None:
        boxes = [
            {
                "med": row["median"],
                "q1": row["q25"],
                "q3": row["q75"],
                "whislo": row["q05"],
                "whishi": row["q95"],
            }
            for row in rows
        ]
        line = {"color": _MODEL}
        axes.axhline(0, color=_REFERENCE, ls="--")
        axes.bxp(
            boxes,
            showfliers=False,
            widths=0.5,
            boxprops=line,
            whiskerprops=line,
            capprops=line,
            medianprops={"color": _MODEL, "linewidth": 2.5},
        )
        axes.set_xticks(range(1, len(rows) + 1), [f"{row['rating']:g}" for row in rows])
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("rating given by the viewer")
        axes.set_ylabel("predicted minus actual")

    return _svg(draw, f"Residuals of the {quantity} by rating")


def interval(low: float, difference: float, high: float, title: str, *, better: str) -> str:
    """The difference to the baseline with its interval, beside the line of no difference.

    `better` says whether less or more of the metric is better.
    """

    def draw(axes: Axes) -> None:
        axes.plot(
            [low, high], [0, 0], color=_MODEL, linewidth=5, alpha=0.35, solid_capstyle="round"
        )
        axes.plot([difference], [0], color=_MODEL, marker="o", markersize=6)
        axes.axvline(0, color=_REFERENCE, ls="--")
        reach = 1.25 * max(abs(low), abs(high))
        axes.set_xlim(-reach, reach)
        axes.set_ylim(-1, 1)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(5, symmetric=True))
        left, right = ("model", "baseline") if better == "less" else ("baseline", "model")
        axes.annotate(f"{left} better", (0, 1), xycoords="axes fraction", va="top")
        axes.annotate(f"{right} better", (1, 1), xycoords="axes fraction", va="top", ha="right")
        axes.set_xlabel(f"{title} of the model minus that of the baseline, 95% interval")

    return _svg(draw, f"Difference in {title} with its interval", _STRIP)


def _svg(draw: Callable[[Axes], None], label: str, size: tuple[float, float] = _SIZE) -> str:
    # The salt makes ids repeatable, and different from those of the page's other plots.
    with mpl.rc_context({**_STYLE, "svg.hashsalt": label}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True)
    text = out.getvalue()
    return _adapt(text[text.index("<svg") :], label)


def _adapt(svg: str, label: str) -> str:
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = re.sub(r" font-family: [^;\"]*;", "", svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    # The metadata hold the date of drawing.
    svg = re.sub(r"<style.*?</style>|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
