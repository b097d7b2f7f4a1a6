"""Lists of ten: figures worked by hand, an independent slow protocol, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score, roc_auc_score

from fmrec.errors import EvaluationError
from fmrec.evaluation import ranking, report
from fmrec.evaluation.ranking import Popularity, Ranked, judged_users, per_user

RUN = {
    "run_id": "manual__1998-03-01",
    "as_of": "1998-03-01T00:00:00+00:00",
    "source": "ml-100k",
    "generated": False,
    "split": "u1",
    "objective": "ranking",
    "seed": 7,
    "rating_scale": [1, 5],
}


def events(*rows: tuple[int, int, float]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["user_id", "item_id", "rating"]).astype(
        {"user_id": np.int64, "item_id": np.int64, "rating": np.float32}
    )


def world(seed: int, users: int = 15, items: int = 40) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and test events, no pair in both; some films are in the test part alone."""
    rng = np.random.default_rng(seed)
    user, item = np.nonzero(rng.random((users, items)) < rng.uniform(0.2, 0.9))
    frame = events(*zip(user + 3, 2 * item + 5, rng.integers(1, 6, user.size), strict=True))
    test = rng.random(len(frame)) < 0.4
    test |= (frame["item_id"] < 15).to_numpy()
    return frame[~test].reset_index(drop=True), frame[test].reset_index(drop=True)


def popular_by_hand(train: pd.DataFrame, seen: pd.DataFrame, user: int) -> list[int]:
    likes = dict.fromkeys(train["item_id"].tolist(), 0)
    for item, rating in zip(train["item_id"].tolist(), train["rating"].tolist(), strict=True):
        likes[item] += rating >= 4
    taken = set(seen.loc[seen["user_id"] == user, "item_id"].tolist())
    order = sorted((-count, item) for item, count in likes.items() if item not in taken)
    return [item for _, item in order[:10]]


def by_hand(listed: list[int], relevant: set[int]) -> dict[str, float]:
    hits = [place for place, item in enumerate(listed, start=1) if item in relevant]
    reachable = min(10, len(relevant))
    ideal = sum(1 / math.log2(place + 1) for place in range(1, reachable + 1))
    return {
        "ndcg@10": sum(1 / math.log2(place + 1) for place in hits) / ideal,
        "precision@10": len(hits) / 10,
        "recall@10": len(hits) / len(relevant),
        "map@10": sum(n / place for n, place in enumerate(hits, start=1)) / reachable,
    }


def test_the_four_figures_worked_by_hand() -> None:
    # Three relevant items, of which the training part never saw 99; hits at places 1 and 4.
    test = events((7, 11, 5), (7, 14, 4), (7, 99, 4.5), (7, 12, 3.5), (8, 12, 5))
    made = per_user(np.array([7]), np.array([[11, 12, 13, 14, 15, 16, 17, 18, 19, 20]]), test)
    ideal = 1 + 1 / math.log2(3) + 0.5
    assert made["ndcg@10"][0] == pytest.approx((1 + 1 / math.log2(5)) / ideal)
    assert made["ndcg@10"][0] == pytest.approx(0.671386)
    assert made["precision@10"][0] == pytest.approx(0.2)
    assert made["recall@10"][0] == pytest.approx(2 / 3)
    assert made["map@10"][0] == pytest.approx((1 + 2 / 4) / 3)


def test_with_more_than_ten_relevant_items_ten_hits_are_perfect() -> None:
    test = events(*((1, item, 5) for item in range(1, 21)))
    made = per_user(np.array([1]), np.arange(3, 13)[None], test)
    assert made["ndcg@10"][0] == pytest.approx(1)
    assert (made["precision@10"][0], made["recall@10"][0]) == (1, 0.5)
    assert made["map@10"][0] == pytest.approx(1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_figures_and_popular_lists_are_those_of_a_slow_protocol(seed: int) -> None:
    train, test = world(seed)
    relevant = test[test["rating"] >= 4]
    expected = sorted(set(train["user_id"]) & set(relevant["user_id"]))
    if not expected:
        return
    users = judged_users(train, test)
    assert users.tolist() == expected
    # Some of the test events stand for a validation part, which is seen too.
    seen = pd.concat([train, test[test["item_id"] % 4 == 1]])
    lists = Popularity.of(train).lists(users, seen)
    made = per_user(users, lists, test)
    for row, user in enumerate(expected):
        listed = popular_by_hand(train, seen, user)
        assert lists[row].tolist() == listed + [ranking.NO_ITEM] * (10 - len(listed))
        wanted = set(relevant.loc[relevant["user_id"] == user, "item_id"].tolist())
        for name, value in by_hand(listed, wanted).items():
            assert made[name][row] == pytest.approx(value)
            assert 0 <= value <= 1 + 1e-12


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 25))
def test_ndcg_is_that_of_scikit_learn_where_every_item_can_be_listed(seed, relevant) -> None:
    rng = np.random.default_rng(seed)
    truth = np.zeros(40)
    truth[rng.permutation(40)[:relevant]] = 1
    scores = rng.permutation(40).astype(float)
    test = events(*((5, item + 1, 5 if liked else 1) for item, liked in enumerate(truth)))
    best = np.argsort(-scores)[:10] + 1
    made = per_user(np.array([5]), best[None], test)
    assert made["ndcg@10"][0] == pytest.approx(ndcg_score([truth], [scores], k=10))


