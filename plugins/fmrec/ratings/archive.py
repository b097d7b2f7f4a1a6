"""A zip of ratings opened for reading: every way it can be broken becomes one clear error."""

from __future__ import annotations

import hashlib
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from types import TracebackType
from typing import IO, BinaryIO, Self, cast

from fmrec.errors import DataError

# What zipfile and the decompressors raise, among them OSError for bz2, ValueError for offsets.
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)
_ENCRYPTED = 0x1
_SWELLS = 200  # text of ratings shrinks to a fifth or so
_HARMLESS = 256 * 2**20
_WHOLE = 64 * 2**20  # the largest member that is read whole, movies.csv of ml-32m, has 4 MB


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
    """The members of one folder inside a zip file, read in place and never extracted.

    `remedy` is the last sentence of every error: what to do about a bad archive of this source.
    Raises DataError when the file is no zip or is cut short, and when the zip is one that no
    publisher of ratings packs: names that lead out of it, names that occur twice, encryption, or
    content that swells beyond all measure.
    """

    def __init__(self, path: Path, folder: str, remedy: str) -> None:
        self.path = path
        self.folder = folder
        self.remedy = remedy
        try:
            self._zip = zipfile.ZipFile(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be opened: {error}. {remedy}") from error
        except _BROKEN as error:
            raise DataError(
                f"{path}: not a whole zip archive ({error}): it was cut short or altered. {remedy}"
            ) from error
        unsafe = _unsafe(self._zip.infolist())
        if unsafe is not None:
            self._zip.close()
            raise DataError(f"{path}: {unsafe}. {remedy}")

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

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Content of a member as a stream that is read once, from begin to end.

        Raises DataError when the member is missing; its `read` does when it is damaged, or yields
        more or less than the archive declares.
        """
        try:
            declared = self._zip.getinfo(f"{self.folder}/{name}")
        except KeyError:
            raise self.fault(name, "this member is missing from the archive") from None
        # zipfile cuts a member off at its declared size without a word: allow one byte more.
        generous = copy(declared)
        generous.file_size += 1
        try:
            packed = self._zip.open(generous)
        except _BROKEN as error:
            raise self.fault(name, f"this member is damaged ({error})") from error
        with packed:
            yield cast(BinaryIO, _Member(self, name, packed, declared.file_size))

    def read(self, name: str) -> bytes:
        """Content of a member of at most 64 MiB.

        Raises DataError when it is missing, larger, empty or damaged.
        """
        with self.open(name) as stream:
            declared = self._zip.getinfo(f"{self.folder}/{name}")
            if declared.file_size > _WHOLE:
                raise self.fault(
                    name,
                    f"this member declares {declared.file_size:,} bytes, packed into "
                    f"{declared.compress_size:,}, where {_WHOLE:,} are the most: "
                    "this is no side file of ratings but a zip bomb",
                )
            data = stream.read()
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


class _Member(io.RawIOBase):
    """A member on its way out of the zip; what goes wrong becomes a DataError that names it."""

    def __init__(self, archive: Archive, name: str, packed: IO[bytes], declared: int) -> None:
        self._archive = archive
        self._name = name
        self._packed = packed
        self._declared = declared
        self._got = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes, and fewer at the end alone; all that are left by default."""
        try:
            data = self._packed.read(-1 if size is None else size)
        except _BROKEN as error:
            raise self._archive.fault(self._name, f"this member is damaged ({error})") from error
        self._got += len(data)
        ended = size is None or size < 0 or len(data) < size
        if self._got > self._declared or (ended and self._got < self._declared):
            amount = "more" if self._got > self._declared else "less"
            raise self._archive.fault(
                self._name,
                f"this member is damaged (it yields {amount} than the {self._declared:,} bytes "
                "that the archive declares)",
            )
        return data


def _unsafe(members: list[zipfile.ZipInfo]) -> str | None:
    """Why a zip with these members is not to be read, or None."""
    names: set[str] = set()
    for member in members:
        path = PureWindowsPath(member.filename)  # knows both kinds of slash, and drives
        if path.is_absolute() or path.root or path.drive or ".." in path.parts:
            return f"the name {member.filename[:80]!r} leads out of the archive"
        if member.filename in names:
            return f"{member.filename[:80]!r} is in the archive twice"
        names.add(member.filename)
        if member.flag_bits & _ENCRYPTED:
            return f"{member.filename[:80]!r} is encrypted"
        if member.file_size > max(_SWELLS * member.compress_size, _HARMLESS):
            return (
                f"{member.filename[:80]!r} declares {member.file_size:,} bytes, packed into "
                f"{member.compress_size:,}: this is no table of ratings but a zip bomb"
            )
    return None
