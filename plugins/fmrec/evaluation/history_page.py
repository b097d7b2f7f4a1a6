"""All runs as one self-contained HTML page: no script, no network, no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fmrec.evaluation.ageing import Aged, Ageing, explained, shares
from fmrec.evaluation.history import SHORT, History, Lane, Row
from fmrec.evaluation.plot_svg import CHAMPION, INK, MODEL, svg
from fmrec.evaluation.wording import BASELINES, METRICS

_TICKS = 4


def render(history: History, ageing: Ageing | None) -> str:
    """The page as HTML text; `ageing` is shown with its lane, when there is one.

    Everything that comes from reports (ids, decisions, reasons) is escaped.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = files("fmrec.evaluation").joinpath("history.html.j2").read_text(encoding="utf-8")
    runs = sum(len(lane.rows) for lane in history.lanes)
    text = environment.from_string(source).render(
        runs=f"{runs} run" if runs == 1 else f"{runs} runs",
        lanes=[_lane(lane) for lane in history.lanes],
        damaged=history.damaged,
        ageing=None if ageing is None else _ageing(ageing),
    )
    return text + "\n"


def _lane(lane: Lane) -> dict[str, Any]:
    metrics = sorted({row.metric for row in lane.rows})
    plots = [_metric_plot(lane, metric) for metric in metrics] + [_cost_plot(lane)]
    kinds = {(row.objective, row.features) for row in lane.rows}
    return {
        "name": lane.name or "Runs whose reports name no lane",
        "mixed": len(kinds) > 1,
        "kind": " from ".join(str(each) for each in min(kinds, key=str) if each) if kinds else "",
        "plots": [plot for plot in plots if plot["svg"]],
        "runs": len(lane.rows),
        "tables": [_table(lane, metric) for metric in metrics],
        "changes": [
            {
                "at": f"{change.at:%Y-%m-%d %H:%M} UTC",
                "kind": change.kind,
                "run": change.run,
                "replaces": change.replaces,
            }
            for change in reversed(lane.changes)
        ],
        "cost": _money(lane.cost, lane.rows[-1].currency if lane.rows else None),
    }


def _table(lane: Lane, metric: str) -> dict[str, Any]:
    rows = [row for row in lane.rows if row.metric == metric]
    title, better = METRICS.get(metric, (metric, rows[0].better))
    return {
        "metric": f"{title} {'↓' if better == 'less' else '↑'}",
        "rows": [_cells(row) for row in reversed(rows)],
    }


def _cells(row: Row) -> dict[str, Any]:
    known = row.low is not None and row.high is not None
    return {
        "as_of": f"{row.as_of:%Y-%m-%d}"
        if row.as_of.time().isoformat() == "00:00:00"
        else f"{row.as_of:%Y-%m-%d %H:%M}",
        "run": row.run,
        "kind": f"{row.objective}, {row.features or 'n/a'}",
        "figures": [_figure(each) for each in (row.model, row.baseline, row.champion)],
        "difference": "" if row.difference is None else f"{row.difference:+.4f}",
        "interval": f"{row.low:+.4f} to {row.high:+.4f}" if known else "",
        "against": SHORT.get(row.against, row.against),
        "decision": row.decision or "",
        "crowned": bool(row.crowned),
        "events": "" if row.events is None else f"{row.events:,}",
        "cost": _money(row.cost, row.currency),
    }


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _money(amount: float | None, currency: str | None) -> str:
    return "" if amount is None else f"{amount:.4f} {currency or ''}".strip()


