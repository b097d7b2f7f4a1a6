"""Solver catalogue: its loss against one written out, its model against the FM equation."""

from __future__ import annotations

import io
import itertools
import re
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from fm_jobs import Alone, Kept, StopAfter
from fmrec.errors import ConfigurationError, DataError, FmrecError
from fmrec.fm import catalogue, catalogue_training, hyperparameters
from fmrec.fm.catalogue_sides import linear_of, ratings_of, sides_of
from fmrec.fm.catalogue_training import Batch, Parameters, slopes
from fmrec.fm.channels import Rows
from fmrec.fm.features import Feature, Features
from fmrec.fm.job import Fitted, Job, Start
from fmrec.fm.joblog import JobLog
from fmrec.fm.model import Model

USERS, ITEMS = 12, 10
GENRES = ("Drama", "Comedy")


class World:
    """Users 1..12 and films 101..110 with genres; user 12 and film 110 have no training row.

    Columns stand in no order. User 11 has a training row but no record.
    """

    def __init__(self, seed: int = 0, *, preset: str = "full") -> None:
        rng = np.random.default_rng(seed)
        grades = rng.choice([0.2, 0.3, 0.5, 0.8, 1.0], (USERS, ITEMS))
        self.grades = (grades * (rng.random((USERS, ITEMS)) < 0.45)).astype(np.float32)
        self.grades[:, 0] = np.maximum(self.grades[:, 0], 0.2)
        # Each film but the last has a row, and each user but the last has several.
        self.grades[rng.permutation(USERS - 1)[: ITEMS - 1], np.arange(ITEMS - 1)] = 1
        self.grades[USERS - 1], self.grades[:, ITEMS - 1] = 0, 0
        features = [Feature("user", "user"), Feature("item", "item"), Feature("genre", "item")]
        if preset == "full":
            features += [
                Feature("gender", "user"),
                Feature("rated", "user", "item"),
                Feature("rated_by", "item", "user"),
                Feature("day", "event"),
            ]
        values = {
            "user": range(1, USERS + 1),
            "item": range(101, 101 + ITEMS),
            "genre": GENRES,
            "gender": "FM",
            "rated": range(101, 101 + ITEMS),
            "rated_by": range(1, USERS + 1),
            "day": ("1998-01-01",),
        }
        named = [
            (n, f"{each.name}:{value}")
            for n, each in enumerate(features)
            for value in values[each.name]
        ]
        order = rng.permutation(len(named))
        self.names = tuple(named[place][1] for place in order)
        self.column = {name: n for n, name in enumerate(self.names)}
        code = np.array([named[place][0] for place in order], np.int16)
        self.d = len(named)
        user = np.zeros((USERS, self.d), np.float32)
        norms = np.linalg.norm(self.grades, axis=1)
        for u in range(USERS):
            user[u, self.column[f"user:{u + 1}"]] = 1
            if preset == "full":
                user[u, self.column[f"gender:{'FM'[u % 2]}"]] = 1
                for i in np.flatnonzero(self.grades[u]):
                    value = self.grades[u, i] / norms[u]
                    user[u, self.column[f"rated:{101 + i}"]] = value
        if preset == "full":
            # Somebody whom training does not know, but who has rated films.
            user[USERS - 1, self.column["rated:102"]] = 0.8
            user[USERS - 1, self.column["rated:105"]] = 0.6
        item = np.zeros((ITEMS, self.d), np.float32)
        for i in range(ITEMS):
            item[i, self.column[f"item:{101 + i}"]] = 1
            item[i, self.column[f"genre:{GENRES[i % 2]}"]] = 1
            if i % 3 == 0:
                item[i, self.column[f"genre:{GENRES[(i + 1) % 2]}"]] = 1
            if preset == "full":
                item[i, self.column[f"rated_by:{i % 3 + 1}"]] = 1
        self.user, self.item = user, item
        user_records = sparse.csr_matrix(np.delete(user, USERS - 2, axis=0)[::-1])
        self.features = Features(
            tuple(features),
            code,
            self.names,
            {"user": user_records, "item": sparse.csr_matrix(item)},
        )
        u, i = np.nonzero(self.grades)
        rows = np.zeros((len(u), self.d), np.float32)
        rows[np.arange(len(u)), [self.column[f"user:{each + 1}"] for each in u]] = 1
        rows[np.arange(len(u)), [self.column[f"item:{101 + each}"] for each in i]] = 1
        if preset == "full":
            rows[:, self.column["day:1998-01-01"]] = 1
            # User 11 has no record: so no history and no gender.
            user[USERS - 2] = 0
            user[USERS - 2, self.column[f"user:{USERS - 1}"]] = 1
        self.rows = Rows(sparse.csr_matrix(rows), self.grades[u, i])

    def job(self, stream: io.StringIO | None = None, **given: object) -> Job:
        named = {name: given.pop(name) for name in set(given) & set(Job.__annotations__)}
        settings = {
            "feature_dim": self.d,
            "num_factors": 4,
            "predictor_type": "regressor",
            "solver": "catalogue",
            "epochs": 6,
            "mini_batch_size": 4,
            "factors_lr": 0.01,
            "factors_wd": 0.003,
            "linear_lr": 0.01,
            "factors_init_sigma": 0.1,
            "als_factors": 2,
            "als_sweeps": 3,
            "_seed": 1,
        }
        ticks = itertools.count(1_682_087_205.0, 4.0)
        job = Job(
            hp=hyperparameters.parse({name: str(v) for name, v in (settings | given).items()}),
            train=self.rows,
            features=self.features,
            start=None,
            hosts=Alone(),
            checkpoints=Kept(),
            log=JobLog(stream or io.StringIO(), lambda: next(ticks)),
            stop=threading.Event(),
        )
        return replace(job, **named)

    def fit(self, **given: object) -> Fitted:
        fitted = catalogue.fit(self.job(**given))
        assert fitted is not None
        return fitted

    @property
    def films(self) -> np.ndarray:
        """The records of films without `rated_by`, (items, d)."""
        return self.item * [not name.startswith("rated_by:") for name in self.names]

    def raw(self, model: Model) -> np.ndarray:
        """The FM equation on the whole row of each user and film, (users, items)."""
        rows = (self.user[:, None, :] + self.item[None, :, :]).reshape(-1, self.d)
        return model.raw(sparse.csr_matrix(rows)).reshape(USERS, ITEMS)


