"""moto's S3, made durable: what a request changed is on disk before the request is answered.

moto keeps an object's bytes in a spooled temporary file inside its key object. Here the key stores
of its buckets note which keys a request touched; after the request those keys are written to
`ObjectFiles`, and the spooled file gives way to a reader of the stored one. So memory and open
files stay flat in the number of objects, and the bytes lie on the disk once.
"""

from __future__ import annotations

import hashlib
import io
import mimetypes
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from moto.s3.models import FakeBucket, FakeDeleteMarker, FakeKey, FakeMultipart, s3_backends
from moto.s3.utils import _VersionedKeyStore

from fmrec.local_aws.moto_memory import forget_instances
from fmrec.local_aws.object_files import Attributes, ObjectFiles, StoredBucket, StoredObject

_BLOCK = 1 << 20
Response = TypeVar("Response")


@dataclass
class _Changed:
    """What a request touched, in order: buckets, and keys as (bucket, key)."""

    buckets: dict[str, None] = field(default_factory=dict)
    keys: dict[tuple[str, str], None] = field(default_factory=dict)


class DurableS3:
    """The S3 of one account: moto answers the API, the files are the truth."""

    def __init__(self, account: str, files: ObjectFiles) -> None:
        self._files = files
        self._backend: Any = s3_backends[account]["aws"]
        self._account = account
        self._request = threading.local()
        # Two rows of locks, always taken first row first, so that no two threads wait crosswise.
        self._turns = tuple(threading.Lock() for _ in range(64))
        self._writing = tuple(threading.RLock() for _ in range(64))

    def restore(self) -> None:
        """Put the stored buckets and objects back into moto, without reading their bytes."""
        forget_instances(FakeKey, FakeMultipart)
        self._files.sweep()
        self._backend.buckets = _Buckets(self)
        for stored in self._files.buckets():
            make_bucket: Any = FakeBucket  # abstract to a type checker, not to moto
            bucket = make_bucket(stored.name, self._account, stored.region)
            bucket.creation_date = datetime.fromtimestamp(stored.created, UTC)
            self._backend.buckets[stored.name] = bucket
            for item in self._files.under(stored.name, ""):
                self._install(bucket, item)

    def take_turn(self, place: str) -> AbstractContextManager[Any]:
        """Return a lock that requests to one place share: moto checks conditions, then writes."""
        return self._turns[hash(place) % len(self._turns)]

    def settled(self, respond: Callable[[], Response]) -> Response:
        """Call moto, then write what it changed to disk, then return its response.

        Raises OSError when the disk refuses; the objects are then what they were before.
        """
        changed = self._request.changed = _Changed()
        try:
            response = respond()
        finally:
            del self._request.changed
        for name in changed.buckets:
            self._settle_bucket(name)
        for bucket, key in changed.keys:
            self._settle(bucket, key)
        return response

    def bucket_exists(self, bucket: str) -> bool:
        """Return whether there is a bucket of this name."""
        return bucket in self._backend.buckets

    def find(self, bucket: str, key: str) -> StoredObject | None:
        """Return an object, or None."""
        return self._files.find(bucket, key)

    def under(self, bucket: str, prefix: str) -> list[StoredObject]:
        """Return the objects whose keys begin with a prefix, in S3's order."""
        return self._files.under(bucket, prefix)

    def put(self, bucket: str, key: str, source: Path, now: float) -> None:
        """Store a file as an object, all or nothing, in memory that does not grow with it.

        Raises FileNotFoundError when there is no such bucket.
        """
        filled = self._files.incoming()
        digest = hashlib.md5(usedforsecurity=False)
        with source.open("rb") as reader, filled.open("wb") as writer:
            while block := reader.read(_BLOCK):
                digest.update(block)
                writer.write(block)
        content_type = mimetypes.guess_type(key)[0] or "binary/octet-stream"
        attributes = Attributes(digest.hexdigest(), now, {"content-type": content_type})
        with self._write_turn(bucket, key):
            holder = self._backend.buckets.get(bucket)
            if holder is None:
                filled.unlink()
                raise FileNotFoundError(f"There is no bucket {bucket!r}.")
            self._install(holder, self._files.keep(bucket, key, filled, attributes))

    def note_key(self, bucket: str, key: str) -> None:
        """Note that this thread's request, if it is in one, touched a key."""
        if changed := getattr(self._request, "changed", None):
            changed.keys[bucket, key] = None

    def note_bucket(self, bucket: str) -> None:
        """Note that this thread's request, if it is in one, created or deleted a bucket."""
        if changed := getattr(self._request, "changed", None):
            changed.buckets[bucket] = None

    def _write_turn(self, bucket: str, key: str) -> AbstractContextManager[Any]:
        return self._writing[hash((bucket, key)) % len(self._writing)]

    def _settle_bucket(self, name: str) -> None:
        bucket = self._backend.buckets.get(name)
        if bucket is None:
            self._files.delete_bucket(name)
        else:
            created = bucket.creation_date.timestamp()
            self._files.create_bucket(StoredBucket(name, bucket.region_name, created))

    def _settle(self, bucket: str, name: str) -> None:
        with self._write_turn(bucket, name):
            holder = self._backend.buckets.get(bucket)
            if holder is None:
                return  # deleted with its bucket
            key = holder.keys.get(name)
            if key is None or isinstance(key, FakeDeleteMarker):
                self._files.forget(bucket, name)
                return
            attributes = self._attributes(key)
            stored = self._files.find(bucket, name)
            if stored and getattr(key._value_buffer, "path", None) == stored.path:
                self._files.describe(bucket, name, attributes)
                return
            try:
                self._write(key, bucket, name, attributes)
            except OSError:
                self._put_back(holder, name)
                raise

    def _write(self, key: Any, bucket: str, name: str, attributes: Attributes) -> None:
        filled = self._files.incoming()
        try:
            with key.lock, filled.open("wb") as writer:
                key._value_buffer.seek(0)
                while block := key._value_buffer.read(_BLOCK):
                    writer.write(block)
            stored = self._files.keep(bucket, name, filled, attributes)
        finally:
            filled.unlink(missing_ok=True)
        self._swap(key, stored)

    def _put_back(self, bucket: Any, name: str) -> None:
        bucket.keys.pop(name)
        former = self._files.find(bucket.name, name)
        if former is not None:
            self._install(bucket, former)

    def _install(self, bucket: Any, item: StoredObject) -> None:
        """Give a bucket of moto the key object of a stored object."""
        attributes = item.attributes
        key: Any = FakeKey(
            item.key,
            b"",
            account_id=self._account,
            region_name=self._backend.region_name,
            storage=attributes.storage_class,
            etag=attributes.etag,
            is_versioned=bucket.is_versioned,
            version_id="null",
            bucket_name=bucket.name,
            encryption=attributes.encryption,
            kms_key_id=attributes.kms_key_id,
            checksum_value=attributes.checksum_value,
            checksum_type=attributes.checksum_type,
            checksum_parts=attributes.checksum_parts,
        )
        key.checksum_algorithm = attributes.checksum_algorithm
        key.last_modified = datetime.fromtimestamp(attributes.modified, UTC).replace(tzinfo=None)
        key.set_metadata(dict(attributes.metadata))
        self._swap(key, item)
        tags = [{"Key": name, "Value": value} for name, value in attributes.tags.items()]
        if tags:
            self._backend.tagger.tag_resource(key.arn, tags)
        kept = bucket.keys.getlist(item.key, []) if bucket.is_versioned else []
        bucket.keys.setlist(item.key, [*kept, key])

    def _swap(self, key: Any, stored: StoredObject) -> None:
        with key.lock:
            spooled, key._value_buffer = key._value_buffer, StoredBytes(self._files, stored)
            key.contentsize = stored.size
            key._etag = stored.attributes.etag
        spooled.close()
        if key.multipart is not None:
            key.multipart.dispose()  # the parts, a second copy of the bytes
            key.multipart = None

    def _attributes(self, key: Any) -> Attributes:
        return Attributes(
            etag=key.etag.strip('"'),
            modified=key.last_modified.replace(tzinfo=UTC).timestamp(),
            metadata=dict(key.metadata),
            tags=self._backend.tagger.get_tag_dict_for_resource(key.arn),
            storage_class=key.storage_class or "STANDARD",
            checksum_algorithm=key.checksum_algorithm,
            checksum_value=key.checksum_value,
            checksum_type=key.checksum_type,
            checksum_parts=key.checksum_parts,
            encryption=key.encryption,
            kms_key_id=key.kms_key_id,
        )


