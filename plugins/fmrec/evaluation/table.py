"""The report as an aligned text table, for a terminal and the task log."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fmrec.evaluation.wording import BASELINES, COUNTS, METRICS, PEERS, SCORES

WIDTH = 88

_LABEL, _FIGURE = 18, 9
_SCORES = tuple(SCORES)
# What fits a line; the page has them all.
_LISTS = ("ndcg@10", "precision@10", "recall@10", "map@10", "coverage@10")


def render(report: Mapping[str, Any]) -> str:
    """Decision, verdict, figures, counts and source; lines of at most 88 characters."""
    run, counts = report["run"], report["counts"]
    lines = [*_decision(report["gate"]), "", report["verdict"]["headline"]]
    lines += [*textwrap.wrap(report["verdict"]["sentence"], WIDTH), ""]
    for names, shown in (("scores", _SCORES), ("lists", _LISTS)):
        lines += _figures(report, names, shown)
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
    rest = "not finite" if unclipped is None else f"{unclipped:.4f}"
    return [
        f"{count:,} predictions outside {low:g}..{high:g} were clipped; unclipped, RMSE is {rest}"
    ]


def predictors(report: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, float | None]]]:
    """The model, champion, baselines and peers: key, name and figures, in the order of showing."""
    rivals = [
        *((key, name, report["baselines"].get(key)) for key, name in BASELINES.items()),
        *((key, name, report["peers"].get(key)) for key, name in PEERS.items()),
    ]
    return [("model", "model", report["metrics"])] + [each for each in rivals if each[2]]


def _decision(gate: Mapping[str, Any]) -> list[str]:
    lines = [gate["headline"]]
    for reason in gate["reasons"]:
        lines += textwrap.wrap(reason, WIDTH, initial_indent="- ", subsequent_indent="  ")
    for other in gate["others"]:
        told = f"For use as {other['use']}: {other['headline']}"
        lines += textwrap.wrap(told, WIDTH, subsequent_indent="  ")
    return lines


def _count(label: str, number: int) -> str:
    return f"{label:<30} {number:>12,}"


def _figures(report: Mapping[str, Any], title: str, shown: Sequence[str]) -> list[str]:
    """A table of some metrics, of those predictors that have any of them; empty without."""
    names = [name for name in shown if name in report["metrics"]]
    rows = [
        (label, [values.get(name) for name in names])
        for _, label, values in predictors(report)
        if any(name in values for name in names)
    ]
    if not names:
        return []
    heads = [METRICS[name][0] for name in names]
    widths = [max(len(head), _FIGURE) + 2 for head in heads]
    lines = [f"{title:<{_LABEL}}" + _aligned(heads, widths)]
    lines += [f"{label:<{_LABEL}}" + _aligned(map(_number, cells), widths) for label, cells in rows]
    return [*lines, ""]


def _aligned(cells: Iterable[str], widths: Iterable[int]) -> str:
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
