"""Archives by the name of their source: find one, fetch or make it when it is not there, read."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pyarrow as pa

from fmrec.errors import ConfigurationError
from fmrec.ratings import sample
from fmrec.ratings.archive import Archive, digest
from fmrec.ratings.download import Progress, download
from fmrec.ratings.origin import Origin
from fmrec.ratings.published import ARCHIVES, U_FILES, Layout, Published
from fmrec.ratings.stream import BLOCK_BYTES, read_stream
from fmrec.ratings.tables import USERS, Chunk

SOURCES = ("sample", *ARCHIVES)
FOLD_SPLITS = ("u1", "u2", "u3", "u4", "u5", "ua", "ub")
SPLITS = ("time", "random", "leave-last-k", *FOLD_SPLITS)

log = logging.getLogger(__name__)


class ArchiveSource:
    """An opened archive of ratings: where it is from, and its tables.

    Every method raises DataError, with file, line and remedy, for a member that is missing,
    damaged, or not what its layout demands.
    """

    def __init__(self, archive: Archive, layout: Layout, origin: Origin) -> None:
        self.origin = origin
        self._archive = archive
        self._layout = layout

    def ratings(self, split: str, *, block_bytes: int = BLOCK_BYTES) -> Iterator[Chunk]:
        """The ratings for `split`, one chunk for each block of about `block_bytes` of the file.

        A split of the files' own (`u1` to `u5`, `ua`, `ub`) reads its base file (fold 1), then its
        test file (fold 2); every other one reads the one file of all ratings (fold 0). A bad row
        is in the quarantine of its chunk; which rows those are does not depend on `block_bytes`.

        Raises ConfigurationError for an unknown split, and for one that this archive has no files
        for.
        """
        members = self._members(split)  # a wrong split fails here, not at the first chunk
        return self._chunks(members, block_bytes)

    def users(self) -> pa.Table:
        """What the archive says of its users, as USERS; no rows where it says nothing."""
        read = self._layout.users
        return USERS.empty_table() if read is None else read(self._archive)

    def items(self) -> pa.Table:
        """What the archive says of its films, as ITEMS."""
        return self._layout.items(self._archive)

    def _members(self, split: str) -> dict[str, int]:
        if split not in SPLITS:
            raise ConfigurationError(
                f"split {split!r} is not known: choose one of {', '.join(SPLITS)}."
            )
        if split not in FOLD_SPLITS:
            return {self._layout.ratings: 0}
        if not self._layout.folds:
            having = ", ".join(name for name in SOURCES if _layout(name).folds)
            raise ConfigurationError(
                f"split {split!r} is not in the files of {self.origin.source}: choose one of "
                f"{', '.join(s for s in SPLITS if s not in FOLD_SPLITS)}, or a source that has "
                f"it ({having})."
            )
        return {f"{split}.base": 1, f"{split}.test": 2}

    def _chunks(self, members: dict[str, int], block_bytes: int) -> Iterator[Chunk]:
        for name, fold in members.items():
            with self._archive.open(name) as stream:
                yield from read_stream(
                    stream,
                    self._layout.form,
                    scale=self._layout.scale,
                    file=self._archive.within(name),
                    fold=fold,
                    block_bytes=block_bytes,
                    fault=partial(self._archive.fault, name),
                )


def find_archive(source: str, data_dir: Path | None, cache_dir: Path) -> Path | None:
    """Where the archive of `source` lies on this machine, or None.

    `<source>.zip` is looked for in data_dir, then in cache_dir; the sample's only in cache_dir.
    Raises ConfigurationError for an unknown source.
    """
    _layout(source)
    if source == "sample":
        places = [sample.archive_path(cache_dir)]
    else:
        places = [folder / f"{source}.zip" for folder in (data_dir, cache_dir) if folder]
    return next((path for path in places if path.is_file()), None)


def obtain(
    source: str, *, data_dir: Path | None, cache_dir: Path, progress: Progress | None = None
) -> Path:
    """The archive of `source`: found, or downloaded (told to `progress`), or generated.

    What is fetched or made lies in `cache_dir`. Raises ConfigurationError for an unknown source,
    DownloadError when it cannot be fetched.
    """
    path = find_archive(source, data_dir, cache_dir)
    if path is not None:
        return path
    if source == "sample":
        return sample.write_archive(cache_dir)
    path = cache_dir / f"{source}.zip"
    published = ARCHIVES[source]
    download(published.url, path, size=published.bytes, md5=published.md5, progress=progress)
    return path


@contextmanager
def open_archive(
    source: str, *, data_dir: Path | None, cache_dir: Path, progress: Progress | None = None
) -> Iterator[ArchiveSource]:
    """The archive of `source`, obtained as `obtain` does, opened for reading.

    Its content is compared with what is published as far as that is known; `origin.verified` and
    `origin.sentence` say with what result. Raises ConfigurationError for an unknown source,
    DownloadError, and DataError for an archive that cannot be used.
    """
    path = obtain(source, data_dir=data_dir, cache_dir=cache_dir, progress=progress)
    if source == "sample":
        with Archive(path, sample.FOLDER, f"Remove {path}: it is generated anew.") as archive:
            yield ArchiveSource(archive, U_FILES, _origin_of_sample(path))
        return
    published = ARCHIVES[source]
    remedy = (
        f"Put the archive from {published.url} in its place, or remove {path} and the next run "
        "downloads it."
    )
    with Archive(path, published.folder, remedy) as archive:
        archive.verify(published.members)
        yield ArchiveSource(archive, published.layout, _origin(path, published))


def _origin_of_sample(path: Path) -> Origin:
    found = digest(path)
    return Origin(
        source="sample",
        sentence=f"sample: generated ratings, not real ones (random model, seed {sample.SEED})",
        location=str(path),
        url=None,
        bytes=found.bytes,
        md5=found.md5,
        sha256=found.sha256,
        scale=U_FILES.scale,
        verified=found.sha256 == sample.SHA256,
        generated=True,
        seed=sample.SEED,
    )


def _origin(path: Path, published: Published) -> Origin:
    found = digest(path)
    verified = bool(published.members) or found.md5 == published.md5
    sentence = f"{published.name}: {published.title}, "
    if verified:
        sentence += "real ratings collected by GroupLens Research"
    elif published.md5 is None:
        sentence += (
            "real ratings collected by GroupLens Research, taken as they came: the archive changes "
            "from time to time and has no published checksum"
        )
    else:
        sentence += (
            f"from an archive that is not GroupLens's own file (md5 {found.md5}, published "
            f"{published.md5}): whether its ratings are the real ones is not known"
        )
        log.warning("%s: %s", path, sentence)
    return Origin(
        source=published.name,
        sentence=sentence,
        location=str(path),
        url=published.url,
        bytes=found.bytes,
        md5=found.md5,
        sha256=found.sha256,
        scale=published.layout.scale,
        verified=verified,
        generated=False,
        seed=None,
    )


def _layout(source: str) -> Layout:
    if source == "sample":
        return U_FILES
    if source not in ARCHIVES:
        raise ConfigurationError(
            f"source {source!r} is not known: choose one of {', '.join(SOURCES)}."
        )
    return ARCHIVES[source].layout