class StoredBytes:
    """Stands in for the spooled file of a moto key; reads the stored file, opened at each read.

    A request that still holds the key object can read on after the object was replaced.
    """

    def __init__(self, files: ObjectFiles, stored: StoredObject) -> None:
        self._files = files
        self._stored = stored
        self._at = 0
        files.hold(stored.path)

    @property
    def path(self) -> Path:
        """The stored file."""
        return self._stored.path

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position; return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._stored.size}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return bytes from the position on, and move it."""
        with self._stored.path.open("rb") as reader:
            reader.seek(self._at)
            block = reader.read(size)
        self._at += len(block)
        return block

    def close(self) -> None:
        """Do nothing: moto closes a replaced key while others may be reading it."""

    def __del__(self) -> None:
        self._files.release(self._stored.path)


class _Buckets(dict[str, Any]):
    """moto's table of buckets, which reports creations and deletions."""

    def __init__(self, storage: DurableS3) -> None:
        super().__init__()
        self._storage = storage

    def __setitem__(self, name: str, bucket: Any) -> None:
        bucket.keys = _Keys(self._storage, name)
        super().__setitem__(name, bucket)
        self._storage.note_bucket(name)

    def pop(self, name: str, *default: Any) -> Any:
        self._storage.note_bucket(name)
        return super().pop(name, *default)


class _Keys(_VersionedKeyStore):
    """A bucket's keys, which report every change."""

    def __init__(self, storage: DurableS3, bucket: str) -> None:
        super().__init__()
        self._storage = storage
        self._bucket = bucket

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self._storage.note_key(self._bucket, key)

    def setlist(self, key: str, list_: Any) -> None:
        super().setlist(key, list_)
        self._storage.note_key(self._bucket, key)

    def pop(self, key: str) -> None:  # type: ignore[override]
        super().pop(key)
        self._storage.note_key(self._bucket, key)
