"""Sources by name: find the archive, fetch or make it when it is not there, read it."""

from __future__ import annotations

from pathlib import Path

from fmrec.errors import ConfigurationError
from fmrec.ratings import movielens, sample
from fmrec.ratings.archive import Archive, digest
from fmrec.ratings.dataset import Origin, RatingsData
from fmrec.ratings.download import Progress, download
from fmrec.ratings.published import ML_100K

SOURCES = ("ml-100k", "sample")


def find_archive(source: str, data_dir: Path | None, cache_dir: Path) -> Path | None:
    """Where the archive of `source` lies on this machine, or None.

    `ml-100k.zip` is looked for in data_dir, then in cache_dir; the sample's only in cache_dir.
    Raises ConfigurationError for an unknown source.
    """
    _check_name(source)
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
    download(ML_100K.url, path, size=ML_100K.bytes, sha256=ML_100K.sha256, progress=progress)
    return path


def load(
    source: str,
    *,
    split: str,
    data_dir: Path | None,
    cache_dir: Path,
    progress: Progress | None = None,
) -> RatingsData:
    """Ratings of `source`, divided as `split` says, with users, items and where they came from.

    The archive is obtained as `obtain` does. Raises ConfigurationError for an unknown source or
    split, DownloadError, and DataError for content that is not what it must be.
    """
    path = obtain(source, data_dir=data_dir, cache_dir=cache_dir, progress=progress)
    return _load_sample(path, split) if source == "sample" else _load_ml_100k(path, split)


def _load_sample(path: Path, split: str) -> RatingsData:
    with Archive(path, sample.FOLDER, f"Remove {path}: it is generated anew.") as archive:
        tables = movielens.read(archive, split)
    origin = _origin(
        "sample",
        f"sample: generated ratings, not real ones (random model, seed {sample.SEED})",
        path,
        url=None,
        seed=sample.SEED,
    )
    return RatingsData(*tables, origin)


def _load_ml_100k(path: Path, split: str) -> RatingsData:
    remedy = (
        f"Put the archive from {ML_100K.url} in its place, or remove {path} and the next run "
        "downloads it."
    )
    with Archive(path, ML_100K.folder, remedy) as archive:
        archive.verify(ML_100K.members)
        tables = movielens.read(archive, split)
    origin = _origin(
        "ml-100k",
        "ml-100k: MovieLens 100K, real ratings collected by GroupLens Research",
        path,
        url=ML_100K.url,
        seed=None,
    )
    return RatingsData(*tables, origin)


def _origin(source: str, sentence: str, path: Path, *, url: str | None, seed: int | None) -> Origin:
    found = digest(path)
    return Origin(
        source=source,
        sentence=sentence,
        location=str(path),
        url=url,
        bytes=found.bytes,
        md5=found.md5,
        sha256=found.sha256,
        generated=seed is not None,
        seed=seed,
    )


def _check_name(source: str) -> None:
    if source not in SOURCES:
        raise ConfigurationError(
            f"source {source!r} is not known: choose one of {', '.join(SOURCES)}."
        )
