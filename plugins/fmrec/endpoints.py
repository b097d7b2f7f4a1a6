"""SageMaker request dictionaries for endpoints, and the tags that tell what an endpoint is about.

Nothing but data. An endpoint's state is kept in its own tags, because nothing else outlives a task
that is killed: whose it is, which configuration was proven, when it may go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from fmrec.errors import DataError
from fmrec.layout import Layout

VARIANT = "AllTraffic"

DEPLOYMENT = "fmrec:deployment"
LANE = "fmrec:lane"
RUN = "fmrec:run"
# The configuration that passed its test last; what else is in service is not to stay.
PROVEN = "fmrec:proven-config"
EXPIRES = "fmrec:expires"
NOTHING, NEVER = "none", "never"

_HOUR = timedelta(hours=1)


def owner(layout: Layout) -> str:
    """The value of tag DEPLOYMENT: another one for each bucket and prefix.

    Characters that no tag may hold are written as `=` and their two hexadecimal digits.
    """
    return re.sub(
        "[^a-zA-Z0-9_.:/+@ -]",
        lambda found: "".join(f"={byte:02X}" for byte in found[0].encode()),
        f"{layout.bucket}/{layout.prefix}",
    )


def tags_of(layout: Layout, lane: str) -> dict[str, str]:
    """The tags of all that is made to serve a run: what a bill or a clean-up can go by."""
    return {"project": "fmrec", DEPLOYMENT: owner(layout), LANE: lane, RUN: layout.run}


def expiry(hours: int, now: datetime) -> str:
    """The value of tag EXPIRES, `hours` after `now` (aware); for 0 hours never."""
    if not hours:
        return NEVER
    return (now.astimezone(UTC) + hours * _HOUR).isoformat(timespec="seconds")


def expired(value: str, now: datetime) -> bool:
    """Whether the moment of tag EXPIRES is over. Raises DataError when it is none."""
    if value == NEVER:
        return False
    try:
        return datetime.fromisoformat(value) <= now
    except (ValueError, TypeError):
        raise DataError(
            f"its tag {EXPIRES} is {value!r}, and no moment like 2026-03-08T00:00:00+00:00: "
            "correct it, or trigger fmrec_serve again"
        ) from None


def model_request(
    name: str, image: str, artifact: str, role_arn: str, tags: Mapping[str, str]
) -> dict[str, Any]:
    """CreateModel for an artifact."""
    return {
        "ModelName": name,
        "ExecutionRoleArn": role_arn,
        "PrimaryContainer": {"Image": image, "ModelDataUrl": artifact},
        "Tags": tag_list(tags),
    }


def config_request(
    name: str, model: str, instance_type: str, instances: int, tags: Mapping[str, str]
) -> dict[str, Any]:
    """CreateEndpointConfig for one model that gets all requests."""
    return {
        "EndpointConfigName": name,
        "ProductionVariants": [
            {
                "VariantName": VARIANT,
                "ModelName": model,
                "InstanceType": instance_type,
                "InitialInstanceCount": instances,
            }
        ],
        "Tags": tag_list(tags),
    }


def endpoint_request(name: str, config: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """CreateEndpoint."""
    return {"EndpointName": name, "EndpointConfigName": config, "Tags": tag_list(tags)}


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as SageMaker takes them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]
