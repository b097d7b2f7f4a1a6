"""Lists of fifty: figures worked by hand, an independent slow protocol, and what is refused."""

from __future__ import annotations

import math
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmrec.errors import EvaluationError
from fmrec.evaluation import ranking
from fmrec.evaluation.ranking import CUTOFFS, DEPTH, NO_ITEM, Popularity, judged_users

exactly = partial(pytest.approx, rel=0, abs=1e-12)


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


def fifty(*rows: list[int]) -> np.ndarray:
    """Lists of fifty places that begin with the given items."""
    made = np.full((len(rows), DEPTH), NO_ITEM)
    for row, items in enumerate(rows):
        made[row, : len(items)] = items
    return made


def popular_by_hand(train: pd.DataFrame, seen: pd.DataFrame, user: int, n: int) -> list[int]:
    likes = dict.fromkeys(train["item_id"].tolist(), 0)
    for item, rating in zip(train["item_id"].tolist(), train["rating"].tolist(), strict=True):
        likes[item] += rating >= 4
    taken = set(seen.loc[seen["user_id"] == user, "item_id"].tolist())
    order = sorted((-count, item) for item, count in likes.items() if item not in taken)
    listed = [item for _, item in order[:n]]
    return listed + [NO_ITEM] * (n - len(listed))


def by_hand(listed: list[int], relevant: set[int]) -> dict[str, float]:
    hits = [place for place, item in enumerate(listed[:10], start=1) if item in relevant]
    reachable = min(10, len(relevant))
    ideal = sum(1 / math.log2(place + 1) for place in range(1, reachable + 1))
    return {
        "ndcg@10": sum(1 / math.log2(place + 1) for place in hits) / ideal,
        "precision@10": len(hits) / 10,
        "recall@10": len(hits) / len(relevant),
        "map@10": sum(n / place for n, place in enumerate(hits, start=1)) / reachable,
        "mrr@10": 1 / hits[0] if hits else 0.0,
        "hit_rate@10": float(bool(hits)),
    }


def test_the_six_figures_worked_by_hand() -> None:
    # Three relevant items, of which the training part never saw 99; hits at places 2 and 4, and
    # one at place 11, which is beyond ten.
    test = events((7, 11, 5), (7, 14, 4), (7, 99, 4.5), (7, 31, 4), (7, 12, 3.5), (8, 12, 5))
    lists = fifty([12, 11, 13, 14, 15, 16, 17, 18, 19, 20, 31])
    found = ranking.hits(np.array([7]), lists, test)
    assert found.users.tolist() == [7]
    assert found.relevant.tolist() == [4]
    assert np.flatnonzero(found.places[0]).tolist() == [1, 3, 10]
    made = ranking.per_user(found)
    ideal = 1 + 1 / math.log2(3) + 1 / 2 + 1 / math.log2(5)
    assert {name: values.tolist() for name, values in made.items()} == {
        "ndcg@10": exactly([(1 / math.log2(3) + 1 / math.log2(5)) / ideal]),
        "precision@10": exactly([0.2]),
        "recall@10": exactly([2 / 4]),
        "map@10": exactly([(1 / 2 + 2 / 4) / 4]),
        "mrr@10": exactly([1 / 2]),
        "hit_rate@10": exactly([1]),
    }
    assert list(made) == [
        "ndcg@10",
        "precision@10",
        "recall@10",
        "map@10",
        "mrr@10",
        "hit_rate@10",
    ]


def test_curves_worked_by_hand() -> None:
    # The first user has hits at places 1, 3 and 40 of 4 relevant items, the second none of 1.
    test = events((1, 101, 5), (1, 103, 5), (1, 140, 4), (1, 900, 4), (2, 900, 5))
    lists = fifty(list(range(101, 151)), list(range(101, 151)))
    made = ranking.curves(ranking.hits(np.array([1, 2]), lists, test))
    assert CUTOFFS == (1, 2, 3, 5, 10, 20, 50)
    found = [1, 1, 2, 2, 2, 2, 3]
    assert made == {
        "precision": exactly([n / k / 2 for n, k in zip(found, CUTOFFS, strict=True)]),
        "recall": exactly([n / 4 / 2 for n in found]),
    }


