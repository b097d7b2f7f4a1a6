"""The peers' scores against their formulas written out, and what all of their lists keep to."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics.pairwise import cosine_similarity

from fmrec.errors import ConfigurationError, EvaluationError
from fmrec.evaluation import peers, wording
from fmrec.evaluation.peers import Ease, ImplicitAls, ItemKnn
from fmrec.fm import ease

PLAIN: peers.Grades = (0, 1, 2, 3, 4, 5)
LIKES: peers.Grades = (0, 0, 0, 0, 1, 1)


def grades_of(users: int, films: int, seed: int = 0, share: float = 0.4) -> sparse.csr_matrix:
    """Random grades; every user and every film has one."""
    rng = np.random.default_rng(seed)
    X = rng.choice([0.1, 0.3, 0.5, 0.8, 1.0], (users, films)) * (rng.random((users, films)) < share)
    X[np.arange(users), np.arange(users) % films] = 1.0
    X[np.arange(films) % users, np.arange(films)] = 1.0
    return sparse.csr_matrix(X)


def everyone(X: sparse.csr_matrix) -> np.ndarray:
    return np.arange(X.shape[0])


def events(*rows: tuple[int, int, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rating"])


def random_events(seed: int = 0, users: int = 12, films: int = 15) -> pd.DataFrame:
    """Events of users 101, 104, ... with films 7, 12, ..., in no order."""
    rng = np.random.default_rng(seed)
    user, film = np.nonzero(rng.random((users, films)) < 0.4)
    frame = pd.DataFrame({"user_id": 101 + 3 * user, "item_id": 7 + 5 * film})
    frame["rating"] = rng.integers(1, 6, len(frame)).astype(float)
    return frame.sample(frac=1, random_state=seed)


@dataclass(frozen=True)
class Told:
    """A peer whose scores are told beforehand; it keeps what it was fitted to."""

    scores: np.ndarray
    grades: peers.Grades = PLAIN
    fitted: list[sparse.csr_matrix] = field(default_factory=list)

    def fit(self, given: sparse.csr_matrix, seed: int) -> peers.Scorer:
        self.fitted.append(given)
        return lambda rows: self.scores[rows].copy()


# item-kNN


def test_neighbours_are_weighed_by_the_cosine_of_their_columns() -> None:
    X = sparse.csr_matrix(np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0], [2.0, 0.0, 0.0]]))
    scores = ItemKnn(PLAIN, 2, 0.0, 0.5).fit(X, 0)(np.array([2]))
    # Columns (1, 0, 2), (1, 2, 0), (0, 1, 0): cosines of the first are 1 / 5 and 0; it counts 2.
    np.testing.assert_allclose(scores, [[0.0, 2 / 5, 0.0]])


@pytest.mark.parametrize(("asymmetry", "expected"), [(0.5, 8 / 8), (0.75, 8 / 64**0.75)])
def test_asymmetry_takes_the_norm_from_the_film_that_is_scored(
    asymmetry: float, expected: float
) -> None:
    """Columns (8, 0) and (1, 0): product 8, squares 64 and 1. Film 1 is scored from film 0."""
    X = sparse.csr_matrix(np.array([[8.0, 1.0], [0.0, 0.0]]))
    scores = ItemKnn(PLAIN, 5, 0.0, asymmetry).fit(X, 0)(np.array([0]))
    assert scores[0, 1] == pytest.approx(8 * expected)
    assert scores[0, 0] == pytest.approx(8 / 64 ** (1 - asymmetry))


def test_with_all_neighbours_and_no_shrinkage_it_is_the_plain_cosine() -> None:
    X = grades_of(20, 14)
    similarity = cosine_similarity(X.T)
    np.fill_diagonal(similarity, 0)
    scores = ItemKnn(PLAIN, 14, 0.0, 0.5).fit(X, 0)(everyone(X))
    np.testing.assert_allclose(scores, X @ similarity, atol=1e-12)


@pytest.mark.parametrize("cells", [1, 30, 1 << 21])
def test_scores_are_the_formula_written_out(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_CELLS", cells)
    X = grades_of(25, 16, seed=3)
    dense, a, shrinkage, neighbours = X.toarray(), 0.65, 1.5, 4
    norm = np.linalg.norm(dense, axis=0)
    expected = np.zeros_like(dense)
    for i in range(16):
        similarity = [
            dense[:, i] @ dense[:, j] / (norm[i] ** (2 - 2 * a) * norm[j] ** (2 * a) + shrinkage)
            if j != i
            else -1.0
            for j in range(16)
        ]
        for j in np.argsort(-np.array(similarity), kind="stable")[:neighbours]:
            expected[:, i] += dense[:, j] * similarity[j]
    scores = ItemKnn(PLAIN, neighbours, shrinkage, a).fit(X, 0)(everyone(X))
    np.testing.assert_allclose(scores, expected, atol=1e-12)


def test_of_equally_near_neighbours_the_one_of_least_id_stays() -> None:
    X = sparse.csr_matrix(np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]))
    scores = ItemKnn(PLAIN, 1, 0.0, 0.5).fit(X, 0)(everyone(X))
    # Film 0 is as near to 1 as to 2, and keeps 1: user 1, who knows film 2 alone, gives it nothing.
    assert scores[1, 0] == 0
    assert scores[2, 0] == pytest.approx(1 / np.sqrt(2))


# EASE


def weights_of(X: sparse.csr_matrix, regularisation: float) -> tuple[sparse.csr_matrix, np.ndarray]:
    """What was fitted and B. One user more for each film, of it alone: their scores are B."""
    films = X.shape[1]
    X = sparse.vstack([X, sparse.identity(films)], format="csr")
    scorer = Ease(PLAIN, regularisation).fit(X, 0)
    return X, scorer(np.arange(X.shape[0] - films, X.shape[0]))


def test_no_film_is_told_from_itself() -> None:
    _, B = weights_of(grades_of(30, 12), 5.0)
    np.testing.assert_array_equal(np.diag(B), 0)


@pytest.mark.parametrize("cells", [1, 50, 1 << 21])
def test_the_weights_are_where_the_ridge_objective_is_flat(
    cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient of |X - XB|^2 + r |B|^2 is 0 wherever B is free, which is off the diagonal."""
    monkeypatch.setattr(peers, "_CELLS", cells)
    X, B = weights_of(grades_of(40, 13, seed=1), 7.0)
    gram = (X.T @ X).toarray()
    gradient = 2 * (gram @ B - gram + 7.0 * B)
    free = ~np.eye(13, dtype=bool)
    np.testing.assert_allclose(gradient[free], 0, atol=1e-10)
    assert np.abs(np.diag(gradient)).min() > 1


