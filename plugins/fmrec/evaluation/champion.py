"""The model that is in production, asked what the candidate is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FEWEST = 0.5
"""The least share of test events, and of judged users, that a comparison may rest on."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What the champion says of n test events and m judged users.

    `fair`, shape (n,), are the events that it was not trained on. `scores`, shape (n,), are None
    for a champion of another objective, whose scores mean something else. `lists`, shape
    (m, DEPTH), hold films of its own `catalogue` alone; None when no lists are judged.
    """

    fair: NDArray[np.bool_]
    scores: NDArray[np.float64] | None
    lists: NDArray[np.int64] | None
    catalogue: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Champion:
    """A champion, by the `facts` that the report tells of it.

    `answers` are None when it was not asked; `problem` says why, unless there was nothing to ask:
    at the moment of the run there was no champion yet.
    """

    facts: Mapping[str, Any]
    problem: str | None = None
    answers: Answers | None = None


def fair_users(
    fair: NDArray[np.bool_], users: NDArray[np.int64], test: pd.DataFrame
) -> NDArray[np.bool_]:
    """Which of the judged users have only events in the test part that are fair: (m,)."""
    return ~np.isin(users, test["user_id"].to_numpy()[~fair])


def enough(fair: NDArray[np.bool_]) -> bool:
    """Whether what is left is enough to compare by."""
    return bool(fair.size) and float(fair.mean()) >= FEWEST
