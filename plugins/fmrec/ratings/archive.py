"""A zip of ratings opened for reading: every way it can be broken becomes one clear error."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from fmrec.errors import DataError

_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class Digest:
    """Size and checksums of a file."""

    bytes: int
    md5: str
    sha256: str


def digest(path: Path) -> Digest:
    """Size, md5 and sha256 of a file, read in chunks."""
    md5 = hashlib.md5(usedforsecurity=False)
    sha256 = hashlib.sha256()
    size = 0
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            md5.update(chunk)
            sha256.update(chunk)
            size += len(chunk)
    return Digest(size, md5.hexdigest(), sha256.hexdigest())


class Archive:
    """The members of one folder inside a zip file.

    `remedy` is the last sentence of every error: what to do about a bad archive of this source.
    Raises DataError when the file is no zip or is cut short.
    """

    def __init__(self, path: Path, folder: str, remedy: str) -> None:
        self.path = path
        self.folder = folder
        self.remedy = remedy
        try:
            self._zip = zipfile.ZipFile(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be opened: {error}. {remedy}") from error
        except zipfile.BadZipFile as error:
            raise DataError(
                f"{path}: not a whole zip archive ({error}): it was cut short or altered. {remedy}"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    def fault(self, name: str, what: str, line: int | None = None) -> DataError:
        """The error for a member, or for a line of it (from 1): where, what, and the remedy."""
        return DataError(f"{self.path}: {self.within(name, line)}: {what}. {self.remedy}")

    def within(self, name: str, line: int | None = None) -> str:
        """How texts call a member, or a line of it (from 1), inside this archive."""
        member = f"{self.folder}/{name}"
        return member if line is None else f"{member}, line {line}"

    def read(self, name: str) -> bytes:
        """Content of a member. Raises DataError when it is missing, empty or damaged."""
        try:
            data = self._zip.read(f"{self.folder}/{name}")
        except KeyError:
            raise self.fault(name, "this member is missing from the archive") from None
        except _BROKEN as error:
            raise self.fault(name, f"this member is damaged ({error})") from error
        if not data:
            raise self.fault(name, "this member is empty")
        return data

    def verify(self, sums: Mapping[str, tuple[int, str]]) -> None:
        """Compare every member named in `sums` (name → bytes, sha256) with what it must be.

        The content is compared, not the zip, so a re-packed archive passes. Raises DataError
        for the first member that is missing, damaged or different.
        """
        for name, (size, sha256) in sums.items():
            data = self.read(name)
            if len(data) != size:
                raise self.fault(
                    name,
                    f"{len(data):,} bytes where the published file has {size:,}: "
                    "it was cut short or altered",
                )
            found = hashlib.sha256(data).hexdigest()
            if found != sha256:
                raise self.fault(
                    name, f"not the published file: sha256 is {found}, expected {sha256}"
                )
