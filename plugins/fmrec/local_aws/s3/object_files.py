"""S3 objects as plain files: the bytes under STATE/s3/<bucket>/<key>, the index in SQLite.

An object's file is written whole, flushed, and only then named in the index in one transaction;
the file it replaces is removed afterwards. So at every instant the index names complete files, and
a file that the index does not name is left-over that the next start sweeps away. In a bucket with
versioning the index names the files of the earlier versions too.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from fmrec.local_aws.state.database import Database

_INCOMING = ".incoming"
# Keys that cannot be paths of their own lie here: folder markers, "a" beside "a/b", odd or long
# names, and the new content of a key whose former file still has the plain path.
_ASIDE = "~"


@dataclass(frozen=True)
class Attributes:
    """What S3 remembers of an object beside its bytes; `modified` in Unix seconds.

    `version` is "null" for what was written while its bucket had no versioning.
    """

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
    version: str = "null"


@dataclass(frozen=True)
class Deletion:
    """A delete marker, under its version; `modified` in Unix seconds."""

    version: str
    modified: float


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
    """The folder of all buckets and its index in a database."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        self.database = database
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
        # What an object was before, and delete markers, whose path is NULL: all versions but the
        # one that a read without a version finds.
        database.create(
            "CREATE TABLE IF NOT EXISTS versions (bucket TEXT, key TEXT, position INTEGER, "
            "path TEXT, size INTEGER, attributes TEXT, PRIMARY KEY (bucket, key, position))"
        )

    def buckets(self) -> list[StoredBucket]:
        """Return all buckets."""
        rows = self.database.rows("SELECT * FROM buckets ORDER BY name")
        return [StoredBucket(row["name"], row["region"], row["created"]) for row in rows]

    def create_bucket(self, bucket: StoredBucket) -> None:
        """Remember a bucket; one of that name is left as it is."""
        (self.folder / bucket.name).mkdir(exist_ok=True)
        with self.database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO buckets VALUES (?, ?, ?)",
                (bucket.name, bucket.region, bucket.created),
            )

    def delete_bucket(self, name: str) -> None:
        """Forget a bucket and everything in it."""
        with self.database.transaction() as connection:
            connection.execute("DELETE FROM objects WHERE bucket = ?", (name,))
            connection.execute("DELETE FROM versions WHERE bucket = ?", (name,))
            connection.execute("DELETE FROM buckets WHERE name = ?", (name,))
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def find(self, bucket: str, key: str) -> StoredObject | None:
        """Return an object, or None."""
        rows = self.database.rows(
            "SELECT * FROM objects WHERE bucket = ? AND key = ?", (bucket, key)
        )
        return self._stored(*rows[0]) if rows else None

    def under(self, bucket: str, prefix: str) -> list[StoredObject]:
        """Return the objects whose keys begin with a prefix, in S3's order (UTF-8 bytes)."""
        rows = self.database.rows(
            # As bytes, for SQLite ends a text at a NUL.
            "SELECT * FROM objects WHERE bucket = ? AND substr(CAST(key AS BLOB), 1, ?) = ? "
            "ORDER BY key",
            (bucket, len(prefix.encode()), prefix.encode()),
        )
        return [self._stored(*row) for row in rows]

    def former(self, bucket: str) -> dict[str, list[StoredObject | Deletion]]:
        """Return, by key, all versions but those that `under` gives, the oldest first."""
        rows = self.database.rows(
            "SELECT key, path, size, attributes FROM versions WHERE bucket = ? "
            "ORDER BY key, position",
            (bucket,),
        )
        found: dict[str, list[StoredObject | Deletion]] = {}
        for key, *rest in rows:
            found.setdefault(key, []).append(self._version(bucket, key, *rest))
        return found

    def versions(self, bucket: str, key: str) -> list[StoredObject | Deletion]:
        """Return all versions of a key, the oldest first; none when there is no such object."""
        rows = self.database.rows(
            "SELECT path, size, attributes FROM versions WHERE bucket = ? AND key = ? "
            "ORDER BY position",
            (bucket, key),
        )
        last = self.find(bucket, key)
        return [*(self._version(bucket, key, *row) for row in rows), *([last] if last else [])]

    def incoming(self) -> Path:
        """Return the name of a new file, to be filled and then given to `keep`."""
        return self.folder / _INCOMING / uuid.uuid4().hex

    def keep(self, bucket: str, key: str, filled: Path, attributes: Attributes) -> StoredObject:
        """Make a filled file all that there is of an object and return where it lies now."""
        stored = self.place(bucket, key, filled, attributes)
        self.record(bucket, key, [stored])
        return stored

    def place(self, bucket: str, key: str, filled: Path, attributes: Attributes) -> StoredObject:
        """Move a filled file to where an object's content may lie; `record` makes it known.

        The file must be on the same file system as the folder; it goes when this fails.
        """
        try:
            flush(filled)
            size = filled.stat().st_size
            with self._naming:
                path = self._free_path(bucket, key)
                filled.replace(path)
        except OSError:
            filled.unlink(missing_ok=True)
            raise
        flush(path.parent)
        return StoredObject(bucket, key, path, size, attributes)

    def record(self, bucket: str, key: str, versions: Sequence[StoredObject | Deletion]) -> None:
        """Make these, the oldest first, the versions of an object; the files of others go.

        None at all means that there is no such object.
        """
        before = list(versions)
        last = before.pop() if before and isinstance(before[-1], StoredObject) else None
        with self.database.transaction() as connection:
            formerly = {
                row["path"]
                for table in ("objects", "versions")
                for row in self.database.rows(
                    f"SELECT path FROM {table} WHERE bucket = ? AND key = ?",  # noqa: S608
                    (bucket, key),
                )
            }
            connection.execute("DELETE FROM versions WHERE bucket = ? AND key = ?", (bucket, key))
            connection.executemany(
                "INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?)",
                [(bucket, key, number, *self._row(item)) for number, item in enumerate(before)],
            )
            if isinstance(last, StoredObject):
                connection.execute(
                    "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)",
                    (bucket, key, *self._row(last)),
                )
            else:
                connection.execute(
                    "DELETE FROM objects WHERE bucket = ? AND key = ?", (bucket, key)
                )
        now = {self._row(item)[0] for item in versions}
        for path in formerly - now - {None}:
            self._discard_unread(self.folder / bucket / path)

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

    def sweep(self, others: Collection[Path] = ()) -> None:
        """Remove what a killed server left behind: files that neither the index nor others name."""
        named = {
            self.folder / row["bucket"] / row["path"]
            for row in self.database.rows(
                "SELECT bucket, path FROM objects UNION ALL "
                "SELECT bucket, path FROM versions WHERE path IS NOT NULL"
            )
        }
        named.update(others)
        for path in _files_below(self.folder):
            if path not in named:
                self._discard(path)
        (self.folder / _INCOMING).mkdir(exist_ok=True)

    def _discard_unread(self, path: Path) -> None:
        with self._naming:
            if self._readers[path]:
                self._replaced.add(path)
            else:
                del self._readers[path]
                self._discard(path)

    def _discard(self, path: Path) -> None:
        """Remove a file and the folders that this leaves empty, short of the bucket's own."""
        with self._naming:
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder.parent == self.folder:
                    break
                try:
                    folder.rmdir()
                except OSError:
                    break

    def _row(self, item: StoredObject | Deletion) -> tuple[str | None, int, str]:
        """Return path, size and attributes as the index has them."""
        if isinstance(item, Deletion):
            return None, 0, json.dumps(asdict(item))
        relative = item.path.relative_to(self.folder / item.bucket).as_posix()
        return relative, item.size, json.dumps(asdict(item.attributes))

    def _version(
        self, bucket: str, key: str, path: str | None, size: int, attributes: str
    ) -> StoredObject | Deletion:
        if path is None:
            return Deletion(**json.loads(attributes))
        return self._stored(bucket, key, path, size, attributes)

    def _stored(self, bucket: str, key: str, path: str, size: int, attributes: str) -> StoredObject:
        return StoredObject(
            bucket, key, self.folder / bucket / path, size, Attributes(**json.loads(attributes))
        )

    def _free_path(self, bucket: str, key: str) -> Path:
        root = self.folder / bucket
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


def flush(path: Path) -> None:
    """Make a file or a folder safe from a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _files_below(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield Path(parent, name)