def bits(model: Model) -> bytes:
    return model.w.tobytes() + model.V.tobytes()


# The loss.


def plain_loss(
    A: np.ndarray,
    G: np.ndarray,
    P: np.ndarray,
    Q: np.ndarray,
    w: np.ndarray,
    B: np.ndarray,
    film: np.ndarray,
) -> float:
    """Sum over users and films of (score - grade)^2, each film out of its own history."""
    total = 0.0
    for u in range(len(A)):
        for i in range(len(B)):
            history = A[u].copy()
            history[film == i] = 0
            score = B[i] @ w + (history @ P) @ (B[i] @ Q)
            total += float(score - G[u, i]) ** 2
    return total


def problem(seed: int) -> tuple[np.ndarray, ...]:
    """Six columns of the user side, two of which list the same film and one a film not there."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(3, 6)) * (rng.random((3, 6)) < 0.7)
    G = rng.choice([0.2, 0.5, 1.0], (3, 4)) * (rng.random((3, 4)) < 0.5)
    B = np.hstack([np.eye(4), rng.integers(0, 2, (4, 2))]).astype(float)
    P, Q, w = rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), rng.normal(size=6)
    return A, G, P, Q, w, B, np.array([-1, 2, 0, 3, 2, -1])


def found_slopes(A, G, P, Q, w, B, film, own=None):
    batch = Batch(sparse.csr_matrix(A), sparse.csr_matrix(G))
    return slopes(batch, own, P, Q, w, sparse.csr_matrix(B), film)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_loss_is_the_double_sum_over_the_whole_catalogue(seed: int) -> None:
    given_ = problem(seed)
    assert found_slopes(*given_).loss == pytest.approx(plain_loss(*given_), rel=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_gradient_is_the_slope_of_half_the_loss(seed: int) -> None:
    A, G, P, Q, w, B, film = problem(seed)
    own = np.random.default_rng(seed).normal(size=(3, 2))
    # What own columns add is what three more columns with the value 1 would.
    wide = np.hstack([A, np.eye(3)])
    films = np.append(film, [-1, -1, -1])
    found = found_slopes(A, G, P, Q, w, B, film, own)

    def half(P: np.ndarray, Q: np.ndarray, w: np.ndarray, own: np.ndarray) -> float:
        return 0.5 * plain_loss(wide, G, np.vstack([P, own]), Q, w, B, films)

    parts = [P, Q, w, own]
    for place, slope in enumerate((found.user, found.item, found.linear, found.sums)):
        for at in np.ndindex(parts[place].shape):
            moved = [[part.copy() for part in parts] for _ in range(2)]
            moved[0][place][at] += 1e-6
            moved[1][place][at] -= 1e-6
            numeric = (half(*moved[0]) - half(*moved[1])) / 2e-6
            assert slope[at] == pytest.approx(numeric, rel=1e-4, abs=1e-5)


def test_the_log_has_the_loss_over_all_pairs() -> None:
    """Without learning, the loss of the last epoch is that of the model."""
    world, log = World(), io.StringIO()
    settings_ = {"factors_lr": 0, "linear_lr": 0, "dropout": 0, "als_factors": 0}
    fitted = world.fit(stream=log, **settings_)
    V = fitted.model.V.astype(float)
    grades, total = world.grades[: USERS - 1, : ITEMS - 1], 0.0
    for u in range(USERS - 1):
        for i in range(ITEMS - 1):
            history = world.user[u].astype(float)
            history[world.column[f"rated:{101 + i}"]] = 0
            score = (history @ V) @ (world.films[i] @ V)
            total += float(score - grades[u, i]) ** 2
    (mse,) = re.findall(r", train mse <loss>=(\S+)", log.getvalue().splitlines()[-2])
    assert float(mse) == pytest.approx(total / grades.size, rel=1e-5)


@pytest.mark.parametrize("chunk", [5, 1 << 16])
def test_parameters_move_as_adam_has_it(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kingma and Ba's update, with decay and clipping; named rows alone move."""
    monkeypatch.setattr(catalogue_training, "CHUNK", chunk)
    given_ = {"factors_lr": 0.1, "factors_wd": 0.5, "clip_gradient": 0.8, "eps": 1e-3}
    hp = World().job(**given_).hp
    rng = np.random.default_rng(0)
    value = rng.normal(size=(4, 3)).astype(np.float32)
    expected, first, second = value.astype(float), np.zeros((4, 3)), np.zeros((4, 3))
    parameters = Parameters(value, hp.factors, hp)
    for at in (None, np.array([2, 0]), None):
        rows = slice(None) if at is None else at
        slope = rng.normal(size=expected[rows].shape)
        g = np.clip(slope + 0.5 * expected[rows], -0.8, 0.8)
        first[rows] = 0.9 * first[rows] + 0.1 * g
        second[rows] = 0.999 * second[rows] + 0.001 * g**2
        expected[rows] -= 0.1 * 0.7 * first[rows] / (np.sqrt(second[rows]) + 1e-3)
        parameters.update(slope.astype(np.float32), 0.7, at)
    assert parameters.value == pytest.approx(expected, rel=1e-4)


