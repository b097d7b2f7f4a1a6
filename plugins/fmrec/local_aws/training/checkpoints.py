"""CheckpointConfig: a job's checkpoint folder and its copy in S3."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

from fmrec.local_aws.api.faults import JobFailedError, unsupported
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.s3.durable_s3 import DurableS3
from fmrec.local_aws.s3.sources import SourceObject, download, join_uri, parse_uri

_ROOT = PurePosixPath("/opt/ml")
_DEFAULT = "/opt/ml/checkpoints"


def local_path(configuration: Document) -> PurePosixPath:
    """Return LocalPath relative to /opt/ml; refuse one elsewhere, with an ApiError.

    In any other folder S3's objects could stand where the job looks for code or configuration.
    """
    given = PurePosixPath(configuration.get("LocalPath", _DEFAULT))
    if not given.is_relative_to(_DEFAULT) or ".." in given.parts:
        raise unsupported(f"a LocalPath of CheckpointConfig outside {_DEFAULT}: {str(given)!r}")
    return given.relative_to(_ROOT)


class CheckpointSync:
    """The checkpoint folder of one host: filled from S3 at its start, copied there as it changes.

    Only what the job writes is copied; what it removes stays in S3, as on AWS.
    """

    def __init__(self, configuration: Document, root: Path, s3: DurableS3) -> None:
        """`root` is the host's /opt/ml. Raises JobFailedError when the bucket does not exist."""
        self._address = configuration["S3Uri"].rstrip("/")
        self._folder = root / local_path(configuration)
        self._s3 = s3
        self._copied: dict[Path, tuple[int, int]] = {}
        bucket, prefix = parse_uri(f"{self._address}/")
        if not s3.bucket_exists(bucket):
            raise JobFailedError(
                f"ClientError: The bucket of the checkpoints' S3Uri {self._address!r} does not "
                "exist. Create it before the job, or correct the address."
            )
        found = [
            SourceObject(item, item.key.removeprefix(prefix))
            for item in s3.under(bucket, prefix)
            if not item.key.endswith("/")
        ]
        download(found, self._folder)
        self._copied = dict(self._states())

    def copy(self, now: float) -> None:
        """Copy what has changed since to S3. Raises JobFailedError when the bucket is gone."""
        for path, state in self._states():
            if self._copied.get(path) == state:
                continue
            name = path.relative_to(self._folder).as_posix()
            if name != name.encode("utf-8", "replace").decode():
                raise JobFailedError(
                    f"ClientError: Checkpoint upload failed: {name!r} is no name of an object."
                )
            address = join_uri(self._address, name)
            try:
                self._s3.put(*parse_uri(address), path, now)
            except FileNotFoundError as error:
                if not path.exists():
                    continue  # replaced under another name meanwhile; its successor is copied
                raise JobFailedError(f"ClientError: Checkpoint upload failed: {error}") from None
            self._copied[path] = state

    def _states(self) -> list[tuple[Path, tuple[int, int]]]:
        """Return time and size of every file; the job may write and remove meanwhile."""
        states = []
        for folder, _, names in os.walk(self._folder):
            for name in sorted(names):
                path = Path(folder, name)
                try:
                    status = path.lstat()
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    states.append((path, (status.st_mtime_ns, status.st_size)))
        return states
