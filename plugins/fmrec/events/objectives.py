"""What a model is to predict of an event."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fmrec.errors import ConfigurationError

LIKED_FROM = 4  # stars: the usual reading of MovieLens ratings as likes
OBJECTIVES = ("rating", "like", "ranking")

# How much a rating says that the film belongs into a list. Any rating says something: people
# choose what they watch. docs/data.md says where the numbers come from.
_STARS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
_GRADES = (0.0, 0.2, 0.3, 0.5, 0.8, 1.0)


def labels(events: pd.DataFrame, objective: str) -> NDArray[np.float32]:
    """One label for each event: `rating` the stars, `like` and `ranking` 1 from 4 stars on, else 0.

    Sampled negatives are no events: they carry their label 0 themselves.
    Raises ConfigurationError for any other objective.
    """
    stars = events["rating"].to_numpy(dtype=np.float32, copy=True)
    if objective == "rating":
        return stars
    if objective in {"like", "ranking"}:
        return (stars >= LIKED_FROM).astype(np.float32)
    raise ConfigurationError(
        f"objective {objective!r} is not known: choose one of {', '.join(OBJECTIVES)}."
    )


def graded(stars: ArrayLike) -> NDArray[np.float32]:
    """Ratings as grades of relevance, same shape: 1..5 stars are .2 .3 .5 .8 1, linear between.

    Half a star is 0.1. What lies outside 0..5 counts as the nearest end.
    """
    return np.interp(np.asarray(stars, np.float64), _STARS, _GRADES).astype(np.float32)
