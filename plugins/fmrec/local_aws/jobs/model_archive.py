"""model.tar.gz: how SageMaker packs a folder, and how it unpacks it."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from fmrec.local_aws.api.faults import JobFailedError

# What tarfile raises for members that no program wrote.
_UNREADABLE = (zlib.error, ValueError, OverflowError, KeyError)


def pack(folders: Sequence[Path], archive: Path) -> None:
    """Write everything below folders to a .tar.gz whose members belong to root, as on AWS.

    A name that several folders have is taken from the first of them.
    """
    packed = set()
    with tarfile.open(archive, "w:gz", compresslevel=6) as tar:
        for folder in folders:
            for path in sorted(folder.rglob("*")):
                name = path.relative_to(folder).as_posix()
                if name not in packed:
                    packed.add(name)
                    tar.add(path, name, recursive=False, filter=_as_root)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a model.tar.gz; raise JobFailedError for one that is damaged or leaves the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with gzip.open(archive) as stream:
            with tarfile.open(fileobj=stream) as tar:
                tar.extractall(folder, filter=_plain)  # noqa: S202 - no links, nothing outside
            while stream.read(1 << 20):
                pass  # the checksum stands at the end
    except (tarfile.TarError, EOFError, OSError, *_UNREADABLE) as error:
        raise JobFailedError(
            f"ClientError: Failed to extract model data archive: {error}."
        ) from None


def _plain(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """Refuse links, by which members of some versions of tarfile leave the folder."""
    if member.issym() or member.islnk():
        raise tarfile.FilterError(f"{member.name!r} is a link")
    return tarfile.data_filter(member, folder)


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
