"""moto's S3, made durable: what a request changed is on disk before the request is answered.

moto keeps an object's bytes in a spooled temporary file inside its key object. Here the tables of
its backend note what a request touches; after the request that is written to disk, and the spooled
file gives way to a reader of the stored one. So memory and open files stay flat in the number of
objects, and the bytes lie on the disk once.
"""

from __future__ import annotations

import errno
import hashlib
import mimetypes
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from moto.s3.exceptions import S3ClientError
from moto.s3.models import FakeBucket, FakeDeleteMarker, FakeKey, FakeMultipart, s3_backends
from requests.structures import CaseInsensitiveDict

from fmrec.local_aws.s3.bucket_settings import BucketSettings, decode, encode
from fmrec.local_aws.s3.changes import Changes
from fmrec.local_aws.s3.moto_stores import Buckets, Tags
from fmrec.local_aws.s3.object_files import (
    Attributes,
    Deletion,
    ObjectFiles,
    StoredBucket,
    StoredObject,
)
from fmrec.local_aws.s3.stored_bytes import StoredBytes
from fmrec.local_aws.s3.unfinished_uploads import Part, UnfinishedUploads, Upload
from fmrec.local_aws.state.moto_memory import forget_instances

_BLOCK = 1 << 20
Response = TypeVar("Response")


