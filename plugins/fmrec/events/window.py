"""What a run may see: ratings before its clock, in the order it trains on them."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd

from fmrec.errors import ConfigurationError, DataError

ORDERS = ("shuffled", "file")


def before(ratings: pd.DataFrame, as_of: int | datetime) -> pd.DataFrame:
    """Ratings with timestamp < as_of, in their order, with a fresh index.

    `as_of` is in UTC seconds or an aware datetime. Raises ConfigurationError for a datetime
    without a zone, DataError when nothing is left.
    """
    if isinstance(as_of, datetime) and as_of.tzinfo is None:
        raise ConfigurationError(
            f"as_of {as_of.isoformat()} has no time zone: write it as {as_of.isoformat()}+00:00."
        )
    limit = as_of.timestamp() if isinstance(as_of, datetime) else as_of
    seen = ratings[ratings["timestamp"] < limit].reset_index(drop=True)
    if seen.empty:
        raise DataError(
            f"No rating lies before as_of {_day(limit)}: {span(ratings)}. "
            "Set as_of to a later moment, or choose a source that reaches further back."
        )
    return seen


def arrange(train: pd.DataFrame, *, order: str, seed: int) -> pd.DataFrame:
    """The training rows in the order they are written, with a fresh index.

    `shuffled` permutes them once with numpy's PCG64 seeded by the run (the built-in algorithm
    reads rows as they lie, every epoch, and learns badly from rows sorted by user); `file` keeps
    them as they are. Raises ConfigurationError for any other order.
    """
    if order == "file":
        return train.reset_index(drop=True)
    if order == "shuffled":
        permutation = np.random.Generator(np.random.PCG64(seed)).permutation(len(train))
        return train.iloc[permutation].reset_index(drop=True)
    raise ConfigurationError(f"order {order!r} is not known: choose one of {', '.join(ORDERS)}.")


def span(ratings: pd.DataFrame) -> str:
    """How many ratings there are and between which moments, for the text of an error."""
    if ratings.empty:
        return "there are no ratings at all"
    first, last = int(ratings["timestamp"].min()), int(ratings["timestamp"].max())
    return f"the {len(ratings):,} ratings lie between {_day(first)} and {_day(last)}"


def _day(seconds: float) -> str:
    try:
        moment = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return f"timestamp {seconds}"
    return f"{moment} (timestamp {int(seconds)})"
