"""Make a model the champion, when the gate or a person says so."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING

from fmrec.errors import ConfigurationError
from fmrec.layout import Run
from fmrec.release import champions
from fmrec.steps.xcom import Xcom
from fmrec.store import Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)


def release(
    run: Xcom, report: Xcom, published: Xcom, approval: Xcom | None, s3: S3Client, now: datetime
) -> Xcom:
    """Act on the decision of the gate; the mappings are what the tasks before returned.

    Only `promote`, and `ask` where a person has approved, change anything, and only while the
    champion is the one that the report compares with. Where runs overlap, as in a backfill, or
    while a person thought it over, another may have taken its place: then nothing is changed,
    which is no failure of the run, and `why` says so. The result's `since` is when the model
    became the champion, also where it had become it before; None where it has not. Raises
    ConfigurationError when the task that asks was marked by hand.
    """
    this = Run.from_xcom(run)
    decision, why = report["gate"]["decision"], report["gate"]["headline"]
    log.info("%s", why)
    if approval is None:
        raise ConfigurationError(
            "task approve has no answer: it was marked by hand. Clear it, and answer it there"
        )
    approved = approval.get("approved")
    if approval["asked"]:
        person = approval["by"]
        if approved:
            said = f"{person or 'A person'} approved"
        else:
            said = f"{person} rejected it" if person else "Nobody answered in time"
        why = f"{why}. {said}"
    since = None
    if decision == "promote" or (decision == "ask" and approved):
        store = Store(s3, this.layout.bucket)
        try:
            entry = champions.promote(
                store,
                this.layout,
                this.lane,
                run=this.layout.run,
                as_of=this.as_of,
                manifest=published["files"]["manifest.json"],
                artifact=report["artifact"],
                decision=report["gate"],
                compared_with=report["compared_with"],
                at=now,
                approved_by=approval.get("by") if approved else None,
            )
        except champions.NotPromotedError as error:
            why = str(error)
            log.warning("%s", why)
        else:
            since = entry.at.isoformat()
    log.info("%s", why)
    return {
        "lane": this.lane,
        "decision": decision,
        "promoted": since is not None,
        "since": since,
        "why": why,
    }