def test_it_scores_as_the_closed_form_of_the_algorithm_does_at_full_rank() -> None:
    X = grades_of(60, 20, seed=2, share=0.2)
    films = np.arange(20)
    model = ease.closed_form(X, films, films + 20, feature_dim=40, rank=20, regularisation=9.0)
    machine = (X @ model.V[:20]) @ model.V[20:].T
    scores = Ease(PLAIN, 9.0).fit(X, 0)(everyone(X))
    unseen = X.toarray() == 0
    np.testing.assert_allclose(scores[unseen], machine[unseen], atol=1e-5)


def test_more_items_than_memory_may_hold_are_refused_with_what_they_would_take() -> None:
    X = sparse.csr_matrix((1, 26_744))
    with pytest.raises(
        ConfigurationError,
        match=r"peer ease needs a matrix of items x items, which for 26,744 items takes 5\.7 GB\. "
        "More than 12,000 items are refused: set peers to none, item_knn or implicit_als",
    ):
        Ease(PLAIN, 1.0).fit(X, 0)


# Implicit ALS


def test_both_sides_solve_their_normal_equations() -> None:
    """Where sweeps change nothing, each row is a ridge regression on the other side's factors."""
    X = grades_of(18, 11, seed=4)
    scores = ImplicitAls(PLAIN, 3, 0.7, 5.0, 600).fit(X, 1)(everyone(X))
    left, spectrum, right = np.linalg.svd(scores, full_matrices=False)
    assert spectrum[3] < 1e-5 * spectrum[0]
    # With equal penalties the optimum is balanced, so factors of both sides can be read off.
    U, V = left[:, :3] * np.sqrt(spectrum[:3]), right[:3].T * np.sqrt(spectrum[:3])
    confidence = np.where(X.toarray() > 0, 5.0 * X.toarray(), 1.0)
    rated = (X.toarray() > 0).astype(float)
    for side, other, c, p in ((U, V, confidence, rated), (V, U, confidence.T, rated.T)):
        for row, weight, target in zip(side, c, p, strict=True):
            left_hand = other.T @ (weight[:, None] * other) + 0.7 * np.eye(3)
            solved = np.linalg.solve(left_hand, other.T @ (weight * target))
            np.testing.assert_allclose(row, solved, atol=2e-3)