def test_with_more_than_ten_relevant_items_ten_hits_are_perfect() -> None:
    test = events(*((1, item, 5) for item in range(1, 21)))
    made = ranking.per_user(ranking.hits(np.array([1]), fifty(list(range(3, 13))), test))
    assert {name: values.tolist() for name, values in made.items()} == {
        name: [0.5 if name == "recall@10" else 1.0] for name in made
    }


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([40, 130]), st.sampled_from([1, 4, 1 << 13]))
def test_figures_and_popular_lists_are_those_of_a_slow_protocol(
    seed: int, items: int, block: int
) -> None:
    train, test = world(seed, items=items)
    relevant = test[test["rating"] >= 4]
    expected = sorted(set(train["user_id"]) & set(relevant["user_id"]))
    if not expected:
        return
    users = judged_users(train, test)
    assert users.tolist() == expected
    # Some of the test events stand for a validation part, which is seen too.
    seen = pd.concat([train, test[test["item_id"] % 4 == 1]])
    with patch.object(ranking, "_BLOCK", block):
        lists = Popularity.of(train).lists(users, seen)
        found = ranking.hits(users, lists, test)
        ranking.check_lists("popularity", users, lists, seen, train, test)
    made = ranking.per_user(found)
    for row, user in enumerate(expected):
        listed = popular_by_hand(train, seen, user, DEPTH)
        assert lists[row].tolist() == listed
        wanted = set(relevant.loc[relevant["user_id"] == user, "item_id"].tolist())
        assert found.places[row].tolist() == [item in wanted for item in listed]
        assert found.relevant[row] == len(wanted)
        for name, value in by_hand(listed, wanted).items():
            assert made[name][row] == exactly(value)


@pytest.mark.parametrize("n", [1, 10, 35, 60])
def test_popular_lists_have_the_length_that_was_asked_for(n: int) -> None:
    train, test = world(5, items=60)
    users = judged_users(train, test)
    lists = Popularity.of(train).lists(users, train, n)
    assert lists.shape == (users.size, n)
    for row, user in enumerate(users.tolist()):
        assert lists[row].tolist() == popular_by_hand(train, train, user, n)


def test_one_order_for_all_is_listed_without_what_each_has_seen() -> None:
    seen = events((1, 30, 1), (1, 20, 5), (2, 77, 5), (9, 10, 5))
    order = np.array([30, 10, 20])
    made = ranking.first_unseen(order, np.array([1, 2]), seen, 3)
    assert made.tolist() == [[10, NO_ITEM, NO_ITEM], [30, 10, 20]]


def test_an_event_that_is_there_twice_counts_once() -> None:
    test = events((1, 10, 5), (1, 10, 4), (1, 11, 5))
    found = ranking.hits(np.array([1]), fifty([10]), test)
    assert found.relevant.tolist() == [2]
    train = events((1, 12, 5), (1, 12, 5), (1, 13, 5))
    assert Popularity.of(train).lists(np.array([1]), train[:2]).tolist()[0][:2] == [13, -1]


def test_likes_of_items_that_the_training_part_does_not_know_are_none() -> None:
    popularity = Popularity.of(events((1, 12, 5), (2, 12, 4), (1, 13, 3)))
    assert popularity.scores(np.array([13, 12, 99, 1])).tolist() == [0, 2, 0, 0]


def test_ids_beyond_a_dense_table_are_found_too() -> None:
    big = 2**40
    train = events((big, big + 1, 5), (big, big + 2, 5), (big + 9, big + 3, 5))
    test = events((big, big + 3, 5))
    users = judged_users(train, test)
    lists = Popularity.of(train).lists(users, train)
    assert lists[0].tolist() == [big + 3] + [NO_ITEM] * 49
    assert ranking.per_user(ranking.hits(users, lists, test))["ndcg@10"].tolist() == [1.0]
    ranking.check_lists("popularity", users, lists, train, train, test)


