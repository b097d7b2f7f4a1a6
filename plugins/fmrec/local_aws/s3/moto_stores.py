"""The tables in which moto's S3 keeps things, made to refuse what S3 refuses and to note changes.

moto fills them while it answers a request; an S3ClientError that one of them raises, it answers.
"""

from __future__ import annotations

import re
from typing import Any

from moto.s3.exceptions import InvalidBucketName, S3ClientError
from moto.s3.models import FakeBucket, FakeKey, MultipartDict, s3_backends
from moto.s3.utils import _VersionedKeyStore
from moto.utilities.tagging_service import TaggingService

from fmrec.local_aws.s3.changes import Changes
from fmrec.local_aws.s3.digests import check_digests

_BUCKET_NAME = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_RESERVED_BEGINNINGS = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_ENDINGS = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
_LONGEST_KEY = 1024  # bytes of UTF-8


class Buckets(dict[str, Any]):
    """moto's table of buckets. What is put in becomes a bucket whose changes are noted."""

    def __init__(self, changes: Changes) -> None:
        super().__init__()
        self._changes = changes

    def __setitem__(self, name: str, bucket: Any) -> None:
        if not is_bucket_name(name):
            # The bucket's constructor has taken the name already.
            s3_backends.bucket_accounts.pop(name, None)
            raise InvalidBucketName
        self.restore(name, bucket)
        self._changes.bucket(name)

    def restore(self, name: str, bucket: Any) -> None:
        """Put a bucket in that was there before."""
        bucket.keys = Keys(self._changes, name)
        bucket.multiparts = Uploads(self._changes, name)
        bucket.changes = self._changes
        bucket.__class__ = _NotedBucket
        super().__setitem__(name, bucket)

    def pop(self, name: str, *default: Any) -> Any:
        """Take a bucket out."""
        self._changes.bucket(name)
        return super().pop(name, *default)


class _NotedBucket(FakeBucket):
    """A bucket of moto's that notes whatever setting is assigned to it."""

    changes: Changes

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        self.changes.bucket(self.name)


class Keys(_VersionedKeyStore):
    """A bucket's keys."""

    def __init__(self, changes: Changes, bucket: str) -> None:
        super().__init__()
        self._changes = changes
        self._bucket = bucket

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self._changes.key(self._bucket, key)

    def setlist(self, key: str, list_: Any) -> None:
        """Replace the versions of a key; raise S3ClientError for a newest that S3 refuses."""
        newest = list_[-1] if list_ else None
        if isinstance(newest, FakeKey) and newest not in self.getlist(key, []):
            try:
                _check_key(key)
                check_digests(newest)
            except S3ClientError:
                newest.dispose()
                raise
        super().setlist(key, list_)
        self._changes.key(self._bucket, key)

    def pop(self, key: str) -> None:  # type: ignore[override]
        """Take all versions of a key out."""
        super().pop(key)
        self._changes.key(self._bucket, key)


class Uploads(MultipartDict):
    """A bucket's uploads in parts that are not completed."""

    def __init__(self, changes: Changes, bucket: str) -> None:
        super().__init__()
        self._changes = changes
        self._bucket = bucket

    def __setitem__(self, name: str, upload: Any) -> None:
        _check_key(upload.key_name)
        upload.parts = Parts(self._changes, self._bucket, name)
        super().__setitem__(name, upload)
        self._changes.upload(self._bucket, name)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        self._changes.upload(self._bucket, name)


class Parts(dict[int, Any]):
    """The parts of an upload by their numbers."""

    def __init__(self, changes: Changes, bucket: str, upload: str) -> None:
        super().__init__()
        self._changes = changes
        self._bucket = bucket
        self._upload = upload

    def __setitem__(self, number: int, part: Any) -> None:
        try:
            check_digests(part)
        except S3ClientError:
            part.dispose()
            raise
        super().__setitem__(number, part)
        self._changes.part(self._bucket, self._upload, number)


class Tags(TaggingService):
    """The tags of buckets and objects."""

    def __init__(self, changes: Changes) -> None:
        super().__init__()
        self._changes = changes

    def tag_resource(self, arn: str, tags: list[dict[str, str]] | None) -> None:
        """Add tags."""
        # moto would remember an empty table for every object that ever was.
        if tags:
            super().tag_resource(arn, tags)
            self._note(arn)

    def delete_all_tags_for_resource(self, arn: str) -> None:
        """Take all tags away."""
        super().delete_all_tags_for_resource(arn)
        self._note(arn)

    def untag_resource_using_names(self, arn: str, tag_names: list[str]) -> None:
        """Take some tags away."""
        super().untag_resource_using_names(arn, tag_names)
        self._note(arn)

    def _note(self, arn: str) -> None:
        """Note the bucket or key of arn:aws:s3:::bucket or arn:aws:s3:::bucket/key/version."""
        bucket, _, rest = arn.partition(":::")[2].partition("/")
        if rest:
            self._changes.key(bucket, rest.rpartition("/")[0])
        else:
            self._changes.bucket(bucket)


def is_bucket_name(name: str) -> bool:
    """Return whether S3 would let a bucket have this name, which then is a safe file name too."""
    return (
        _BUCKET_NAME.fullmatch(name) is not None
        and _ADDRESS.fullmatch(name) is None
        and not name.startswith(_RESERVED_BEGINNINGS)
        and not name.endswith(_RESERVED_ENDINGS)
    )


def _check_key(key: str) -> None:
    if len(key.encode()) > _LONGEST_KEY:
        raise S3ClientError("KeyTooLongError", "Your key is too long")
