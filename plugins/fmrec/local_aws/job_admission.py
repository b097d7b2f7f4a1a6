"""How a new job, training or transform, is taken on."""

from __future__ import annotations

from collections.abc import Callable

from fmrec.local_aws.faults import ApiError
from fmrec.local_aws.job_runner import JobControl
from fmrec.local_aws.json_wire import Document
from fmrec.local_aws.records import Identity
from fmrec.local_aws.workplace import Workplace


def admit(
    place: Workplace, identity: Identity, document: Document, run: Callable[[JobControl], None]
) -> None:
    """Record a job with its tags and queue its execution; raise ResourceInUse for a taken name."""
    tags = document.pop("Tags", [])

    def record() -> None:
        if not place.records.insert(identity, document, document["CreationTime"]):
            kind = identity.kind.replace("-", " ")
            raise ApiError(
                "ResourceInUse",
                f"{kind.capitalize()} names must be unique within an AWS account and region, and a "
                f"{kind} with this name already exists ({identity})",
            )
        place.records.add_tags(str(identity), tags)

    place.runner.submit(str(identity), run, record)
