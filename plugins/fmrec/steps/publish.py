"""Put the report where people look for it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fmrec.layout import Run
from fmrec.steps import budget
from fmrec.store import Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)


def publish(run: dict[str, Any], report: dict[str, Any], s3: S3Client) -> dict[str, Any]:
    """Copy the report to where reports are listed; the manifest is last and means finished.

    The links let whoever has them read the files for an hour.
    """
    this = Run.from_xcom(run)
    store = Store(s3, this.layout.bucket)
    published = {name: this.layout.published_report(name) for name in report["files"]}
    # A repeated run must not leave its old manifest vouching for a half-replaced report.
    store.delete(published["manifest.json"])
    for name in sorted(published, key=lambda name: name == "manifest.json"):
        store.put(published[name], store.get(report["files"][name]), replace=True)
    budget.settle(this, store, datetime.now(UTC))
    log.info("Report: %s", this.layout.uri(published["report.html"]))
    links = {name: store.link(key, seconds=3_600) for name, key in published.items()}
    log.info("To look at within an hour: %s", links["report.html"])
    return {"run": this.layout.run, "files": published, "links": links}