# The model.


def test_the_fm_equation_on_whole_rows_is_the_product_of_the_two_sides() -> None:
    """What pairs within a side would add is taken off again; here films have no weights."""
    world = World()
    model = world.fit(use_linear="false").model
    V = model.V.astype(float)
    expected = (world.user @ V) @ (world.films @ V).T
    assert world.raw(model) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert np.ptp(expected) > 0.1


def test_linear_weights_of_films_are_added_to_it() -> None:
    world = World()
    model = world.fit().model
    sides = sides_of(ratings_of(world.rows, world.features), world.features)
    w, V = linear_of(sides, model), model.V.astype(float)
    expected = (world.user @ V) @ (world.films @ V).T + world.films @ w
    assert world.raw(model) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert np.ptp(world.films[: ITEMS - 1] @ w) > 0.01


def test_somebody_new_is_ranked_by_history_alone() -> None:
    """The FM equation orders films as the products do, with no column of the user's own."""
    world = World()
    model = world.fit(use_linear="false").model
    history = world.user[USERS - 1].copy()
    history[world.column[f"user:{USERS}"]] = 0
    V = model.V.astype(float)
    raw = model.raw(sparse.csr_matrix(history + world.films))
    expected = (history @ V) @ (world.films @ V).T
    assert raw - raw.mean() == pytest.approx(expected - expected.mean(), abs=1e-6)
    assert np.argsort(raw).tolist() == np.argsort(expected).tolist()
    assert np.ptp(expected) > 0.01


