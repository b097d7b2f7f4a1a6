"""Object storage in and out: small, checked, write-once."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import ClientError

from fmrec.errors import ConflictError, StoreError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CHECKSUM = "fmrec-sha256"


@dataclass(frozen=True)
class Stored:
    """An object as a listing has it: `etag` changes with its content."""

    key: str
    bytes: int
    etag: str


class Store:
    """One S3 bucket. What `put` writes carries its SHA-256, and `get` checks it."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def put(self, key: str, data: bytes, *, replace: bool = False) -> str:
        """Write an object and return its SHA-256 (hex).

        Writing the same bytes again changes nothing, so a retried task may repeat itself.
        Raises ConflictError when the key holds other bytes, unless `replace` is set.
        """
        digest = hashlib.sha256(data).hexdigest()
        if not self._create(key, data, digest, replace=replace) and self._checksum(key) != digest:
            raise self._conflict(key)
        return digest

    def _create(self, key: str, data: bytes | BinaryIO, digest: str, *, replace: bool) -> bool:
        """Write unless the key is taken, in one step of S3's own; says whether it was written."""
        condition: Any = {} if replace else {"IfNoneMatch": "*"}
        try:
            self._client.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=data,
                ContentType=_content_type(key),
                Metadata={_CHECKSUM: digest},
                **condition,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "PreconditionFailed":
                return False
            raise
        return True

    def _conflict(self, key: str) -> ConflictError:
        return ConflictError(
            f"s3://{self.bucket}/{key} already holds something else: the code or the source "
            "changed since this run first wrote it, and later tasks may have read it. Trigger a "
            "new run instead, or delete the objects of this one and clear all of its tasks."
        )

    def delete(self, key: str) -> None:
        """Remove an object, if there is one."""
        self._client.delete_object(Bucket=self.bucket, Key=key)

    def get(self, key: str, *, etag: str | None = None) -> bytes:
        """The bytes of an object. Raises StoreError when it is missing or altered.

        With `etag`, it must be the object that a listing showed under this ETag.
        """
        condition: Any = {} if etag is None else {"IfMatch": etag}
        try:
            answer = self._client.get_object(Bucket=self.bucket, Key=key, **condition)
        except ClientError as error:
            if error.response["Error"]["Code"] in {"PreconditionFailed", "412"}:
                raise StoreError(
                    f"s3://{self.bucket}/{key} was replaced while it was being read. Try again."
                ) from None
            if error.response["Error"]["Code"] in {"NoSuchKey", "404"}:
                raise StoreError(
                    f"s3://{self.bucket}/{key} does not exist: the task that writes it has not "
                    "finished, or the object was deleted. Clear that task to write it again."
                ) from None
            raise
        data = answer["Body"].read()
        promised = answer["Metadata"].get(_CHECKSUM)
        found = hashlib.sha256(data).hexdigest()
        if promised is not None and promised != found:
            raise StoreError(
                f"s3://{self.bucket}/{key} was altered after it was written (SHA-256 {found[:12]}, "
                f"written as {promised[:12]}). Delete it and clear the task that writes it."
            )
        return data

    def exists(self, key: str) -> bool:
        """Whether there is an object of this key."""
        return self._checksum(key) is not None

    def list(self, prefix: str) -> Iterable[str]:
        """Keys below a prefix, in order."""
        return (each.key for each in self.objects(prefix))

    def objects(self, prefix: str) -> Iterator[Stored]:
        """The objects below a prefix, in order of their keys."""
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.bucket, Prefix=prefix):
            for entry in page.get("Contents", []):
                yield Stored(entry["Key"], entry["Size"], entry["ETag"])

    def link(self, key: str, *, seconds: int) -> str:
        """A URL that lets anyone who has it read an object for a while."""
        return self._client.generate_presigned_url(
            "get_object", Params={"Bucket": self.bucket, "Key": key}, ExpiresIn=seconds
        )

    def put_file(self, key: str, path: Path) -> str:
        """Write a file of any size as an object; else as `put`."""
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        with path.open("rb") as stream:
            written = self._create(key, stream, digest, replace=False)
        if not written and self._checksum(key) != digest:
            raise self._conflict(key)
        return digest

    def put_table(self, key: str, table: pa.Table) -> str:
        """Write a table as Parquet and return the SHA-256 of the file.

        An equal table under the key is left as it is, though another version of the libraries
        would write other bytes. Raises ConflictError when the key holds another table.
        """
        data = _parquet(table)
        digest = hashlib.sha256(data).hexdigest()
        if self._create(key, data, digest, replace=False):
            return digest
        there = self.get(key)
        found = hashlib.sha256(there).hexdigest()
        # Written by one library, equal tables are equal bytes: also those with NaN in them.
        if found != digest and _parquet(_read(there)) != data:
            raise self._conflict(key)
        return found

    def get_table(self, key: str) -> pa.Table:
        """Read a table that `put_table` wrote."""
        return _read(self.get(key))

    def _checksum(self, key: str) -> str | None:
        """The stored checksum; None when there is no such object, "" when it carries none."""
        try:
            head: Any = self._client.head_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in {"NoSuchKey", "404"}:
                return None
            raise
        return str(head["Metadata"].get(_CHECKSUM, ""))


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _read(data: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(data))


def _content_type(key: str) -> str:
    kinds = {"json": "application/json", "html": "text/html; charset=utf-8"}
    return kinds.get(key.rpartition(".")[2], "application/octet-stream")
