"""Write the pages of docs/ that derive from code (`make docs`); a test compares them."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from botocore.session import get_session

from fmrec.local_aws import coverage
from fmrec.local_aws.operations import Resources
from fmrec.local_aws.workplace import Workplace
from fmrec.settings import (
    DEFAULTS,
    HYPERPARAMETERS,
    Deployment,
    Operations,
    RunSettings,
    describe_limits,
    env_name,
)

sys.path.insert(0, str(Path(__file__).resolve().parent))
import dags_page

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
        "Each is a Param of `fmrec_retrain` (trigger form, `--conf` of the Airflow CLI), an option",
        "of `python -m fmrec run`, and a variable that changes the default for all runs. The",
        "Params of the other DAGs are in [dags.md](dags.md).",
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
    lines += _variables(Deployment)
    lines += [
        "",
        "## How the DAGs are run",
        "",
        "Environment variables too, read by every component of Airflow when it parses the DAGs.",
        "",
        "| variable | default | |",
        "|---|---|---|",
        *_variables(Operations),
    ]
    lines += [
        "",
        "On a laptop, `FMREC_STATE_DIR` (`var/` in the checkout) is the folder of databases, logs",
        "and reports, and `make up` takes `FMREC_UI_PORT` (8080, or the next free one) and",
        "`FMREC_AWS_PORT` (5566, likewise).",
    ]
    return "\n".join(lines) + "\n"


def _variables(cls: Any) -> list[str]:
    """A row for each environment variable of a settings class."""
    rows = []
    for each in fields(cls):
        default = "`~/.cache/fmrec`" if each.name == "cache_dir" else _shown(each.default)
        rows.append(f"| `{each.metadata['env']}` | {default} | {each.metadata['description']} |")
    return rows


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


def coverage_page() -> str:
    """docs/local-aws-coverage.md: the operations of SageMaker, and what stands behind each."""
    every = set(get_session().get_service_model("sagemaker").operation_names)
    implemented = set(Resources(cast(Workplace, None)).table())
    lines = [
        "# What the local AWS covers",
        "",
        "Made from `plugins/fmrec/local_aws/coverage.py` and the server's table of operations by",
        "`make docs`: do not edit. The tests send every member that is listed here.",
        "",
        f"Of {len(every)} operations of SageMaker {len(implemented)} are implemented, and of",
        f"SageMaker Runtime {', '.join(coverage.RUNTIME)}. They do what AWS documents; where they",
        "do not, this page says so. Any other operation answers `NotImplementedException` and",
        "names those that exist. Of other services S3, IAM, STS, CloudWatch, its Logs, SQS and",
        "Application Auto Scaling are answered, by [moto](https://docs.getmoto.org).",
        "",
        "- **Refused**: AWS would act on it; here it is a `ValidationException` that names it.",
        "- **Without effect**: accepted, given back by Describe, and changes nothing here.",
        "",
        "`[]` stands for the members of a list, `=value` for this value alone.",
    ]
    for title, operations in coverage.GROUPS.items():
        lines += ["", f"## {title}", "", ", ".join(f"`{name}`" for name in operations)]
        for heading, lists in (
            ("Refused", coverage.REFUSED),
            ("Without effect", coverage.WITHOUT_EFFECT),
        ):
            listed = [name for name in operations if name in lists]
            if listed:
                lines += ["", f"{heading}:", ""]
            lines += [f"- `{name}`: {_by_place(lists[name])}" for name in listed]
    lines += ["", "## Where it differs from AWS otherwise"]
    for subject, differences in coverage.DIFFERENCES.items():
        lines += ["", f"**{subject}**", "", *(f"- {each}" for each in differences)]
    missing = sorted(every - implemented)
    lines += [
        "",
        "## Not implemented",
        "",
        f"<details><summary>{len(missing)} operations</summary>",
        "",
        ", ".join(missing),
        "",
        "</details>",
    ]
    return "\n".join(lines) + "\n"


def _by_place(paths: tuple[str, ...]) -> str:
    """Members of a request, those of its top first, then those of each structure."""
    places: dict[str, list[str]] = {}
    for path in sorted(paths):
        name, _, value = path.partition("=")
        place, _, member = name.rpartition(".")
        number = f" above {int(value) - 1}" if value.isdecimal() else ""
        shown = f"`{member}`{number}" if number or not value else f"`{member}={value}`"
        places.setdefault(place, []).append(shown)
    return "; ".join(
        (f"in `{place}` " if place else "") + ", ".join(members)
        for place, members in sorted(places.items())
    )


PAGES = {
    "settings.md": settings_page,
    "local-aws-coverage.md": coverage_page,
    "dags.md": dags_page.page,
}


def main() -> int:
    """Write every page."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())
        print(f"docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
