"""The settings of S3 buckets, kept over a restart: versioning, policy, lifecycle, CORS and others.

moto holds them as attributes of its bucket object, partly as objects of its own classes. They are
written as JSON in which such an object stands with the name of its class, one of a fixed few.
"""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

from moto.s3 import models

from fmrec.local_aws.state.database import Database

LOG = logging.getLogger(__name__)
_SETTINGS = (
    *("versioning_status", "policy", "rules", "cors", "website_configuration", "acl", "logging"),
    *("notification_configuration", "accelerate_configuration", "payer", "public_access_block"),
    *("encryption", "object_lock_enabled", "default_lock_mode", "default_lock_days"),
    *("default_lock_years", "ownership_rule", "replication"),
)
_KINDS = {
    kind.__name__: kind
    for kind in (
        *(models.LifecycleRule, models.LifecycleFilter, models.LifecycleAndFilter),
        *(models.LifecycleTransition, models.LifeCycleNoncurrentVersionTransition),
        *(models.CorsRule, models.Notification, models.NotificationConfiguration),
        *(models.PublicAccessBlock, models.FakeAcl, models.FakeGrant, models.FakeGrantee),
    )
}


class BucketSettings:
    """The table of settings and tags, a row for each bucket."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(
            "CREATE TABLE IF NOT EXISTS bucket_settings "
            "(bucket TEXT PRIMARY KEY, settings TEXT, tags TEXT)"
        )

    def save(self, bucket: Any, tags: dict[str, str]) -> None:
        """Write what is set on a bucket of moto's."""
        settings = {name: encode(getattr(bucket, name, None)) for name in _SETTINGS}
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO bucket_settings VALUES (?, ?, ?)",
                (bucket.name, json.dumps(settings), json.dumps(tags)),
            )

    def load(self, bucket: Any) -> dict[str, str]:
        """Set a new bucket of moto's as it was saved, and return its tags."""
        rows = self._database.rows(
            "SELECT settings, tags FROM bucket_settings WHERE bucket = ?", (bucket.name,)
        )
        if not rows:
            return {}
        for name, value in json.loads(rows[0]["settings"]).items():
            setattr(bucket, name, decode(value))
        tags: dict[str, str] = json.loads(rows[0]["tags"])
        return tags

    def delete(self, name: str) -> None:
        """Forget the settings of a bucket."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM bucket_settings WHERE bucket = ?", (name,))


def encode(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {"table": [[key, encode(item)] for key, item in value.items()]}
    kind = type(value).__name__
    if kind not in _KINDS:
        LOG.warning("a %s among the settings of a bucket will not survive a restart", kind)
        return None
    return {"kind": kind, "members": encode(vars(value))}


def decode(value: Any) -> Any:
    """Return the value that was encoded."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "bytes" in value:
        return base64.b64decode(value["bytes"])
    if "table" in value:
        return {key: decode(item) for key, item in value["table"]}
    kind = _KINDS[value["kind"]]
    instance = kind.__new__(kind)
    vars(instance).update(decode(value["members"]))
    return instance
