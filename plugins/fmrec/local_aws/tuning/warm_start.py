"""Warm start: tuning jobs from whose results another one begins, and what they must have alike."""

from __future__ import annotations

from fmrec.local_aws.api.faults import invalid, unsupported
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.jobs.run import FINAL
from fmrec.local_aws.tuning.children import ORIGIN, Children
from fmrec.local_aws.tuning.definitions import Definition, definitions_of
from fmrec.local_aws.tuning.ranges import Categories
from fmrec.local_aws.tuning.trials import Trial
from fmrec.local_aws.workplace import Workplace

# A member of a tuning job's document that no response shows: its parents, [name, origin] each.
PARENTS = "_Parents"
_MOST_CHANGES = 10


def checked_parents(
    place: Workplace, region: str, request: Document, definitions: tuple[Definition, ...]
) -> list[list[str]]:
    """Return the parents of a tuning job as PARENTS holds them.

    Raises ApiError for parents that SageMaker does not allow.
    """
    warm = request.get("WarmStartConfig")
    if warm is None:
        return []
    if len(definitions) > 1:
        raise unsupported("WarmStartConfig with TrainingJobDefinitions")
    parents = []
    for given in warm["ParentHyperParameterTuningJobs"]:
        name = given.get("HyperParameterTuningJobName", "")
        identity = place.identity("hyper-parameter-tuning-job", region, name)
        parent = place.records.find(identity)
        if parent is None:
            raise invalid(
                f"Amazon SageMaker can't find a tuning job called {name}. Type another name."
            )
        status = parent["HyperParameterTuningJobStatus"]
        if status not in FINAL:
            raise invalid(
                f"The parent tuning job {name} is in status {status}. All parent jobs must be in a "
                f"terminal state ({', '.join(FINAL)}) before a warm start."
            )
        if [name, parent[ORIGIN]] in parents:
            raise invalid(f"The parent tuning job {name} is named more than once.")
        former = definitions_of(parent)
        if len(former) > 1:
            raise unsupported(f"warm start from a job with TrainingJobDefinitions ({name})")
        _compare(name, former[0], definitions[0])
        parents.append([name, parent[ORIGIN]])
    return parents


def parents_trials(place: Workplace, region: str, document: Document) -> list[tuple[str, Trial]]:
    """Return the training jobs of a tuning job's parents, each with its tuning job's name."""
    return [
        (name, trial)
        for name, origin in document[PARENTS]
        for trial in Children(place, region, name, origin).all()
        if not trial.live
    ]


def _compare(name: str, former: Definition, now: Definition) -> None:
    if former.objective != now.objective:
        raise invalid(
            "The objective metric for the new tuning job must be the same as for all parent jobs; "
            f"that of {name} is {former.objective.metric}."
        )
    tuned = {item.name: item for item in now.space}
    before = {item.name: item for item in former.space}
    if {*tuned, *now.fixed} != {*before, *former.fixed}:
        raise invalid(
            "The set of tunable plus static HyperParameter names is not the same across current "
            "and parent tuning jobs. Please ensure this set is constant when warm starting. Note "
            "that previously static HyperParameters can be tuned in warm start jobs and vice versa."
        )
    for key in tuned.keys() & before.keys():
        if tuned[key].kind != before[key].kind:
            raise invalid(
                f"The type of the hyperparameter {key!r} must not change between the parent tuning "
                f"job {name} and the new one."
            )
    changes = 0
    for key, value in now.fixed.items():
        if key in before:
            item = before[key]
            changes += len(item.values) if isinstance(item, Categories) else 1
        elif value != former.fixed[key]:
            changes += 2  # the value that was, and the one that is
    if changes > _MOST_CHANGES:
        raise invalid(
            f"{changes} changes of static hyperparameters since the parent tuning job {name}; a "
            f"warm start allows {_MOST_CHANGES}."
        )
