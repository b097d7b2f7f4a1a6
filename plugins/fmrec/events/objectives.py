"""What a model is to predict of an event."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmrec.errors import ConfigurationError

LIKED_FROM = 4  # stars: the usual reading of MovieLens ratings as likes
OBJECTIVES = ("rating", "like")


def labels(events: pd.DataFrame, objective: str) -> NDArray[np.float32]:
    """One label for each event: `rating` the stars, `like` 1 for a rating of 4 or 5, else 0.

    Raises ConfigurationError for any other objective.
    """
    stars = events["rating"].to_numpy(dtype=np.float32, copy=True)
    if objective == "rating":
        return stars
    if objective == "like":
        return (stars >= LIKED_FROM).astype(np.float32)
    raise ConfigurationError(
        f"objective {objective!r} is not known: choose one of {', '.join(OBJECTIVES)}."
    )
