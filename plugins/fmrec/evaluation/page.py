"""The report as one self-contained HTML page: no script, no network, no other file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from fmrec.evaluation import page_plots, page_tables
from fmrec.evaluation.table import clipping
from fmrec.evaluation.wording import COUNTS, METRICS

# Reports that were written before a field existed can still be shown.
_ABSENT: Mapping[str, Any] = {
    "peers": {},
    "comparisons": [],
    "champion": None,
    "gate": None,
    "lists": None,
    "slices": [],
    "changes": None,
    "cost": None,
}
_FACTS = {
    "source": "source",
    "source_note": "origin",
    "split": "split",
    "as_of": "ratings before",
    "objective": "objective",
    "use": "use",
    "features": "features",
    "lane": "lane",
}
_SHOWN = {*_FACTS, "run_id", "generated"}
_ICONS = {"promote": "✓", "keep": "✕", "ask": "?"}
_USES = {
    "rating": "For predicting ratings",
    "like": "For predicting likes",
    "ranking": "For ranking films",
}


def render(report: Mapping[str, Any]) -> str:
    """The page as HTML text, made from the content of report.json alone.

    Everything that comes from the data or the run (ids, titles, parameters) is escaped.
    """
    whole = {**_ABSENT, **report}
    run = whole["run"]
    text = _template().render(
        report=whole,
        metrics=METRICS,
        icons=_ICONS,
        uses=_USES,
        notices=list(_notices(whole)),
        champion=list(_champion(whole)),
        tables=page_tables.tables(whole),
        comparisons=page_tables.comparisons(whole),
        clipping=clipping(whole),
        plots=page_plots.Plots(whole),
        slices=page_tables.slices(whole),
        facts=[(name, run[key]) for key, name in _FACTS.items() if run.get(key)],
        counts=[(_count_name(key), f"{value:,}") for key, value in _ordered(whole["counts"])],
        parameters=list(_parameters(run)),
    )
    return text + "\n"


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "figure": page_tables.figure,
        "signed": page_tables.signed,
        "day": _day,
        "money": _money,
    }
    source = files("fmrec.evaluation").joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source)


def _notices(report: Mapping[str, Any]) -> Iterator[str]:
    """Sentences that must not be missed."""
    if report["run"]["generated"]:
        yield "The ratings were generated: these figures say nothing about real viewers"
    champion = report["champion"]
    problem = (champion or {}).get("problem")
    if problem and not any(problem.rstrip(".") in reason for reason in _reasons(report)):
        yield f"No comparison with the champion: {problem[0].lower()}{problem[1:]}"
    yield from report["notes"]


def _reasons(report: Mapping[str, Any]) -> list[str]:
    return report["gate"]["reasons"] if report["gate"] else []


def _champion(report: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on the champion that the model was compared with."""
    champion = report["champion"]
    if champion is None:
        if report["gate"]:
            yield "There is no champion yet: nothing is in production to compare with."
        return
    newest = champion["newest"]
    if champion["run"] is None:
        yield (
            "No champion was in place at the moment of this run. The one in place now, "
            f"{newest['run']}, is of a later moment ({_day(newest['as_of'])})."
        )
        return
    made = " on ".join(str(champion[key]) for key in ("objective", "features") if champion[key])
    yield (
        f"The champion is run {champion['run']}"
        + (f" ({made})" if made else "")
        + f", with ratings before {_day(champion['as_of'])}."
    )
    events, users = champion["left_out_events"], champion["left_out_users"]
    if events or users:
        told = [f"{events or 0:,} test events", *([f"{users:,} users"] if users else [])]
        yield (
            f"It was trained on {' and '.join(told)} of this test part: they are left out "
            "where the two are compared, and of the champion's row in the tables."
        )
    if newest and newest["run"] != champion["run"]:
        yield f"In place now is {newest['run']}, with ratings before {_day(newest['as_of'])}."


def _day(moment: str) -> str:
    """The day of an ISO 8601 moment, with the time unless it is midnight."""
    day, _, time = str(moment).partition("T")
    return day if time[:8] in ("", "00:00:00") else f"{day} {time[:5]}"


def _money(amount: float | None, currency: str) -> str:
    if amount is None:
        return "unknown"
    return f"{amount:,.2f} {currency}" if amount >= 1 else f"{amount:.4f} {currency}"


def _ordered(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    known = [(name, counts[name]) for name in COUNTS if name in counts]
    return known + sorted((k, v) for k, v in counts.items() if k not in COUNTS)


def _count_name(key: str) -> str:
    return COUNTS.get(key, key.replace("_", " "))


def _parameters(run: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in sorted(run.items()):
        if not prefix and (key in _SHOWN or key.startswith(("gate_", "_"))):
            continue  # the gate's policy is shown with its decision
        if isinstance(value, Mapping):
            yield from _parameters(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "none" if value is None else str(value)
