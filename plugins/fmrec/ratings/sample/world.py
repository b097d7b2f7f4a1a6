"""The invented world: people with tastes, films with qualities, and who rated what when.

A rating is a film's quality, a person's mildness, how the film's genres and character meet the
person's taste (which leans on age, gender and occupation), and chance, rounded to 1 to 5. The
numbers below were set so that counts, spreads and what can be learnt resemble MovieLens 100K;
docs/decisions/0007-sample-source.md has the measurements.

Only `random` and `standard_normal` are drawn, in a fixed order, and sorts are stable: the same
seed gives the same world on every platform.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmrec.ratings.sample.titles import invent

PEOPLE, FILMS, RATINGS = 943, 1682, 100_000
FIRST, LAST = 874_713_600, 893_289_599  # 1997-09-20 00:00:00, 1998-04-22 23:59:59 UTC
FEWEST, MOST = 20, 737  # ratings of one person

# How common each is, in thousandths: about as in MovieLens 100K. A film may have several genres.
GENRES = {
    "unknown": 0, "Action": 150, "Adventure": 80, "Animation": 25, "Children's": 72,
    "Comedy": 300, "Crime": 65, "Documentary": 30, "Drama": 430, "Fantasy": 13,
    "Film-Noir": 14, "Horror": 55, "Musical": 33, "Mystery": 36, "Romance": 147,
    "Sci-Fi": 60, "Thriller": 150, "War": 42, "Western": 16,
}  # fmt: skip
OCCUPATIONS = {
    "administrator": 84, "artist": 30, "doctor": 7, "educator": 101, "engineer": 71,
    "entertainment": 19, "executive": 34, "healthcare": 17, "homemaker": 7, "lawyer": 13,
    "librarian": 54, "marketing": 28, "none": 10, "other": 111, "programmer": 70,
    "retired": 15, "salesman": 13, "scientist": 33, "student": 208, "technician": 29,
    "writer": 48,
}  # fmt: skip

_STEPS = (1.5, 2.4, 3.4, 4.6)  # what is felt as so much more earns another star
_BLANK_FILMS = 2  # nothing is known of them: genre `unknown`, no release date
_FACTORS = 6
_VISITS = 8  # at most, of one person
_DAY = 86_400
_NEWEST = date(1997, 8, 15)  # every film is out before the first rating


class Film(NamedTuple):
    """`title` ends with the year; nothing is known of a film without a day of release."""

    title: str
    released: date | None
    genres: tuple[str, ...]


@dataclass(frozen=True)
class World:
    """`people` and `films` in the order of their ids, `ratings` in random order.

    people: age, gender, occupation, zip_code; ratings: user_id, item_id, rating, timestamp.
    """

    people: pd.DataFrame
    films: list[Film]
    ratings: pd.DataFrame


def make(seed: int) -> World:
    """The world of a seed."""
    rng = np.random.Generator(np.random.PCG64(seed))
    people = _people(rng)
    films = _films(rng)
    liking = _liking(rng, people, films)
    quality = 0.72 * rng.standard_normal(FILMS)
    person, film = _choices(rng, liking, quality)
    stars = _stars(rng, quality[film] + 0.55 * liking[person, film], person)
    times = _times(rng, person)
    ratings = pd.DataFrame(
        {"user_id": person + 1, "item_id": film + 1, "rating": stars, "timestamp": times}
    )
    order = np.argsort(rng.random(RATINGS), kind="stable")
    return World(people, films, ratings.iloc[order].reset_index(drop=True))


def _people(rng: np.random.Generator) -> pd.DataFrame:
    occupation = _drawn(rng, OCCUPATIONS, PEOPLE)
    age = 36 + 11 * rng.standard_normal(PEOPLE)
    age -= 14 * (occupation == "student") - 25 * (occupation == "retired")
    return pd.DataFrame(
        {
            "age": np.rint(np.clip(age, 13, 73)).astype(np.int64),
            "gender": np.where(rng.random(PEOPLE) < 0.71, "M", "F"),
            "occupation": occupation,
            "zip_code": [f"{int(code * 100_000):05d}" for code in rng.random(PEOPLE)],
        }
    )


def _films(rng: np.random.Generator) -> list[Film]:
    names = np.array(list(GENRES))
    how_many = 1 + (rng.random((FILMS, 1)) > (0.50, 0.84, 0.96)).sum(axis=1)
    keys = _chances(rng, (FILMS, len(names))) + np.log(np.maximum(list(GENRES.values()), 1e-9))
    ranked = np.argsort(-keys, axis=1, kind="stable")
    blank = set(np.argsort(rng.random(FILMS), kind="stable")[:_BLANK_FILMS].tolist())
    genres = [
        ("unknown",) if film in blank else tuple(names[np.sort(ranked[film, : how_many[film]])])
        for film in range(FILMS)
    ]
    # Two films in three are at most four years old, the rest reach back to the twenties.
    recent = rng.random(FILMS) < 0.68
    back = np.where(recent, 4 * rng.random(FILMS), 4 - 17 * np.log1p(-rng.random(FILMS)))
    days = np.rint(365.25 * np.minimum(back, 75)).astype(np.int64)
    released = [_NEWEST - timedelta(days=day) for day in days.tolist()]
    titles = invent(rng, genres, [day.year for day in released])
    return [
        Film(title, None if film in blank else day, of_film)
        for film, (title, day, of_film) in enumerate(zip(titles, released, genres, strict=True))
    ]


def _liking(
    rng: np.random.Generator, people: pd.DataFrame, films: list[Film]
) -> NDArray[np.float64]:
    """How far each person likes each film beyond its quality: (PEOPLE, FILMS), mean 0, sd 1."""
    of_genre = rng.standard_normal((len(GENRES), _FACTORS))
    flags = np.array([[name in film.genres for name in GENRES] for film in films])
    character = flags @ of_genre / np.sqrt(flags.sum(axis=1, keepdims=True))
    character += 0.9 * rng.standard_normal((FILMS, _FACTORS))
    of_gender = rng.standard_normal((2, _FACTORS))
    of_age = rng.standard_normal((5, _FACTORS))  # bands from 0, 18, 25, 35, 50
    of_occupation = rng.standard_normal((len(OCCUPATIONS), _FACTORS))
    band = np.searchsorted([18, 25, 35, 50], people["age"].to_numpy(), side="right")
    occupation = people["occupation"].map({name: i for i, name in enumerate(OCCUPATIONS)})
    taste = 0.45 * of_gender[(people["gender"] == "F").to_numpy(dtype=np.int64)]
    taste += 0.45 * of_age[band] + 0.35 * of_occupation[occupation.to_numpy(dtype=np.int64)]
    taste += 0.9 * rng.standard_normal((PEOPLE, _FACTORS))
    liking = (taste - taste.mean(axis=0)) @ (character - character.mean(axis=0)).T
    return np.asarray(liking / liking.std(), dtype=np.float64)


def _choices(
    rng: np.random.Generator, liking: NDArray[np.float64], quality: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Who rated what: RATINGS pairs (person, film) from 0, by person, no pair twice.

    Everybody rates at least FEWEST films, every film is rated by somebody. Well-known and liked
    films are chosen more often: of all films, those with the highest sum of fame, liking and
    Gumbel noise, which draws without replacement in proportion to exp(fame + liking).
    """
    counts = _activity(rng)
    chance = rng.standard_normal(FILMS)
    fame = 1.7 * chance - 0.3 * chance**2 + 1.3 * quality  # few are seen by more than half
    keys = fame + 0.35 * liking + _chances(rng, liking.shape)
    finder = np.searchsorted(np.cumsum(counts), RATINGS * rng.random(FILMS), side="right")
    keys[finder, np.arange(FILMS)] = np.inf
    ranked = np.argsort(-keys, axis=1, kind="stable")
    film = np.concatenate([row[:count] for row, count in zip(ranked, counts, strict=True)])
    return np.repeat(np.arange(PEOPLE), counts), film


