"""What a run's jobs will cost: by what such jobs took before, else by a careful table."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

from fmrec import prices
from fmrec.layout import Run
from fmrec.settings import TASK_HOURS
from fmrec.settings.ranges import ranges_of
from fmrec.steps import published
from fmrec.steps.published import Published
from fmrec.steps.xcom import Xcom
from fmrec.store import Store

# How many published runs of the kind are looked at.
_RUNS = 3
# What is billed before the first row is trained or scored: loading the image and the data.
_TRAINING_START, _TRANSFORM_START = 120.0, 300.0
# Rows a second on ml.m5.large, far below what was seen, so as to err on the dear side; solver mcmc:
# of one chain, catalogue: pairs of two columns. docs/money.md says where they come from.
_ROWS = {"built-in": 30_000.0, "adam": 1_000_000.0, "mcmc": 400_000.0, "catalogue": 1e7}
_SCORED_ROWS = 10_000.0
# For so many factors, and 2 values in a row; more of either takes longer in proportion.
_FACTORS = {"built-in": 64, "adam": 32, "mcmc": 8, "catalogue": 192}
_OF_TABLE = (
    "no such run was published yet: from a table of throughputs, on the dear side; it may be "
    "several times too much"
)
_OF_PAST = "the longest of the last {} such runs, scaled to the rows and passes of this one"
# SageMaker sets transform jobs no limit: the task that waits for one stops it then.
_LONGEST_TRANSFORM = TASK_HOURS * 3600


@dataclass(frozen=True)
class _Work:
    """What a training job does: `passes` over `rows` of about `values` values, with `factors`."""

    passes: float
    rows: int
    values: float
    factors: int

    def times(self, past: _Work) -> float:
        """How many times as long it takes as what was done in the past, and rather more."""
        fewer = max(self.factors / past.factors, 1.0)
        return self.passes * self.rows / (past.passes * past.rows) * fewer


def estimate(run: Run, channels: Xcom, store: Store, region: str, *, releases: bool) -> Xcom:
    """What the jobs of a run are expected to cost, and the most that they can cost.

    `releases` says whether the run scores and publishes a model; else it compares a tuning with a
    training job. The result is {"currency", "expected", "at_most", "jobs", "prices", "notes"},
    amounts None where a price is not known. Each entry of `jobs` has kind, instance_type, jobs,
    seconds and longest (of one job), expected, at_most and `basis`: where the seconds come from.
    At most is what one attempt of each job costs that runs until it is stopped.
    """
    settings = run.settings
    past = _past(run, store)
    asked = _asked(run, channels, past, releases=releases)
    expected = prices.cost([each.priced(each.seconds) for each in asked], region)
    at_most = prices.cost([each.priced(each.longest) for each in asked], region)
    told = [
        {
            "kind": each.kind,
            "instance_type": each.instance_type,
            "jobs": each.jobs,
            "seconds": each.seconds,
            "longest": each.longest,
            "expected": likely["amount"],
            "at_most": most["amount"],
            "basis": each.basis,
        }
        for each, likely, most in zip(asked, expected["jobs"], at_most["jobs"], strict=True)
    ]
    notes = list(expected["notes"])
    if settings.spot:
        notes.append(
            "On spot capacity, training costs less than without; how much less is only known from "
            "runs that used it."
        )
    return {
        "currency": expected["currency"],
        "expected": expected["total"],
        "at_most": at_most["total"],
        "jobs": told,
        "prices": expected["prices"],
        "notes": notes,
    }


@dataclass(frozen=True)
class _Asked:
    """So many jobs of one kind; `seconds` expected and `longest` possible, of one of them."""

    kind: str
    instance_type: str
    jobs: int
    seconds: float
    longest: float
    basis: str

    def priced(self, seconds: float) -> Xcom:
        """A job as the price list takes it, that is billed so many seconds."""
        return {
            "kind": self.kind,
            "name": self.kind,
            "instance_type": self.instance_type,
            "instances": 1,
            "billable_seconds": seconds * self.jobs,
        }


def _asked(run: Run, channels: Xcom, past: list[Published], *, releases: bool) -> list[_Asked]:
    settings = run.settings
    longest = settings.max_runtime_minutes * 60.0
    seconds, basis = _training(run, channels, past)
    one = _Asked("training", settings.instance_type, 1, min(seconds, longest), longest, basis)
    asked = []
    if settings.mode == "train" or not releases:
        asked.append(one)
    if settings.mode == "tune":
        seconds, basis = _training(run, channels, past, searched=True)
        tuned = replace(one, kind="tuning", jobs=settings.tuning_jobs, basis=basis)
        asked.append(replace(tuned, seconds=min(seconds, longest)))
    if releases:
        machine = settings.transform_instance_type or settings.instance_type
        seconds, basis = _transform(channels, past, machine)
        asked.append(
            _Asked("batch transform", machine, 1, seconds, float(_LONGEST_TRANSFORM), basis)
        )
    return asked


def _past(run: Run, store: Store) -> list[Published]:
    """The latest published runs of the same kind."""
    alike = (each for each in published.latest(run.layout, store) if each.run.kind == run.kind)
    return list(itertools.islice(alike, _RUNS))


def _training(
    run: Run, channels: Xcom, past: list[Published], *, searched: bool = False
) -> tuple[float, str]:
    """Seconds of a training job, and where they come from; `searched`: of the dearest one."""
    values = run.hyperparameters()
    if searched:
        values = values | {each.name: each.text(each.high) for each in ranges_of(run.settings)}
    now = _work(values, channels["files"])
    took = []
    for each in past:
        told, settings = each.manifest, each.run.settings
        seconds = told["jobs"]["training"]["billable_seconds"]
        same = (settings.instance_type, settings.spot) == (
            run.settings.instance_type,
            run.settings.spot,
        )
        if same and seconds is not None:
            more = now.times(_work(told["hyperparameters"], told["recordio"]))
            start = min(seconds, _TRAINING_START)
            took.append(max(seconds * more, start))
    if took:
        return max(took), _OF_PAST.format(len(took))
    table = "built-in" if run.settings.image == "built-in" else run.settings.fitted_by
    rate, factors = _ROWS[table], _FACTORS[table]
    rows = now.rows * max(now.values / 2, 1)
    if table == "catalogue":
        rows = channels["feature_dim"] ** 2 / 4  # no more pairs of a user and a film than that
    seconds = _TRAINING_START + now.passes * rows * max(now.factors / factors, 1) / rate
    return seconds, _OF_TABLE


def _transform(channels: Xcom, past: list[Published], machine: str) -> tuple[float, str]:
    """Seconds of the batch transform, and where they come from."""
    rows = _rows(channels["files"]["test"])
    took = []
    for each in past:
        told, settings = each.manifest, each.run.settings
        seconds = told["jobs"]["transform"]["seconds"]
        same = machine == (settings.transform_instance_type or settings.instance_type)
        if same and seconds is not None:
            took.append(seconds * max(rows / _rows(told["recordio"]["test"]), 1))
    if took:
        return max(took), _OF_PAST.format(len(took))
    return _TRANSFORM_START + rows / _SCORED_ROWS, _OF_TABLE


def _work(values: Mapping[str, str], files: Xcom) -> _Work:
    """What a job with these hyperparameters does with these channels."""
    passes = float(values.get("epochs", 1))
    if "iterations" in values:
        passes = float(values["iterations"]) * float(values["chains"])
    train = files["train"]
    rows = _rows(train)
    # A record has some 44 bytes besides its values, which take six each and more.
    taken = sum(each["bytes"] for each in (*train, *files.get("features", [])))
    factors = int(values["num_factors"]) + int(values.get("als_factors", 0))
    return _Work(passes, rows, (taken / rows - 44) / 6, factors)


def _rows(files: list[Xcom]) -> int:
    return sum(each["rows"] for each in files)
