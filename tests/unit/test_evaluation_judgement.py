"""A model beside its rivals: every figure and every difference, computed again another way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from fmrec.errors import EvaluationError
from fmrec.evaluation import judgement, metrics, ranking, report
from fmrec.evaluation.champion import Answers, Champion, enough
from fmrec.evaluation.listed import Lists
from fmrec.ratings.tables import ITEMS, USERS

SCALE = (1.0, 5.0)
RUN = {
    "run_id": "r", "as_of": "1998-03-01T00:00:00+00:00", "source": "s", "generated": False,
    "split": "time", "objective": "rating", "use": "rating", "seed": 3, "rating_scale": [1, 5],
}  # fmt: skip


class World:
    """Forty users and sixty films; a model that knows part of the taste, and its lists."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        pairs = rng.permutation(40 * 60)[:1600]
        users, items = pairs // 60 + 1, pairs % 60 + 1
        taste = np.where((users * 7 + items * 3) % 5 < 2, 4.6, 2.4)
        rating = np.clip(np.round(taste + rng.normal(0, 0.7, 1600)), 1, 5)
        events = pd.DataFrame({"user_id": users, "item_id": items, "rating": rating})
        self.train, self.test = events[:1100].reset_index(drop=True), events[1100:]
        self.test = self.test.reset_index(drop=True)
        self.scores = taste[1100:] + rng.normal(0, 0.3, 500)
        self.other = taste[1100:] + rng.normal(0, 0.9, 500)
        self.seen = self.train[["user_id", "item_id"]]
        self.users = ranking.judged_users(self.train, self.test)
        self.lists, self.worse = (self.ranked(rng, noise) for noise in (0.3, 1.5))
        self.catalogue = np.unique(self.train["item_id"].to_numpy())

    def ranked(self, rng: np.random.Generator, noise: float) -> np.ndarray:
        lists = np.full((self.users.size, ranking.DEPTH), -1)
        films = np.unique(self.train["item_id"].to_numpy())
        for row, user in enumerate(self.users):
            seen = set(self.train["item_id"][self.train["user_id"] == user])
            left = np.array([film for film in films if film not in seen])
            taste = np.where((user * 7 + left * 3) % 5 < 2, 4.6, 2.4)
            order = np.argsort(-(taste + rng.normal(0, noise, left.size)))[: ranking.DEPTH]
            lists[row, : order.size] = left[order]
        return lists

    def lists_with(self, **peers: np.ndarray) -> Lists:
        return Lists(self.users, self.seen, self.lists, peers)

    def judge(self, champion: Answers | None = None, **changes: Any) -> judgement.Judgement:
        lists = changes.pop("lists", self.lists_with(ease=self.worse))
        run = RUN | changes
        scores = self.scores
        if run["objective"] != "rating":
            scores = np.clip((scores - 1) / 4, 0, 1)
        return judgement.of(run, self.train, self.test, scores, lists, champion, scale=SCALE)

    def answers(self, fair: np.ndarray | None = None) -> Answers:
        fair = np.ones(500, dtype=bool) if fair is None else fair
        return Answers(fair, self.other, self.worse, self.catalogue)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def ndcg(world: World, lists: np.ndarray, users: list[int]) -> float:
    """By the definition, a user and a place at a time."""
    gains = []
    for user in users:
        rows = world.test[(world.test["user_id"] == user) & (world.test["rating"] >= 4)]
        wanted = set(rows["item_id"])
        row = lists[list(world.users).index(user), :10]
        best = sum(1 / np.log2(place + 2) for place in range(min(10, len(wanted))))
        found = sum(1 / np.log2(place + 2) for place, film in enumerate(row) if film in wanted)
        gains.append(found / best)
    return float(np.mean(gains))


def test_each_comparison_is_the_difference_of_two_figures_of_the_report(world: World) -> None:
    found = world.judge(world.answers())
    figures = {"model": found.metrics, **found.baselines, **found.peers}
    against = {(row["use"], row["against"]) for row in found.comparisons}
    assert against == {
        ("rating", "user_item_bias"), ("rating", "global_mean"), ("rating", "champion"),
        ("ranking", "user_item_bias"), ("ranking", "popularity"), ("ranking", "champion"),
        ("ranking", "ease"),
    }  # fmt: skip
    for row in found.comparisons:
        assert row["candidate"] == pytest.approx(found.metrics[row["metric"]])
        assert row["reference"] == pytest.approx(figures[row["against"]][row["metric"]])
        assert row["difference"] == pytest.approx(row["candidate"] - row["reference"])
        assert row["low"] <= row["difference"] <= row["high"]
    assert found.own.name == "rating"


def test_lists_are_judged_by_the_definition(world: World) -> None:
    found = world.judge(world.answers())
    users = world.users.tolist()
    assert found.metrics["ndcg@10"] == pytest.approx(ndcg(world, world.lists, users))
    assert found.peers["ease"]["ndcg@10"] == pytest.approx(ndcg(world, world.worse, users))
    biased = world.train.groupby("item_id")["rating"].agg(lambda r: (r >= 4).mean())
    assert found.baselines["user_item_bias"]["ndcg@10"] < found.metrics["ndcg@10"]
    assert len(biased) == world.catalogue.size