class DurableS3:
    """The S3 of one account: moto answers the API, the files are the truth."""

    def __init__(self, account: str, files: ObjectFiles) -> None:
        self._files = files
        self._settings = BucketSettings(files.database)
        self._uploads = UnfinishedUploads(files.folder, files.database)
        self._backend: Any = s3_backends[account]["aws"]
        self._account = account
        self._changes = Changes()
        # Two rows of locks, always taken first row first, so that no two threads wait crosswise.
        self._turns = tuple(threading.Lock() for _ in range(64))
        self._writing = tuple(threading.RLock() for _ in range(64))

    def restore(self) -> None:
        """Put what is stored back into moto, without reading the bytes of objects."""
        forget_instances(FakeKey, FakeMultipart, FakeDeleteMarker)
        self._files.sweep(self._uploads.files())
        self._backend.buckets = Buckets(self._changes)
        self._backend.tagger = Tags(self._changes)
        for stored in self._files.buckets():
            make_bucket: Any = FakeBucket  # abstract to a type checker, not to moto
            bucket = make_bucket(stored.name, self._account, stored.region)
            bucket.creation_date = datetime.fromtimestamp(stored.created, UTC)
            self._backend.buckets.restore(stored.name, bucket)
            self._tag(bucket.arn, self._settings.load(bucket))
            versions = self._files.former(stored.name)
            for item in self._files.under(stored.name, ""):
                versions.setdefault(item.key, []).append(item)
            for name, kept in versions.items():
                bucket.keys.setlist(name, self._in_memory(name, kept))
            for upload, parts in self._uploads.of_bucket(stored.name):
                self._resume(bucket, upload, parts)

    def take_turn(self, place: str) -> AbstractContextManager[Any]:
        """Return a lock that requests to one place share: moto checks conditions, then writes."""
        return self._turns[hash(place) % len(self._turns)]

    def settled(self, respond: Callable[[], Response]) -> Response:
        """Call moto, then write what it changed to disk, then return its response.

        Raises OSError when the disk refuses; the objects are then what they were before.
        """
        with self._changes.collected() as changed:
            response = respond()
        with _sqlite_refusals_told():
            for name in changed.buckets:
                self._settle_bucket(name)
            for bucket, key in changed.keys:
                self._settle(bucket, key)
            for bucket, upload, number in changed.parts:
                self._settle_part(bucket, upload, number)
            for bucket, upload in changed.uploads:
                self._settle_upload(bucket, upload)
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

        Raises FileNotFoundError when S3 has no place for it: no such bucket, or no such key.
        """
        filled = self._files.incoming()
        digest = hashlib.md5(usedforsecurity=False)
        with source.open("rb") as reader, filled.open("wb") as writer:
            while block := reader.read(_BLOCK):
                digest.update(block)
                writer.write(block)
        content_type = mimetypes.guess_type(key)[0] or "binary/octet-stream"
        with self._write_turn(bucket, key):
            holder = self._backend.buckets.get(bucket)
            if holder is None:
                filled.unlink()
                raise FileNotFoundError(f"There is no bucket {bucket!r}.")
            attributes = Attributes(
                digest.hexdigest(),
                now,
                {"content-type": content_type},
                version=str(uuid.uuid4()) if holder.is_versioned else "null",
            )
            stored = self._files.place(bucket, key, filled, attributes)
            earlier = holder.keys.getlist(key, []) if holder.is_versioned else []
            try:
                holder.keys.setlist(key, [*earlier, *self._in_memory(key, [stored])])
            except S3ClientError as error:
                stored.path.unlink()
                raise FileNotFoundError(f"s3://{bucket}/{key}: {error.message}.") from None
            with _sqlite_refusals_told():
                self._settle(bucket, key)

    def _write_turn(self, bucket: str, key: str) -> AbstractContextManager[Any]:
        return self._writing[hash((bucket, key)) % len(self._writing)]

    def _settle_bucket(self, name: str) -> None:
        bucket = self._backend.buckets.get(name)
        if bucket is None:
            for upload, _ in self._uploads.of_bucket(name):
                self._uploads.end(upload.name)
            self._settings.delete(name)
            self._files.delete_bucket(name)
            return
        created = bucket.creation_date.timestamp()
        self._files.create_bucket(StoredBucket(name, bucket.region_name, created))
        self._settings.save(bucket, self._backend.tagger.get_tag_dict_for_resource(bucket.arn))

    def _settle(self, bucket: str, name: str) -> None:
        """Make the versions of a key on disk what they are in memory."""
        with self._write_turn(bucket, name):
            holder = self._backend.buckets.get(bucket)
            if holder is None:
                return  # deleted with its bucket
            try:
                versions = [
                    Deletion(item.version_id, _seconds(item.last_modified))
                    if isinstance(item, FakeDeleteMarker)
                    else self._on_disk(item, bucket)
                    for item in holder.keys.getlist(name, [])
                ]
                self._files.record(bucket, name, versions)
            except (OSError, sqlite3.Error):
                self._put_back(holder, name)
                raise

    def _settle_part(self, bucket: str, name: str, number: int) -> None:
        with self._write_turn(bucket, name):
            holder = self._backend.buckets.get(bucket)
            upload = holder and holder.multiparts.get(name)
            part = upload and upload.parts.get(number)
            if not part or isinstance(part._value_buffer, StoredBytes):
                return
            etag, modified = part.etag.strip('"'), _seconds(part.last_modified)
            try:
                kept = self._uploads.keep(name, number, self._spilled(part), etag, modified)
            except (OSError, sqlite3.Error):
                upload.parts.pop(number).dispose()
                upload.partlist.remove(number)
                raise
            self._swap(part, kept.path, kept.size, etag)

    def _settle_upload(self, bucket: str, name: str) -> None:
        holder = self._backend.buckets.get(bucket)
        upload = holder and holder.multiparts.get(name)
        if not upload:
            self._uploads.end(name)
            return
        self._uploads.begin(
            Upload(
                bucket,
                name,
                upload.key_name,
                upload.region_name,
                dict(upload.metadata),
                upload.storage,
                upload.tags,
                encode(upload.acl),
                upload.sse_encryption,
                upload.kms_key_id,
            )
        )

    def _resume(self, bucket: Any, stored: Upload, parts: Iterable[Part]) -> None:
        """Give a bucket of moto an upload that a former server did not see the end of."""
        upload = FakeMultipart(
            stored.key,
            CaseInsensitiveDict(stored.metadata),
            self._account,
            stored.region,
            stored.storage,
            stored.tags,
            decode(stored.acl),
            stored.encryption,
            stored.kms_key_id,
        )
        upload.id = stored.name
        bucket.multiparts[stored.name] = upload
        for item in parts:
            part = upload.set_part(item.number, b"")
            part.last_modified = _moment(item.modified)
            self._swap(part, item.path, item.size, item.etag)

    def _on_disk(self, key: Any, bucket: str) -> StoredObject:
        """Return a version as it is stored, once it is."""
        attributes = self._attributes(key)
        held = key._value_buffer
        if isinstance(held, StoredBytes):
            return StoredObject(bucket, key.name, held.path, held.size, attributes)
        stored = self._files.place(bucket, key.name, self._spilled(key), attributes)
        self._swap(key, stored.path, stored.size, attributes.etag)
        return stored

    def _spilled(self, key: Any) -> Path:
        """Write the bytes that moto holds of a key or a part to a new file."""
        filled = self._files.incoming()
        try:
            with key.lock, filled.open("wb") as writer:
                key._value_buffer.seek(0)
                while block := key._value_buffer.read(_BLOCK):
                    writer.write(block)
        except OSError:
            filled.unlink(missing_ok=True)
            raise
        return filled

    def _put_back(self, bucket: Any, name: str) -> None:
        """Make the versions of a key in memory what they are on disk."""
        versions = self._files.versions(bucket.name, name)
        if versions:
            bucket.keys.setlist(name, self._in_memory(name, versions))
        elif name in bucket.keys:
            bucket.keys.pop(name)

    def _in_memory(self, name: str, versions: Iterable[StoredObject | Deletion]) -> list[Any]:
        """Return the objects that moto would have made of the versions of a key."""
        made: list[Any] = []
        for item in versions:
            if isinstance(item, StoredObject):
                made.append(self._key(item))
                continue
            before: Any = made[-1] if made else SimpleNamespace(name=name)
            marker = FakeDeleteMarker(before)
            marker.last_modified = _moment(item.modified)
            marker._version_id = item.version
            made.append(marker)
        return made

    def _key(self, item: StoredObject) -> Any:
        attributes = item.attributes
        key: Any = FakeKey(
            item.key,
            b"",
            account_id=self._account,
            region_name=self._backend.region_name,
            storage=attributes.storage_class,
            etag=attributes.etag,
            is_versioned=attributes.version != "null",
            version_id=attributes.version,
            bucket_name=item.bucket,
            encryption=attributes.encryption,
            kms_key_id=attributes.kms_key_id,
            checksum_value=attributes.checksum_value,
            checksum_type=attributes.checksum_type,
            checksum_parts=attributes.checksum_parts,
        )
        key.checksum_algorithm = attributes.checksum_algorithm
        key.last_modified = _moment(attributes.modified)
        key.set_metadata(dict(attributes.metadata))
        self._swap(key, item.path, item.size, attributes.etag)
        self._tag(key.arn, attributes.tags)
        return key

    def _swap(self, key: Any, path: Path, size: int, etag: str) -> None:
        """Let a key or a part read its bytes from a file."""
        with key.lock:
            spooled, key._value_buffer = key._value_buffer, StoredBytes(self._files, path, size)
            key.contentsize = size
            key._etag = etag
        spooled.close()
        if key.multipart is not None:
            key.multipart.dispose()  # the parts, a second copy of the bytes
            key.multipart = None

    def _tag(self, arn: str, tags: dict[str, str]) -> None:
        self._backend.tagger.tag_resource(
            arn, [{"Key": name, "Value": value} for name, value in tags.items()]
        )

    def _attributes(self, key: Any) -> Attributes:
        return Attributes(
            etag=key.etag.strip('"'),
            modified=_seconds(key.last_modified),
            metadata=dict(key.metadata),
            tags=self._backend.tagger.get_tag_dict_for_resource(key.arn),
            storage_class=key.storage_class or "STANDARD",
            checksum_algorithm=key.checksum_algorithm,
            checksum_value=key.checksum_value,
            checksum_type=key.checksum_type,
            checksum_parts=key.checksum_parts,
            encryption=key.encryption,
            kms_key_id=key.kms_key_id,
            version=key.version_id,
        )


@contextmanager
def _sqlite_refusals_told() -> Iterator[None]:
    """Turn what SQLite says of a full or broken disk into OSError."""
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(errno.EIO, f"the index could not be written ({error})") from error


def _seconds(moment: datetime) -> float:
    return moment.replace(tzinfo=UTC).timestamp()


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