def test_columns_without_effect_and_without_a_training_row_hold_zeros() -> None:
    world, log = World(), io.StringIO()
    model = world.fit(stream=log).model
    empty = [name for name in world.names if name.startswith(("rated_by:", "day:"))]
    empty += ["item:110", "rated:110"]
    for name in empty:
        assert not model.V[world.column[name]].any(), name
    for name in empty[:-2]:
        assert model.w[world.column[name]] == 0, name
    assert not model.V[world.column["user:12"]].any()
    assert "Features without effect in solver catalogue: rated_by, day" in log.getvalue()


def test_only_ids_have_factors_of_the_als_part_and_its_weight_scales_their_product() -> None:
    world = World()
    once, twice = (world.fit(als_weight=weight).model for weight in (1, 2))
    ids = np.array([name.startswith(("user:", "item:")) for name in world.names])
    assert not once.V[~ids, 4:].any()
    assert once.V[ids, 4:].any()
    assert twice.V[:, :4].tobytes() == once.V[:, :4].tobytes()
    assert twice.V[:, 4:] == pytest.approx(once.V[:, 4:] * np.sqrt(2), rel=1e-5)
    alone = world.fit(als_factors=0).model
    assert alone.V.tobytes() == np.ascontiguousarray(once.V[:, :4]).tobytes()


def test_two_groups_that_like_their_own_films_are_told_apart() -> None:
    """Even users rate even films, odd ones odd; films withheld from each must come first."""
    world = World()
    board = (np.add.outer(np.arange(USERS), np.arange(ITEMS)) % 2 == 0).astype(np.float32)
    board[:, ITEMS - 1], board[USERS - 1] = 0, 0
    board[np.arange(ITEMS - 1), np.arange(ITEMS - 1)] = 0
    fitted = trained_on(world, board, epochs=60, dropout=0.3, als_factors=0, factors_lr=0.03)
    unseen = np.where(board > 0, -np.inf, world.raw(fitted.model))[: ITEMS - 1, : ITEMS - 1]
    assert unseen.argmax(axis=1).tolist() == list(range(ITEMS - 1))


def trained_on(world: World, board: np.ndarray, **given: object) -> Fitted:
    """Fit with other grades, and histories of them."""
    user = world.user.copy()
    for i in range(ITEMS):
        user[:, world.column[f"rated:{101 + i}"]] = board[:, i] / np.maximum(
            np.linalg.norm(board, axis=1), 1e-9
        )
    world.user = user
    u, i = np.nonzero(board)
    rows = np.zeros((len(u), world.d), np.float32)
    rows[np.arange(len(u)), [world.column[f"user:{each + 1}"] for each in u]] = 1
    rows[np.arange(len(u)), [world.column[f"item:{101 + each}"] for each in i]] = 1
    records = {**world.features.records, "user": sparse.csr_matrix(user)}
    features = replace(world.features, records=records)
    return world.fit(train=Rows(sparse.csr_matrix(rows), board[u, i]), features=features, **given)


def test_without_a_history_users_are_known_by_their_own_columns() -> None:
    world = World(preset="side")
    model = world.fit(epochs=80, dropout=0, als_factors=0, factors_lr=0.03, factors_wd=0).model
    own = np.array([world.column[f"user:{u + 1}"] for u in range(USERS - 1)])
    assert model.V[own].any(axis=1).all()
    error = world.raw(model)[: USERS - 1, : ITEMS - 1] - world.grades[: USERS - 1, : ITEMS - 1]
    assert np.square(error).mean() < 0.5 * world.grades[: USERS - 1, : ITEMS - 1].var()


def test_with_a_history_their_own_columns_learn_nothing() -> None:
    world = World()
    model = world.fit(als_factors=0).model
    own = [world.column[f"user:{u + 1}"] for u in range(USERS)]
    assert not model.V[own].any()


@pytest.mark.parametrize("used", ["true", "false"])
def test_linear_weights_are_trained_where_they_are_used(used: str) -> None:
    world = World()
    model = world.fit(use_linear=used).model
    sides = sides_of(ratings_of(world.rows, world.features), world.features)
    assert (np.abs(linear_of(sides, model)).max() > 1e-3) == (used == "true")


