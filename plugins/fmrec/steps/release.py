"""Make a model the champion, when the gate says so."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING

from fmrec.layout import Run
from fmrec.release import champions
from fmrec.steps.xcom import Xcom
from fmrec.store import Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)


def release(run: Xcom, report: Xcom, published: Xcom, s3: S3Client, now: datetime) -> Xcom:
    """Act on the decision of the gate; `report` and `published` are what those tasks returned.

    Only `promote` changes anything. Raises ConflictError when another model has become the champion
    since the report was made.
    """
    this = Run.from_xcom(run)
    decision = report["gate"]["decision"]
    log.info("%s", report["gate"]["headline"])
    if decision == "promote":
        champions.promote(
            Store(s3, this.layout.bucket),
            this.layout,
            this.lane,
            run=this.layout.run,
            as_of=this.as_of,
            manifest=published["files"]["manifest.json"],
            decision=report["gate"],
            compared_with=report["compared_with"],
            at=now,
        )
        log.info("%s is the champion of %s", this.layout.run, this.lane)
    return {"lane": this.lane, "decision": decision}
