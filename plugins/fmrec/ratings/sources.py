"""Sources by name: find the archive, fetch or make it when it is not there, read it."""

from __future__ import annotations

from pathlib import Path

from fmrec.errors import ConfigurationError
from fmrec.ratings import movielens
from fmrec.ratings.archive import Archive, digest
from fmrec.ratings.dataset import Origin, RatingsData
from fmrec.ratings.published import ML_100K

SOURCES = ("sample", "ml-100k")


def find_archive(source: str, data_dir: Path | None, cache_dir: Path) -> Path | None:
    """Where the archive of `source` lies on this machine: in data_dir, else in cache_dir, or None.

    Raises ConfigurationError for an unknown source.
    """
    _check_name(source)
    for folder in (data_dir, cache_dir):
        if folder is not None and (folder / f"{source}.zip").is_file():
            return folder / f"{source}.zip"
    return None


def load(source: str, *, split: str, data_dir: Path | None, cache_dir: Path) -> RatingsData:
    """Ratings of `source`, divided as `split` says, with users, items and where they came from.

    Raises ConfigurationError for an unknown source or split, DataError for content that is not
    what it must be.
    """
    _check_name(source)
    path = find_archive(source, data_dir, cache_dir)
    if path is None:
        raise ConfigurationError(f"{source}.zip is neither in {data_dir} nor in {cache_dir}.")
    remedy = (
        f"Put the archive from {ML_100K.url} there, or remove {path.name} and it is downloaded "
        "on the next run."
    )
    with Archive(path, ML_100K.folder, remedy) as archive:
        archive.verify(ML_100K.members)
        ratings, users, items = movielens.read(archive, split)
    found = digest(path)
    origin = Origin(
        source=source,
        sentence="ml-100k: MovieLens 100K, real ratings collected by GroupLens Research",
        location=str(path),
        url=ML_100K.url,
        bytes=found.bytes,
        md5=found.md5,
        sha256=found.sha256,
        generated=False,
        seed=None,
    )
    return RatingsData(ratings, users, items, origin)


def _check_name(source: str) -> None:
    if source not in SOURCES:
        raise ConfigurationError(
            f"source {source!r} is not known: choose one of {', '.join(SOURCES)}."
        )
