"""Uploads in parts that are not completed: the parts as files, what is known of them in SQLite."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fmrec.local_aws.s3.object_files import flush
from fmrec.local_aws.state.database import Database

_FOLDER = ".uploads"


@dataclass(frozen=True)
class Upload:
    """An upload that began; `acl` as `bucket_settings.encode` gives it."""

    bucket: str
    name: str
    key: str
    region: str
    metadata: dict[str, str]
    storage: str | None
    tags: dict[str, str] | None
    acl: Any
    encryption: str | None
    kms_key_id: str | None


@dataclass(frozen=True)
class Part:
    """A stored part: its file and size in bytes; `modified` in Unix seconds."""

    number: int
    path: Path
    size: int
    etag: str
    modified: float


class UnfinishedUploads:
    """The folder of all parts, beside those of the buckets, and its index."""

    def __init__(self, folder: Path, database: Database) -> None:
        self._folder = folder / _FOLDER
        self._database = database
        database.create(
            "CREATE TABLE IF NOT EXISTS uploads (name TEXT PRIMARY KEY, bucket TEXT, document TEXT)"
        )
        database.create(
            "CREATE TABLE IF NOT EXISTS parts (upload TEXT, number INTEGER, path TEXT, "
            "size INTEGER, etag TEXT, modified REAL, PRIMARY KEY (upload, number))"
        )
        with database.transaction() as connection:
            # A full disk may have let parts in whose upload it refused.
            connection.execute("DELETE FROM parts WHERE upload NOT IN (SELECT name FROM uploads)")

    def begin(self, upload: Upload) -> None:
        """Remember an upload."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO uploads VALUES (?, ?, ?)",
                (upload.name, upload.bucket, json.dumps(asdict(upload))),
            )

    def keep(self, upload: str, number: int, filled: Path, etag: str, modified: float) -> Part:
        """Make a filled file a part, in place of an earlier one; it goes when this fails."""
        # Under a name of its own: an earlier part of this number may still be read.
        path = self._folder / upload / filled.name
        try:
            flush(filled)
            size = filled.stat().st_size
            path.parent.mkdir(parents=True, exist_ok=True)
            filled.replace(path)
        except OSError:
            filled.unlink(missing_ok=True)
            raise
        flush(path.parent)
        with self._database.transaction() as connection:
            former = self._database.rows(
                "SELECT path FROM parts WHERE upload = ? AND number = ?", (upload, number)
            )
            connection.execute(
                "INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?, ?)",
                (upload, number, path.name, size, etag, modified),
            )
        for row in former:
            (path.parent / row["path"]).unlink(missing_ok=True)
        return Part(number, path, size, etag, modified)

    def end(self, upload: str) -> None:
        """Forget an upload and its parts."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM uploads WHERE name = ?", (upload,))
            connection.execute("DELETE FROM parts WHERE upload = ?", (upload,))
        shutil.rmtree(self._folder / upload, ignore_errors=True)

    def of_bucket(self, bucket: str) -> Iterator[tuple[Upload, list[Part]]]:
        """Yield the uploads to a bucket, each with its parts."""
        rows = self._database.rows(
            "SELECT document FROM uploads WHERE bucket = ? ORDER BY rowid", (bucket,)
        )
        for row in rows:
            upload = Upload(**json.loads(row["document"]))
            yield upload, self._parts(upload.name)

    def files(self) -> list[Path]:
        """Return the files of all parts."""
        rows = self._database.rows("SELECT upload, path FROM parts")
        return [self._folder / row["upload"] / row["path"] for row in rows]

    def _parts(self, upload: str) -> list[Part]:
        rows = self._database.rows(
            "SELECT number, path, size, etag, modified FROM parts WHERE upload = ? ORDER BY number",
            (upload,),
        )
        return [
            Part(number, self._folder / upload / path, size, etag, modified)
            for number, path, size, etag, modified in rows
        ]
