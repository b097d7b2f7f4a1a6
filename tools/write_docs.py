"""Write the pages of docs/ that derive from code (`make docs`); a test compares them."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from fmrec.settings import (
    DEFAULTS,
    HYPERPARAMETERS,
    Deployment,
    RunSettings,
    describe_limits,
    env_name,
)

DOCS = Path(__file__).resolve().parent.parent / "docs"


def settings_page() -> str:
    """docs/settings.md: every Param, option and variable."""
    lines = [
        "# Settings",
        "",
        "Made from `plugins/fmrec/settings/` by `make docs`: do not edit.",
        "",
        "## What a run is told",
        "",
        "Each is a Param of the DAG (trigger form, `--conf` of the Airflow CLI), an option of",
        "`python -m fmrec run`, and a variable that changes the default for all runs.",
    ]
    section = ""
    for each in fields(RunSettings):
        if each.metadata["section"] != section:
            section = each.metadata["section"]
            lines += ["", f"### {section}", ""]
            lines += [
                "| Param | option | variable | takes | default | |",
                "|---|---|---|---|---|---|",
            ]
        lines.append(
            f"| `{each.name}` | `--{each.name.replace('_', '-')}` | `{env_name(each)}` "
            f"| {describe_limits(each)} | {_default(each.name, each.default)} "
            f"| {each.metadata['description']} |"
        )
    lines += _hyperparameters()
    lines += [
        "",
        "## Where the pipeline lives",
        "",
        "Environment variables alone, read by every task. A private local AWS and `make up` bring",
        "their own bucket, role, region and polling.",
        "",
        "| variable | default | |",
        "|---|---|---|",
    ]
    for each in fields(Deployment):
        default = "`~/.cache/fmrec`" if each.name == "cache_dir" else _shown(each.default)
        lines.append(f"| `{each.metadata['env']}` | {default} | {each.metadata['description']} |")
    lines += [
        "",
        "On a laptop, `FMREC_STATE_DIR` (`var/` in the checkout) is the folder of databases, logs",
        "and reports, and `make up` takes `FMREC_UI_PORT` (8080, or the next free one) and",
        "`FMREC_AWS_PORT` (5566, likewise).",
    ]
    return "\n".join(lines) + "\n"


def _hyperparameters() -> list[str]:
    """The defaults that go with the solver, the objective and the features."""
    lines = [
        "",
        "### Default hyperparameters",
        "",
        "Of a run that sets none. How they were chosen: [adam](benchmarks/hyperparameters.md),",
        "[mcmc](benchmarks/accuracy.md), [catalogue](benchmarks/ranking.md).",
    ]
    for solver, by_objective in DEFAULTS.items():
        sets: dict[str, dict[str, float | int]] = {}
        for objective, by_features in by_objective.items():
            for features, chosen in by_features.items():
                if chosen not in sets.values():
                    same = [name for name, each in by_features.items() if each == chosen]
                    every = len(same) == len(by_features)
                    sets[f"`{objective}`" + ("" if every else f", `{features}`")] = chosen
        if solver == "mcmc":  # one set for both of its objectives
            sets = {"all": next(iter(sets.values()))}
        lines += ["", f"Solver `{solver}`:", "", f"| | {' | '.join(sets)} |"]
        lines += ["|---|" + "--:|" * len(sets)]
        for name in next(iter(sets.values())):
            cells = " | ".join(f"{chosen[name]}" for chosen in sets.values())
            lines.append(f"| `{name}` | {cells} |")
    return lines


def _default(name: str, default: Any) -> str:
    if name in HYPERPARAMETERS:
        return "[by solver, objective and features](#default-hyperparameters)"
    return _shown(default)


def _shown(default: Any) -> str:
    return "" if default is None else f"`{default}`"


PAGES = {"settings.md": settings_page}


def main() -> int:
    """Write every page."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())
        print(f"docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
