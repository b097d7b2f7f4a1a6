"""What a run of `fmrec_janitor` is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fmrec.settings.fields import setting, typed


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """The choices of one run of `fmrec_janitor`; every field is a Param."""

    retention_days: int = setting(
        30,
        "Runs",
        "Days to keep runs",
        "The files of a run go when both the moment that it describes and its last change are "
        "longer ago. Reports stay. Never before FMREC_APPROVAL_HOURS and two days: a run may be "
        "waiting for a person.",
        minimum=2,  # longer than a run may take
        maximum=36_500,
    )
    keep_champions: int = setting(
        10,
        "Runs",
        "Champions to keep",
        "Of each lane the last so many champions keep their files, however old: "
        "`fmrec_rollback` can go back to them.",
        minimum=1,
        maximum=10_000,
    )
    dry_run: bool = setting(
        False,
        "Runs",
        "Dry run",
        "Say what would be deleted, and delete nothing.",
    )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Cleaning:
        """Settings from Params or options, checked. Raises ConfigurationError."""
        return cls(**typed(cls, values))
