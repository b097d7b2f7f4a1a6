"""The report as a question to a person, who says whether the model becomes the champion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fmrec.evaluation.wording import BASELINES, METRICS, PEERS


def question(report: Mapping[str, Any]) -> str:
    """Markdown: what the gate is in doubt about, and the comparisons that it decides by."""
    run, gate = report["run"], report["gate"]
    lines = [
        f"**{gate['headline']}.**",
        "",
        f"{run['source']}, split {run['split']}, objective {run['objective']}, as of "
        f"{run['as_of']}.",
        "",
        "| compared with | metric | this model | that one | difference (95 % interval) | users |",
        "|---|---|---:|---:|---:|---:|",
    ]
    lines += [_row(each) for each in report["comparisons"] if each["use"] == gate["use"]]
    lines += ["", *(f"- {reason}" for reason in gate["reasons"])]
    return "\n".join(lines)


def _row(each: Mapping[str, Any]) -> str:
    rival = (BASELINES | PEERS).get(each["against"], each["against"])
    title = METRICS.get(each["metric"], (each["metric"],))[0]
    better = "lower" if each["better"] == "less" else "higher"
    interval = "" if each["low"] is None else f" ({each['low']:+.4f} to {each['high']:+.4f})"
    return (
        f"| {rival} | {title} ({better} is better) | {each['candidate']:.4f} "
        f"| {each['reference']:.4f} | {each['difference']:+.4f}{interval} | {each['users']:,} |"
    )
