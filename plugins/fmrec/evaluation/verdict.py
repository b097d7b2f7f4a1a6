"""The verdict in words: whether the model beats the baseline, and how surely."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fmrec.evaluation.comparison import CONFIDENCE, RESAMPLES, Comparison
from fmrec.evaluation.uses import Use
from fmrec.evaluation.wording import BASELINES, METRICS

_HEADLINES = {
    "better": "The model beats the {} baseline",
    "worse": "The model loses to the {} baseline",
    "undecided": "The model cannot be told apart from the {} baseline",
}


def of(use: Use, *, generated: bool) -> dict[str, Any]:
    """The `verdict` object of report.json; says so in its headline when the data are generated."""
    comparison = use.comparisons[use.baseline]
    headline = _HEADLINES[comparison.outcome].format(BASELINES[use.baseline])
    if generated:
        headline = f"On generated data: {headline[0].lower()}{headline[1:]}"
    return {
        "headline": headline,
        "sentence": _sentence(comparison, use.metric, use.over, generated=generated),
        "outcome": comparison.outcome,
        "use": use.name,
        "metric": use.metric,
        "against": use.baseline,
        "generated": generated,
        "confidence": CONFIDENCE,
        "resamples": RESAMPLES,
        **asdict(comparison),
    }


def _sentence(c: Comparison, metric: str, over: str, *, generated: bool) -> str:
    name = METRICS[metric][0]
    amount = f"{abs(c.difference):.4f}"
    if float(amount) == 0:
        relation = "to four digits equal to"
    else:
        way = "lower" if c.difference < 0 else "higher"
        worth = "better" if (c.difference < 0) == (c.better == "less") else "worse"
        relation = f"{amount} {way} ({worth}) than"
    text = (
        f"Over {over} the model's {name} is {c.candidate:.4f}, "
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
