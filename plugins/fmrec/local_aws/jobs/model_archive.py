"""model.tar.gz: how SageMaker packs a folder, and how it unpacks it."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path

from fmrec.local_aws.api.faults import JobFailedError


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
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise JobFailedError(
            f"ClientError: Failed to extract model data archive: {error}."
        ) from None


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
