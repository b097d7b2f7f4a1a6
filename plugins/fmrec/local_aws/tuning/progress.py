"""The course of one tuning job: what it has started, what came of it, what is due next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.state.records import Identity
from fmrec.local_aws.tuning.children import ORIGIN, Children
from fmrec.local_aws.tuning.curves import CurveReader
from fmrec.local_aws.tuning.definitions import definitions_of
from fmrec.local_aws.tuning.results import best_of, complete, failure, report
from fmrec.local_aws.tuning.search import search_of
from fmrec.local_aws.tuning.stopping import stopping_rule
from fmrec.local_aws.tuning.trials import Trial
from fmrec.local_aws.tuning.warm_start import parents_trials
from fmrec.local_aws.workplace import Workplace

IDENTICAL = "IdenticalDataAndAlgorithm"


class TuningProgress:
    """Follows the training jobs of a tuning job. To be used by one thread.

    Everything it knows is read from the tuning job's document and from those of its training jobs,
    so that another server can go on where this one was killed.
    """

    def __init__(self, place: Workplace, identity: Identity, document: Document) -> None:
        self._name = identity.name
        self._config = document["HyperParameterTuningJobConfig"]
        self._limits: Mapping[str, int] = self._config["ResourceLimits"]
        self._definitions = definitions_of(document)
        self._objective = self._definitions[0].objective
        seed = str(self._config.get("RandomSeed", document[ORIGIN]))
        self._warm = document.get("WarmStartConfig", {}).get("WarmStartType")
        self._parents = parents_trials(place, identity.region, document)
        parents = [trial for _, trial in self._parents]
        self._search = search_of(document, self._definitions, seed, parents)
        self._rule = stopping_rule(document, seed)
        self._children = Children(place, identity.region, identity.name, document[ORIGIN])
        self._trials = {trial.number: trial for trial in self._children.all()}
        self._reader = CurveReader(place, identity.region)
        self._curves: dict[int, list[float]] = {}
        self._judged: dict[int, int] = {}
        if self._rule:
            self._read_curves(list(self._trials.values()))

    @property
    def live(self) -> list[Trial]:
        """The training jobs that have not ended."""
        return [trial for trial in self._trials.values() if trial.live]

    @property
    def all_started(self) -> bool:
        """Whether there is no further training job to start."""
        return self._launched >= self._limits["MaxNumberOfTrainingJobs"]

    def refresh(self) -> bool:
        """Look at the training jobs that had not ended; return whether any status changed."""
        before = self.live
        if not before:
            return False
        found = {trial.number: trial for trial in self._children.live()}
        for trial in before:
            now = found.get(trial.number) or self._children.find(trial.name) or _deleted(trial)
            self._trials[trial.number] = now
        if self._rule:
            self._read_curves(before)
        return any(self._trials[trial.number].status != trial.status for trial in before)

    def start_due(self) -> bool:
        """Start as many training jobs as the limits allow now; return whether there was any.

        Raises ApiError when a training job is refused.
        """
        started = False
        while not self.all_started and len(self.live) < self._limits["MaxParallelTrainingJobs"]:
            number = self._launched + 1
            proposal = self._search.propose(number, list(self._trials.values()))
            self._trials[number] = self._children.start(
                number, proposal.definition, proposal.values
            )
            started = True
        return started

    def stop_hopeless(self) -> None:
        """Stop the training jobs that the rule for early stopping has given up."""
        if self._rule is None:
            return
        for trial in self.live:
            seen = self._judged.get(trial.number, 0)
            self._judged[trial.number] = len(self._curves[trial.number])
            same = [
                other for other in self._trials.values() if other.definition == trial.definition
            ]
            if trial.status == "InProgress" and self._rule.hopeless(
                trial.number,
                seen,
                {other.number: self._curves[other.number] for other in same},
                [other.number for other in same if other.status == "Completed"],
                self._definitions[trial.definition].objective,
            ):
                self._children.stop(trial)

    def stop_all(self) -> None:
        """Stop every training job that has not ended and was not asked to stop."""
        for trial in self.live:
            if trial.status == "InProgress":
                self._children.stop(trial)

    def enough(self) -> bool:
        """Return whether a completion criterion is met."""
        return complete(self._config, list(self._trials.values()), self._objective)

    def failure(self) -> str | None:
        """Return why the tuning job fails; None while it does not."""
        return failure(list(self._trials.values()), last=self.all_started)

    def report(self) -> Document:
        """Return the members of the document that tell of the training jobs."""
        return report(list(self._trials.values()), self._objective, self._overall())

    @property
    def _launched(self) -> int:
        # Not their count: one that has ended may have been deleted.
        return max(self._trials, default=0)

    def _overall(self) -> tuple[str, Trial] | None:
        if self._warm != IDENTICAL:
            return None
        own = [(self._name, trial) for trial in self._trials.values()]
        candidates = [*self._parents, *own]
        best = best_of([trial for _, trial in candidates], self._objective)
        return next(((name, trial) for name, trial in candidates if trial is best), None)

    def _read_curves(self, trials: list[Trial]) -> None:
        for trial in trials:
            definition = self._definitions[trial.definition]
            self._curves[trial.number] = self._reader.read(trial, definition)


def _deleted(trial: Trial) -> Trial:
    summary = {**trial.summary, "TrainingJobStatus": "Stopped", "ObjectiveStatus": "Failed"}
    return replace(trial, status="Stopped", summary=summary)
