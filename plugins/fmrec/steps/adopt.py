"""Make what a tuning has found the default of later runs, when it is better."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from fmrec.layout import Run
from fmrec.release import tunings
from fmrec.release.tunings import Tuning
from fmrec.steps import budget
from fmrec.steps.xcom import Xcom
from fmrec.store import Store
from fmrec.tuning import objective as objective_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)


def adopt(run: Xcom, parts: Xcom, control: Xcom, tuning: Xcom, s3: S3Client, now: datetime) -> Xcom:
    """Compare the best training job of a tuning with `control`, trained by today's defaults.

    Both are judged by the metric that was searched by, on the same validation events. The tuning
    goes into the history either way: later ones learn from it. A run that is in the history
    already changes nothing, and the result says again what stands there.
    """
    this = Run.from_xcom(run)
    found = tuning["tuning"]
    best = found["objective"]["value"]
    objective = objective_of(this.settings)
    today = control["metrics"].get(objective["MetricName"])
    if today is not None and not math.isfinite(today):
        today = None
    adopted, why = _judged(best, today, objective)
    store = Store(s3, this.layout.bucket)
    budget.settle(this, store, now)
    entry = tunings.record(
        store,
        this.layout,
        Tuning(
            sequence=0,
            kind=this.kind,
            run=this.layout.run,
            as_of=this.as_of,
            job=found["name"],
            trials=len(found["jobs"]),
            adopted=adopted,
            why=why,
            # All of them: what was not searched was the best beside these values, not beside
            # whatever the defaults will be one day.
            hyperparameters=this.hyperparameters() | tuning["hyperparameters"],
            searched=sorted(tuning["hyperparameters"]),
            objective=found["objective"],
            control=today,
            data=parts["data"]["fingerprint"],
            at=now,
        ),
    )
    log.info("%s: %s", entry.job, entry.why)
    _tell(found["jobs"], entry)
    return {
        "kind": entry.kind,
        "adopted": entry.adopted,
        "objective": dict(entry.objective),
        "control": entry.control,
        "hyperparameters": dict(entry.hyperparameters),
        "why": entry.why,
    }


def _judged(best: float, today: float | None, objective: Mapping[str, str]) -> tuple[bool, str]:
    """Whether it is adopted, and why."""
    name = objective["MetricName"]
    if today is None:
        return False, (
            f"not adopted: it is not known what today's defaults reach, for their training job "
            f"tells no {name}"
        )
    values = f"{name} {best:.5f} with what was found, {today:.5f} with today's defaults"
    better = best > today if objective["Type"] == "Maximize" else best < today
    return (True, f"adopted: {values}") if better else (False, f"not adopted: {values}")


def _tell(jobs: Sequence[Xcom], entry: Tuning) -> None:
    for each in jobs:
        value = "-" if each["value"] is None else f"{each['value']:.5f}"
        values = ", ".join(f"{name} {text}" for name, text in each["hyperparameters"].items())
        log.info("%s %s: %s", value, each["status"], values)