def test_uniform_start_factors_are_taken_and_constant_ones_refused() -> None:
    world = World()
    scale = {"factors_init_method": "uniform", "factors_init_scale": 0.2}
    still = {"factors_lr": 0, "als_factors": 0}
    V = world.fit(**scale, **still).model.V
    assert 0.15 < np.abs(V).max() <= 0.2
    with pytest.raises(ConfigurationError, match="factors_init_method is 'constant'"):
        world.fit(factors_init_method="constant", factors_init_value=0.1)


# Rows.


def test_a_pair_rated_twice_counts_with_its_last_grade() -> None:
    world = World()
    X, y = world.rows
    more = Rows(sparse.vstack([X, X[:5]], format="csr"), np.append(y, [0.9] * 5).astype(np.float32))
    sides = sides_of(ratings_of(more, world.features), world.features)
    expected = world.grades[: USERS - 1, : ITEMS - 1].copy()
    u, i = (each[:5] for each in np.nonzero(world.grades))
    expected[u, i] = 0.9
    names = [world.names[c] for c in sides.users.owners[sides.users.trained]]
    films = [world.names[c] for c in sides.items.owners[sides.items.trained]]
    rows = [int(name.split(":")[1]) - 1 for name in names]
    columns = [int(name.split(":")[1]) - 101 for name in films]
    assert sides.targets.toarray() == pytest.approx(expected[np.ix_(rows, columns)])


def test_what_is_missing_is_said() -> None:
    world = World()
    with pytest.raises(DataError, match="needs the channel 'features'"):
        world.fit(features=None)
    names = tuple(name.replace("item:", "film:") for name in world.names)
    features = tuple(
        replace(each, name="film") if each.name == "item" else each
        for each in world.features.features
    )
    other = Features(features, world.features.feature, names, {})
    with pytest.raises(DataError, match="no column of the feature 'item'"):
        world.fit(features=other)
    rows = world.rows.features.copy()
    rows.data[rows.indices == world.column["user:3"]] = 0
    with pytest.raises(DataError, match=r"training row \d+ .* of the feature 'user'"):
        world.fit(train=Rows(rows, world.rows.labels))
    with pytest.raises(ConfigurationError, match="set it to 'regressor'"):
        world.fit(predictor_type="binary_classifier")


# The job.


def test_equal_jobs_give_equal_bits_and_seeds_differ() -> None:
    world = World()
    assert bits(world.fit().model) == bits(world.fit().model)
    assert bits(world.fit().model) != bits(world.fit(_seed=2).model)


def test_the_log_has_the_builtins_lines() -> None:
    log = io.StringIO()
    World().fit(stream=log)
    text = log.getvalue()
    epochs = re.findall(r"#quality_metric: host=algo-1, epoch=(\d), train mse <loss>=(\S+)", text)
    assert [epoch for epoch, _ in epochs] == list("012345")
    values = [float(value) for _, value in epochs]
    assert values[-1] < values[0]
    assert re.findall(r"host=algo-1, train mse <loss>=(\S+)", text) == [epochs[-1][1]]
    (rmse,) = re.findall(r"host=algo-1, train rmse <loss>=(\S+)", text)
    assert float(rmse) ** 2 == pytest.approx(values[-1])
    assert len(re.findall(r"#progress_metric: host=algo-1, completed \S+ % of epochs", text)) == 6
    assert len(re.findall(r"#throughput_metric: host=algo-1, train throughput=\S+ rec", text)) == 6
    assert text.count('"update.time"') == 6


@pytest.mark.parametrize("resumed_at", [0, -1])
def test_a_run_taken_up_again_ends_with_the_same_bits(resumed_at: int) -> None:
    world, kept = World(), Kept()
    whole = bits(world.fit(checkpoints=kept).model)
    assert len(kept.states) > 1
    state = kept.states[resumed_at]
    assert bits(world.fit(checkpoints=Kept([state])).model) == whole
    plain = World(preset="side")
    kept = Kept()
    whole = bits(plain.fit(checkpoints=kept).model)
    assert bits(plain.fit(checkpoints=Kept([kept.states[resumed_at]])).model) == whole