def _activity(rng: np.random.Generator) -> NDArray[np.int64]:
    """Ratings of each person: from FEWEST to MOST with a long tail, RATINGS together."""
    zeal = (-np.log1p(-rng.random(PEOPLE))) ** 1.25
    extra = np.minimum(zeal * (RATINGS - FEWEST * PEOPLE) / zeal.sum(), MOST - FEWEST)
    counts: NDArray[np.int64] = FEWEST + np.floor(extra).astype(np.int64)
    # What rounding and the upper limit left over goes, one each, to the most active below it.
    eager = np.argsort(-extra, kind="stable")
    while (left := RATINGS - int(counts.sum())) > 0:
        counts[eager[counts[eager] < MOST][:left]] += 1
    return counts


def _stars(
    rng: np.random.Generator, deserved: NDArray[np.float64], person: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Whole stars, 1 to 5."""
    mildness = 0.54 * rng.standard_normal(PEOPLE)
    spread = np.exp(0.2 * rng.standard_normal(PEOPLE))
    chance = 0.94 * rng.standard_normal(len(person))
    felt = 3.00 + mildness[person] + spread[person] * (deserved + chance)
    return 1 + np.searchsorted(_STEPS, felt).astype(np.int64)


def _times(rng: np.random.Generator, person: NDArray[np.int64]) -> NDArray[np.int64]:
    """UTC seconds of each rating: people arrive in waves, rate for a while, and half come back.

    A visit is a row of pages of a few films each; the films of a page share their second.
    """
    days = (LAST + 1 - FIRST) // _DAY
    wave = np.exp(0.7 * rng.standard_normal(days // 7 + 1))[np.arange(days) // 7]
    crowd = np.cumsum(wave * (0.7 + 0.6 * rng.random(days)))
    arrival = np.searchsorted(crowd, crowd[-1] * rng.random(PEOPLE), side="right")
    gaps = 1 - np.floor(20 * np.log1p(-rng.random((PEOPLE, _VISITS - 1))))
    gaps[rng.random(PEOPLE) < 0.5] = days  # these never come back
    day = np.column_stack([arrival, arrival[:, np.newaxis] + np.cumsum(gaps, axis=1)])
    hour = 8 + 6 * (rng.random(day.shape) + rng.random(day.shape))
    begin = FIRST + np.floor(_DAY * day + 3600 * hour).astype(np.int64)

    returns = (day[:, 1:] < days).sum(axis=1)[person]
    later = 1 + np.floor(returns * rng.random(len(person))).astype(np.int64)
    visit = np.where((returns == 0) | (rng.random(len(person)) < 0.55), 0, later)
    order = np.lexsort((rng.random(len(person)), visit, person))
    person, visit = person[order], visit[order]
    opens = np.append(True, (np.diff(person) != 0) | (np.diff(visit) != 0))
    turns = rng.random(len(person)) < 0.5
    seconds = np.cumsum(np.where(turns & ~opens, 5 + np.floor(55 * rng.random(len(person))), 0))
    seconds -= seconds[opens][np.cumsum(opens) - 1]
    times = np.empty(len(person), dtype=np.int64)
    times[order] = np.minimum(begin[person, visit] + seconds.astype(np.int64), LAST)
    return times


def _drawn(rng: np.random.Generator, shares: dict[str, int], count: int) -> NDArray[np.str_]:
    """Names drawn in proportion to their shares."""
    bounds = np.cumsum(list(shares.values()))
    at = np.searchsorted(bounds, bounds[-1] * rng.random(count), side="right")
    names = np.array(list(shares))
    drawn: NDArray[np.str_] = names[at]
    return drawn


def _chances(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Standard Gumbel noise."""
    return np.asarray(-np.log(-np.log1p(-rng.random(shape)) + 1e-300), dtype=np.float64)
