"""The invented world written down as the files of MovieLens 100K, in one zip, byte for byte."""

from __future__ import annotations

import os
import uuid
import zipfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmrec.ratings.sample import world

VERSION = 1  # goes up whenever a byte of the files changes: tests/golden/test_ratings_sample.py
SEED = 1
FOLDER = "fmrec-sample"
SHA256 = "8be7f09e6a506b7115e74ce5cdd4f2e5f7515c86fdfa60a7dff1c571bb3d612c"
"""Of the archive of SEED, the same on every platform that was tried."""

_README = """\
Generated ratings, not real ones
================================

These files were made by fmrec (ratings sample, version {version}, seed {seed}). Nobody rated
anything: people, films and ratings were drawn from a random model. The files have the names, the
formats and the sizes of MovieLens 100K, so that everything that reads one reads the other; its
README describes them. Nothing measured on them says anything about real people or films.
"""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold


def archive_path(cache_dir: Path, seed: int = SEED) -> Path:
    """Where the archive of a seed belongs: another version or seed has another name."""
    return cache_dir / f"sample-v{VERSION}-seed{seed}.zip"


def write_archive(cache_dir: Path, seed: int = SEED) -> Path:
    """Generate the archive of a seed and return its path; it appears there whole or not at all.

    Uncompressed, with fixed times and modes: equal seeds give equal bytes.
    """
    path = archive_path(cache_dir, seed)
    cache_dir.mkdir(parents=True, exist_ok=True)
    # Two processes may do this at once: each writes its own file, and both are the same.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as stream:
            _pack(members(seed), stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _pack(files: Mapping[str, bytes], stream: BinaryIO) -> None:
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(f"{FOLDER}/{name}", _EPOCH)
            info.create_system = 3  # Unix, wherever it is made
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)


def members(seed: int) -> Mapping[str, bytes]:
    """Content of every file, by name, in the order of the archive."""
    made = world.make(seed)
    rows = [
        f"{user}\t{item}\t{stars}\t{time}\n".encode()
        for user, item, stars, time in made.ratings.to_numpy().tolist()
    ]
    files = {
        "README": _README.format(version=VERSION, seed=seed).encode(),
        "u.data": b"".join(rows),
        "u.genre": "".join(f"{name}|{i}\n" for i, name in enumerate(world.GENRES)).encode() + b"\n",
        "u.info": (
            f"{world.PEOPLE} users\n{world.FILMS} items\n{world.RATINGS} ratings\n".encode()
        ),
        "u.item": _items(made.films).encode("latin-1"),
        "u.occupation": "".join(f"{name}\n" for name in world.OCCUPATIONS).encode(),
        "u.user": _users(made.people).encode(),
    }
    sorted_rows = np.lexsort((made.ratings["item_id"], made.ratings["user_id"]))
    for split, test in _test_masks(made.ratings).items():
        in_test = test[sorted_rows]
        files[f"{split}.base"] = b"".join(rows[i] for i in sorted_rows[~in_test])
        files[f"{split}.test"] = b"".join(rows[i] for i in sorted_rows[in_test])
    return files


def _test_masks(ratings: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """Which rows of u.data are in which test file, by the rules of MovieLens 100K's own scripts.

    u1 to u5 take one fifth each in file order; ua takes the first ten ratings of each user in
    file order, ub the ten after those.
    """
    fifth = np.arange(len(ratings)) * 5 // len(ratings)
    nth = ratings.groupby("user_id").cumcount().to_numpy()
    masks = {f"u{i + 1}": fifth == i for i in range(5)}
    return masks | {"ua": nth < 10, "ub": (nth >= 10) & (nth < 20)}


def _users(people: pd.DataFrame) -> str:
    columns = people[["age", "gender", "occupation", "zip_code"]].astype(str)
    return "".join(
        f"{user}|{'|'.join(row)}\n" for user, row in enumerate(columns.to_numpy().tolist(), start=1)
    )


def _items(films: list[world.Film]) -> str:
    lines = []
    for item, film in enumerate(films, start=1):
        flags = "|".join("1" if name in film.genres else "0" for name in world.GENRES)
        # The two empty columns are the video release date and the address on IMDb.
        lines.append(f"{item}|{film.title}|{_day(film.released)}|||{flags}\n")
    return "".join(lines)


def _day(released: date | None) -> str:
    if released is None:
        return ""
    return f"{released.day:02d}-{_MONTHS[released.month - 1]}-{released.year}"
