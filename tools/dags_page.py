"""docs/dags.md: every DAG as Airflow parses it, with its text, its graph, its tasks and Params."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_FEW = 15  # Params
_ORDER = ("retrain", "tune", "recommend", "serve", "rollback", "janitor")


def page() -> str:
    """The page. Its facts come from a process of its own, with an Airflow that knows nothing."""
    dags = _parsed()
    lines = [
        "# The DAGs",
        "",
        "Made from `dags/` by `make docs`: do not edit. How they are run day by day stands in",
        "[operating.md](operating.md); every variable, and every Param of retraining and tuning,",
        "in [settings.md](settings.md). Tasks of pool `FMREC_JOBS_POOL` hold a SageMaker job; they",
        "use the pool that this variable names, on a laptop `fmrec_jobs` with two slots.",
        "",
        "| DAG | schedule | waits for | |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| [{dag['id']}](#{dag['id']}) | {dag['schedule']} | {_marked(dag['waits_for'])} "
        f"| {dag['description']} |"
        for dag in dags
    ]
    for dag in dags:
        lines += _section(dag)
    lines += _assets(dags)
    return "\n".join(lines) + "\n"


def _section(dag: dict[str, Any]) -> list[str]:
    limits = [
        f"at most {dag['max_active_runs']} run{'s' if dag['max_active_runs'] > 1 else ''} at once",
        f"a run may take {dag['timeout']}",
        *(["paused until it is unpaused, also where new DAGs are not"] if dag["paused"] else []),
    ]
    lines = ["", f"## {dag['id']}", "", dag["doc"].strip(), "", f"**Limits.** {'; '.join(limits)}."]
    lines += ["", "```mermaid", "flowchart LR"]
    for task in dag["tasks"]:
        shape = '{{"%s"}}' if "Branch" in task["operator"] else '["%s"]'
        lines.append(f"    {task['id']}{shape % task['id']}")
    lines += [f"    {one} --> {two}" for one, two in _shortest(dag["tasks"])]
    lines += ["```", "", "| task | | operator | retries | longest | pool | updates |"]
    lines.append("|---|---|---|---:|---|---|---|")
    for task in dag["tasks"]:
        rule = "" if task["rule"] == "all_success" else f" Runs when `{task['rule']}`."
        lines.append(
            f"| `{task['id']}` | {task['text']}{rule} | {task['operator']} | {task['retries']} "
            f"| {task['longest']} | {task['pool']} | {_marked(task['updates'])} |"
        )
    return lines + _params(dag["params"])


def _params(sections: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """The Params by section: by name where settings.md has them, else with their text."""
    if not sections:
        return []
    if sum(len(each) for each in sections.values()) > _FEW:
        lines = ["", "| section of the form | Params ([settings](settings.md)) |", "|---|---|"]
        return lines + [f"| {name} | {_marked(each)} |" for name, each in sections.items()]
    lines = ["", "| section of the form | Param | default | |", "|---|---|---|---|"]
    for section, params in sections.items():
        for name, each in params.items():
            default = "" if each["default"] is None else f"`{each['default']}`"
            lines.append(f"| {section} | `{name}` | {default} | {each['text']} |")
    return lines


def _shortest(tasks: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    """The arrows that no longer way replaces: what a person needs to see the order."""
    after = {task["id"]: set(task["downstream"]) for task in tasks}

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        left = [start]
        while left:
            for each in after[left.pop()] - found:
                found.add(each)
                left.append(each)
        return found

    beyond = {task: reached(task) for task in after}
    return [
        (one, two)
        for one, direct in after.items()
        for two in sorted(direct)
        if not any(two in beyond[other] for other in direct - {two})
    ]


def _assets(dags: list[dict[str, Any]]) -> list[str]:
    lines = [
        "",
        "## Assets",
        "",
        "What each event tells stands in its `extra`, on Airflow's page of assets. Those called",
        "`fmrec_new_…` are aliases: through them a task updates `fmrec_champion` and",
        "`fmrec_hyperparameters`, and only when there is a new one.",
        "",
        "| asset | updated by | waited for by |",
        "|---|---|---|",
    ]
    names = {name for dag in dags for task in dag["tasks"] for name in task["updates"]}
    for name in sorted(names | {each for dag in dags for each in dag["waits_for"]}):
        made = [f"{d['id']}.{t['id']}" for d in dags for t in d["tasks"] if name in t["updates"]]
        wanted = [dag["id"] for dag in dags if name in dag["waits_for"]]
        lines.append(f"| `{name}` | {_marked(made)} | {_marked(wanted)} |")
    return lines


def _marked(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _parsed() -> list[dict[str, Any]]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with tempfile.TemporaryDirectory() as home:
        environ = kept | {
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "PYTHONPATH": str(ROOT / "plugins"),
            # A page for all: which pool it is, each Airflow says for itself.
            "FMREC_JOBS_POOL": "FMREC_JOBS_POOL",
        }
        answer = subprocess.run(
            [sys.executable, __file__], env=environ, capture_output=True, text=True, check=False
        )
    if answer.returncode:
        raise SystemExit(answer.stderr)
    found: list[dict[str, Any]] = json.loads(answer.stdout.splitlines()[-1])
    place = {f"fmrec_{name}": number for number, name in enumerate(_ORDER)}
    return sorted(found, key=lambda dag: (place.get(dag["id"], len(place)), dag["id"]))


def _described() -> list[dict[str, Any]]:
    """What DagBag has found, as JSON types; runs in the process of its own."""
    from airflow.dag_processing.dagbag import DagBag  # noqa: PLC0415 -- after its environment

    bag = DagBag(dag_folder=str(ROOT / "dags"))
    if bag.import_errors:
        raise SystemExit(f"a DAG does not parse: {bag.import_errors}")
    return [_facts(dag) for dag in bag.dags.values()]


def _facts(dag: Any) -> dict[str, Any]:
    sections: dict[str, dict[str, Any]] = {}
    for name in dag.params:
        param = dag.params.get_param(name)
        section = param.schema.get("section")
        if section is not None:
            told = {"default": param.value, "text": param.schema["description_md"]}
            sections.setdefault(section, {})[name] = told
    condition = getattr(dag.timetable, "asset_condition", None)
    waits_for = [asset.name for asset in condition.objects] if condition else []
    cron = getattr(dag.timetable, "expression", None)
    return {
        "id": dag.dag_id,
        "description": dag.description,
        "doc": dag.doc_md,
        "schedule": f"`{cron}` UTC" if cron else "on its asset" if waits_for else "by hand",
        "waits_for": waits_for,
        "max_active_runs": dag.max_active_runs,
        "timeout": _hours(dag.dagrun_timeout),
        "paused": bool(dag.is_paused_upon_creation),
        "params": sections,
        "tasks": [_task(task) for task in dag.topological_sort()],
    }


def _task(task: Any) -> dict[str, Any]:
    text = task.doc_md or task.python_callable.__doc__
    return {
        "id": task.task_id,
        "text": " ".join(text.split("\n\n")[0].split()),
        "operator": type(task).__name__.lstrip("_").removesuffix("DecoratedOperator")
        if hasattr(task, "python_callable")
        else type(task).__name__,
        "retries": task.retries,
        "longest": _hours(task.execution_timeout or getattr(task, "response_timeout", None)),
        "pool": "" if task.pool == "default_pool" else f"`{task.pool}`",
        "rule": str(getattr(task.trigger_rule, "value", task.trigger_rule)),
        "updates": [each.name for each in task.outlets],
        "downstream": sorted(task.downstream_task_ids),
    }


def _hours(limit: Any) -> str:
    return "" if limit is None else f"{limit.total_seconds() / 3600:g} h"


if __name__ == "__main__":
    print(json.dumps(_described()))
