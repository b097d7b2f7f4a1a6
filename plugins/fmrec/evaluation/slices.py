"""The metric slice by slice: where a model is good, and where its average hides that it is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student

from fmrec.errors import EvaluationError
from fmrec.evaluation.comparison import CONFIDENCE, FEWEST_USERS, Better
from fmrec.evaluation.ranking import LENGTH, NO_ITEM, Array, Hits, Ids, per_user
from fmrec.evaluation.slice_labels import MEANINGS, Dimension, Labels
from fmrec.evaluation.uses import CHAMPION, MODEL
from fmrec.events.objectives import LIKED_FROM

FEWEST_EVENTS = 100
"""A slice with fewer, or with fewer than FEWEST_USERS, is flagged as small."""

_REFERENCE = "reference"
_ORDER = list(MEANINGS)


def of_scores(
    labels: Labels,
    test: pd.DataFrame,
    losses: Mapping[str, Array],
    *,
    metric: str,
    against: str,
    root: bool,
) -> list[dict[str, Any]]:
    """Rows of the report for a metric of single events: the mean loss, or its square root.

    `losses` has "model", the baseline `against` and, if there is one, "champion", each of shape
    (len(test),) in the order of `test` (columns user_id and item_id); nan in the champion's is an
    event that it may not be judged on. Less is better.

    A row has `by`, `slice`, `metric`, `better`; `over`: what the figures are means over, "events"
    or "users"; `events` and `users` of the slice; the figures `model`, `reference` (the
    baseline's) and `champion` (None without one); `low`..`high`, the 95 % interval of model minus
    reference (None with one user, or where a root is zero); `champion_events`: how many of the
    events the champion's figure rests on (None without one); and `small`: fewer than 30 users or
    100 events. Slices without events are left out, small ones are not. The order is that of
    `fmrec.evaluation.slice_labels.MEANINGS`, and within a dimension that of its slices.

    The interval is that of a mean over clusters, which are users, linearised for the root, with as
    many degrees of freedom of Student's distribution as there are users but one. With
    many slices, one in twenty shows a difference by chance. Source: Liang and Zeger,
    "Longitudinal data analysis using generalized linear models", Biometrika 73(1), 1986.

    Raises EvaluationError when losses are missing, of another length, or not finite.
    """
    users, items = (test[name].to_numpy(np.int64) for name in ("user_id", "item_id"))
    values = {}
    for role, name in _roles(losses, against).items():
        values[role] = np.asarray(losses[name], np.float64)
        if values[role].shape != users.shape:
            raise EvaluationError(
                f"losses of the {name} have shape {values[role].shape} for {users.size} test "
                "events: each needs exactly one"
            )
    table = _Table(metric, "events", "less", values, users, np.ones(users.size), root=root)
    dimensions = [labels.of_pairs(users, items), *labels.of_users(users), *labels.of_items(items)]
    return _ordered(table.rows(dimensions))


def of_lists(
    labels: Labels,
    test: pd.DataFrame,
    lists: Mapping[str, Ids],
    hits: Mapping[str, Hits],
    *,
    metric: str,
    against: str,
) -> list[dict[str, Any]]:
    """Rows of the report, as of `of_scores`, for lists; more is better.

    Slices of users have the mean of `metric`, one of those of `ranking.per_user`, over the users
    of the slice; their `events` are the relevant ones of these users. Slices of films have
    "recall@10" over events: the share of the relevant test events of the slice whose film is among
    the first ten of its user's list. Relevant is a film of 4 stars or more. There is no slice of
    new users: they have no list.

    `lists` and `hits` have "model", the baseline `against` and, if there is one, "champion". Row i
    of a list, shape (m, 10 or more), is that of user i of its hits. The users of the model and of
    the baseline are the same, those of the champion some of them: the ones it may be judged on.
    `test` has the columns user_id, item_id and rating.

    Raises EvaluationError when lists are missing or not those of the hits.
    """
    users = hits[MODEL].users
    event = _relevant(test, users)
    gains: dict[str, Array] = {}
    found: dict[str, Array] = {}
    for role, name in _roles(lists, against).items():
        own = _places(name, users, lists[name], hits[name])
        if role != CHAMPION and own.size != users.size:
            raise EvaluationError(
                f"lists of {own.size} users from the {name}, of {users.size} from the model: both "
                "need those of all judged users"
            )
        gains[role] = np.full(users.size, np.nan)
        gains[role][own] = per_user(hits[name])[metric]
        first = np.full((users.size, LENGTH), NO_ITEM)
        first[own] = lists[name][:, :LENGTH]
        listed = _listed(first, event["row"].to_numpy(), event["item"].to_numpy())
        found[role] = np.where(np.isnan(gains[role][event["row"]]), np.nan, listed)
    owner, items = users[event["row"]], event["item"].to_numpy()
    relevant = np.bincount(event["row"], minlength=users.size)
    of_users = _Table(metric, "users", "more", gains, users, relevant)
    of_items = _Table("recall@10", "events", "more", found, owner, np.ones(items.size))
    return _ordered(
        [
            *of_items.rows([labels.of_pairs(owner, items), *labels.of_items(items)]),
            *of_users.rows(labels.of_users(users)),
        ]
    )


def _ordered(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: _ORDER.index(row["by"]))


def _roles(given: Mapping[str, Any], against: str) -> dict[str, str]:
    """What is shown as what: the model, the reference, and the champion when there is one."""
    missing = [name for name in (MODEL, against) if name not in given]
    if missing:
        raise EvaluationError(
            f"there is nothing of the {' and the '.join(missing)}, only of "
            f"{', '.join(given) or 'nobody'}: slices set the model beside its baseline"
        )
    roles = {MODEL: MODEL, _REFERENCE: against}
    return roles | ({CHAMPION: CHAMPION} if CHAMPION in given else {})


def _relevant(test: pd.DataFrame, users: Ids) -> pd.DataFrame:
    """The relevant events of these users: the user's place as `row`, and `item`."""
    row = pd.Index(users).get_indexer(pd.Index(test["user_id"]))
    kept = (row >= 0) & (test["rating"].to_numpy() >= LIKED_FROM)
    pairs = {"row": row[kept].astype(np.int64), "item": test["item_id"].to_numpy(np.int64)[kept]}
    return pd.DataFrame(pairs).drop_duplicates()


def _places(name: str, users: Ids, items: Ids, hits: Hits) -> Ids:
    """Where the users of a predictor's lists stand among all."""
    if items.ndim != 2 or len(items) != hits.users.size or items.shape[1] < LENGTH:
        raise EvaluationError(
            f"lists of the {name} have shape {items.shape} for {hits.users.size} users: each user "
            f"has one of at least {LENGTH}"
        )
    places: Ids = pd.Index(users).get_indexer(pd.Index(hits.users)).astype(np.int64)
    if (places < 0).any():
        raise EvaluationError(
            f"the {name} has a list of user {hits.users[places < 0][0]}, the model has none: rank "
            "for judged_users(train, test)"
        )
    return places


def _listed(first: Ids, row: Ids, item: Ids) -> NDArray[np.bool_]:
    """Whether each item is in the list of its row."""
    films, place = np.unique(first, return_inverse=True)
    keys = np.arange(len(first))[:, None] * films.size + place.reshape(first.shape)
    wanted = pd.Index(films).get_indexer(pd.Index(item))
    asked = np.where(wanted >= 0, row * films.size + wanted, -1)
    return np.isin(asked, keys)


@dataclass(frozen=True, eq=False)
class _Table:
    """The values whose means are shown, one for each row; who owns a row; its events."""

    metric: str
    over: str
    better: Better
    values: Mapping[str, Array]
    users: Ids
    events: NDArray[Any]
    root: bool = False

    def __post_init__(self) -> None:
        for role, values in self.values.items():
            wrong = np.isinf(values) if role == CHAMPION else ~np.isfinite(values)
            if wrong.any():
                raise EvaluationError(
                    f"{self.metric} of the {role}: row {np.flatnonzero(wrong)[0]} is "
                    f"{values[wrong][0]} ({np.count_nonzero(wrong)} such rows): every one must be "
                    "a finite number"
                )

    def rows(self, dimensions: Iterable[Dimension]) -> list[dict[str, Any]]:
        people, owner = np.unique(self.users, return_inverse=True)
        return [
            row
            for each in dimensions
            for row in self._of_cells(each, _Cells.of(each, owner, people.size))
        ]

    def _of_cells(self, dimension: Dimension, cells: _Cells) -> list[dict[str, Any]]:
        events, users = cells.in_slices(cells.sums(self.events)), cells.users()
        figures, judged, pull = {}, {}, {}
        for name, values in self.values.items():
            valid = ~np.isnan(values)
            sums, sizes = cells.sums(np.where(valid, values, 0.0)), cells.sums(valid)
            judged[name] = cells.in_slices(cells.sums(self.events * valid))
            # Slices without rows, or roots of zero, end in nan here; they are dropped below.
            with np.errstate(invalid="ignore", divide="ignore"):
                total = cells.in_slices(sizes)
                mean = cells.in_slices(sums) / total
                figures[name] = np.sqrt(mean) if self.root else mean
                slope = 0.5 / figures[name] if self.root else np.ones_like(mean)
                # How far each user pulls the figure away from what it is.
                pull[name] = (slope / total)[cells.slices] * (sums - sizes * mean[cells.slices])
        with np.errstate(invalid="ignore", divide="ignore"):
            variance = cells.in_slices(np.square(pull[MODEL] - pull[_REFERENCE]))
            reach = student.ppf((1 + CONFIDENCE) / 2, users - 1)
            margin = reach * np.sqrt(variance * users / (users - 1))
        difference = figures[MODEL] - figures[_REFERENCE]
        rival = CHAMPION in self.values
        return [
            {
                "by": dimension.by,
                "slice": name,
                "metric": self.metric,
                "better": self.better,
                "over": self.over,
                "events": int(events[i]),
                "users": int(users[i]),
                "model": float(figures[MODEL][i]),
                "reference": float(figures[_REFERENCE][i]),
                "low": _finite(difference[i] - margin[i]),
                "high": _finite(difference[i] + margin[i]),
                "champion": _finite(figures[CHAMPION][i]) if rival else None,
                "champion_events": int(judged[CHAMPION][i]) if rival else None,
                "small": bool(users[i] < FEWEST_USERS or events[i] < FEWEST_EVENTS),
            }
            for i, name in enumerate(dimension.names)
            if users[i]
        ]


@dataclass(frozen=True, eq=False)
class _Cells:
    """What one user has in one slice is a cell: all that counts, means and their spread need.

    Pair i of the dimension is in cell `of_pair[i]`; cell j is of slice `slices[j]`.
    """

    rows: Ids
    of_pair: Ids
    slices: Ids
    number: int

    @classmethod
    def of(cls, dimension: Dimension, owner: Ids, people: int) -> _Cells:
        keys = dimension.codes * people + owner[dimension.rows]
        cells, of_pair = np.unique(keys, return_inverse=True)
        return cls(dimension.rows, of_pair, cells // people, len(dimension.names))

    def sums(self, values: NDArray[Any]) -> Array:
        """Of values of the rows, cell by cell."""
        return np.bincount(self.of_pair, weights=values[self.rows]).astype(np.float64, copy=False)

    def in_slices(self, values: Array) -> Array:
        """The sums of values of the cells, slice by slice."""
        summed = np.bincount(self.slices, weights=values, minlength=self.number)
        return summed.astype(np.float64, copy=False)

    def users(self) -> Array:
        return self.in_slices(np.ones(self.slices.size))


def _finite(value: np.floating[Any]) -> float | None:
    return float(value) if np.isfinite(value) else None
