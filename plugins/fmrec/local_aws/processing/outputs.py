"""One output of a processing job on one host: a folder, and its copy in S3."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from fmrec.local_aws.api.faults import JobFailedError
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.jobs.hosts import Host
from fmrec.local_aws.processing.layout import local_folder
from fmrec.local_aws.s3.durable_s3 import DurableS3
from fmrec.local_aws.s3.sources import join_uri, parse_uri


class OutputFolder:
    """The files below an S3Output's LocalPath. Raises JobFailedError without the bucket.

    What the job removes again after it was copied stays in S3.
    """

    def __init__(self, output: Document, host: Host, s3: DurableS3) -> None:
        self.continuous = output["S3UploadMode"] == "Continuous"
        self._address = output["S3Uri"]
        self._folder = local_folder(output, host)
        self._root = host.folder
        self._s3 = s3
        self._copied: dict[Path, tuple[int, int]] = {}
        if not s3.bucket_exists(parse_uri(self._address)[0]):
            raise JobFailedError(
                f"ClientError: The bucket of the output's S3Uri {self._address!r} does not exist. "
                "Create it before the job, or correct the address."
            )

    def copy(self, now: float) -> None:
        """Copy the files that are new or changed since the last copy.

        What is no file is left out, for it may be there for a moment only. Raises JobFailedError
        when the bucket is gone.
        """
        for path in self._entries():
            if self._problem(path) is None:
                self._put(path, now)

    def finish(self, now: float) -> None:
        """Copy what has not been copied; raise JobFailedError for what cannot be an object."""
        for path in self._entries():
            problem = self._problem(path)
            if problem is not None:
                shown = f"/opt/ml/{path.relative_to(self._root).as_posix()}"
                raise JobFailedError(f"ClientError: Data upload failed: {shown!r} {problem}.")
        self.copy(now)

    def _entries(self) -> Iterator[Path]:
        """Yield everything below the folder but the folders, in the order of their names."""
        for parent, folders, names in os.walk(self._folder):
            folders.sort()
            links = [name for name in folders if Path(parent, name).is_symlink()]
            yield from (Path(parent, name) for name in sorted([*names, *links]))

    def _problem(self, path: Path) -> str | None:
        """Return why a path cannot be an object, or None."""
        try:
            path.as_posix().encode()
            inside = path.resolve(strict=True).is_relative_to(self._root.resolve())
            regular = stat.S_ISREG(path.stat().st_mode)
        except UnicodeEncodeError:
            return "has a name that is not UTF-8"
        except FileNotFoundError:
            return "is a link to nothing" if path.is_symlink() else None
        except (OSError, RuntimeError) as error:
            return f"cannot be read ({error})"
        if not inside:
            return "is a link that leaves the job's folder"
        return None if regular else "is no regular file"

    def _put(self, path: Path, now: float) -> None:
        try:
            status = path.stat()
        except FileNotFoundError:
            return  # removed meanwhile
        state = (status.st_mtime_ns, status.st_size)
        if self._copied.get(path) == state:
            return
        address = join_uri(self._address, path.relative_to(self._folder).as_posix())
        try:
            self._s3.put(*parse_uri(address), path, now)
        except FileNotFoundError as error:
            if path.exists():
                raise JobFailedError(f"ClientError: Data upload failed: {error}") from None
            return  # removed meanwhile
        except PermissionError as error:
            raise JobFailedError(f"ClientError: Data upload failed: {error}") from None
        self._copied[path] = state
