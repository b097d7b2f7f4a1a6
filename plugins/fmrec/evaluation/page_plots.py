"""Which plots a page has, what they are called, and their figures as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from markupsafe import Markup

from fmrec.evaluation import plot_lists, plot_slices, plots
from fmrec.evaluation.page_tables import comparisons, figure, order, predictor, reference
from fmrec.evaluation.plot_svg import look
from fmrec.evaluation.table import predictors
from fmrec.evaluation.wording import LISTS, METRICS

_QUANTITIES = {"rating": "rating", "like": "probability of a like", "ranking": "like"}
# Lists cannot be judged while training: the curve shows what the algorithm itself minimises.
_LOSSES = ("rmse", "cross_entropy")
_SIGNS = {"o": "●", "s": "■", "^": "▲", "v": "▼"}

Plot = dict[str, Any]


class Plots:
    """The plots of one report: each a title, a caption, an SVG and its figures as a table."""

    def __init__(self, report: Mapping[str, Any]) -> None:
        self._report = report

    def forest(self) -> Markup:
        """The model against each rival for the run's own use, or against the main baseline."""
        verdict = self._report["verdict"]
        rows = [row for row in comparisons(self._report) if row["metric"] == verdict["metric"]]
        if not rows:
            rows = [{**verdict, "name": predictor(verdict["against"])}]
        title = METRICS[verdict["metric"]][0]
        return _trusted(plots.forest(rows, title, better=verdict["better"]))

    def cards(self) -> list[Plot]:
        """Every plot that there are figures for, those of the run's own use first."""
        by_list = [self._precision_recall(), self._coverage()]
        by_score = [self._calibration(), self._residuals()]
        first, second = by_list, by_score
        if self._report["verdict"]["metric"] not in LISTS:
            first, second = by_score, by_list
        return [plot for plot in (*first, *second, self._learning_curve()) if plot["svg"]]

    def slices(self) -> list[dict[str, Any]]:
        """For each metric its legend, and a plot for each kind of slice."""
        rows = self._report["slices"]
        made = []
        for metric in sorted({row["metric"] for row in rows}, key=list(METRICS).index):
            chosen = [row for row in rows if row["metric"] == metric]
            names = {"model": "model", "reference": reference(self._report, metric)}
            if any(row["champion"] is not None for row in chosen):
                names["champion"] = "champion"
            title, better = METRICS[metric]
            unit = chosen[0].get("over", "users" if metric in LISTS else "events")
            span = plot_slices.limits(chosen)
            drawn = [
                {
                    "title": by,
                    "svg": _trusted(plot_slices.slices(list(group), title, names, span, unit)),
                }
                for by, group in groupby(chosen, key=lambda row: row["by"])
            ]
            legend = [
                (key, _SIGNS.get(look(key).marker, "◆"), predictor(key)) for key in names.values()
            ]
            made.append(
                {
                    "title": title,
                    "better": better,
                    "unit": unit,
                    "legend": legend,
                    "plots": drawn,
                    "own": (metric in LISTS) == (self._report["verdict"]["metric"] in LISTS),
                }
            )
        return sorted(made, key=lambda each: not each["own"])

    def overlap(self) -> Markup:
        """How much of each user's list is the champion's."""
        return _trusted(plot_lists.overlap(self._report["changes"]["jaccard"]))

    def _learning_curve(self) -> Plot:
        rows = self._report["learning_curve"]
        metrics = {row["metric"] for row in rows}
        metric = next((name for name in _LOSSES if name in metrics), _LOSSES[0])
        title = METRICS[metric][0]
        watched: str | None = "test"
        caption = "The error epoch by epoch, as the training job printed it."
        if self._report["run"].get("watched") == "validation":
            watched = "validation"
        if self._report["run"]["objective"] == "ranking":
            # It learns from other rows than it is tested on: every film, or sampled negatives.
            watched = None
            caption = "What the algorithm minimises; lists are not judged while it trains."
        return _plot(
            "Learning curve",
            f"{caption} Each training row counts before the model learns from it.",
            plots.learning_curve(rows, metric, title, watched),
            ["channel", "epoch", title],
            [
                [
                    row["channel"],
                    "finished" if row["epoch"] is None else str(row["epoch"] + 1),
                    figure(row["value"]),
                ]
                for row in rows
                if row["metric"] == metric
            ],
        )

    def _calibration(self) -> Plot:
        rows = self._report["calibration"]
        return _plot(
            "Calibration",
            "Up to ten groups of test events of about equal size, from the lowest predictions to "
            "the highest. On the dashed line, predictions are right on average.",
            plots.calibration(rows, self._quantity),
            ["events", "predicted", "actual"],
            [
                [f"{row['count']:,}", figure(row["predicted"]), figure(row["actual"])]
                for row in rows
            ],
        )

    def _residuals(self) -> Plot:
        rows = self._report["residuals"]
        places = ("mean", "q05", "q25", "median", "q75", "q95")
        return _plot(
            "Residuals by rating",
            "Prediction minus truth for each rating given. Boxes hold the middle half of the "
            "events, whiskers the middle 90%.",
            plots.residuals(rows, self._quantity),
            ["rating", "events", *places],
            [
                [f"{row['rating']:g}", f"{row['count']:,}", *(figure(row[p]) for p in places)]
                for row in rows
            ],
        )

    def _precision_recall(self) -> Plot:
        lists = self._report["lists"] or {"curves": {}, "cutoffs": []}
        curves = {key: lists["curves"][key] for key in sorted(lists["curves"], key=order)}
        cutoffs = lists["cutoffs"]
        names = {key: predictor(key) for key in curves}
        return _plot(
            "Precision and recall at k",
            "How much of the first k films is relevant, and how much of what is relevant they "
            "hold; the numbers are k. A curve above and to the right of another is better at "
            "every length.",
            plot_lists.precision_recall(curves, cutoffs, names),
            ["precision / recall at", *map(str, cutoffs)],
            [
                [
                    names[key],
                    *(
                        f"{_three(p)} / {_three(r)}"
                        for p, r in zip(curve["precision"], curve["recall"], strict=True)
                    ),
                ]
                for key, curve in curves.items()
            ],
        )

    def _coverage(self) -> Plot:
        points = [
            (key, name, x, y)
            for key, name, values in predictors(self._report)
            if (x := values.get("coverage@10")) is not None
            and (y := values.get("ndcg@10")) is not None
        ]
        return _plot(
            "Coverage against accuracy",
            "How good lists are, and how much of the catalogue they use. Up is more accurate; to "
            "the right, more films find somebody.",
            plot_lists.coverage(points, METRICS["ndcg@10"][0]),
            ["predictor", "coverage@10", "NDCG@10"],
            [[name, figure(x), figure(y)] for _, name, x, y in points],
        )

    @property
    def _quantity(self) -> str:
        return _QUANTITIES[self._report["run"]["objective"]]


def _plot(
    title: str, caption: str, svg: str, head: Sequence[str], rows: Sequence[Sequence[str]]
) -> Plot:
    return {"title": title, "caption": caption, "svg": _trusted(svg), "head": head, "rows": rows}


def _three(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _trusted(svg: str) -> Markup:
    # A drawing escapes the texts in it itself.
    return Markup(svg)  # noqa: S704