def test_another_seed_starts_elsewhere_and_the_same_one_repeats() -> None:
    X = grades_of(18, 11)
    one, again, other = (
        ImplicitAls(PLAIN, 4, 0.5, 5.0, 2).fit(X, seed)(everyone(X)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)


def test_where_its_library_cannot_be_loaded_the_peer_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    with pytest.raises(
        ConfigurationError,
        match=r"peer implicit_als cannot be loaded \(.*implicit\.cpu\.als.*\): on Linux the "
        r"library implicit needs the system's libgomp \(apt-get install libgomp1\); or set peers",
    ):
        ImplicitAls(PLAIN, 2, 1.0, 1.0, 1).fit(grades_of(5, 4), 1)


# Lists


@drawn(
    scores=st.lists(
        st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=6, max_size=6),
        min_size=4,
        max_size=4,
    ),
    seen=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 5))),
    n=st.integers(1, 9),
)
def test_lists_are_those_of_a_full_sort_with_ties_by_ascending_id(
    scores: list[list[float]], seen: set[tuple[int, int]], n: int
) -> None:
    train = events(*((user, 10 - film, 3.0) for film in range(6) for user in (2, 3, 5, 8)))
    users, items = np.array([2, 3, 5, 8]), np.arange(5, 11)
    taken = pd.DataFrame(
        [(users[user], items[item]) for user, item in seen], columns=["user_id", "item_id"]
    ).astype(np.int64)
    found = peers.lists_of(Told(np.array(scores)), train, users, taken, n, 1)
    for user, row in enumerate(scores):
        left = [item for item in range(6) if (user, item) not in seen]
        best = sorted(left, key=lambda item: (-row[item], items[item]))[:n]
        assert found[user].tolist() == [*items[best], *[-1] * (n - len(best))]


@pytest.mark.parametrize("name", peers.NAMES)
@pytest.mark.parametrize("seed", range(4))
def test_lists_hold_each_unseen_trained_item_once_and_then_nothing(name: str, seed: int) -> None:
    train = random_events(seed)
    users = np.unique(train["user_id"])[::2]
    later = events((int(users[0]), 7, 4.0), (int(users[1]), 9_999, 4.0), (77, 12, 1.0))
    seen = pd.concat([train, later])[["user_id", "item_id"]]
    found = peers.lists(name, train, users, seen, 20, 1)
    assert found.shape == (len(users), 20)
    assert found.dtype == np.int64
    for user, items in zip(users, found, strict=True):
        left = set(train["item_id"]) - set(seen.loc[seen["user_id"] == user, "item_id"])
        assert sorted(items[: len(left)]) == sorted(left)
        assert (items[len(left) :] == -1).all()


@pytest.mark.parametrize("name", peers.NAMES)
def test_shorter_lists_are_the_beginnings_of_longer_ones(name: str) -> None:
    train = random_events(5)
    users = np.unique(train["user_id"])
    longer, shorter = (peers.lists(name, train, users, train, n, 1) for n in (8, 3))
    np.testing.assert_array_equal(longer[:, :3], shorter)


