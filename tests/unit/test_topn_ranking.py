"""Recommendations whose answer is known by construction, and the rules of the list."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from fmrec import topn
from fmrec.errors import ConfigurationError, DataError, EvaluationError
from fmrec.fm.model import Model
from sides import Sides, Space


def model(w0, w, V, predictor_type="regressor") -> Model:
    return Model(w0, np.asarray(w, np.float32), np.asarray(V, np.float32), predictor_type)


def checkerboard(n: int) -> tuple[Model, Sides, pd.DataFrame]:
    """Even users like even items; every liked item is seen but the one on the diagonal."""
    design = Sides.of_ids(range(1, n + 1), range(1, n + 1))
    side = np.array([1.0 if i % 2 == 0 else -1.0 for i in range(1, n + 1)])
    ids = range(1, n + 1)
    seen = [(u, i) for u in ids for i in ids if u % 2 == i % 2 and u != i]
    frame = pd.DataFrame(seen, columns=["user_id", "item_id"])
    return model(3.0, np.zeros(2 * n), np.concatenate([side, side])[:, None]), design, frame


def flat(scores: list[float], *, ids=None) -> tuple[Model, Sides]:
    """One user, number 7, and items with these scores."""
    ids = range(1, len(scores) + 1) if ids is None else ids
    V = np.zeros((1 + len(scores), 2))
    return model(0.0, [0.0, *scores], V), Sides.of_ids([7], ids)


NOTHING = pd.DataFrame({"user_id": [], "item_id": []}, dtype=np.int64)


@pytest.mark.parametrize("n", [2, 10, 51])
def test_on_a_checkerboard_the_first_recommendation_is_the_diagonal(n: int) -> None:
    machine, design, seen = checkerboard(n)
    ids, scores = topn.best(machine, design, np.arange(1, n + 1), seen, 1, at=0)
    assert ids[:, 0].tolist() == list(range(1, n + 1))
    assert scores[:, 0] == pytest.approx(4.0)


def test_the_score_is_the_fm_equation_of_the_pair() -> None:
    V = [[1.0, 2.0], [0.5, -1.0], [3.0, 0.25], [1.0, 1.0]]
    machine = model(0.5, [0.1, 0.2, 0.3, 0.4], V)
    design = Sides.of_ids([1, 2], [10, 20])
    ids, scores = topn.best(machine, design, [1, 2], NOTHING, 2, at=0)
    # user 1: item 10 has 0.5 + 0.1 + 0.3 + 3.5, item 20 has 0.5 + 0.1 + 0.4 + 3
    assert ids.tolist() == [[10, 20], [10, 20]]
    assert scores[0] == pytest.approx([4.4, 4.0])
    # user 2: 0.5 + 0.2 + 0.3 + 1.25, and 0.5 + 0.2 + 0.4 - 0.5
    assert scores[1] == pytest.approx([2.25, 0.6])


def test_a_classifiers_score_is_a_probability_and_saturation_makes_no_ties() -> None:
    machine, design = flat([100.0, 101.0, 0.0])
    machine = replace(machine, predictor_type="binary_classifier")
    ids, scores = topn.best(machine, design, [7], NOTHING, 3, at=0)
    assert ids[0].tolist() == [2, 1, 3]
    assert scores[0] == pytest.approx([1.0, 1.0, 0.5])


def test_equal_scores_come_in_the_order_of_their_ids() -> None:
    machine, design = flat([1.0] * 100, ids=range(1000, 0, -10))
    assert topn.best(machine, design, [7], NOTHING, 12, at=0)[0][0].tolist() == list(
        range(10, 130, 10)
    )


def test_a_user_who_has_seen_nearly_all_gets_what_is_left() -> None:
    machine, design = flat([1.0, 2.0, 3.0, 4.0])
    seen = pd.DataFrame({"user_id": [7, 7, 7, 7], "item_id": [4, 2, 4, 99]})
    ids, scores = topn.best(machine, design, [7], seen, 3, at=0)
    assert ids[0].tolist() == [3, 1, topn.NO_ITEM]
    assert scores[0, :2].tolist() == [3.0, 1.0]
    assert np.isnan(scores[0, 2])


def test_what_others_have_seen_is_still_recommended() -> None:
    machine = model(0.0, [0, 0, 1, 2], np.zeros((4, 1)))
    design = Sides.of_ids([1, 2], [10, 20])
    seen = pd.DataFrame({"user_id": [2, 3], "item_id": [20, 10]})
    ids, _ = topn.best(machine, design, [2, 1, 2], seen, 1, at=0)
    assert ids[:, 0].tolist() == [10, 20, 10]


def test_rows_carry_rank_id_title_and_score() -> None:
    machine, design = flat([1.0, 3.0, 2.0])
    items = pd.DataFrame({"item_id": [2, 1], "title": ["Vertigo (1958)", "Alien (1979)"]})
    rows = topn.recommend(machine, design, NOTHING, items, 7, 5, at=0)
    assert rows == [
        {"rank": 1, "item_id": 2, "title": "Vertigo (1958)", "score": 3.0},
        {"rank": 2, "item_id": 3, "title": "item 3", "score": 2.0},
        {"rank": 3, "item_id": 1, "title": "Alien (1979)", "score": 1.0},
    ]
    assert type(rows[0]["item_id"]) is int
    assert type(rows[0]["score"]) is float


def test_an_unknown_user_is_named_with_the_way_out() -> None:
    machine, design = flat([1.0])
    items = pd.DataFrame({"item_id": [1], "title": ["Alien (1979)"]})
    with pytest.raises(DataError, match=r"user 8 is not known .* from 7 to 7: choose one"):
        topn.recommend(machine, design, NOTHING, items, 8, 1, at=0)


def test_model_and_id_map_of_different_runs_are_refused() -> None:
    machine, _ = flat([1.0, 2.0])
    with pytest.raises(EvaluationError, match="3 columns, the id map 2"):
        topn.best(machine, Sides.of_ids([7], [1]), [7], NOTHING, 1, at=0)


def test_asking_for_nothing_is_an_error() -> None:
    machine, design = flat([1.0])
    with pytest.raises(ConfigurationError, match="at least one"):
        topn.best(machine, design, [7], NOTHING, 0, at=0)


def test_side_features_of_both_sides_count_once_each_and_with_each_other() -> None:
    # Columns: user 1, items 10 and 20, an age band, two genres.
    w = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    V = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 0.0], [0.5, 0.5], [0.0, -1.0]]
    users = np.array([[1, 0, 0, 1, 0, 0]], np.float32)
    items = np.array([[0, 1, 0, 0, 1, 1], [0, 0, 1, 0, 0, 0.5]], np.float32)
    design = Sides(Space(np.array([1]), np.array([10, 20]), 6), users, items)
    machine = model(1.0, w, V)
    ids, scores = topn.best(machine, design, [1], NOTHING, 2, at=0)
    # User: S = (3, 0), c = 0.5 + 2. Item 10: S = (0.5, 0.5), c = 1.3 + 0.5 - 1 - 0.5.
    # Item 20: S = (1, 0.5), c = 0.6 - 0.5.
    assert ids.tolist() == [[20, 10]]
    assert scores[0] == pytest.approx([1 + 2.5 + 0.1 + 3, 1 + 2.5 + 0.3 + 1.5])
    assert scores[0] == pytest.approx(machine.raw(csr_matrix(users + items))[::-1])


def test_the_moment_of_asking_reaches_the_columns() -> None:
    class ByDay(Sides):
        def user_side(self, user_ids, at):
            return csr_matrix(np.array([[1, 0, 0, at == 1]] * len(user_ids), np.float32))

    design = ByDay(
        Space(np.array([1]), np.array([10, 20]), 4),
        np.zeros((1, 4), np.float32),
        np.eye(4, dtype=np.float32)[1:3],
    )
    machine = model(0.0, [0, 2, 1, 0], [[0.0], [0.0], [1.0], [5.0]])
    assert topn.best(machine, design, [1], NOTHING, 1, at=0)[0].tolist() == [[10]]
    assert topn.best(machine, design, [1], NOTHING, 1, at=1)[0].tolist() == [[20]]


def test_nobody_asks_for_nothing() -> None:
    machine, design = flat([1.0])
    ids, scores = topn.best(machine, design, [], NOTHING, 3, at=0)
    assert ids.shape == scores.shape == (0, 3)


def test_what_is_not_allowed_is_never_listed() -> None:
    machine, design = flat([5.0, 4.0, 3.0, 2.0, 1.0])
    seen = pd.DataFrame({"user_id": [7], "item_id": [3]})
    allowed = np.array([False, True, True, False, True])
    ids, scores = topn.best(machine, design, [7], seen, 3, at=0, allowed=allowed)
    assert ids[0].tolist() == [2, 5, topn.NO_ITEM]
    assert scores[0, :2].tolist() == [4.0, 1.0]
    assert np.isnan(scores[0, 2])
    items = pd.DataFrame({"item_id": [1, 2], "title": ["Alien (1979)", "Vertigo (1958)"]})
    rows = topn.recommend(machine, design, seen, items, 7, 5, at=0, allowed=allowed)
    assert [(row["rank"], row["title"]) for row in rows] == [(1, "Vertigo (1958)"), (2, "item 5")]


def test_where_nothing_is_allowed_the_lists_are_empty() -> None:
    machine, design = flat([1.0, 2.0])
    allowed = np.zeros(2, bool)
    ids, scores = topn.best(machine, design, [7, 7], NOTHING, 2, at=0, allowed=allowed)
    assert ids.tolist() == [[topn.NO_ITEM] * 2] * 2
    assert np.isnan(scores).all()


@pytest.mark.parametrize(
    ("allowed", "said"),
    [
        (np.ones(3, bool), r"array of bool of shape \(3,\)"),
        (np.array([0, 1]), r"array of int64 of shape \(2,\)"),
    ],
)
def test_a_mask_that_is_not_one_is_refused(allowed: np.ndarray, said: str) -> None:
    machine, design = flat([1.0, 2.0])
    with pytest.raises(EvaluationError, match=said + ".*a bool for each of the 2 trained items"):
        topn.best(machine, design, [7], NOTHING, 1, at=0, allowed=allowed)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["w0", "w", "V"])
def test_a_model_with_parameters_that_are_no_numbers_is_refused(bad: float, where: str) -> None:
    machine, design = flat([1.0, 2.0])
    value = np.array(getattr(machine, where))
    value[(0,) * value.ndim] = bad
    with pytest.raises(EvaluationError, match=r"not finite numbers.*train it again"):
        topn.best(replace(machine, **{where: value}), design, [7], NOTHING, 1, at=0)


@pytest.mark.parametrize("side", ["user", "item"])
def test_rows_that_hold_no_numbers_are_refused(side: str) -> None:
    machine, design, _ = checkerboard(4)
    broken = getattr(design, f"{side}_side")

    def with_nan(*given: Any) -> Any:
        rows = broken(*given).copy()
        rows.data[0] = np.nan
        return rows

    object.__setattr__(design, f"{side}_side", with_nan)
    named = {"user": "users", "item": "films"}[side]
    with pytest.raises(EvaluationError, match=f"design matrix of the {named}"):
        topn.best(machine, design, [1, 2], NOTHING, 2, at=0)


def test_a_failure_among_many_blocks_is_not_lost() -> None:
    class Failing(Sides):
        def user_side(self, user_ids, at):
            if 5 in user_ids:
                raise DataError("user 5 is damaged")
            return super().user_side(user_ids, at)

    design = Failing.of_ids(range(1, 9), [1])
    machine = model(0.0, np.zeros(9), np.zeros((9, 1)))
    with (
        mock.patch.object(topn, "_BLOCK_ROWS", 1),
        pytest.raises(DataError, match="user 5 is damaged"),
    ):
        topn.best(machine, design, range(1, 9), NOTHING, 1, at=0)


def peak_bytes(machine: Model, design: Sides, users: int, n: int) -> int:
    wanted = np.ones(users, np.int64)
    with mock.patch.multiple(topn, _BLOCK_BYTES=1 << 20, _THREADS=1):
        tracemalloc.start()
        try:
            topn.best(machine, design, wanted, NOTHING, n, at=0)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


def test_a_further_user_costs_no_more_than_a_list() -> None:
    design = Sides.of_ids([1], range(1, 1001))
    rng = np.random.default_rng(0)
    machine = model(0.0, rng.normal(size=1001), rng.normal(size=(1001, 8)))
    few, many = (peak_bytes(machine, design, users, 10) for users in (2000, 6000))
    # An id and a score of eight bytes at each of ten places, and as much again for what counts
    # the users; their scores of all items would be 4000 bytes each.
    assert many - few < 4000 * 2 * 160


def test_equal_scores_of_all_items_need_no_more_room() -> None:
    # All that is in a block is left to rank: at once it would be 65 users times 4000 items times
    # 64 factors of eight bytes, 133 MB, twice.
    design = Sides.of_ids([1], range(1, 4001))
    machine = model(0.0, np.zeros(4001), np.zeros((4001, 64)))
    assert peak_bytes(machine, design, 65, 10) < 80_000_000
    ids, _ = topn.best(machine, design, [1] * 65, NOTHING, 10, at=0)
    assert ids.tolist() == [list(range(1, 11))] * 65


def test_an_item_without_a_title_is_named_by_its_id() -> None:
    machine, design = flat([1.0])
    items = pd.DataFrame({"item_id": [1], "title": [None]})
    assert topn.recommend(machine, design, NOTHING, items, 7, 1, at=0)[0]["title"] == "item 1"
