"""The report as one self-contained HTML page: no script, no network, no other file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from fmrec.evaluation import plots
from fmrec.evaluation.table import clipping, metric_names, predictors
from fmrec.evaluation.wording import COUNTS, METRICS

_QUANTITIES = {"rating": "rating", "like": "probability of a like", "ranking": "like"}
# Lists cannot be judged while training: the curve shows what the algorithm itself minimises.
_LOSSES = ("rmse", "cross_entropy")
_FACTS = {
    "source": "source",
    "source_note": "origin",
    "split": "split",
    "as_of": "ratings before",
    "objective": "objective",
    "features": "features",
}
_SHOWN = {*_FACTS, "run_id", "generated"}


def render(report: Mapping[str, Any]) -> str:
    """The page as HTML text, made from the content of report.json alone.

    Everything that comes from the data or the run (ids, titles, parameters) is escaped.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = files("fmrec.evaluation").joinpath("report.html.j2").read_text(encoding="utf-8")
    run, counts = report["run"], report["counts"]
    names = metric_names(report)
    text = environment.from_string(source).render(
        report=report,
        columns=[METRICS[name] for name in names],
        rows=_metric_rows(report, names),
        interval=_interval(report),
        clipping=clipping(report),
        plots=_plots(report),
        facts=[(name, run[key]) for key, name in _FACTS.items() if run.get(key)],
        counts=[(_count_name(key), f"{value:,}") for key, value in _ordered(counts)],
        parameters=list(_parameters(run)),
    )
    return text + "\n"


def _metric_rows(report: Mapping[str, Any], names: list[str]) -> list[dict[str, Any]]:
    rows = predictors(report)
    best = {}
    for name in names:
        known = [value for _, values in rows if (value := values[name]) is not None]
        best[name] = (min if METRICS[name][1] == "less" else max)(known, default=None)
    return [
        {
            "name": predictor,
            "model": values is report["metrics"],
            "cells": [
                {
                    "text": "n/a" if (value := values[name]) is None else f"{value:.4f}",
                    "best": value is not None and value == best[name],
                }
                for name in names
            ],
        }
        for predictor, values in rows
    ]


def _plots(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    quantity = _QUANTITIES[report["run"]["objective"]]
    curve = {row["metric"] for row in report["learning_curve"]}
    metric = next((name for name in _LOSSES if name in curve), _LOSSES[0])
    drawn = [
        (
            "Learning curve",
            "The error epoch by epoch, as the training job printed it. Each training row counts "
            "before the model learns from it.",
            plots.learning_curve(
                report["learning_curve"],
                metric,
                METRICS[metric][0],
                "validation" if report["run"].get("watched") == "validation" else "test",
            ),
        ),
        (
            "Calibration",
            "Ten equal groups of test events, from the lowest predictions to the highest. On the "
            "dashed line, predictions are right on average.",
            plots.calibration(report["calibration"], quantity),
        ),
        (
            "Residuals by rating",
            "Prediction minus truth for each rating given. Boxes hold the middle half of the "
            "events, whiskers the middle 90%.",
            plots.residuals(report["residuals"], quantity),
        ),
    ]
    return [
        {"title": title, "caption": caption, "svg": _trusted(svg)}
        for title, caption, svg in drawn
        if svg
    ]


def _interval(report: Mapping[str, Any]) -> Markup:
    verdict = report["verdict"]
    if not verdict["low"] and not verdict["high"]:
        return Markup("")
    title = METRICS[verdict["metric"]][0]
    strip = plots.interval(
        verdict["low"], verdict["difference"], verdict["high"], title, better=verdict["better"]
    )
    return _trusted(strip)


def _trusted(svg: str) -> Markup:
    # A drawing holds no text from outside: its labels are this package's, the rest is numbers.
    return Markup(svg)  # noqa: S704


def _ordered(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    known = [(name, counts[name]) for name in COUNTS if name in counts]
    return known + sorted((k, v) for k, v in counts.items() if k not in COUNTS)


def _count_name(key: str) -> str:
    return COUNTS.get(key, key.replace("_", " "))


def _parameters(run: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in sorted(run.items()):
        if not prefix and key in _SHOWN:
            continue
        if isinstance(value, Mapping):
            yield from _parameters(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "none" if value is None else str(value)