def test_a_stop_keeps_what_was_learnt_and_before_the_first_batch_there_is_nothing() -> None:
    world = World()
    asked_by_als = 3
    assert catalogue.fit(world.job(stop=StopAfter(1))) is None
    assert catalogue.fit(world.job(stop=StopAfter(asked_by_als))) is None
    fitted = world.fit(stop=StopAfter(asked_by_als + 2))
    assert not fitted.finished
    assert np.isfinite(fitted.model.V).all()
    assert world.fit(stop=StopAfter(10_000)).finished


def test_divergence_names_the_learning_rate() -> None:
    with pytest.raises(FmrecError, match=r"diverged in epoch .*factors_lr \(1e\+25\)"):
        World().fit(factors_lr=1e25)


def test_a_model_to_go_on_from_is_gone_on_from() -> None:
    """Where nothing is learnt the new model is the old one, whatever it folded into weights."""
    world = World()
    still = {"factors_lr": 0, "linear_lr": 0, "als_factors": 0}
    first = world.fit(als_factors=0).model
    known = np.ones(world.d, np.bool_)
    again = world.fit(start=Start(first, known), **still).model
    assert again.V.tobytes() == first.V.tobytes()
    assert world.raw(again) == pytest.approx(world.raw(first), abs=1e-6)
    known[world.column["genre:Drama"]] = False
    part = world.fit(start=Start(first, known), **still).model
    new = part.V != first.V
    assert np.flatnonzero(new.any(axis=1)).tolist() == [world.column["genre:Drama"]]


def test_going_on_trains_further() -> None:
    world, log = World(), io.StringIO()
    first = world.fit(epochs=20)
    start = Start(first.model, np.ones(world.d, np.bool_))
    world.fit(stream=log, start=start, epochs=1, dropout=0)
    (mse,) = re.findall(r"algo-1, train mse <loss>=(\S+)", log.getvalue())
    anew = io.StringIO()
    world.fit(stream=anew, epochs=1, dropout=0)
    (cold,) = re.findall(r"algo-1, train mse <loss>=(\S+)", anew.getvalue())
    assert float(mse) < float(cold)


def test_a_model_of_another_number_of_factors_is_refused_with_both_numbers() -> None:
    world = World()
    model = Model(
        0.0, np.zeros(world.d, np.float32), np.zeros((world.d, 5), np.float32), "regressor"
    )
    start = Start(model, np.ones(world.d, np.bool_))
    with pytest.raises(DataError, match=r"has 5 factors, .* is 4 \+ 2"):
        world.fit(start=start)


class Meeting:
    """Hosts as threads that wait for each other."""

    def __init__(self, size: int) -> None:
        self._barrier = threading.Barrier(size, timeout=60)
        self._given: list[bytes] = [b""] * size

    def exchange(self, rank: int, data: bytes) -> list[bytes]:
        self._given[rank] = data
        self._barrier.wait()
        every = list(self._given)
        self._barrier.wait()
        return every


class Host:
    def __init__(self, rank: int, size: int, exchange: Callable[[int, bytes], list[bytes]]) -> None:
        self.rank, self.size, self._exchange = rank, size, exchange

    def all_gather(self, data: bytes) -> list[bytes]:
        return self._exchange(self.rank, data)


@pytest.mark.parametrize("replicated", [True, False])
@pytest.mark.parametrize("times", [None, 0, 6])
def test_several_hosts_end_with_the_model_of_one(times: int | None, replicated: bool) -> None:
    world = World()
    X, y = world.rows
    cut, size = len(y) // 3, 2
    parts = [Rows(X[:cut], y[:cut]), Rows(X[cut:], y[cut:])]
    if replicated:
        parts = [world.rows, world.rows]
    meeting = Meeting(size)
    found: list[Fitted | None] = [None] * size

    def stop() -> threading.Event:
        return threading.Event() if times is None else StopAfter(times)

    def run(rank: int) -> None:
        host = Host(rank, size, meeting.exchange)
        job = world.job(train=parts[rank], hosts=host, stop=stop(), replicated=replicated)
        found[rank] = catalogue.fit(job)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = catalogue.fit(world.job(stop=stop()))
    if alone is None:
        assert found == [None, None]
        return
    for fitted in found:
        assert fitted is not None
        assert fitted.finished == alone.finished
        assert bits(fitted.model) == bits(alone.model)
