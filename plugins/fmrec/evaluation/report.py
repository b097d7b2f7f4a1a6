"""The report of a run as one dictionary: what report.json holds and every other form shows.

docs/report.md describes every field.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmrec.errors import EvaluationError
from fmrec.evaluation import baselines, diagnostics, verdict
from fmrec.evaluation.comparison import compare
from fmrec.evaluation.learning_curve import Point
from fmrec.evaluation.metrics import RATING_SCALE
from fmrec.evaluation.objectives import Objective, objective
from fmrec.events.objectives import labels as labels_of

SCHEMA = 1

_RUN_KEYS = ("run_id", "as_of", "source", "generated", "split", "objective", "seed")
_COLUMNS = ("user_id", "item_id", "rating")
_UNDEFINED = {
    "f1": "F1 is undefined: no test event is positive and none is predicted to be",
    "auc": "AUC is undefined: all test events have the same label",
}


def build(
    *,
    run: Mapping[str, Any],
    train: pd.DataFrame,
    test: pd.DataFrame,
    scores: NDArray[np.float64],
    learning_curve: Iterable[Point] = (),
    jobs: Sequence[Mapping[str, Any]] = (),
    counts: Mapping[str, int] | None = None,
    recommendations: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Evaluate one run; the same arguments give the same bytes from `to_json`.

    `run` is passed through; it holds at least run_id, as_of, source, generated (bool), split,
    objective ("rating" or "like") and seed (int, from which the bootstrap draws). `train` and
    `test`, the events that were scored, need the columns user_id, item_id and rating. `scores`,
    shape (len(test),), belong to the rows of `test` in order. `counts` adds what only the run
    knows: validation, test (before any were set aside), set_aside, unknown_user, unknown_item,
    unknown_both (of all test events; taken from the scored ones when absent). A job is a mapping
    with at least name, status and seconds (None when unknown). `recommendations` is
    {"user_id": id, "items": [{"rank", "item_id", "title", "score"}, ...]}.

    Raises EvaluationError when predictions and events differ in number, a column or a run fact is
    missing, a value is not finite or out of the objective's range, or there are no events.
    """
    _check_run(run)
    goal = objective(run["objective"])
    _check_jobs(jobs)
    _check_events("training", train)
    _check_events("test", test)
    if scores.shape != (len(test),):
        raise EvaluationError(
            f"{scores.size} predictions for {len(test)} test events: "
            "each event needs exactly one; look at the output of the batch transform"
        )
    labels = _labels(test, run)
    predicted = goal.clip(scores)
    rivals = {
        name: goal.clip_baseline(values)
        for name, values in _baselines(train, _labels(train, run), test).items()
    }
    measured = goal.measure(labels, predicted)
    comparison = compare(
        goal.losses(labels, predicted),
        goal.losses(labels, rivals["user_item_bias"]),
        test["user_id"].to_numpy(),
        root=goal.root,
        seed=int(run["seed"]),
    )
    content = {
        "schema": SCHEMA,
        "run": run,
        "metrics": measured | _unclipped(goal, labels, scores),
        "baselines": {name: goal.measure(labels, values) for name, values in rivals.items()},
        "verdict": verdict.of(
            comparison, metric=goal.main_metric, events=len(test), generated=run["generated"]
        ),
        "counts": _clipped(goal, scores, predicted) | _counts(train, test, scores, counts or {}),
        "notes": [_UNDEFINED[name] for name, value in measured.items() if math.isnan(value)],
        "calibration": diagnostics.calibration(labels, predicted),
        "residuals": diagnostics.residuals_by_rating(
            test["rating"].to_numpy(np.float64), labels, predicted
        ),
        "learning_curve": [
            {"channel": p.channel, "metric": p.metric, "epoch": p.epoch, "value": p.value}
            for p in learning_curve
        ],
        "jobs": jobs,
        "recommendations": recommendations,
    }
    return {key: _plain(value, key) for key, value in content.items()}