def test_ids_beyond_a_dense_table_are_found_too() -> None:
    big = 2**40
    train = events((big, big + 1, 5), (big, big + 2, 5), (big + 9, big + 3, 5))
    test = events((big, big + 3, 5))
    users = judged_users(train, test)
    lists = Popularity.of(train).lists(users, train)
    assert lists[0].tolist() == [big + 3] + [-1] * 9
    assert per_user(users, lists, test)["ndcg@10"].tolist() == [1.0]
    ranking.check(Ranked(users, lists, train), train, test)


def made(seed: int = 1, *, reverse: bool = False, **changes: Any) -> dict[str, Any]:
    train, test = world(seed, users=60)
    users = judged_users(train, test)
    lists = np.full((users.size, 10), ranking.NO_ITEM)
    for row, user in enumerate(users.tolist()):
        mine = test[(test["user_id"] == user) & test["item_id"].isin(train["item_id"])]
        mine = mine.sort_values("rating", ascending=reverse)["item_id"].to_numpy()[:10]
        lists[row, : mine.size] = mine
    scores = (1 if reverse else -1) * -test["rating"].to_numpy(float)
    given_ = {
        "run": RUN,
        "train": train,
        "test": test,
        "scores": scores,
        "ranked": Ranked(users, lists, train),
    }
    return report.build(**given_ | changes)


def test_the_report_of_a_ranking() -> None:
    train, test = world(1, users=60)
    content = made()
    users = judged_users(train, test)
    popular = Popularity.of(train).lists(users, train)
    expected = {name: each.mean() for name, each in per_user(users, popular, test).items()}
    likes = train[train["rating"] >= 4].groupby("item_id").size()
    expected["auc"] = roc_auc_score(test["rating"] >= 4, test["item_id"].map(likes).fillna(0))
    assert content["baselines"] == {"popularity": pytest.approx(expected)}
    assert content["metrics"]["auc"] == 1
    verdict = content["verdict"]
    assert verdict["headline"] == "The model beats the popularity baseline"
    assert verdict["outcome"] == "better"
    assert (verdict["metric"], verdict["against"], verdict["better"]) == (
        "ndcg@10",
        "popularity",
        "more",
    )
    assert verdict["candidate"] == pytest.approx(content["metrics"]["ndcg@10"])
    assert verdict["difference"] > 0
    assert f"Over the lists of {users.size} users the model's NDCG@10 is" in verdict["sentence"]
    assert "higher (better) than" in verdict["sentence"]
    assert content["counts"]["ranked_users"] == verdict["users"] == users.size
    assert content["calibration"] == content["residuals"] == []


def test_a_model_that_lists_what_is_disliked_loses() -> None:
    verdict = made(reverse=True)["verdict"]
    assert verdict["outcome"] == "worse"
    assert verdict["headline"] == "The model loses to the popularity baseline"
    assert "lower (worse)" in verdict["sentence"]


def test_scores_need_only_an_order_but_lists_are_needed() -> None:
    _, test = world(1, users=60)
    assert made(scores=1000.0 * test["rating"].to_numpy(float))["metrics"]["auc"] == 1
    with pytest.raises(EvaluationError, match="judged by lists, and none were given"):
        made(ranked=None)


def test_without_anyone_to_judge_the_way_out_is_named() -> None:
    train, test = events((1, 1, 5)), events((2, 1, 5), (1, 2, 3))
    with pytest.raises(EvaluationError, match="choose another as_of or split"):
        judged_users(train, test)


def test_lists_against_the_protocol_are_refused() -> None:
    train = events(*((u, i, 5) for u in (1, 2) for i in range(10 * u, 10 * u + 10)))
    test = events((1, 20, 5), (2, 10, 5))
    users = judged_users(train, test)
    good = Ranked(users, Popularity.of(train).lists(users, train), train)
    ranking.check(good, train, test)

    def refused(says: str, lists: np.ndarray | None = None, **changes: Any) -> None:
        wrong = good if lists is None else replace(good, items=lists)
        with pytest.raises(EvaluationError, match=says):
            ranking.check(replace(wrong, **changes), train, test)

    def with_(row: int, place: int, item: int) -> np.ndarray:
        lists = good.items.copy()
        lists[row, place] = item
        return lists

    refused("lists of 1 users, 2 are to be judged", users=users[:1])
    refused(r"shape \(2, 9\)", good.items[:, :9])
    refused("list of user 1 holds item 777, which was not trained on", with_(0, 4, 777))
    refused("list of user 2 holds item 25, which was seen before", with_(1, 0, 25))
    refused("list of user 1 holds item 20 twice", with_(0, 9, 20))
