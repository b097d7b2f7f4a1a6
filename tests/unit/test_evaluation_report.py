"""The report: its figures, its laws of counting, its strictness, and its honesty."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fmrec.errors import EvaluationError
from fmrec.evaluation import diagnostics, metrics, report
from fmrec.evaluation.baselines import fit_biases
from fmrec.evaluation.learning_curve import Point

RUN = {
    "run_id": "manual__1998-03-01",
    "as_of": "1998-03-01T00:00:00+00:00",
    "source": "ml-100k",
    "generated": False,
    "split": "time",
    "objective": "rating",
    "use": "rating",
    "seed": 7,
    "rating_scale": [1.0, 5.0],
}


def world(seed: int = 0, size: int = 400) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Training and test events of a taste no bias explains, and that taste."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(1, 21, size), rng.integers(1, 31, size)
    taste = np.where((users + items) % 2 == 0, 4.5, 1.5)
    rating = np.clip(np.round(taste + rng.normal(0, 0.4, size)), 1, 5)
    events = pd.DataFrame(
        {"user_id": users, "item_id": items, "rating": rating.astype(np.float32), "timestamp": 0}
    )
    half = size // 2
    return events[:half].reset_index(drop=True), events[half:].reset_index(drop=True), taste[half:]


def built(**changes: Any) -> dict[str, Any]:
    train, test, taste = world()
    run = RUN | changes.pop("run", {})
    run["use"] = run["use"] if run["use"] == "ranking" else run["objective"]
    scores = taste if run["objective"] == "rating" else (taste - 1) / 4
    return report.build(**{"run": run, "train": train, "test": test, "scores": scores} | changes)


def test_metrics_are_those_of_the_clipped_predictions_and_the_report_says_how_many() -> None:
    train, test, taste = world()
    scores = taste * 1.2
    made = built(scores=scores)
    clipped = np.clip(scores, 1, 5)
    assert made["metrics"]["rmse"] == pytest.approx(metrics.rmse(test["rating"], clipped))
    assert made["metrics"]["mae"] == pytest.approx(metrics.mae(test["rating"], clipped))
    assert made["metrics"]["rmse_unclipped"] == pytest.approx(metrics.rmse(test["rating"], scores))
    assert made["counts"]["clipped"] == int((scores > 5).sum()) > 0
    assert made["baselines"]["global_mean"]["rmse"] == pytest.approx(
        metrics.rmse(test["rating"], np.full(len(test), train["rating"].mean()))
    )


def test_the_like_objective_has_its_own_metrics_on_its_own_labels() -> None:
    train, test, taste = world()
    made = built(run={"objective": "like"})
    liked = test["rating"] >= 4
    assert made["metrics"] == pytest.approx(
        {
            "accuracy": metrics.accuracy(liked, (taste - 1) / 4),
            "cross_entropy": metrics.cross_entropy(liked, (taste - 1) / 4),
            "f1": metrics.f1(liked, (taste - 1) / 4),
            "calibration_error": metrics.calibration_error(liked, (taste - 1) / 4),
            "auc": metrics.auc(liked, (taste - 1) / 4),
        }
    )
    rate = (train["rating"] >= 4).mean()
    assert made["baselines"]["global_mean"]["cross_entropy"] == pytest.approx(
        metrics.cross_entropy(liked, np.full(len(test), rate))
    )
    assert set(made["baselines"]["user_item_bias"]) == set(made["metrics"])
    assert "clipped" not in made["counts"]


def test_the_verdict_follows_the_truth_both_ways_and_when_there_is_nothing_to_tell() -> None:
    assert built()["verdict"]["outcome"] == "better"
    assert "lower (better)" in built()["verdict"]["sentence"]
    _, _, taste = world()
    worse = built(scores=6 - taste)["verdict"]
    assert worse["outcome"] == "worse"
    assert worse["headline"].startswith("The model loses")
    assert "higher (worse)" in worse["sentence"]


def test_the_baseline_itself_cannot_be_told_apart_from_the_baseline() -> None:
    train, test, _ = world()
    bias = fit_biases(train["user_id"], train["item_id"], train["rating"])
    made = built(scores=bias.predict(test["user_id"], test["item_id"]))
    assert made["verdict"]["outcome"] == "undecided"
    assert made["verdict"]["difference"] == 0
    assert "cannot be told apart" in made["verdict"]["headline"]
    assert "equal" in made["verdict"]["sentence"]


def test_generated_ratings_are_named_as_such_in_the_headline() -> None:
    made = built(run={"generated": True, "source": "sample"})
    assert made["verdict"]["headline"] == (
        "On generated data: the model beats the user + item bias baseline"
    )
    assert "were generated" in made["verdict"]["sentence"]
    assert "generated" not in built()["verdict"]["sentence"]


def test_a_single_test_user_leaves_the_verdict_open() -> None:
    _, test, taste = world()
    one = (test["user_id"] == test["user_id"].iloc[0]).to_numpy()
    made = built(test=test[one], scores=taste[one])
    assert made["verdict"]["outcome"] == "undecided"
    assert made["verdict"]["low"] is None
    assert "no interval" in made["verdict"]["sentence"]


def test_counts_add_up() -> None:
    train, test, _ = world()
    test = test.copy()
    test.loc[[0, 1], "user_id"] = 777
    test.loc[[1, 2, 3], "item_id"] = 888
    counts = built(test=test, counts={"validation": 3, "test": len(test) + 5, "set_aside": 5})[
        "counts"
    ]
    assert counts["events"] == counts["predictions"] == len(test)
    assert counts["train"] == len(train)
    assert (counts["unknown_user"], counts["unknown_item"], counts["unknown_both"]) == (1, 2, 1)
    assert counts["test"] - counts["set_aside"] == counts["events"]
    assert counts["validation"] == 3


def test_bins_and_residuals_cover_every_event_once() -> None:
    made = built()
    size = made["counts"]["events"]
    assert sum(row["count"] for row in made["calibration"]) == size
    assert sum(row["count"] for row in made["residuals"]) == size
    for one in (made["calibration"], made["residuals"]):
        assert all(row["count"] > 0 for row in one)
    mean_residual = sum(row["count"] * row["mean"] for row in made["residuals"]) / size
    gap = sum(row["count"] * (row["predicted"] - row["actual"]) for row in made["calibration"])
    assert mean_residual == pytest.approx(gap / size)
    for row in made["residuals"]:
        quantiles = [row[name] for name in ("q05", "q25", "median", "q75", "q95")]
        assert quantiles == sorted(quantiles)


def test_the_bias_baseline_is_clipped_as_the_model_is() -> None:
    train, test, _ = world()
    train = train.assign(rating=np.where(train["item_id"] % 2 == 0, 5.0, 1.0))
    train.loc[train["user_id"] <= 10, "rating"] = 5.0
    bias = fit_biases(train["user_id"], train["item_id"], train["rating"])
    predicted = bias.predict(test["user_id"], test["item_id"])
    assert (predicted > 5).any()
    made = built(train=train)["baselines"]["user_item_bias"]
    assert made["rmse"] == pytest.approx(metrics.rmse(test["rating"], np.clip(predicted, 1, 5)))


def test_half_stars_are_clipped_to_and_listed_on_their_own_scale() -> None:
    train, test, taste = world()
    half = [frame.assign(rating=frame["rating"] - 0.5) for frame in (train, test)]
    scores = taste - 2  # -0.5 or 2.5
    with pytest.raises(EvaluationError, match=r"0\.5 of training event \d+ is not within 1\.\.5"):
        built(train=half[0], test=half[1], scores=scores)
    made = built(run={"rating_scale": [0.5, 5]}, train=half[0], test=half[1], scores=scores)
    assert made["counts"]["clipped"] == int((scores < 0.5).sum()) > 0
    assert made["metrics"]["rmse"] == pytest.approx(
        metrics.rmse(half[1]["rating"], np.clip(scores, 0.5, 5))
    )
    given = [row["rating"] for row in made["residuals"]]
    assert given == sorted(set(half[1]["rating"].tolist()))
    assert 0.5 in given


def test_what_is_known_of_the_data_is_passed_on() -> None:
    made = built(
        counts={"refused": 3, "superseded": 5},
        refused_by_check={"range": 2, "id": 1},
        data_notes=["A day was empty."],
    )
    assert made["data"] == {
        "notes": ["A day was empty."],
        "refused_by_check": {"range": 2, "id": 1},
    }
    assert (made["counts"]["refused"], made["counts"]["superseded"]) == (3, 5)
    assert built()["data"] == {"notes": [], "refused_by_check": {}}


def test_calibration_and_residuals_worked_by_hand() -> None:
    predicted = np.array([1.0, 1.0, 4.0, 4.0])
    actual = np.array([1.0, 2.0, 4.0, 3.0])
    assert diagnostics.calibration(actual, predicted) == [
        {"count": 2, "predicted": 1.0, "actual": 1.5},
        {"count": 2, "predicted": 4.0, "actual": 3.5},
    ]
    rows = diagnostics.residuals_by_rating(np.array([2.0, 2.0, 5.0, 2.0]), actual, predicted)
    # residuals 0, -1 and +1 of rating 2; 0 of rating 5
    assert [(row["rating"], row["count"], row["mean"]) for row in rows] == [(2, 3, 0), (5, 1, 0)]
    quantiles = [rows[0][name] for name in ("q05", "q25", "median", "q75", "q95")]
    assert quantiles == pytest.approx([-0.9, -0.5, 0.0, 0.5, 0.9])


def test_equal_predictions_share_one_bin() -> None:
    made = built(scores=np.full(200, 3.0))
    (only,) = made["calibration"]
    assert only["count"] == 200
    assert only["predicted"] == 3.0


def test_the_same_run_gives_the_same_bytes_and_another_seed_another_interval() -> None:
    first = report.to_json(built())
    assert report.to_json(built()) == first
    train, test, taste = world()
    reordered = dict(reversed(list(RUN.items())))
    again = report.build(run=reordered, train=train, test=test, scores=taste)
    assert report.to_json(again) == first
    assert built(run={"seed": 8})["verdict"]["low"] != built()["verdict"]["low"]


def test_what_json_cannot_say_becomes_null_and_a_note() -> None:
    _, test, _ = world()
    liked = test[test["rating"] >= 4]
    made = built(
        run={"objective": "like"},
        test=liked,
        scores=np.full(len(liked), 0.4),
        learning_curve=[Point("train", "cross_entropy", 0, math.nan)],
    )
    assert made["metrics"]["auc"] is None
    assert made["notes"] == ["AUC is undefined: all test events have the same label"]
    assert made["learning_curve"][0]["value"] is None
    text = report.to_json(made)

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    assert json.loads(text, parse_constant=refuse) == made


def test_numpy_numbers_become_plain_ones_and_what_cannot_be_said_is_named() -> None:
    made = built(run={"rate": np.float32(0.5), "size": np.int64(3), "flags": (np.True_, None)})
    assert made["run"]["rate"] == 0.5
    assert made["run"]["flags"] == [True, None]
    assert type(made["run"]["size"]) is int
    with pytest.raises(EvaluationError, match=r"run\.started is a datetime"):
        built(run={"started": datetime(2026, 1, 1, tzinfo=UTC)})


def test_neither_the_events_nor_the_run_are_changed() -> None:
    train, test, taste = world()
    before = train.copy(), test.copy(), taste.copy(), dict(RUN)
    report.build(run=RUN, train=train, test=test, scores=taste)
    pd.testing.assert_frame_equal(train, before[0])
    pd.testing.assert_frame_equal(test, before[1])
    assert np.array_equal(taste, before[2])
    assert before[3] == RUN


@pytest.mark.parametrize("size", [0, 199, 201])
def test_a_number_of_predictions_that_is_not_that_of_the_events(size: int) -> None:
    with pytest.raises(EvaluationError, match=f"{size} predictions for 200 test events"):
        built(scores=np.full(size, 3.0))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"run": {"objective": "guess"}}, "objective 'guess' .* 'rating', 'like', 'ranking'"),
        ({"run": {"objective": "ranking"}}, "none were given"),
        ({"run": {"rating_scale": [5, 1]}}, r"rating_scale is \[5, 1\]"),
        ({"run": {"rating_scale": 5}}, "rating_scale is 5"),
        ({"counts": {"refused": 2}, "refused_by_check": {"id": 1}}, "2 rows were refused, and 1"),
        ({"refused_by_check": {"id": 1}}, "0 rows were refused, and 1"),
        ({"run": {"generated": "no"}}, "generated is 'no'"),
        ({"counts": {"train": 1}}, "counted 1 for train, the events hold 200"),
        ({"counts": {"test": 200, "set_aside": 1}}, "counted twice or not at all"),
        ({"jobs": [{"name": "j", "status": "Completed"}]}, "job 1 lack seconds"),
        ({"scores": np.full(200, np.nan)}, "not a finite number"),
        ({"run": {"objective": "like"}, "scores": np.full(200, 3.5)}, "not a probability"),
    ],
)
def test_what_does_not_belong_together_is_refused(changes, says) -> None:
    with pytest.raises(EvaluationError, match=says):
        built(**changes)


@pytest.mark.parametrize("key", sorted(RUN))
def test_a_run_fact_that_is_missing_is_named(key: str) -> None:
    train, test, taste = world()
    run = {name: value for name, value in RUN.items() if name != key}
    with pytest.raises(EvaluationError, match=f"lack {key}:"):
        report.build(run=run, train=train, test=test, scores=taste)


def test_events_that_are_empty_incomplete_or_off_the_scale_are_refused() -> None:
    train, test, taste = world()
    with pytest.raises(EvaluationError, match="no test events"):
        built(test=test[:0], scores=taste[:0])
    with pytest.raises(EvaluationError, match="no training events"):
        built(train=train[:0])
    with pytest.raises(EvaluationError, match="test events lack the columns item_id"):
        built(test=test.drop(columns="item_id"))
    for bad in (0.0, 6.0, math.nan):
        with pytest.raises(EvaluationError, match=r"of training event 4 is not within 1\.\.5"):
            built(train=train.assign(rating=train["rating"].where(train.index != 4, bad)))
