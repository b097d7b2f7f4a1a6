"""S3 objects as plain files: the bytes under STATE/s3/<bucket>/<key>, the index in SQLite.

An object's file is written whole, flushed, and only then named in the index in one transaction;
the file it replaces is removed afterwards. So at every instant the index names complete files, and
a file that the index does not name is left-over that the next start sweeps away.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from fmrec.local_aws.database import Database

_INCOMING = ".incoming"
# Keys that cannot be paths of their own lie here: folder markers, "a" beside "a/b", odd or long
# names, and the new content of a key whose former file still has the plain path.
_ASIDE = "~"


@dataclass(frozen=True)
class Attributes:
    """What S3 remembers of an object beside its bytes; `modified` in Unix seconds."""

    etag: str
    modified: float
    metadata: dict[str, str]
    tags: dict[str, str] = field(default_factory=dict)
    storage_class: str = "STANDARD"
    checksum_algorithm: str | None = None
    checksum_value: str | None = None
    checksum_type: str | None = None
    checksum_parts: int | None = None
    encryption: str | None = None
    kms_key_id: str | None = None


@dataclass(frozen=True)
class StoredObject:
    """An object at rest: where it belongs, its file and size in bytes, its attributes."""

    bucket: str
    key: str
    path: Path
    size: int
    attributes: Attributes


@dataclass(frozen=True)
class StoredBucket:
    """A bucket at rest; `created` in Unix seconds."""

    name: str
    region: str
    created: float


class ObjectFiles:
    """The folder of all buckets and its index."""

    def __init__(self, folder: Path, database: Database) -> None:
        self._folder = folder
        self._database = database
        self._naming = threading.RLock()
        self._readers: Counter[Path] = Counter()
        self._replaced: set[Path] = set()
        (folder / _INCOMING).mkdir(parents=True, exist_ok=True)
        database.create(
            "CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, region TEXT, created REAL)"
        )
        database.create(
            "CREATE TABLE IF NOT EXISTS objects (bucket TEXT, key TEXT, path TEXT, size INTEGER, "
            "attributes TEXT, PRIMARY KEY (bucket, key))"
        )

    def buckets(self) -> list[StoredBucket]:
        """Return all buckets."""
        rows = self._database.rows("SELECT * FROM buckets ORDER BY name")
        return [StoredBucket(row["name"], row["region"], row["created"]) for row in rows]

    def create_bucket(self, bucket: StoredBucket) -> None:
        """Remember a bucket; one of that name is left as it is."""
        (self._folder / bucket.name).mkdir(exist_ok=True)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO buckets VALUES (?, ?, ?)",
                (bucket.name, bucket.region, bucket.created),
            )

    def delete_bucket(self, name: str) -> None:
        """Forget a bucket and everything in it."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM objects WHERE bucket = ?", (name,))
            connection.execute("DELETE FROM buckets WHERE name = ?", (name,))
        shutil.rmtree(self._folder / name, ignore_errors=True)

    def find(self, bucket: str, key: str) -> StoredObject | None:
        """Return an object, or None."""
        rows = self._database.rows(
            "SELECT * FROM objects WHERE bucket = ? AND key = ?", (bucket, key)
        )
        return self._stored(*rows[0]) if rows else None

    def under(self, bucket: str, prefix: str) -> list[StoredObject]:
        """Return the objects whose keys begin with a prefix, in S3's order (UTF-8 bytes)."""
        rows = self._database.rows(
            "SELECT * FROM objects WHERE bucket = ? AND substr(key, 1, ?) = ? ORDER BY key",
            (bucket, len(prefix), prefix),
        )
        return [self._stored(*row) for row in rows]

    def incoming(self) -> Path:
        """Return the name of a new file, to be filled and then given to `keep`."""
        return self._folder / _INCOMING / uuid.uuid4().hex

    def keep(self, bucket: str, key: str, filled: Path, attributes: Attributes) -> StoredObject:
        """Make a filled file the content of an object and return where it lies now.

        The file is moved; it must be on the same file system as the folder.
        """
        _flush(filled)
        size = filled.stat().st_size
        with self._naming:
            path = self._free_path(bucket, key)
            filled.replace(path)
        _flush(path.parent)
        relative = path.relative_to(self._folder / bucket).as_posix()
        with self._database.transaction() as connection:
            former = self.find(bucket, key)
            connection.execute(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)",
                (bucket, key, relative, size, json.dumps(asdict(attributes))),
            )
        self._discard_unread(former)
        return StoredObject(bucket, key, path, size, attributes)

    def describe(self, bucket: str, key: str, attributes: Attributes) -> None:
        """Replace an object's attributes; its bytes stay."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE objects SET attributes = ? WHERE bucket = ? AND key = ?",
                (json.dumps(asdict(attributes)), bucket, key),
            )

    def forget(self, bucket: str, key: str) -> None:
        """Remove an object, if it is there."""
        with self._database.transaction() as connection:
            former = self.find(bucket, key)
            connection.execute("DELETE FROM objects WHERE bucket = ? AND key = ?", (bucket, key))
        self._discard_unread(former)

    def hold(self, path: Path) -> None:
        """Keep a file for a reader, even when its object is replaced or removed meanwhile."""
        with self._naming:
            self._readers[path] += 1

    def release(self, path: Path) -> None:
        """End a `hold`; the last reader of a replaced content takes the file along."""
        with self._naming:
            self._readers[path] -= 1
            if self._readers[path] > 0:
                return
            del self._readers[path]
            if path in self._replaced:
                self._replaced.remove(path)
                self._discard(path)

    def sweep(self) -> None:
        """Remove what a killed server left behind: files that no index entry names."""
        named = {
            self._folder / row["bucket"] / row["path"]
            for row in self._database.rows("SELECT bucket, path FROM objects")
        }
        for path in _files_below(self._folder):
            if path not in named:
                self._discard(path)
        (self._folder / _INCOMING).mkdir(exist_ok=True)

    def _discard_unread(self, former: StoredObject | None) -> None:
        if former is None:
            return
        with self._naming:
            if self._readers[former.path]:
                self._replaced.add(former.path)
            else:
                del self._readers[former.path]
                self._discard(former.path)

    def _discard(self, path: Path) -> None:
        """Remove a file and the folders that this leaves empty, short of the bucket's own."""
        with self._naming:
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder.parent == self._folder:
                    break
                try:
                    folder.rmdir()
                except OSError:
                    break

    def _stored(self, bucket: str, key: str, path: str, size: int, attributes: str) -> StoredObject:
        return StoredObject(
            bucket, key, self._folder / bucket / path, size, Attributes(**json.loads(attributes))
        )

    def _free_path(self, bucket: str, key: str) -> Path:
        root = self._folder / bucket
        if _is_plain(key) and not (path := root / key).exists():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                pass  # a part of the key is itself an object's file
            else:
                return path
        aside = root / _ASIDE
        aside.mkdir(parents=True, exist_ok=True)
        leaf = PurePosixPath(key).name
        return aside / (uuid.uuid4().hex[:12] + (f"-{leaf}" if _is_plain(leaf) else ""))


def _is_plain(key: str) -> bool:
    return len(key.encode()) <= 900 and all(
        part not in ("", ".", "..", _ASIDE) and part.isprintable() and len(part.encode()) <= 200
        for part in key.split("/")
    )


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _files_below(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield Path(parent, name)
