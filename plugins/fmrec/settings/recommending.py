"""What a run of `fmrec_recommend` is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fmrec.settings.fields import setting, typed


@dataclass(frozen=True, kw_only=True)
class Recommending:
    """The choices of one run of `fmrec_recommend`; every field is a Param."""

    lane: str | None = setting(
        None,
        "Champion",
        "Lane",
        "Whose champion recommends, such as `rating-ml-100k-time`. Empty: the lanes that have just "
        "got a champion; in a run by hand the only lane, else that of the default settings.",
    )
    top_n: int = setting(
        20,
        "Lists",
        "Films for each user",
        "A user who has fewer films left gets fewer.",
        minimum=1,
        maximum=1000,
    )
    only: str | None = setting(
        None,
        "Lists",
        "Films to recommend",
        "The films that the lists are drawn from, such as `genre=Comedy,Drama and year>=1990`. "
        "Empty: all films.",
    )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Recommending:
        """Settings from Params or options, checked. Raises ConfigurationError."""
        return cls(**typed(cls, values))
