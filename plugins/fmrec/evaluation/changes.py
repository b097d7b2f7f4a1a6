"""What changed since the champion: how far the lists of both agree, which films rise or fall."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmrec.errors import EvaluationError
from fmrec.evaluation.ranking import LENGTH, NO_ITEM, Array, Ids

MOST_NAMED = 10
"""So many risers, and so many fallers, are named."""

_QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}


def changes(users: Ids, ours: Ids, theirs: Ids, titles: Mapping[int, str]) -> dict[str, Any]:
    """The lists of a model beside those of the champion, for the same users: first ten each.

    `users` has shape (m,), m >= 1; `ours` and `theirs` (m, 10 or more), best first, -1 where a
    list is shorter. The result has `users`; `jaccard` with mean, q05, q25, median, q75 and q95 of
    the users' coefficients; `same` and `disjoint`, the users whose two lists hold the same films,
    in any order, or none in common; `risers` and `fallers`: the at most ten films that gained, or
    lost, the most lists, as item_id, title, lists and lists_before, equal ones by ascending id.
    A film without a title is named by its id.

    The coefficient of a user is |A and B| / |A or B| of the two sets of films, 1 for two empty
    ones (Jaccard, "The distribution of the flora in the alpine zone", New Phytologist 11(2), 1912).

    Raises EvaluationError when the shapes do not fit, a user occurs twice, or a list holds a film
    twice.
    """
    _check_shapes(users, ours, theirs)
    new, old = (_first(name, users, x) for name, x in (("model", ours), ("champion", theirs)))
    coefficients = _jaccard(new, old)
    return {
        "users": users.size,
        "jaccard": {
            "mean": float(coefficients.mean()),
            **{name: float(np.quantile(coefficients, share)) for name, share in _QUANTILES.items()},
        },
        "same": int(np.count_nonzero(coefficients == 1)),
        "disjoint": int(np.count_nonzero(coefficients == 0)),
        **_moved(new, old, titles),
    }


def _check_shapes(users: Ids, ours: Ids, theirs: Ids) -> None:
    if users.ndim != 1 or not users.size:
        raise EvaluationError(
            f"users of shape {users.shape}: there must be users with lists of both models"
        )
    for name, lists in (("model", ours), ("champion", theirs)):
        if lists.ndim != 2 or len(lists) != users.size or lists.shape[1] < LENGTH:
            raise EvaluationError(
                f"lists of the {name} have shape {lists.shape} for {users.size} users: each user "
                f"has one of at least {LENGTH}"
            )
    names, times = np.unique(users, return_counts=True)
    if names.size != users.size:
        raise EvaluationError(
            f"user {names[times > 1][0]} occurs {times.max()} times: each has one list of a model"
        )


def _first(name: str, users: Ids, lists: Ids) -> Ids:
    """The first ten of each list, ascending by id; each film once."""
    first: Ids = np.sort(lists[:, :LENGTH], axis=1)
    twice = _repeated(first)
    if twice.any():
        row, place = np.argwhere(twice)[0]
        raise EvaluationError(
            f"the {name}'s list of user {users[row]} holds item {first[row, place]} twice"
        )
    return first


def _jaccard(new: Ids, old: Ids) -> Array:
    # Each list holds a film once, so what stands twice in both together is in both.
    common = np.count_nonzero(_repeated(np.sort(np.hstack([new, old]), axis=1)), axis=1)
    listed = np.count_nonzero(new != NO_ITEM, axis=1) + np.count_nonzero(old != NO_ITEM, axis=1)
    union = listed - common
    return np.where(union > 0, common / np.maximum(union, 1), 1.0)


def _repeated(ordered: Ids) -> NDArray[np.bool_]:
    """Where a film of an ordered row equals the next one."""
    again: NDArray[np.bool_] = (ordered[:, :-1] == ordered[:, 1:]) & (ordered[:, 1:] != NO_ITEM)
    return again


def _moved(new: Ids, old: Ids, titles: Mapping[int, str]) -> dict[str, list[dict[str, Any]]]:
    films, place = np.unique(np.hstack([new.ravel(), old.ravel()]), return_inverse=True)
    before = np.bincount(place[new.size :], minlength=films.size)
    now = np.bincount(place[: new.size], minlength=films.size)
    gained = np.where(films == NO_ITEM, 0, now - before)

    def named(gain: NDArray[np.int64]) -> list[dict[str, Any]]:
        order = np.argsort(-gain, kind="stable")[:MOST_NAMED]
        return [
            {
                "item_id": int(films[i]),
                "title": titles.get(int(films[i]), f"item {films[i]}"),
                "lists": int(now[i]),
                "lists_before": int(before[i]),
            }
            for i in order[gain[order] > 0]
        ]

    return {"risers": named(gained), "fallers": named(-gained)}
