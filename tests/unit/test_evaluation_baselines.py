"""Baselines: hand-worked, against an independent solver, and on ML-100K."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from scipy.sparse.linalg import spsolve

from fmrec.errors import EvaluationError
from fmrec.evaluation import baselines, metrics


def test_one_user_and_one_item_share_what_one_rating_leaves() -> None:
    # Ratings 5 and 1 by different users of different films: mean 3, rest +2 and -2. Sweeping
    # b_i = (rest - b_u) / 6 and b_u = (rest - b_i) / 6 settles at 2 / 7 each.
    model = baselines.fit_biases([1, 2], [10, 20], [5.0, 1.0])
    assert model.mean == 3.0
    assert model.item_bias == pytest.approx([2 / 7, -2 / 7], abs=1e-6)
    assert model.user_bias == pytest.approx([2 / 7, -2 / 7], abs=1e-6)
    assert model.predict([1], [10]) == pytest.approx([3 + 4 / 7])


def test_an_unknown_user_or_item_adds_nothing() -> None:
    model = baselines.fit_biases([1, 2], [10, 20], [5.0, 1.0])
    known_user, known_item, neither = model.predict([1, 99, 0], [5, 10, 99])
    assert known_user == pytest.approx(3 + model.user_bias[0])
    assert known_item == pytest.approx(3 + model.item_bias[0])
    assert neither == 3.0


def test_the_sweeps_reach_the_minimum_of_the_stated_objective() -> None:
    rng = np.random.default_rng(5)
    users, items = rng.integers(1, 30, 600), rng.integers(1, 40, 600)
    ratings = rng.integers(1, 6, 600).astype(float)
    model = baselines.fit_biases(users, items, ratings)

    columns = np.column_stack([users, 30 + items])
    design = csr_array(
        (np.ones(1200), columns.ravel(), np.arange(0, 1201, 2)), shape=(600, 70)
    ).toarray()
    normal = csr_array(design.T @ design + 5 * np.eye(70)).tocsc()
    solved = spsolve(normal, design.T @ (ratings - ratings.mean()))
    assert model.user_bias == pytest.approx(solved[model.user_ids], abs=1e-3)
    assert model.item_bias == pytest.approx(solved[30 + model.item_ids], abs=1e-3)


def test_probabilities_are_kept_away_from_certainty() -> None:
    assert baselines.clip_to_probability([-0.3, 0.05, 0.5, 1.2]).tolist() == [0.05, 0.05, 0.5, 0.95]


def test_no_events_or_columns_of_different_length_are_errors() -> None:
    with pytest.raises(EvaluationError, match="no training events"):
        baselines.fit_biases([], [], [])
    with pytest.raises(EvaluationError, match="three columns"):
        baselines.fit_biases([1, 2], [1, 2], [3.0])


def read(data_dir, member: str) -> pd.DataFrame:
    with zipfile.ZipFile(data_dir / "ml-100k.zip") as archive:
        return pd.read_csv(
            io.BytesIO(archive.read(f"ml-100k/{member}")),
            sep="\t",
            names=["user_id", "item_id", "rating", "timestamp"],
        )


@pytest.mark.data
def test_the_bias_baseline_on_ml_100k_is_as_good_as_the_field_knows_it(data_dir) -> None:
    train, test = read(data_dir, "u1.base"), read(data_dir, "u1.test")
    model = baselines.fit_biases(train["user_id"], train["item_id"], train["rating"])
    predicted = metrics.clip_to_scale(model.predict(test["user_id"], test["item_id"]), (1, 5))
    # Others' bias baselines on u1 lie between .955 and .960.
    assert metrics.rmse(test["rating"], predicted) == pytest.approx(0.9550, abs=5e-4)
    assert metrics.rmse(test["rating"], np.full(len(test), model.mean)) == pytest.approx(
        1.1537, abs=5e-4
    )
