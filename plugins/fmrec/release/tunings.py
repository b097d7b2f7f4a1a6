"""What tuning jobs have found for one kind of model: a history in S3 that is only ever added to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from fmrec.layout import Layout, Run
from fmrec.release import histories
from fmrec.settings.ranges import ranges_of
from fmrec.store import Store

# SageMaker's limits of a warm start: parents, changes of static hyperparameters since then (one
# that was another value counts twice), training jobs of all parents and the new job together.
_PARENTS, _CHANGES, _TRIALS = 5, 10, 500
# What also changes as data come in: feature_dim, and now and then the start of the bias.
_OF_DATA = 2


@dataclass(frozen=True)
class Tuning:
    """An entry of the history: the tuning job `job` of `run`, which describes `as_of`.

    `sequence` counts from 1. `hyperparameters` are all that its best training job had, among them
    those that were `searched`, and `trials` how many training jobs it had. `objective` is {"name",
    "value"} of the best one, `control` the value of the same metric for the defaults of that day,
    None where it is not known; `why` says why it was `adopted` as the default of later runs or
    not. `data` is the fingerprint of the data that it saw. Moments are aware, in UTC.
    """

    sequence: int
    kind: str
    run: str
    as_of: datetime
    job: str
    trials: int
    adopted: bool
    why: str
    hyperparameters: Mapping[str, str]
    searched: Sequence[str]
    objective: Mapping[str, Any]
    control: float | None
    data: str
    at: datetime


def history(store: Store, layout: Layout, kind: str) -> list[Tuning]:
    """The entries of a kind in their order; empty where nothing was tuned yet.

    Raises DataError for an object that is no entry and for a gap, StoreError for one that was
    altered; each names its key.
    """
    return histories.read(
        store,
        layout.tunings(kind),
        f"the tunings of {kind}",
        lambda content, before: _entry(content, kind, len(before) + 1),
    )


def _entry(content: dict[str, Any], kind: str, sequence: int) -> Tuning:
    """Read an entry; errors of Python's own kinds say what is wrong."""
    histories.require(content, {"kind": kind, "sequence": sequence})
    texts = content["hyperparameters"]
    if not all(isinstance(text, str) for text in texts.values()):
        raise ValueError("a hyperparameter is no text")
    names = ("run", "job", "trials", "adopted", "why", "searched", "objective", "control", "data")
    return Tuning(
        sequence=sequence,
        kind=kind,
        **histories.moments(content),
        hyperparameters=texts,
        **{name: content[name] for name in names},
    )


def latest(history: Sequence[Tuning], as_of: datetime) -> list[Tuning]:
    """The entries that describe no later moment than `as_of`, the newest first."""
    seen = [each for each in history if each.as_of <= as_of]
    return sorted(seen, key=lambda each: (each.as_of, each.sequence), reverse=True)


def in_force(history: Sequence[Tuning], as_of: datetime) -> Tuning | None:
    """The entry whose hyperparameters a run that describes `as_of` uses; None without one.

    It is the newest that was adopted among those that saw no later ratings than the run may see: a
    tuning of a past day (a backfill) changes the runs of the days after it, up to the next tuning.
    """
    return next((each for each in latest(history, as_of) if each.adopted), None)


def parents(history: Sequence[Tuning], run: Run) -> list[str]:
    """The tuning jobs that one of `run` starts from: the latest five, as far as SageMaker allows.

    It wants the same hyperparameters, few changes among those that are not searched, and no more
    training jobs than 500 in all. What was not adopted counts too: it says where not to look.
    """
    if not run.settings.tuning_warm_start:
        return []
    now, searched = run.hyperparameters(), {each.name for each in ranges_of(run.settings)}
    found: list[str] = []
    changes, trials = 0, run.settings.tuning_jobs
    for entry in latest(history, run.as_of):
        if set(entry.hyperparameters) != set(now):
            continue
        changes += _OF_DATA + sum(
            1 if name in entry.searched else 2 * (entry.hyperparameters[name] != text)
            for name, text in now.items()
            if name not in searched
        )
        trials += entry.trials
        if len(found) == _PARENTS or changes > _CHANGES or trials > _TRIALS:
            break
        found.append(entry.job)
    return found


def record(store: Store, layout: Layout, proposed: Tuning) -> Tuning:
    """Add an entry to the history of its kind, and return it as it stands there.

    `sequence` of what is proposed does not count. A run that has an entry keeps it, and nothing is
    written. Raises DataError and StoreError as `history`.
    """
    while True:
        past = history(store, layout, proposed.kind)
        for entry in past:
            if entry.run == proposed.run:
                return entry
        entry = replace(
            proposed,
            sequence=len(past) + 1,
            as_of=proposed.as_of.astimezone(UTC),
            at=proposed.at.astimezone(UTC).replace(microsecond=0),
        )
        # What someone else wrote in between counts like the rest.
        if histories.add(store, layout.tunings(entry.kind), entry):
            return entry