@pytest.mark.parametrize("name", peers.NAMES)
def test_neither_the_order_of_events_nor_blocks_of_users_change_a_list(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = random_events(6)
    users = np.unique(train["user_id"])
    found = peers.lists(name, train, users, train, 5, 1)
    monkeypatch.setattr(peers, "_CELLS", 1)
    again = peers.lists(name, train.sample(frac=1, random_state=9), users, train, 5, 1)
    np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize("name", peers.NAMES)
def test_a_user_is_recommended_what_the_like_minded_like(name: str) -> None:
    """Two camps of users and films; user 1 has not met film 4 of its own, nor those of others."""
    rows = [(user, film, 5.0) for user in range(1, 9) for film in range(1, 5)]
    rows += [(user, film, 5.0) for user in range(11, 19) for film in range(11, 15)]
    train = events(*(row for row in rows if row[:2] not in {(1, 4), (11, 12)}))
    found = peers.lists(name, train, np.array([1, 11]), train, 2, 1)
    assert found[:, 0].tolist() == [4, 12]


def test_stars_become_grades_linear_between_and_those_that_count_nothing_are_left_out() -> None:
    told = Told(np.zeros((2, 4)), grades=(0, 0, 0.1, 0.5, 0.9, 1))
    train = events((1, 3, 5.0), (1, 4, 3.5), (1, 6, 1.0), (2, 4, 0.5), (2, 9, 2.0))
    peers.lists_of(told, train, np.array([1]), train, 1, 1)
    np.testing.assert_allclose(told.fitted[0].toarray(), [[1, 0.7, 0, 0], [0, 0, 0, 0.1]])


def test_of_several_events_of_a_user_with_an_item_the_last_one_counts() -> None:
    told = Told(np.zeros((1, 2)))
    train = events((1, 3, 5.0), (1, 4, 2.0), (1, 3, 1.0))
    peers.lists_of(told, train, np.array([1]), train, 1, 1)
    np.testing.assert_allclose(told.fitted[0].toarray(), [[1, 2]])


def test_where_no_neighbour_says_anything_ids_decide() -> None:
    train = events((1, 8, 5.0), (2, 3, 5.0), (2, 4, 5.0), (3, 4, 5.0), (3, 6, 5.0))
    found = peers.lists("item_knn", train, np.array([1]), train, 5, 1)
    assert found.tolist() == [[3, 4, 6, -1, -1]]


def test_nobody_to_rank_for_gives_no_lists() -> None:
    train = random_events(1)
    found = peers.lists("ease", train, np.array([], np.int64), train, 5, 1)
    assert found.shape == (0, 5)


def test_a_user_without_a_training_event_is_refused() -> None:
    train = random_events(1)
    with pytest.raises(
        EvaluationError,
        match=r"user 55 has no event in the training part \(2 such users\): peers rank only for",
    ):
        peers.lists("ease", train, np.array([55, 66, 101]), train, 5, 1)


def test_an_unknown_peer_is_refused_with_the_known_ones() -> None:
    train = random_events(1)
    with pytest.raises(
        ConfigurationError,
        match="peer 'svd' is not known: choose one of item_knn, implicit_als, ease",
    ):
        peers.lists("svd", train, np.array([101]), train, 5, 1)


def test_the_report_has_a_name_for_each_peer() -> None:
    assert set(wording.PEERS) == set(peers.NAMES)


def test_likes_alone_are_what_remains_of_grades_of_likes() -> None:
    told = Told(np.zeros((1, 3)), grades=LIKES)
    train = events((1, 3, 3.0), (1, 4, 4.0), (1, 5, 5.0))
    peers.lists_of(told, train, np.array([1]), train, 1, 1)
    np.testing.assert_allclose(told.fitted[0].toarray(), [[0, 1, 1]])
    # A stored 0 would be a film that was rated, to ALS.
    assert told.fitted[0].nnz == 2
