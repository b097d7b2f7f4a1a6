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
import pyarrow as pa
from numpy.typing import NDArray

from fmrec.errors import EvaluationError
from fmrec.evaluation import breakdown, judgement, verdict
from fmrec.evaluation.champion import Champion, fair_users
from fmrec.evaluation.learning_curve import Point
from fmrec.evaluation.listed import Lists
from fmrec.evaluation.objectives import Scale

SCHEMA = 1

_RUN_KEYS = (
    "run_id",
    "as_of",
    "source",
    "generated",
    "split",
    "objective",
    "use",
    "seed",
    "rating_scale",
)
_COLUMNS = ("user_id", "item_id", "rating")


def build(
    *,
    run: Mapping[str, Any],
    train: pd.DataFrame,
    test: pd.DataFrame,
    scores: NDArray[np.float64],
    lists: Lists | None = None,
    champion: Champion | None = None,
    learning_curve: Iterable[Point] = (),
    jobs: Sequence[Mapping[str, Any]] = (),
    people: pa.Table | None = None,
    films: pa.Table | None = None,
    cost: Mapping[str, Any] | None = None,
    counts: Mapping[str, int] | None = None,
    notes: Sequence[str] = (),
    data_notes: Sequence[str] = (),
    refused_by_check: Mapping[str, int] | None = None,
    recommendations: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Evaluate one run; the same arguments give the same bytes from `to_json`.

    `run` is passed through; it holds at least run_id, as_of, source, generated (bool), split,
    objective ("rating", "like" or "ranking"), use (what the model is judged for), seed (int, from
    which the bootstrap draws) and rating_scale ([lowest, highest], in stars). `train` and `test`,
    the events that were scored, need the columns user_id, item_id and rating; sampled negatives are
    not among them. `scores`, shape (len(test),), belong to the rows of `test` in order. `lists` are
    those of the judged users, `champion` is the model to compare with. `people` and `films` (tables
    USERS and ITEMS) say what is known of them; without them there are no slices. A job is a mapping
    with at least name, status and seconds (None when unknown); `cost` is what `fmrec.prices` makes
    of the jobs. `counts` adds what only the run knows: validation, test (before any were set
    aside), set_aside, unknown_user, unknown_item, unknown_both (of all test events; taken from the
    scored ones when absent), refused, superseded, withdrawn, erased, filtered, negatives. `notes`
    are sentences that a reader must not miss, `data_notes` are on the health of the data, and
    `refused_by_check` says how many of the refused rows failed each check. `recommendations` is
    {"user_id": id, "items": [{"rank", "item_id", "title", "score"}, ...]}.

    Raises EvaluationError when predictions and events differ in number, a column or a run fact is
    missing, a value is not finite or out of the objective's range, counts contradict each other,
    lists do not follow the protocol, or there are no events.
    """
    _check_run(run)
    scale = _scale(run["rating_scale"])
    _check_jobs(jobs)
    _check_events("training", train, scale)
    _check_events("test", test, scale)
    if scores.shape != (len(test),):
        raise EvaluationError(
            f"{scores.size} predictions for {len(test)} test events: "
            "each event needs exactly one; look at the output of the batch transform"
        )
    answers = None if champion is None else champion.answers
    judged = judgement.of(run, train, test, scores, lists, answers, scale=scale)
    given = counts or {}
    content = {
        "schema": SCHEMA,
        "run": run,
        "metrics": judged.metrics,
        "baselines": judged.baselines,
        "peers": judged.peers,
        "verdict": verdict.of(judged.own, generated=run["generated"]),
        "comparisons": judged.comparisons,
        "champion": _champion(champion, test, lists),
        "counts": {
            **judged.counts,
            **_unjudged(train, test, lists),
            **_counts(train, test, scores, given),
        },
        "notes": [*notes, *judged.notes],
        "data": _data(data_notes, refused_by_check or {}, given),
        "calibration": [] if judged.scored is None else judged.scored.calibration,
        "residuals": [] if judged.scored is None else judged.scored.residuals,
        "lists": None if judged.listed is None else judged.listed.facts,
        "slices": []
        if people is None or films is None
        else breakdown.by_slice(judged, train, test, people, films),
        "changes": None if films is None else breakdown.since_champion(lists, answers, films),
        "learning_curve": [
            {"channel": p.channel, "metric": p.metric, "epoch": p.epoch, "value": p.value}
            for p in learning_curve
        ],
        "jobs": jobs,
        "cost": cost,
        "recommendations": recommendations,
    }
    return {key: _plain(value, key) for key, value in content.items()}


def to_json(report: Mapping[str, Any]) -> str:
    """Strict JSON (RFC 8259: no NaN), keys sorted, two spaces, a newline at the end."""
    text = json.dumps(report, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def decided(report: Mapping[str, Any], gate: Mapping[str, Any]) -> dict[str, Any]:
    """The report with the gate's decision on it, which is made from the report itself."""
    return {**report, "gate": _plain(gate, "gate")}


def _check_run(run: Mapping[str, Any]) -> None:
    missing = [key for key in _RUN_KEYS if key not in run]
    if missing:
        raise EvaluationError(f"the run facts lack {', '.join(missing)}: the report must name them")
    if not isinstance(run["generated"], bool):
        raise EvaluationError(
            f"the run fact generated is {run['generated']!r}: say True or False, so that figures "
            "from generated ratings are never taken for real ones"
        )


def _scale(given: Any) -> Scale:
    low, high = given if isinstance(given, (list, tuple)) and len(given) == 2 else (0, 0)
    if not (isinstance(low, (int, float)) and isinstance(high, (int, float)) and low < high):
        raise EvaluationError(
            f"the run fact rating_scale is {given!r}: give the lowest and the highest rating, "
            "like [1, 5]"
        )
    return float(low), float(high)


def _check_jobs(jobs: Sequence[Mapping[str, Any]]) -> None:
    for number, job in enumerate(jobs, start=1):
        missing = [key for key in ("name", "status", "seconds") if key not in job]
        if missing:
            raise EvaluationError(f"the facts of job {number} lack {', '.join(missing)}")


def _check_events(name: str, events: pd.DataFrame, scale: Scale) -> None:
    absent = [column for column in _COLUMNS if column not in events.columns]
    if absent:
        raise EvaluationError(f"the {name} events lack the columns {', '.join(absent)}")
    if events.empty:
        raise EvaluationError(f"there are no {name} events: choose another as_of or split")
    low, high = scale
    ratings = events["rating"].to_numpy(np.float64)
    wrong = np.flatnonzero(~((ratings >= low) & (ratings <= high)))
    if wrong.size:
        raise EvaluationError(
            f"rating {ratings[wrong[0]]} of {name} event {wrong[0]} is not within "
            f"{low:g}..{high:g} ({wrong.size} such events): run the events step again"
        )


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


def _unjudged(train: pd.DataFrame, test: pd.DataFrame, lists: Lists | None) -> dict[str, int]:
    """The test users who have no list to judge, by why: exclusive of each other."""
    if lists is None:
        return {}
    tested = np.unique(test["user_id"].to_numpy())
    known = np.isin(tested, train["user_id"].to_numpy())
    judged = np.isin(tested, lists.users)
    return {
        "users_without_history": int(np.count_nonzero(~known)),
        "users_without_likes": int(np.count_nonzero(known & ~judged)),
    }


def _champion(
    champion: Champion | None, test: pd.DataFrame, lists: Lists | None
) -> dict[str, Any] | None:
    if champion is None:
        return None
    left_out: dict[str, int | None] = {"left_out_events": None, "left_out_users": None}
    if champion.answers is not None:
        left_out["left_out_events"] = int(np.count_nonzero(~champion.answers.fair))
        if lists is not None:
            fair = fair_users(champion.answers.fair, lists.users, test)
            left_out["left_out_users"] = int(np.count_nonzero(~fair))
    return {**champion.facts, **left_out, "problem": champion.problem}


def _data(
    notes: Sequence[str], refused: Mapping[str, int], counts: Mapping[str, int]
) -> dict[str, Any]:
    """The state of the data that came in; every refused row has one check that it failed."""
    total = sum(refused.values())
    if counts.get("refused", 0) != total:
        raise EvaluationError(
            f"{counts.get('refused', 0)} rows were refused, and {total} by check: "
            "refused_by_check must say of each which it failed"
        )
    return {"notes": list(notes), "refused_by_check": refused}


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
