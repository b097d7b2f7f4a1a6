"""The verdict in words: whether the model beats the user + item bias baseline, and how surely."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fmrec.evaluation.comparison import CONFIDENCE, RESAMPLES, Comparison

_HEADLINES = {
    "better": "The model beats the user + item bias baseline",
    "worse": "The model loses to the user + item bias baseline",
    "undecided": "The model cannot be told apart from the user + item bias baseline",
}
_METRIC_NAMES = {"rmse": "RMSE", "cross_entropy": "cross-entropy"}


def of(comparison: Comparison, *, metric: str, events: int, generated: bool) -> dict[str, Any]:
    """The `verdict` object of report.json; says so in its headline when the data are generated."""
    headline = _HEADLINES[comparison.outcome]
    if generated:
        headline = f"On generated data: {headline[0].lower()}{headline[1:]}"
    return {
        "headline": headline,
        "sentence": _sentence(comparison, metric, events, generated=generated),
        "outcome": comparison.outcome,
        "metric": metric,
        "against": "user_item_bias",
        "generated": generated,
        "confidence": CONFIDENCE,
        "resamples": RESAMPLES,
        **asdict(comparison),
    }


def _sentence(c: Comparison, metric: str, events: int, *, generated: bool) -> str:
    name = _METRIC_NAMES[metric]
    amount = f"{abs(c.difference):.4f}"
    if float(amount) == 0:
        relation = "to four digits equal to"
    else:
        relation = f"{amount} {'lower (better)' if c.difference < 0 else 'higher (worse)'} than"
    text = (
        f"Over {events:,} test events the model's {name} is {c.candidate:.4f}, "
        f"{relation} the baseline's {c.reference:.4f}; "
    )
    if c.low is None or c.high is None:
        text += "with a single user there is no interval to judge the difference by."
    else:
        text += (
            f"{CONFIDENCE:.0%} interval of the difference {c.low:+.4f} to {c.high:+.4f} "
            f"(paired, resampling {c.users:,} users)"
        )
        text += ", which includes zero." if c.outcome == "undecided" else "."
    if generated:
        text += (
            " The ratings were generated, so this shows that the pipeline works; "
            "it says nothing about real viewers."
        )
    return text
