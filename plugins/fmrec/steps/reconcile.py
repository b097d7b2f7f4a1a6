"""Bring the ledger up to date: jobs that ended while nobody waited for them any more.

The task of a job records what it cost. One that is marked failed, or whose run is deleted or out of
time, stops its job and is gone before the job has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from fmrec import bills, ledger
from fmrec.layout import Layout
from fmrec.steps.leftovers import Guard
from fmrec.store import Store

_ENDED = frozenset({"Completed", "Failed", "Stopped"})
# A budget asks about a calendar month.
_BACK = timedelta(days=31)


@dataclass(frozen=True)
class _Kind:
    """A kind of jobs.

    `beginning` is what all names of this project have; `name` is a job's of one run, `output`
    where a job writes to. SageMaker puts `prefix` before Name, Status and Summaries.
    """

    billed_as: str
    prefix: str
    operation: str
    beginning: str
    name: Callable[[Layout], str]
    output: Callable[[Mapping[str, Any]], str]
    bill: Callable[[Any, Mapping[str, Any]], dict[str, Any]]

    def ended(self, client: Any, since: datetime) -> Iterator[str]:
        """The jobs that have such a name and ended since, whoever made them."""
        pages = client.get_paginator(f"list_{self.operation}s").paginate(
            NameContains=self.beginning, LastModifiedTimeAfter=since
        )
        for page in pages:
            for each in page[f"{self.prefix}Summaries"]:
                name: str = each[f"{self.prefix}Name"]
                if name.startswith(self.beginning) and each[f"{self.prefix}Status"] in _ENDED:
                    yield name

    def describe(self, client: Any, name: str) -> dict[str, Any]:
        """What SageMaker says of a job."""
        ask = getattr(client, f"describe_{self.operation}")
        description: dict[str, Any] = ask(**{f"{self.prefix}Name": name})
        return description

    def run_of(self, name: str, description: Mapping[str, Any], layout: Layout) -> str | None:
        """The run of this deployment that a job was made for; None for anybody else's job.

        It writes among the files of that very run, and has a name of that run's.
        """
        run = layout.run_of(self.output(description))
        if run is None:
            return None
        own = self.name(layout.of(run)).removesuffix("0")
        return run if name.startswith(own) and name.removeprefix(own).isdecimal() else None


def _output(told: Mapping[str, Any]) -> str:
    return str(told.get("OutputDataConfig", {}).get("S3OutputPath", ""))


def _tuning_bill(client: Any, description: Mapping[str, Any]) -> dict[str, Any]:
    names = [
        each["TrainingJobName"]
        for each in bills.trials(client, description["HyperParameterTuningJobName"])
    ]
    told = (client.describe_training_job(TrainingJobName=name) for name in names)
    return bills.tuning(description, [bills.training_seconds(each) for each in told])


_KINDS = (
    _Kind(
        "training",
        "TrainingJob",
        "training_job",
        "fmrec-train-",
        lambda layout: layout.job("train", 0),
        _output,
        lambda client, told: bills.training(told),
    ),
    _Kind(
        "tuning",
        "HyperParameterTuningJob",
        "hyper_parameter_tuning_job",
        "fmrec-",
        lambda layout: layout.tuning_job(0),
        lambda told: _output(told.get("TrainingJobDefinition", {})),
        _tuning_bill,
    ),
    _Kind(
        "batch transform",
        "TransformJob",
        "transform_job",
        "fmrec-score-",
        lambda layout: layout.job("score", 0),
        lambda told: str(told.get("TransformOutput", {}).get("S3OutputPath", "")),
        lambda client, told: bills.transform(told),
    ),
)


def reconcile(
    client: Any,
    store: Store,
    layout: Layout,
    region: str,
    now: datetime,
    *,
    dry_run: bool,
    guard: Guard,
) -> list[str]:
    """Record what this deployment's jobs of the last 31 days cost that nobody has recorded.

    The result are their names; in a dry run nothing is written. What goes wrong with one kind, or
    one job, is raised within `guard`.
    """
    found = []
    for kind in _KINDS:
        with guard(f"what {kind.billed_as} jobs cost"):
            for name in kind.ended(client, now - _BACK):
                with guard(f"what {name} cost"):
                    if ledger.recorded(store, layout, name):
                        continue
                    description = kind.describe(client, name)
                    run = kind.run_of(name, description, layout)
                    if run is None:
                        continue
                    if not dry_run:
                        entry = {
                            "job": name,
                            "kind": kind.billed_as,
                            "run": run,
                            "status": description[f"{kind.prefix}Status"],
                            **kind.bill(client, description),
                        }
                        at = bills.ended(description) or now
                        ledger.record(store, layout, region, entry, at)
                    found.append(name)
    return found
