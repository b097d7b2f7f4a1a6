"""Put the report where people look for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from fmrec.layout import Run
from fmrec.store import Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)


def publish(run: dict[str, Any], report: dict[str, Any], s3: S3Client) -> dict[str, Any]:
    """Copy the report to where reports are listed; the manifest is last and means finished."""
    this = Run.from_xcom(run)
    store = Store(s3, this.layout.bucket)
    published = {name: this.layout.published_report(name) for name in report["files"]}
    for name in sorted(published, key=lambda name: name == "manifest.json"):
        store.put(published[name], store.get(report["files"][name]), replace=True)
    log.info("Report: %s", this.layout.uri(published["report.html"]))
    log.info("To look at for a day: %s", store.link(published["report.html"], seconds=86_400))
    return {"bucket": store.bucket, "run": this.layout.run, "files": published}
