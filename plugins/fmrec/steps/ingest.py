"""Read the ratings of the source, checked, into tables."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fmrec import __version__, ratings
from fmrec.layout import Run
from fmrec.settings import Deployment
from fmrec.store import Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)


class _Progress:
    """Logs a download each time another tenth of it has arrived."""

    def __init__(self) -> None:
        self._tenths = 0

    def __call__(self, done: int, total: int) -> None:
        tenths = 10 * done // max(total, 1)
        if tenths > self._tenths:
            self._tenths = tenths
            log.info("Downloaded %.1f of %.1f MB", done / 1e6, total / 1e6)


def ingest(run: dict[str, Any], s3: S3Client, deployment: Deployment) -> dict[str, Any]:
    """Read the source and write its tables, once for all runs that read the same content."""
    this = Run.from_xcom(run)
    store = Store(s3, this.layout.bucket)
    data = ratings.load(
        this.settings.source,
        split=this.settings.split,
        data_dir=deployment.data_dir,
        cache_dir=deployment.cache_dir,
        progress=_Progress(),
    )
    origin = asdict(data.origin)
    # The package's version: another version may read the same archive differently.
    name = f"{data.origin.source}-{data.origin.sha256[:16]}-{__version__}"
    keys = {
        "ratings": this.layout.source(name, f"ratings-{this.settings.split}"),
        "users": this.layout.source(name, "users"),
        "items": this.layout.source(name, "items"),
    }
    for kind, key in keys.items():
        if not store.exists(key):
            store.put_table(key, getattr(data, kind))
    log.info("%s: %s ratings", data.origin.sentence, f"{len(data.ratings):,}")
    return {"keys": keys, "origin": origin, "ratings": len(data.ratings)}
