"""What a run of `fmrec_serve` is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fmrec.settings.fields import setting, typed


@dataclass(frozen=True, kw_only=True)
class Serving:
    """The choices of one run of `fmrec_serve`; every field is a Param."""

    lane: str | None = setting(
        None,
        "Champion",
        "Lane",
        "Whose champion is served, such as `rating-ml-100k-time`. Empty: the lanes that have just "
        "got a champion; in a run by hand the only lane, else that of the default settings.",
    )
    action: str = setting(
        "deploy",
        "Endpoint",
        "What to do",
        "`deploy`: create the lane's endpoint, or update it without a gap. `teardown`: delete it, "
        "with all that was made for it.",
        enum=["deploy", "teardown"],
    )
    endpoint_instance_type: str = setting(
        "ml.m5.large",
        "Endpoint",
        "Instance type",
        "It is paid for by the hour, whether anybody asks or not.",
        pattern=r"ml\.[a-z0-9-]+\.[a-z0-9]+",
    )
    endpoint_instances: int = setting(
        1,
        "Endpoint",
        "Instances",
        "So many serve. From two on one may fail without a gap.",
        minimum=1,
        maximum=20,
    )
    ttl_hours: int = setting(
        24,
        "Endpoint",
        "Hours to live",
        "`fmrec_janitor` deletes the endpoint when it first runs after so many hours. Each "
        "deployment counts anew. 0: it stays until it is torn down.",
        minimum=0,
        maximum=8760,
    )
    smoke_rows: int = setting(
        200,
        "Test",
        "Test events asked",
        "So many of the champion's test events must get the scores that its batch transform gave.",
        minimum=1,
        maximum=100_000,
    )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Serving:
        """Settings from Params or options, checked. Raises ConfigurationError."""
        return cls(**typed(cls, values))
