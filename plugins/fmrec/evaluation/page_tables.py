"""The rows of the page's tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fmrec.evaluation.plots import signed
from fmrec.evaluation.table import predictors
from fmrec.evaluation.wording import BASELINES, LISTS, METRICS, PEERS, SCORES

__all__ = ["comparisons", "figure", "order", "predictor", "reference", "signed", "slices", "tables"]

# What a list shows is not better or worse alone: a list by chance would lead in most of these.
_EXPOSURE = ("coverage@10", "gini@10", "novelty@10", "popularity@10")
# Nor is calibration alone: a constant has none of its error.
_WITHOUT_BEST = (*_EXPOSURE, "calibration_error")
_MANY = 6


def figure(value: float | None) -> str:
    """A figure in four decimals, a large one in one."""
    if value is None:
        return "n/a"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.4f}"


def predictor(key: str) -> str:
    """What a predictor is called."""
    return {"model": "model", **BASELINES, **PEERS}.get(key, key.replace("_", " "))


def order(key: str) -> int:
    """The place of a predictor among the others."""
    keys = ["model", *BASELINES, *PEERS]
    return keys.index(key) if key in keys else len(keys)


def reference(report: Mapping[str, Any], metric: str) -> str:
    """The key of the baseline that a figure of a slice is set beside."""
    verdict = report["verdict"]
    if (metric in LISTS) == (verdict["metric"] in LISTS):
        return str(verdict["against"])
    return "popularity" if metric in LISTS else "user_item_bias"


def tables(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Model beside champion, baselines and peers: by scores, by lists; that of the use first.

    A ranking's only figure of scores, its AUC, stands with the lists.
    """
    known = report["metrics"]
    scores = [name for name in SCORES if name in known]
    lists = [name for name in LISTS if name in known and name not in _EXPOSURE]
    shown = [name for name in _EXPOSURE if name in known]
    by_list = report["verdict"]["metric"] in LISTS
    if by_list and scores == ["auc"]:
        lists, scores = [*lists, "auc"], []
    made = [
        _table(report, "The first ten films", [("relevance", lists), ("what is shown", shown)]),
        _table(report, "Predictions", [("", scores)]),
    ]
    return [table for table in (made if by_list else made[::-1]) if table["columns"]]


def _table(
    report: Mapping[str, Any], title: str, groups: Sequence[tuple[str, Sequence[str]]]
) -> dict[str, Any]:
    names = [name for _, group in groups for name in group]
    rows = [each for each in predictors(report) if any(name in each[2] for name in names)]
    best = {name: _best(report, name, rows) for name in names if name not in _WITHOUT_BEST}
    return {
        "title": title,
        "groups": [(name, len(group)) for name, group in groups if name and group],
        # The title says that ten films are meant.
        "columns": [
            (METRICS[name][0].removesuffix("@10"), METRICS[name][1], name in _EXPOSURE)
            for name in names
        ],
        "rows": [
            {
                "key": key,
                "name": name,
                "cells": [
                    {
                        "text": figure(values.get(metric)) if metric in values else "",
                        "best": best.get(metric) is not None and values.get(metric) == best[metric],
                    }
                    for metric in names
                ],
            }
            for key, name, values in rows
        ],
    }


def _best(
    report: Mapping[str, Any], metric: str, rows: Sequence[tuple[str, str, Mapping[str, Any]]]
) -> float | None:
    """The best figure of a column, among those of the same events."""
    champion = report["champion"] or {}
    apart = bool(champion.get("left_out_events") or champion.get("left_out_users"))
    known = [
        value
        for key, _, values in rows
        if (value := values.get(metric)) is not None and not (apart and key == "champion")
    ]
    return (min if METRICS[metric][1] == "less" else max)(known, default=None)


def comparisons(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The model against each rival: the run's use first, in it champion, baselines, then peers."""
    use = (report["gate"] or report["verdict"]).get("use")
    return [
        {**row, "name": predictor(row["against"]), "title": METRICS[row["metric"]][0]}
        for row in sorted(
            report["comparisons"],
            key=lambda row: (row["use"] != use, row["use"], order(row["against"])),
        )
    ]


def slices(report: Mapping[str, Any]) -> dict[str, Any]:
    """The table of slices, and a sentence for each metric on where the model loses."""
    rows = [
        {
            **row,
            "title": METRICS[row["metric"]][0],
            "against": predictor(reference(report, row["metric"])),
            "outcome": _outcome(row),
        }
        for row in report["slices"]
    ]
    return {"rows": rows, "sentences": list(_losses(rows))}


def _outcome(row: Mapping[str, Any]) -> str:
    low, high = row.get("low"), row.get("high")
    if row["small"] or low is None or high is None or low <= 0 <= high:
        return "undecided"
    return "better" if (high < 0) == (row["better"] == "less") else "worse"


def _losses(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for metric in (name for name in METRICS if any(row["metric"] == name for row in rows)):
        judged = [
            row
            for row in rows
            if row["metric"] == metric and row.get("low") is not None and not row["small"]
        ]
        if not judged:
            continue
        worse = [row for row in judged if row["outcome"] == "worse"]
        better = sum(row["outcome"] == "better" for row in judged)
        named = ", ".join(f"{row['slice']} ({row['by']})" for row in worse[:_MANY])
        more = f" and {len(worse) - _MANY} more" if len(worse) > _MANY else ""
        yield (
            f"By {judged[0]['title']} the model is better than {judged[0]['against']} beyond "
            f"chance in {better} of {len(judged)} slices that are large enough to judge, "
            f"worse in {len(worse)}" + (f": {named}{more}." if worse else ".")
        )