def to_json(report: Mapping[str, Any]) -> str:
    """Strict JSON (RFC 8259: no NaN), keys sorted, two spaces, a newline at the end."""
    text = json.dumps(report, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def _check_run(run: Mapping[str, Any]) -> None:
    missing = [key for key in _RUN_KEYS if key not in run]
    if missing:
        raise EvaluationError(f"the run facts lack {', '.join(missing)}: the report must name them")
    if not isinstance(run["generated"], bool):
        raise EvaluationError(
            f"the run fact generated is {run['generated']!r}: say True or False, so that figures "
            "from generated ratings are never taken for real ones"
        )


def _check_jobs(jobs: Sequence[Mapping[str, Any]]) -> None:
    for number, job in enumerate(jobs, start=1):
        missing = [key for key in ("name", "status", "seconds") if key not in job]
        if missing:
            raise EvaluationError(f"the facts of job {number} lack {', '.join(missing)}")


def _check_events(name: str, events: pd.DataFrame) -> None:
    absent = [column for column in _COLUMNS if column not in events.columns]
    if absent:
        raise EvaluationError(f"the {name} events lack the columns {', '.join(absent)}")
    if events.empty:
        raise EvaluationError(f"there are no {name} events: choose another as_of or split")
    low, high = RATING_SCALE
    ratings = events["rating"].to_numpy(np.float64)
    wrong = np.flatnonzero(~((ratings >= low) & (ratings <= high)))
    if wrong.size:
        raise EvaluationError(
            f"rating {ratings[wrong[0]]} of {name} event {wrong[0]} is not within "
            f"{low:g}..{high:g} ({wrong.size} such events): run the events step again"
        )


def _labels(events: pd.DataFrame, run: Mapping[str, Any]) -> NDArray[np.float64]:
    return labels_of(events, run["objective"]).astype(np.float64)


def _baselines(
    train: pd.DataFrame, labels: NDArray[np.float64], test: pd.DataFrame
) -> dict[str, NDArray[np.float64]]:
    model = baselines.fit_biases(train["user_id"], train["item_id"], labels)
    return {
        "global_mean": np.full(len(test), model.mean),
        "user_item_bias": model.predict(test["user_id"], test["item_id"]),
    }


def _unclipped(
    goal: Objective, labels: NDArray[np.float64], scores: NDArray[np.float64]
) -> dict[str, float]:
    name = goal.main_metric
    return {f"{name}_unclipped": goal.metrics[name](labels, scores)} if goal.root else {}


def _clipped(
    goal: Objective, scores: NDArray[np.float64], predicted: NDArray[np.float64]
) -> dict[str, int]:
    return {"clipped": int(np.count_nonzero(scores != predicted))} if goal.root else {}


def _counts(
    train: pd.DataFrame,
    test: pd.DataFrame,
    scores: NDArray[np.float64],
    given: Mapping[str, int],
) -> dict[str, int]:
    own = {
        "events": len(test),
        "predictions": scores.size,
        "train": len(train),
        "train_users": train["user_id"].nunique(),
        "train_items": train["item_id"].nunique(),
        "test_users": test["user_id"].nunique(),
        "test_items": test["item_id"].nunique(),
    }
    differing = [name for name in own.keys() & given.keys() if own[name] != given[name]]
    if differing:
        name = min(differing)
        raise EvaluationError(
            f"the run counted {given[name]} for {name}, the events hold {own[name]}: "
            "they are not the events of this run"
        )
    if "test" in given and given["test"] - given.get("set_aside", 0) != len(test):
        raise EvaluationError(
            f"of {given['test']} test events {given.get('set_aside', 0)} were set aside, yet "
            f"{len(test)} were scored: some event is counted twice or not at all"
        )
    user = test["user_id"].isin(train["user_id"]).to_numpy()
    item = test["item_id"].isin(train["item_id"]).to_numpy()
    unknown = {
        "unknown_user": int(np.count_nonzero(~user & item)),
        "unknown_item": int(np.count_nonzero(user & ~item)),
        "unknown_both": int(np.count_nonzero(~user & ~item)),
    }
    return {**own, **unknown, **given}


def _plain(value: Any, where: str) -> Any:
    """The value in JSON's own types; nan and infinity, which JSON lacks, become None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    raise EvaluationError(
        f"{where} is a {type(value).__name__}: the report holds text, numbers, lists and mappings"
    )
