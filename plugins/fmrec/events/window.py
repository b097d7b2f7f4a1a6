"""What a run may see: ratings before its clock that had arrived by then."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from fmrec.errors import ConfigurationError

DAY = 86_400  # seconds


def as_seconds(as_of: datetime) -> int:
    """The moment in UTC seconds. Raises ConfigurationError when it has no zone."""
    if as_of.tzinfo is None:
        raise ConfigurationError(
            f"as_of {as_of.isoformat()} has no time zone: write it as {as_of.isoformat()}+00:00."
        )
    # The ceiling: a rating of the very second in which as_of lies came before it.
    return -int(-as_of.timestamp() // 1)


def visible(
    timestamp: NDArray[np.int64], arrived: NDArray[np.int64], as_of: int
) -> NDArray[np.bool_]:
    """Mask of the ratings given before `as_of` (UTC seconds) that had arrived by `as_of`."""
    return (timestamp < as_of) & (arrived <= as_of)


@dataclass
class Span:
    """How many ratings there are and between which moments, for the text of an error."""

    rows: int = 0
    first: int = 2**62
    last: int = -(2**62)

    def add(self, timestamp: NDArray[np.int64]) -> None:
        """Count some more ratings."""
        if timestamp.size:
            self.rows += timestamp.size
            self.first = min(self.first, int(timestamp.min()))
            self.last = max(self.last, int(timestamp.max()))

    def __str__(self) -> str:
        if not self.rows:
            return "there are no ratings at all"
        between = f"between {moment(self.first)} and {moment(self.last)}"
        return f"the {self.rows:,} ratings lie {between}"


def moment(seconds: float) -> str:
    """UTC seconds for people, with the number itself."""
    try:
        text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return f"timestamp {seconds}"
    return f"{text} (timestamp {int(seconds)})"
