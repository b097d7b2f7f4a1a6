"""The report as an aligned text table, for a terminal and the task log."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from fmrec.evaluation.wording import BASELINES, COUNTS, main_first

WIDTH = 88

_LABEL, _CELL = 18, 15


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
    lines += [_count(label, counts[name]) for name, label in COUNTS.items() if name in counts]
    refused = report["data"]["refused_by_check"]
    lines += [_count(f"  refused: {check}", number) for check, number in sorted(refused.items())]
    lines += [f"note: {note}" for note in (*clipping(report), *report["notes"])]
    lines += [f"data: {note}" for note in report["data"]["notes"]]
    generated = " (generated ratings)" if run["generated"] else ""
    lines += [
        "",
        f"source {run['source']}{generated} · split {run['split']} · "
        f"objective {run['objective']} · as of {run['as_of']}",
        *([f"features {run['features']}"] if "features" in run else []),
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
    low, high = report["run"]["rating_scale"]
    return [
        f"{count:,} predictions outside {low:g}..{high:g} were clipped; unclipped, RMSE is "
        f"{unclipped:.4f}"
    ]


def predictors(report: Mapping[str, Any]) -> list[tuple[str, Mapping[str, float | None]]]:
    """The model and its baselines, each with its name and metrics, in the order of showing."""
    rivals = report["baselines"]
    named = [(name, rivals[key]) for key, name in BASELINES.items() if key in rivals]
    return [("model", report["metrics"]), *named]


def metric_names(report: Mapping[str, Any]) -> list[str]:
    """The metrics that model and baselines have in common, the main one first."""
    return main_first(report["baselines"][report["verdict"]["against"]])


def _count(label: str, number: int) -> str:
    return f"{label:<30} {number:>12,}"


def _metric_lines(report: Mapping[str, Any]) -> list[str]:
    names = metric_names(report)
    width = min(_CELL, (WIDTH - _LABEL) // len(names))
    lines = [" " * _LABEL + "".join(f"{name:>{width}}" for name in names)]
    for predictor, values in predictors(report):
        cells = (_number(values[name]) for name in names)
        lines.append(f"{predictor:<{_LABEL}}" + "".join(f"{cell:>{width}}" for cell in cells))
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
