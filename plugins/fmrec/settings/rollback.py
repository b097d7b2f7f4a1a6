"""What a run of `fmrec_rollback` is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fmrec.settings.fields import setting, typed


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """The choices of one run of `fmrec_rollback`; every field is a Param."""

    lane: str | None = setting(
        None,
        "Champion",
        "Lane",
        "Whose champion is taken back, such as `rating-ml-100k-time`. Empty: the lane of the run "
        "below, else the only lane, else that of the default settings.",
    )
    run: str | None = setting(
        None,
        "Champion",
        "Run to go back to",
        "A run that was the champion, such as `19980308T000000Z-1c2d3e4f`. Empty: the champion "
        "before the one in place.",
    )
    reason: str | None = setting(
        None,
        "Champion",
        "Reason",
        "Why, in a sentence. It is kept in the history of the champions.",
        maxLength=1000,
    )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Rollback:
        """Settings from Params or options, checked. Raises ConfigurationError."""
        return cls(**typed(cls, values))
