"""The report as an aligned text table, for a terminal and the task log."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from fmrec.evaluation.objectives import objective

WIDTH = 88

_PREDICTOR_NAMES = {
    "model": "model",
    "user_item_bias": "user + item bias",
    "global_mean": "global mean",
}
COUNT_NAMES = {
    "train": "training events",
    "validation": "validation events",
    "events": "test events",
    "predictions": "predictions",
    "test": "test events of the split",
    "set_aside": "set aside (unknown id)",
    "unknown_user": "with an unknown user",
    "unknown_item": "with an unknown item",
    "unknown_both": "with both unknown",
}


def render(report: Mapping[str, Any]) -> str:
    """Verdict, model beside baselines, counts and source; lines of at most 88 characters."""
    run, counts = report["run"], report["counts"]
    lines = [
        report["verdict"]["headline"],
        *textwrap.wrap(report["verdict"]["sentence"], WIDTH),
        "",
        *_metric_lines(report),
        "",
    ]
    lines += [
        f"{label:<30} {counts[name]:>12,}" for name, label in COUNT_NAMES.items() if name in counts
    ]
    lines += [f"note: {note}" for note in (*clipping(report), *report["notes"])]
    generated = " (generated ratings)" if run["generated"] else ""
    lines += [
        "",
        f"source {run['source']}{generated} · split {run['split']} · "
        f"objective {run['objective']} · as of {run['as_of']}",
        f"run {run['run_id']}",
    ]
    return "\n".join(lines) + "\n"


def recommendations(report: Mapping[str, Any]) -> str:
    """The recommended titles of the report's user, a line each; empty when there are none."""
    given = report["recommendations"]
    if not given:
        return ""
    lines = [f"Recommended to user {given['user_id']}, of what this user has not rated:", ""]
    lines += [f"{row['rank']:>4}  {row['score']:.2f}  {row['title']}" for row in given["items"]]
    return "\n".join(lines) + "\n"


def clipping(report: Mapping[str, Any]) -> list[str]:
    """A sentence on predictions brought into the rating scale; none when none were."""
    count = report["counts"].get("clipped", 0)
    if not count:
        return []
    unclipped = report["metrics"]["rmse_unclipped"]
    return [f"{count:,} predictions outside 1..5 were clipped; unclipped, RMSE is {unclipped:.4f}"]


def predictors(report: Mapping[str, Any]) -> list[tuple[str, Mapping[str, float | None]]]:
    """The model and its baselines, each with its name and metrics, in the order of showing."""
    values = {"model": report["metrics"], **report["baselines"]}
    return [(name, values[key]) for key, name in _PREDICTOR_NAMES.items()]


def _metric_lines(report: Mapping[str, Any]) -> list[str]:
    names = list(objective(report["run"]["objective"]).metrics)
    lines = [" " * 18 + "".join(f"{name:>15}" for name in names)]
    for predictor, values in predictors(report):
        cells = (_number(values[name]) for name in names)
        lines.append(f"{predictor:<18}" + "".join(f"{cell:>15}" for cell in cells))
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
