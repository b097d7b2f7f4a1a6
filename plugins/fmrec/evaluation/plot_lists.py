"""The report's plots of lists of recommendations.

Each function returns one ``<svg>`` element to be put into HTML, or "" when there is nothing to
draw. Predictors are told apart by name, marker and dashes; colour only helps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from fmrec.evaluation.plot_svg import INK, MODEL, figure_of, label_points, look, short, spread, svg
from fmrec.evaluation.ranking import LENGTH

_LEFT, _TOP, _BOTTOM = 0.16, 0.97, 0.15
_LINE = 0.065
# Points: less lies between the names of two lengths only if one would cover the other.
_ROOM = 13


def precision_recall(
    curves: Mapping[str, Mapping[str, Sequence[float | None]]],
    cutoffs: Sequence[int],
    names: Mapping[str, str],
) -> str:
    """Precision against recall of lists of growing length, a curve for each predictor in `names`.

    A dot is a length of the list; those of the model say which. Up and to the right is better.
    """
    points = {key: _points(curves[key], cutoffs) for key in names if key in curves}
    drawn = {key: found for key, found in points.items() if found}
    if not drawn:
        return ""

    def draw(axes: Axes) -> None:
        for key in sorted(drawn, key=lambda key: key == "model"):
            style, main = look(key), key == "model"
            axes.plot(
                [x for _, x, _ in drawn[key]],
                [y for _, _, y in drawn[key]],
                color=style.colour,
                linestyle=style.dashes,
                marker=style.marker,
                markersize=4.5 if main else 3.5,
                linewidth=2 if main else 1.2,
            )
        axes.set_xlim(0, 1.15 * max(x for each in drawn.values() for _, x, _ in each) or 1)
        axes.set_ylim(0, 1.08 * max(y for each in drawn.values() for _, _, y in each) or 1)
        axes.set_xlabel("recall: share of what a user likes")
        axes.set_ylabel("precision: share of the list")
        _name_ends(axes, {key: each[-1][1:] for key, each in drawn.items()}, names)
        _name_lengths(axes, drawn.get("model", []))

    told = ", ".join(names[key] for key in drawn)
    return svg(
        draw, f"Precision and recall at {', '.join(map(str, cutoffs))}: {told}", 3.1, layout=None
    )


def coverage(points: Sequence[tuple[str, str, float, float]], accuracy: str) -> str:
    """Accuracy of lists against the share of the catalogue in them, a dot for each predictor.

    A point is (key, name, coverage, accuracy).
    """
    if not points:
        return ""

    def draw(axes: Axes) -> None:
        for key, _, x, y in points:
            style = look(key)
            axes.plot([x], [y], color=style.colour, marker=style.marker, markersize=7, linewidth=0)
        figure_of(axes).subplots_adjust(left=_LEFT, right=_TOP, top=_TOP, bottom=_BOTTOM)
        axes.set_xlabel("coverage: share of the catalogue recommended")
        axes.set_ylabel(accuracy)
        high = max(x for _, _, x, _ in points)
        best = max(y for _, _, _, y in points)
        axes.set_xlim(-0.04 * high, 1.25 * high or 1)
        axes.set_ylim(-0.04 * best, 1.15 * best or 1)
        label_points(axes, [(x, y, short(name), look(key).colour) for key, name, x, y in points])

    told = ", ".join(name for _, name, _, _ in points)
    return svg(draw, f"{accuracy} against coverage of the catalogue: {told}", 2.9, layout=None)


def overlap(jaccard: Mapping[str, Any]) -> str:
    """How much of each user's list is the champion's: quartiles, the middle 90%, and the mean."""

    def draw(axes: Axes) -> None:
        box = {
            "med": jaccard["median"],
            "q1": jaccard["q25"],
            "q3": jaccard["q75"],
            "whislo": jaccard["q05"],
            "whishi": jaccard["q95"],
            "mean": jaccard["mean"],
        }
        line = {"color": MODEL}
        axes.bxp(
            [box],
            orientation="horizontal",
            showfliers=False,
            showmeans=True,
            widths=0.5,
            boxprops=line,
            whiskerprops=line,
            capprops=line,
            medianprops={"color": MODEL, "linewidth": 2.5},
            meanprops={
                "marker": "D",
                "markerfacecolor": INK,
                "markeredgecolor": INK,
                "markersize": 5,
            },
        )
        axes.set_xlim(-0.02, 1.02)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("Jaccard@10: 0 no film in common, 1 the same ten films")

    return svg(draw, "Overlap of each user's list with that of the champion", 1.1)


def _points(
    curve: Mapping[str, Sequence[float | None]], cutoffs: Sequence[int]
) -> list[tuple[int, float, float]]:
    """Of each length where both are defined: the length, recall and precision."""
    found = zip(cutoffs, curve["recall"], curve["precision"], strict=True)
    return [(k, x, y) for k, x, y in found if x is not None and y is not None]


def _name_lengths(axes: Axes, points: Sequence[tuple[int, float, float]]) -> None:
    """Say how long the lists of a point are, where there is room: first and last point first.

    The axes must have their final place and limits.
    """
    places = [axes.transData.transform((x, y)) for _, x, y in points]
    ends = {0, len(points) - 1}
    named: list[int] = []
    for n in sorted(range(len(points)), key=lambda n: (n not in ends, points[n][0] != LENGTH)):
        near = [np.hypot(*(places[n] - places[other])) for other in named]
        if min(near, default=np.inf) * 72 / figure_of(axes).dpi < _ROOM:
            continue
        named.append(n)
        cutoff, x, y = points[n]
        axes.annotate(
            f"{cutoff}",
            (x, y),
            # The name of the curve begins to the right of the last point.
            (4, 4) if n + 1 < len(points) else (-3, 6),
            textcoords="offset points",
            color=MODEL,
            fontsize=8,
        )


def _name_ends(
    axes: Axes, ends: Mapping[str, tuple[float, float]], names: Mapping[str, str]
) -> None:
    """Name each curve in the margin beside the plot, joined to the curve's end by a thin line."""
    figure = figure_of(axes)
    texts = {key: short(names[key]) for key in ends}
    widest = max(
        figure.text(0, 0, text, fontweight="bold").get_window_extent().width
        for text in texts.values()
    )
    for text in list(figure.texts):
        text.remove()
    right = 1 - widest / figure.bbox.width - 0.05
    figure.subplots_adjust(left=_LEFT, right=right, top=_TOP, bottom=_BOTTOM)
    upper = axes.get_ylim()[1]
    keys = sorted(ends, key=lambda key: ends[key][1])
    places = spread([ends[key][1] / upper for key in keys], _LINE / (_TOP - _BOTTOM), 0.02, 1)
    for key, place in zip(keys, places, strict=True):
        colour = look(key).colour
        axes.annotate(
            texts[key],
            ends[key],
            (1.05, place),
            textcoords="axes fraction",
            va="center",
            color=colour,
            fontweight="bold" if key == "model" else "normal",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkB": 4},
        )