def _metric_plot(lane: Lane, metric: str) -> dict[str, Any]:
    rows = [row for row in lane.rows if row.metric == metric]
    title, better = METRICS.get(metric, (metric, rows[0].better))
    rival = BASELINES.get(rows[0].rival, rows[0].rival)

    def draw(axes: Axes) -> None:
        every = range(len(rows))
        series: Sequence[tuple[str, str, str, Sequence[float | None]]] = (
            (rival, INK, ":", [row.baseline for row in rows]),
            ("champion", CHAMPION, "--", [row.champion for row in rows]),
        )
        for name, colour, dashes, values in series:
            if any(value is not None for value in values):
                axes.plot(every, _floats(values), color=colour, ls=dashes, label=name)
        _intervals(axes, rows)
        kinds = sorted({(row.objective, row.features or "") for row in rows})
        for number, kind in enumerate(kinds):
            own = [n for n in every if (rows[n].objective, rows[n].features or "") == kind]
            axes.plot(
                own,
                _floats([rows[n].model for n in own]),
                color=MODEL,
                marker="osD^v"[number % 5],
                markersize=3,
                label="model" if len(kinds) == 1 else ", ".join(each for each in kind if each),
            )
        crowned = [n for n in every if rows[n].crowned and rows[n].model is not None]
        if crowned:
            axes.plot(
                crowned,
                _floats([rows[n].model for n in crowned]),
                color=CHAMPION,
                ls="",
                marker="*",
                markersize=9,
                label="became the champion",
            )
        _dates(axes, rows)
        axes.set_ylabel(title)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)

    label = f"{title} of the runs of {lane.name or 'no lane'} over time"
    wanted = "Lower" if better == "less" else "Higher"
    return {
        "title": f"{title} over time",
        "caption": f"{wanted} is better. The bars are where the model lies by the 95% interval of "
        f"its difference to {rival}: a bar that reaches the dotted line may be chance.",
        "svg": _trusted(svg(draw, label, 3.1)) if _any(rows) else "",
    }


def _intervals(axes: Axes, rows: Sequence[Row]) -> None:
    for place, row in enumerate(rows):
        if row.over_baseline is not None and row.baseline is not None:
            ends = [row.baseline + end for end in row.over_baseline]
            axes.plot([place, place], ends, color=MODEL, alpha=0.3, linewidth=2)


def _cost_plot(lane: Lane) -> dict[str, Any]:
    rows = [row for row in lane.rows if row.cost is not None]
    missing = len(lane.rows) - len(rows)

    def draw(axes: Axes) -> None:
        axes.vlines(
            range(len(rows)), 0, _floats([row.cost for row in rows]), color=MODEL, linewidth=2.5
        )
        _dates(axes, rows)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylabel(f"{rows[0].currency} a run")

    left = f" Not known of {missing} runs." if missing else ""
    return {
        "title": "Cost over time",
        "caption": "What the jobs of each run cost on demand, by the price list that its report "
        f"names.{left}",
        "svg": _trusted(svg(draw, f"Cost of the runs of {lane.name or 'no lane'}", 3.1))
        if rows
        else "",
    }


def _dates(axes: Axes, rows: Sequence[Row]) -> None:
    """Runs stand side by side in the order of their moments, however far apart these are.

    A backfill of a year long past and a run of today would else leave an empty plot between them.
    """
    shown = np.unique(np.linspace(0, len(rows) - 1, _TICKS).astype(int)).tolist()
    axes.set_xticks(shown, [f"{rows[place].as_of:%Y-%m-%d}" for place in shown])
    # Clear of the lowest label of the other axis.
    axes.tick_params(axis="x", pad=9)
    axes.set_xlim(-0.5 - len(rows) / 40, len(rows) - 0.5 + len(rows) / 40)


def _any(rows: Sequence[Row]) -> bool:
    return any(row.model is not None for row in rows)


def _floats(values: Sequence[float | None]) -> list[float]:
    return [np.nan if value is None else value for value in values]


def _ageing(found: Ageing) -> Mapping[str, Any]:
    return {
        "lane": found.lane,
        "metric": METRICS[found.metric][0],
        "advice": found.advice,
        "explained": [_with_code(sentence) for sentence in explained(found)],
        "rows": [_aged(row) for row in found.rows],
    }


def _aged(row: Aged) -> Mapping[str, Any]:
    loss, interval = shares(row)
    return {
        "age": f"{row.age} day" if row.age == 1 else f"{row.age} days",
        "value": f"{row.value:.4f}",
        "fresh": f"{row.fresh:.4f}",
        "loss": loss,
        "interval": interval,
        "days": row.days,
        "ratings": f"{row.ratings:,}",
        "users": f"{row.users:,}",
        "known_users": f"{row.known_users:.1%}",
        "known_items": f"{row.known_items:.1%}",
        "mean": f"{row.mean_age:.1f}",
        "models": row.models,
    }


def _with_code(sentence: str) -> Markup:
    """The sentence with what stands in backticks as code."""
    parts = [escape(part) for part in sentence.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part
        for number, part in enumerate(parts)
    )


def _trusted(drawing: str) -> Markup:
    # Matplotlib escapes the texts of a drawing, and `svg` its label.
    return Markup(drawing)  # noqa: S704
