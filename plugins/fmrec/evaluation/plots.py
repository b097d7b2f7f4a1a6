"""The report's plots of scores: how the model learnt, how sure a difference is, where it errs.

Each function returns one ``<svg>`` element to be put into HTML, or "" when there is nothing to
draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fmrec.evaluation.plot_svg import BAD, CARD, GOOD, INK, MODEL, Rows, short, svg

_COLOURS = {"better": GOOD, "worse": BAD, "undecided": INK}
# The narrowest interval of a forest stays at least this share of the axis wide.
_SHARE = 0.06


def learning_curve(rows: Rows, metric: str, title: str, watched: str | None) -> str:
    """The metric per epoch on the training rows, and the finished model's on the test channel.

    `watched` is what the job was given as that channel: the test events or the validation events.
    With None its figure does not compare with those of training, and is left out.
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
            color=MODEL,
            marker="o",
            markersize=2.5,
            label="training, as it learns",
        )
        if final and watched:
            axes.axhline(final[-1], color=INK, label=f"{watched}, finished model", ls="--")
        axes.set_xlabel("epoch")
        axes.set_ylabel(title)
        axes.set_xlim(0.5, steps[-1]["epoch"] + 1.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.legend()

    return svg(draw, f"Learning curve: {title} per epoch")


def calibration(rows: Rows, quantity: str) -> str:
    """Mean truth against mean prediction, a dot per bin, beside the diagonal of a perfect model."""
    if not rows:
        return ""

    def draw(axes: Axes) -> None:
        x = np.array([row["predicted"] for row in rows])
        y = np.array([row["actual"] for row in rows])
        low, high = min(x.min(), y.min()), max(x.max(), y.max())
        axes.plot([low, high], [low, high], color=INK, ls="--", label="perfect calibration")
        axes.plot(x, y, color=MODEL, marker="o", markersize=4, label="model")
        axes.set_xlabel(f"predicted {quantity}")
        axes.set_ylabel(f"actual {quantity}")
        axes.legend()

    return svg(draw, f"Calibration: actual against predicted {quantity}")


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
        line = {"color": MODEL}
        axes.axhline(0, color=INK, ls="--")
        axes.bxp(
            boxes,
            showfliers=False,
            widths=0.5,
            boxprops=line,
            whiskerprops=line,
            capprops=line,
            medianprops={"color": MODEL, "linewidth": 2.5},
        )
        axes.set_xticks(range(1, len(rows) + 1), [f"{row['rating']:g}" for row in rows])
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("rating given by the viewer")
        axes.set_ylabel("predicted minus actual")

    return svg(draw, f"Residuals of the {quantity} by rating")


def forest(rows: Rows, title: str, *, better: str) -> str:
    """The model minus each rival with its interval, a row each, beside the line of no difference.

    A row holds `name`, `difference`, `low` and `high` (None: no interval) and `outcome`. A full
    dot and a coloured bar mean that the interval excludes zero. An arrow stands for a row that
    would squeeze the others: it lies beyond the axis. `better` says whether less or more of the
    metric is better.
    """
    if not rows:
        return ""

    def draw(axes: Axes) -> None:
        reach = _reach(rows)
        for y, row in zip(range(len(rows) - 1, -1, -1), rows, strict=True):
            # No line through the figures above the bar.
            axes.plot([0, 0], [y - 0.4, y + 0.17], color=INK, ls="--", linewidth=1.2)
            _forest_row(axes, y, row, reach)
        axes.set_xlim(-reach, reach)
        axes.set_ylim(-0.45, len(rows) + 0.3)
        axes.set_yticks([])
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(5, symmetric=True))
        left, right = ("◂ model better", "model worse ▸")
        if better == "more":
            left, right = ("◂ model worse", "model better ▸")
        axes.annotate(left, (0, 1), xycoords="axes fraction", va="top", fontsize=8)
        axes.annotate(right, (1, 1), xycoords="axes fraction", va="top", ha="right", fontsize=8)
        axes.set_xlabel(f"difference in {title} with its 95% interval")

    label = f"Difference in {title} between the model and each rival, with its interval"
    return svg(draw, label, 0.75 + 0.44 * len(rows))


def _reach(rows: Rows) -> float:
    """How far the axis goes to both sides of zero."""
    ends = [_ends(row) for row in rows]
    reaches = [max(abs(low), abs(high)) for low, high in ends]
    widths = [high - low for low, high in ends if high > low]
    most = min(widths) / (2 * _SHARE) if widths else max(reaches)
    shown = [
        each for row, each in zip(rows, reaches, strict=True) if abs(row["difference"]) <= most
    ]
    return 1.1 * max(shown, default=most) or 1.0


def _ends(row: Mapping[str, Any]) -> tuple[float, float]:
    if row["low"] is None or row["high"] is None:
        return row["difference"], row["difference"]
    return row["low"], row["high"]


def _forest_row(axes: Axes, y: int, row: Mapping[str, Any], reach: float) -> None:
    low, high = _ends(row)
    difference, colour = row["difference"], _COLOURS[row["outcome"]]
    if abs(difference) > reach:
        side = 1 if difference > 0 else -1
        place, marker, face = side * reach * 0.97, ">" if side > 0 else "<", colour
        axes.plot([side * reach * 0.8, place], [y, y], color=colour, linewidth=2)
    else:
        place, marker = difference, "o"
        face = CARD if row["outcome"] == "undecided" else colour
        ends = [low, high] if high > low else []
        axes.plot(ends, [y] * len(ends), color=colour, marker="|", markersize=7, linewidth=2)
    axes.plot(
        [place],
        [y],
        color=colour,
        linewidth=0,
        clip_on=False,
        marker=marker,
        markersize=5,
        markerfacecolor=face,
    )
    at = ("axes fraction", "data")
    axes.annotate(short(row["name"]), (0, y + 0.2), xycoords=at, va="bottom", fontweight="bold")
    axes.annotate(figures(row), (1, y + 0.2), xycoords=at, va="bottom", ha="right", fontsize=8)


def figures(row: Mapping[str, Any]) -> str:
    """A difference and its interval in figures."""
    if row["low"] is None or row["high"] is None:
        return f"{signed(row['difference'])}, no interval"
    return f"{signed(row['difference'])} ({signed(row['low'])} to {signed(row['high'])})"


def signed(value: float) -> str:
    """Four decimals with a sign, a true minus; zero has none."""
    text = f"{value:+.4f}"
    return text[1:] if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")