def test_without_anyone_to_judge_the_way_out_is_named() -> None:
    train = events((1, 1, 5))
    for test in (events((2, 1, 5), (1, 2, 3)), events()):
        with pytest.raises(EvaluationError, match="choose another as_of or split"):
            judged_users(train, test)


def test_a_user_without_a_like_in_the_test_part_is_named() -> None:
    test = events((1, 10, 5), (2, 10, 3))
    with pytest.raises(EvaluationError, match=r"user 2 gives 4 stars .* \(2 such users\)"):
        ranking.hits(np.array([1, 2, 3]), fifty([10], [10], [10]), test)


def test_hits_of_lists_of_another_length_are_refused() -> None:
    with pytest.raises(EvaluationError, match=r"lists of shape \(1, 10\) for 1 users: rank 50"):
        ranking.hits(np.array([1]), fifty([10])[:, :10], events((1, 10, 5)))


def protocol() -> dict[str, Any]:
    """Lists of two users that follow the protocol, and what they are checked against."""
    train = events(*((u, i, 5) for u in (1, 2) for i in range(60 * u, 60 * u + 60)))
    test = events((1, 120, 5), (2, 60, 5))
    users = judged_users(train, test)
    items = Popularity.of(train).lists(users, train)
    return {"users": users, "items": items, "seen": train, "train": train, "test": test}


def test_lists_that_follow_the_protocol_pass() -> None:
    given_ = protocol()
    assert (given_["items"] != NO_ITEM).all()
    ranking.check_lists("ease", **given_)
    # Short lists and empty ones are allowed: not everyone can be given fifty items.
    short = given_["items"].copy()
    short[0, 20:] = NO_ITEM
    short[1] = NO_ITEM
    ranking.check_lists("ease", **given_ | {"items": short})


def changed(row: int, place: int, item: int) -> np.ndarray:
    items = protocol()["items"].copy()
    items[row, place] = item
    return items


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"users": np.array([1])}, "lists of 1 users, 2 are to be judged"),
        ({"users": np.array([2, 1])}, "lists of 2 users, 2 are to be judged: .* in that order"),
        ({"items": protocol()["items"][:, :10]}, r"lists of shape \(2, 10\) for 2 users: rank 50"),
        ({"items": protocol()["items"][:1]}, r"lists of shape \(1, 50\) for 2 users"),
        ({"items": changed(0, 4, 777)}, "user 1 holds item 777 which was not trained on"),
        ({"items": changed(0, 4, 0)}, "user 1 holds item 0 which was not trained on"),
        ({"items": changed(0, 4, -7)}, "user 1 holds item -7 which was not trained on"),
        ({"items": changed(1, 0, 130)}, r"user 2 holds item 130 which was seen before \(1 such"),
        ({"items": changed(0, 49, 120)}, "user 1 holds item 120 twice"),
        ({"items": changed(1, 3, -1)}, "user 2 holds item 64 after an empty place"),
    ],
)
def test_lists_against_the_protocol_are_refused_by_name(changes: dict, says: str) -> None:
    with pytest.raises(EvaluationError, match=f"^item_knn: .*{says}"):
        ranking.check_lists("item_knn", **protocol() | changes)


def test_a_champion_lists_what_it_was_trained_on_itself() -> None:
    given_ = protocol() | {"items": changed(0, 4, 777)}
    mine = np.append(np.arange(60, 180), 777)
    ranking.check_lists("champion", **given_, catalogue=mine)
    with pytest.raises(EvaluationError, match=r"champion: .* holds item 120 which was not tr"):
        ranking.check_lists("champion", **given_, catalogue=mine[mine != 120])
    with pytest.raises(EvaluationError, match=r"champion: .* holds item 130 which was seen"):
        ranking.check_lists("champion", **given_ | {"items": changed(1, 0, 130)}, catalogue=mine)
