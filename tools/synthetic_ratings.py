"""Make ratings, users and films that look like ml-32m's, of any number, from a seed.

Like there: each user has 20 ratings or more, 160 on average, and a few have tens of thousands; a
user's ratings stand together, by film; a few films have most of the ratings; half stars.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from fmrec.ratings.tables import ITEMS, USERS

FILMS = 87_585
LARGEST_FILM = 292_757
LEAST = 20
AVERAGE = 160
FIRST, LAST = 820_454_400, 1_697_164_147  # 1996-01-01, and the last second of ml-32m
_MONTH = 30 * 86_400
_BLOCK_ROWS = 1_000_000
_STARS = pa.array([f"{half / 2}" for half in range(1, 11)])
_OCCUPATIONS = 21
_GENRES = [f"Genre {number}" for number in range(19)]
_FILM_BITS = 20


def write_ratings(path: Path, rows: int, seed: int) -> None:
    """Write a ratings.csv with this number of rows, at least 20; equal arguments, equal bytes."""
    rng = np.random.default_rng(seed)
    counts = _activity(rng, rows)
    films = _films(rng)
    chance = 1 / (np.arange(FILMS) + 10) ** 0.9
    upto = np.cumsum(chance) / chance.sum()
    by_popularity = rng.permutation(FILMS)
    ends = np.cumsum(counts)
    with path.open("wb") as stream:
        stream.write(b"userId,movieId,rating,timestamp\n")
        user = 0
        while user < counts.size:
            written = ends[user] - counts[user]
            last = max(user + 1, int(np.searchsorted(ends, written + _BLOCK_ROWS)))
            block = counts[user:last]
            film = films[_chosen(rng, block, upto, by_popularity)]
            _write(stream, rng, user + 1, block, film)
            user = last


def users_and_films(rows: int, seed: int) -> tuple[pa.Table, pa.Table]:
    """USERS and ITEMS for the ids of `write_ratings` with the same arguments."""
    rng = np.random.default_rng(seed)
    number = _activity(rng, rows).size
    films = _films(rng)
    users = {
        "user_id": np.arange(1, number + 1),
        "age": rng.integers(10, 80, number),
        "gender": np.array(["F", "M"])[rng.integers(0, 2, number)],
        "occupation": rng.integers(0, _OCCUPATIONS, number).astype(str),
        "zip_code": rng.integers(10_000, 100_000, number).astype(str),
    }
    has = rng.random((FILMS, len(_GENRES))) < 2 / len(_GENRES)
    items = {
        "item_id": films,
        "title": [f"Film {film}" for film in films],
        "release_year": rng.integers(1920, 2024, FILMS),
        "genres": [[_GENRES[place] for place in np.flatnonzero(row)] for row in has],
    }
    return pa.table(users, schema=USERS), pa.table(items, schema=ITEMS)


def _activity(rng: np.random.Generator, rows: int) -> NDArray[np.int64]:
    """How many ratings each user gives."""
    users = max(1, rows // AVERAGE)
    weight = rng.lognormal(0, 1.5, users)
    return LEAST + rng.multinomial(rows - LEAST * users, weight / weight.sum())


def _films(rng: np.random.Generator) -> NDArray[np.int64]:
    return np.sort(rng.choice(np.arange(1, LARGEST_FILM + 1), FILMS, replace=False))


def _chosen(
    rng: np.random.Generator,
    counts: NDArray[np.int64],
    upto: NDArray[np.float64],
    by_popularity: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Films (0 to FILMS - 1) for users with these counts, ascending, none twice for a user."""
    user = np.repeat(np.arange(counts.size), counts)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    drawn = np.sort(user + rng.random(user.size)) - user
    rank = np.searchsorted(upto, drawn)
    # A film drawn again makes way for the next one; at the end, for those before.
    place = np.arange(user.size) - starts
    spaced = user * (2 * FILMS) + rank - place
    rank = np.maximum.accumulate(spaced) - user * (2 * FILMS) + place
    rank = np.minimum(rank, FILMS - np.repeat(counts, counts) + place)
    ordered = np.sort((user << _FILM_BITS) | by_popularity[rank])
    return ordered & ((1 << _FILM_BITS) - 1)


def _write(
    stream: BinaryIO,
    rng: np.random.Generator,
    first_user: int,
    counts: NDArray[np.int64],
    film: NDArray[np.int64],
) -> None:
    joined = rng.integers(FIRST, LAST - _MONTH, counts.size)
    stars = _STARS.take(pa.array(rng.integers(0, len(_STARS), film.size)))
    table = pa.table(
        {
            "userId": np.repeat(np.arange(first_user, first_user + counts.size), counts),
            "movieId": film,
            "rating": stars,
            "timestamp": np.repeat(joined, counts) + rng.integers(0, _MONTH, film.size),
        }
    )
    csv.write_csv(table, stream, csv.WriteOptions(include_header=False, quoting_style="none"))