def test_the_champion_is_judged_on_the_events_that_it_has_not_learnt(world: World) -> None:
    fair = np.ones(500, dtype=bool)
    fair[:60] = False
    found = world.judge(world.answers(fair))
    truth = world.test["rating"].to_numpy()
    theirs = metrics.rmse(truth[60:], np.clip(world.other[60:], 1, 5))
    ours = metrics.rmse(truth[60:], np.clip(world.scores[60:], 1, 5))
    assert found.baselines["champion"]["rmse"] == pytest.approx(theirs)
    rows = {row["use"]: row for row in found.comparisons if row["against"] == "champion"}
    assert rows["rating"]["candidate"] == pytest.approx(ours)
    assert rows["rating"]["reference"] == pytest.approx(theirs)
    learnt = set(world.test["user_id"][:60])
    users = [user for user in world.users.tolist() if user not in learnt]
    assert 0 < len(users) < world.users.size
    assert rows["ranking"]["users"] == len(users)
    assert rows["ranking"]["candidate"] == pytest.approx(ndcg(world, world.lists, users))
    assert rows["ranking"]["reference"] == pytest.approx(ndcg(world, world.worse, users))
    others = [row for row in found.comparisons if row["against"] != "champion"]
    assert others == [row for row in world.judge().comparisons if row["against"] != "champion"], (
        "the champion changes nothing of what the model is otherwise compared with"
    )


def test_a_champion_of_another_objective_is_compared_by_lists_alone(world: World) -> None:
    answers = Answers(np.ones(500, dtype=bool), None, world.worse, world.catalogue)
    found = world.judge(answers, objective="like", use="ranking")
    rows = [row for row in found.comparisons if row["against"] == "champion"]
    assert [row["use"] for row in rows] == ["ranking"]
    assert "cross_entropy" not in found.baselines["champion"]


def test_a_ranking_is_judged_by_lists_and_the_order_of_its_scores(world: World) -> None:
    found = world.judge(objective="ranking", use="ranking")
    assert found.scored is None
    assert {row["use"] for row in found.comparisons} == {"ranking"}
    assert set(found.baselines) == {"popularity", "user_item_bias"}
    liked = world.test["rating"] >= 4
    scores = np.clip((world.scores - 1) / 4, 0, 1)
    assert found.metrics["auc"] == pytest.approx(metrics.auc(liked, scores))
    assert set(found.metrics) == set(found.baselines["popularity"])


def test_a_model_is_judged_for_the_use_it_is_meant_for(world: World) -> None:
    found = world.judge(use="ranking")
    assert (found.own.name, found.own.metric, found.own.baseline) == (
        "ranking", "ndcg@10", "popularity"
    )  # fmt: skip
    assert "rmse" in found.metrics
    with pytest.raises(EvaluationError, match="judged by lists, and none were given"):
        world.judge(use="ranking", lists=None)
    with pytest.raises(EvaluationError, match=r"use like .* objective rating can be judged for"):
        world.judge(use="like")


def test_without_lists_the_scores_are_judged_alone(world: World) -> None:
    found = world.judge(lists=None)
    assert found.listed is None
    assert "popularity" not in found.baselines
    assert found.peers == {}


def test_a_list_that_breaks_the_protocol_is_refused_by_name(world: World) -> None:
    twice = world.worse.copy()
    twice[0, 1] = twice[0, 0]
    with pytest.raises(EvaluationError, match=rf"ease.*user {world.users[0]}"):
        world.judge(lists=world.lists_with(ease=twice))
    strange = world.worse.copy()
    strange[0, 0] = 999
    answers = Answers(np.ones(500, dtype=bool), world.other, strange, world.catalogue)
    with pytest.raises(EvaluationError, match=r"champion.*999"):
        world.judge(answers)


def built(world: World, **changes: Any) -> dict[str, Any]:
    given = {
        "run": RUN, "train": world.train, "test": world.test, "scores": world.scores,
        "lists": world.lists_with(), "people": USERS.empty_table(), "films": ITEMS.empty_table(),
    }  # fmt: skip
    return report.build(**given | changes)


def test_the_report_tells_who_the_champion_is_and_what_was_left_out(world: World) -> None:
    fair = np.ones(500, dtype=bool)
    fair[:60] = False
    facts = {"run": "c", "as_of": "1998-02-01T00:00:00+00:00", "newest": {"run": "c"}}
    told = built(world, champion=Champion(facts, answers=world.answers(fair)))
    learnt = np.isin(world.users, world.test["user_id"][:60])
    assert told["champion"] == {
        **facts, "left_out_events": 60, "left_out_users": int(learnt.sum()), "problem": None
    }  # fmt: skip
    assert told["changes"]["users"] == world.users.size
    silent = built(world, champion=Champion(facts, problem="it is gone"))
    assert silent["champion"]["problem"] == "it is gone"
    assert silent["champion"]["left_out_events"] is None
    assert silent["changes"] is None


def test_every_test_user_is_judged_or_counted(world: World) -> None:
    test = world.test.copy()
    test.loc[test["user_id"] == test["user_id"][0], "rating"] = 1.0
    test.loc[test["user_id"] == test["user_id"].iloc[-1], "user_id"] = 4711
    users = ranking.judged_users(world.train, test)
    lists = Lists(users, world.seen, world.lists[np.isin(world.users, users)], {})
    counts = built(world, test=test, lists=lists)["counts"]
    assert counts["users_without_likes"] >= 1
    assert counts["users_without_history"] == 1
    missed = counts["users_without_likes"] + counts["users_without_history"]
    assert counts["ranked_users"] + missed == counts["test_users"]


def test_slices_have_the_whole_for_their_sum(world: World) -> None:
    told = built(world)
    for by in ("user and film", "user activity", "film popularity"):
        rows = [row for row in told["slices"] if row["by"] == by]
        assert sum(row["events"] for row in rows) == 500
        mean = sum(row["events"] * row["model"] ** 2 for row in rows) / 500
        assert mean == pytest.approx(told["metrics"]["rmse"] ** 2)


def test_half_of_the_events_must_be_left() -> None:
    assert enough(np.array([True, False]))
    assert not enough(np.array([True, False, False]))
    assert not enough(np.empty(0, dtype=bool))
