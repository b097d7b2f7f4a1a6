"""The ratings that speed is measured on look like ml-32m's."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fmrec.ratings import Scale
from fmrec.ratings.stream import CSV, read_stream
from fmrec.ratings.tables import ITEMS, USERS

ROOT = Path(__file__).resolve().parents[2]
ROWS = 50_007


@pytest.fixture(scope="module")
def made() -> ModuleType:
    path = ROOT / "tools" / "synthetic_ratings.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("block", [1_000, 1_000_000])
def test_they_are_ratings_of_users_one_after_another(
    made: ModuleType, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made, "_BLOCK_ROWS", block)
    file = tmp_path / "ratings.csv"
    made.write_ratings(file, ROWS, 7)
    with file.open("rb") as stream:
        (chunk,) = read_stream(stream, CSV, scale=Scale(0.5, 5, 0.5), file="ratings.csv")
    assert not len(chunk.quarantine)
    user, film, stars, time = (chunk.ratings.columns[place].to_numpy() for place in range(4))
    assert user.size == ROWS
    users, counts = np.unique(user, return_counts=True)
    assert users.tolist() == list(range(1, ROWS // made.AVERAGE + 1))
    assert counts.min() >= made.LEAST
    assert counts.max() > 5 * np.median(counts)
    # By user, then by film, and no film twice.
    assert (np.diff(user * 2**20 + film) > 0).all()
    assert film.max() <= made.LARGEST_FILM
    assert set(stars) == {half / 2 for half in range(1, 11)}
    assert time.min() >= made.FIRST
    assert time.max() <= made.LAST
    film_counts = np.sort(np.unique(film, return_counts=True)[1])[::-1]
    assert film_counts[:100].sum() > ROWS // 10


def test_a_user_may_rate_every_film(made: ModuleType) -> None:
    films = made.FILMS
    counts = np.array([films, 20, films])
    upto = np.linspace(1 / films, 1, films)
    chosen = made._chosen(np.random.default_rng(0), counts, upto, np.arange(films))
    assert chosen[:films].tolist() == list(range(films))
    assert chosen[-films:].tolist() == list(range(films))
    assert (np.diff(chosen[films:-films]) > 0).all()


def test_a_seed_gives_one_file(made: ModuleType, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        made.write_ratings(tmp_path / name, 1_000, seed)
    first, second, third = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == second != third


def test_users_and_films_are_those_of_the_ratings(made: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "ratings.csv"
    made.write_ratings(file, ROWS, 7)
    users, films = made.users_and_films(ROWS, 7)
    assert (users.schema, films.schema) == (USERS, ITEMS)
    pairs = np.loadtxt(file, delimiter=",", skiprows=1, usecols=(0, 1), dtype=np.int64)
    assert np.unique(pairs[:, 0]).tolist() == users["user_id"].to_pylist()
    assert np.isin(pairs[:, 1], films["item_id"].to_numpy()).all()
