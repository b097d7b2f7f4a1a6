"""How a ranking is judged in a training job: as the report judges it, on rows it has not seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from fmrec.evaluation import list_metrics
from fmrec.fm.catalogue_lists import Lists
from fmrec.fm.catalogue_sides import as_model, ratings_of, sides_of
from fmrec.fm.channels import Rows
from fmrec.fm.features import Feature, Features

USERS, FILMS = 8, 30
FEATURES = (Feature("user", "user"), Feature("item", "item"), Feature("rated", "user", "item"))
NAMES = [
    *(f"user:{u}" for u in range(USERS)),
    *(f"item:{i}" for i in range(FILMS)),
    *(f"rated:{i}" for i in range(FILMS)),
]
KIND = np.array([0] * USERS + [1] * FILMS + [2] * FILMS, np.int16)


def rows_of(grades: np.ndarray) -> Rows:
    """A compact row for each grade above 0 of a table (users, films)."""
    user, film = np.nonzero(grades)
    n = np.arange(len(user))
    X = np.zeros((len(user), len(NAMES)), np.float32)
    X[n, user] = X[n, USERS + film] = 1
    return Rows(sparse.csr_matrix(X), grades[user, film].astype(np.float32))


def made(train: np.ndarray, rng: np.random.Generator) -> tuple[Lists, np.ndarray]:
    """The lists of a random model, and its scores of all users and films by the FM equation."""
    histories = np.hstack([np.eye(USERS), np.zeros((USERS, FILMS)), train]).astype(np.float32)
    columns = Features(FEATURES, KIND, tuple(NAMES), {"user": sparse.csr_matrix(histories)})
    ratings = ratings_of(rows_of(train), columns)
    sides = sides_of(ratings, columns)
    w, V = (rng.normal(size=shape).astype(np.float32) for shape in (len(NAMES), (len(NAMES), 3)))
    model = as_model(sides, w, V)
    every = rows_of(np.ones((USERS, FILMS)))
    scores = model.raw(columns.complete(every.features)).reshape(USERS, FILMS)
    return Lists(model, sides, columns), scores


def slow(scores: np.ndarray, train: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """NDCG@10 by the functions of the report."""
    listed = np.flatnonzero(train.any(axis=0))
    gained = []
    for user in range(USERS):
        liked = np.flatnonzero(test[user] >= 0.8)
        if not len(liked) or not train[user].any():
            continue
        unseen = [film for film in listed if not train[user, film]]
        unseen.sort(key=lambda film: -scores[user, film])
        hits = np.zeros((1, 10), np.bool_)
        first = np.isin(unseen[:10], liked)
        hits[0, : len(first)] = first
        gained.append(list_metrics.ndcg(hits, np.array([len(liked)]), 10)[0])
    return {"ndcg@10": float(np.mean(gained))} if gained else {}


def grades(rng: np.random.Generator, share: float) -> np.ndarray:
    drawn = rng.choice([0.2, 0.3, 0.5, 0.8, 1.0], (USERS, FILMS))
    return drawn * (rng.random((USERS, FILMS)) < share)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.3, 0.9]))
def test_it_is_the_ndcg_of_the_report(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    train = grades(rng, share)
    train[rng.integers(USERS)] = 0  # a user without a training row
    train[1, 2] = 1
    test = grades(rng, 0.3) * (train == 0)
    lists, scores = made(train, rng)
    found, expected = lists.judge(rows_of(test)), slow(scores, train, test)
    assert found.keys() == expected.keys()
    assert list(found.values()) == pytest.approx(list(expected.values()))


def test_many_users_are_judged_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    train = grades(rng, 0.3)
    test = grades(rng, 0.5) * (train == 0)
    lists, _ = made(train, rng)
    whole = lists.judge(rows_of(test))
    monkeypatch.setattr("fmrec.fm.catalogue_lists._SCORES", 2 * FILMS)
    assert lists.judge(rows_of(test)) == whole


def test_rows_of_unknown_users_and_films_judge_nobody() -> None:
    rng = np.random.default_rng(4)
    train = grades(rng, 0.5)
    lists, _ = made(train, rng)
    nobody = Rows(sparse.csr_matrix((2, len(NAMES)), dtype=np.float32), np.ones(2, np.float32))
    assert lists.judge(nobody) == {}
    film = sparse.csr_matrix(([1.0], ([0], [USERS])), shape=(1, len(NAMES)), dtype=np.float32)
    assert lists.judge(Rows(film, np.ones(1, np.float32))) == {}
    assert lists.judge(rows_of(np.full((USERS, FILMS), 0.5))) == {}
