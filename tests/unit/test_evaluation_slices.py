"""Slices worked by hand, and the rules by which users, films and events come into them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from fmrec.errors import EvaluationError
from fmrec.evaluation import ranking, slices
from fmrec.evaluation.comparison import compare
from fmrec.evaluation.slice_labels import MEANINGS, Labels
from fmrec.ratings.tables import ITEMS, USERS

NOBODY = USERS.empty_table()
NOTHING = ITEMS.empty_table()


def events(*rows: tuple[int, ...]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "user_id": [row[0] for row in rows],
            "item_id": [row[1] for row in rows],
            "rating": [row[2] if len(row) > 2 else 4 for row in rows],
        },
        dtype=np.int64,
    )


def people(ages: dict[int, int | None]) -> pa.Table:
    return pa.Table.from_pylist([{"user_id": u, "age": age} for u, age in ages.items()], USERS)


def films(genres: dict[int, list[str]]) -> pa.Table:
    return pa.Table.from_pylist(
        [{"item_id": i, "genres": each} for i, each in genres.items()], ITEMS
    )


def scored(
    train: pd.DataFrame,
    test: pd.DataFrame,
    *,
    users: pa.Table = NOBODY,
    items: pa.Table = NOTHING,
    root: bool = False,
    **losses: Any,
) -> list[dict[str, Any]]:
    given = {"model": np.ones(len(test)), "bias": np.ones(len(test)), **losses}
    return slices.of_scores(
        Labels(train, users, items), test, given, metric="loss", against="bias", root=root
    )


def of(rows: list[dict[str, Any]], by: str) -> dict[str, dict[str, Any]]:
    return {row["slice"]: row for row in rows if row["by"] == by}


def counts(rows: list[dict[str, Any]], by: str) -> dict[str, int]:
    return {name: row["events"] for name, row in of(rows, by).items()}


def test_known_and_new_users_and_films_worked_by_hand() -> None:
    train = events((1, 10), (2, 11))
    test = events((1, 11), (2, 10), (3, 10), (1, 99), (3, 99), (4, 99))
    rows = scored(
        train,
        test,
        root=True,
        model=np.array([4.0, 0, 9, 1, 1, 1]),
        bias=np.array([1.0, 1, 1, 4, 4, 4]),
    )
    found = of(rows, "user and film")
    assert list(found) == [
        "known user, known film",
        "new user, known film",
        "known user, new film",
        "new user, new film",
    ]
    assert [row["events"] for row in found.values()] == [2, 1, 1, 2]
    assert [row["users"] for row in found.values()] == [2, 1, 1, 2]
    assert [row["model"] for row in found.values()] == pytest.approx([np.sqrt(2), 3, 1, 1])
    assert [row["reference"] for row in found.values()] == [1, 1, 2, 2]
    assert set(found["new user, known film"]) == {
        "by", "slice", "metric", "better", "over", "events", "users", "model", "reference", "low",
        "high", "champion", "champion_events", "small",
    }  # fmt: skip
    assert {(row["metric"], row["better"], row["over"]) for row in rows} == {
        ("loss", "less", "events")
    }


def test_without_a_root_the_figure_is_the_mean_loss() -> None:
    rows = scored(events((1, 1)), events((1, 1), (1, 2)), model=np.array([4.0, 1]))
    assert of(rows, "user activity")["1 to 20 ratings"]["model"] == 2.5


def test_activity_has_fixed_edges_and_new_users_come_first() -> None:
    sizes = [0, 1, 20, 21, 50, 51, 100, 101, 200, 201]
    train = events(*((user, item) for user, n in enumerate(sizes, 1) for item in range(1, n + 1)))
    test = events(*((user, 500) for user, _ in enumerate(sizes, 1)))
    assert counts(scored(train, test), "user activity") == {
        "new user": 1,
        "1 to 20 ratings": 2,
        "21 to 50 ratings": 2,
        "51 to 100 ratings": 2,
        "101 to 200 ratings": 2,
        "more than 200 ratings": 1,
    }
    assert next(iter(counts(scored(train, test), "user activity"))) == "new user"


def popularity(ratings: dict[int, int]) -> dict[int, str]:
    """The slice of each film, and of the film 999 that nobody rated."""
    train = events(*((user, item) for item, n in ratings.items() for user in range(1, n + 1)))
    ids = np.array([*ratings, 999])
    (found,) = Labels(train, NOBODY, NOTHING).of_items(ids)
    assert (found.by, found.rows.tolist()) == ("film popularity", list(range(ids.size)))
    return {int(ids[row]): found.names[found.codes[row]] for row in found.rows}


def test_popularity_goes_by_the_share_of_all_ratings() -> None:
    # Of 100 ratings: 15 and 10 are within the first fifth when they begin; 55 + 20 end at 80.
    ratings = {1: 15, 2: 10, **dict.fromkeys(range(10, 21), 5), **dict.fromkeys(range(30, 50), 1)}
    expected = {1: "head", 2: "head"}
    expected |= dict.fromkeys(range(10, 21), "torso") | dict.fromkeys(range(30, 50), "tail")
    assert popularity(ratings) == expected | {999: "new film"}


def test_a_film_that_begins_where_a_share_ends_is_in_the_next_one() -> None:
    assert popularity({1: 20, 2: 19, 3: 18, 4: 17, 5: 16, 6: 10})[2] == "torso"
    assert popularity({1: 19, 2: 18, 3: 17, 4: 16, 5: 15, 6: 15})[2] == "head"


def test_the_tail_begins_after_four_fifths() -> None:
    ratings = {1: 40, 2: 30, 3: 5, 4: 4, **dict.fromkeys(range(10, 31), 1)}
    found = popularity(ratings)
    # Before film 3 stand 70 of 100 ratings, before film 4 75, before the others 79.
    assert [found[item] for item in (1, 2, 3, 4, 10, 30)] == ["head", *["torso"] * 5]
    found = popularity(ratings | {5: 20})
    # Now 90 of 120, 95 and 99: the last ones begin beyond four fifths.
    assert [found[item] for item in (1, 2, 5, 3, 4, 10)] == ["head", *["torso"] * 4, "tail"]


def test_equally_rated_films_stand_together_and_the_most_rated_is_head() -> None:
    assert set(popularity(dict.fromkeys(range(1, 40), 2)).values()) == {"head", "new film"}
    assert popularity({7: 1, 5: 99}) == {5: "head", 7: "tail", 999: "new film"}


def test_a_film_counts_in_each_of_its_genres_once() -> None:
    items = films({1: ["Drama", "Film-Noir", "Drama"], 2: ["Drama"], 3: [], 4: ["unknown"]})
    test = events((1, 1), (1, 2), (2, 2), (1, 3), (1, 4), (1, 5))
    rows = scored(events((1, 1)), test, items=items, model=np.array([2.0, 4, 6, 8, 8, 8]))
    assert counts(rows, "genre") == {"Drama": 3, "Film-Noir": 1, "unknown": 3}
    assert [row["model"] for row in of(rows, "genre").values()] == [4, 2, 8]
    assert list(of(rows, "genre")) == ["Drama", "Film-Noir", "unknown"]
    assert "add up to more" in MEANINGS["genre"]


def test_ages_fall_into_the_bands_of_movielens_1m() -> None:
    ages = [0, 1, 17, 18, 24, 25, 34, 35, 44, 45, 49, 50, 55, 56, 99]
    users = people(dict(enumerate(ages, 1)) | {100: None})
    test = events(*((user, 1) for user in (*range(1, 16), 100, 101)))
    assert counts(scored(events((1, 1)), test, users=users), "age") == {
        "0-17": 3, "18-24": 2, "25-34": 2, "35-44": 2, "45-49": 2, "50-55": 2, "56+": 2,
        "unknown": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    "users, items",
    [
        (NOBODY, NOTHING),
        (people({1: None}), films({1: []})),
        # Known of others than those who are asked about.
        (people({5: 30}), films({5: ["War"]})),
        (people({1: None}), films({1: ["unknown"]})),
    ],
)
def test_what_is_known_of_none_is_no_dimension(users: pa.Table, items: pa.Table) -> None:
    rows = scored(events((1, 1)), events((1, 1), (2, 2)), users=users, items=items)
    assert {row["by"] for row in rows} == {"user and film", "user activity", "film popularity"}


def test_the_rows_come_in_the_order_of_the_dimensions() -> None:
    rows = scored(
        events((1, 1)), events((1, 1)), users=people({1: 30}), items=films({1: ["War", "Action"]})
    )
    assert [row["by"] for row in rows] == [
        "user and film", "user activity", "film popularity", "genre", "genre", "age",
    ]  # fmt: skip
    assert list(dict.fromkeys(row["by"] for row in rows)) == list(MEANINGS)


@pytest.mark.parametrize(
    "users, number, small", [(30, 100, False), (29, 145, True), (30, 99, True), (2, 3, True)]
)
def test_small_slices_are_flagged_and_not_hidden(users: int, number: int, small: bool) -> None:
    test = events(*((n % users + 1, n + 1) for n in range(number)))
    (row,) = of(scored(events((1000, 1000)), test), "user activity").values()
    assert (row["slice"], row["users"], row["events"]) == ("new user", users, number)
    assert row["small"] is small


def test_events_that_the_champion_may_not_be_judged_on_are_left_out_of_its_figure_alone() -> None:
    nan = float("nan")
    train, test = events((1, 10)), events((1, 10), (1, 10), (2, 10), (1, 99), (2, 99))
    rows = scored(train, test, root=True, champion=np.array([9.0, nan, 4, nan, 1]))
    found = of(rows, "user and film").values()
    assert [row["champion"] for row in found] == [3, 2, None, 1]
    assert [row["champion_events"] for row in found] == [1, 1, 0, 1]
    assert [row["events"] for row in found] == [2, 1, 1, 1]
    assert [row["model"] for row in found] == [1, 1, 1, 1]


def test_without_a_champion_there_is_no_figure_of_it() -> None:
    rows = scored(events((1, 1)), events((1, 1)))
    assert {(row["champion"], row["champion_events"]) for row in rows} == {(None, None)}


def test_the_interval_is_that_of_a_mean_over_users() -> None:
    # Each user has two events and a mean difference of its own: the textbook's t interval.
    rng = np.random.default_rng(3)
    differences = rng.normal(0.3, 1, 40)
    noise = rng.normal(0, 5, 40)
    test = events(*((user, item) for user in range(1, 41) for item in (1, 2)))
    model = np.repeat(differences, 2) + np.stack([noise, -noise], axis=1).ravel()
    rows = scored(events((100, 1)), test, model=model, bias=np.zeros(80))
    (row,) = of(rows, "user activity").values()
    error = differences.std(ddof=1) / np.sqrt(40)
    assert row["low"] == pytest.approx(differences.mean() - 2.022690920 * error)
    assert row["high"] == pytest.approx(differences.mean() + 2.022690920 * error)


def test_the_interval_of_a_root_is_that_of_the_bootstrap() -> None:
    rng = np.random.default_rng(8)
    users = rng.choice(np.arange(1, 401), 6000, p=(p := rng.random(400)) / p.sum())
    test = events(*((int(user), 1) for user in users))
    quality = rng.normal(1, 0.3, 401)[users]
    bias = np.square(rng.normal(0, 1, 6000) * quality)
    model = 0.8 * bias + 0.2 * np.square(rng.normal(0, 1, 6000))
    (row,) = of(
        scored(events((999, 1)), test, root=True, model=model, bias=bias), "user activity"
    ).values()
    drawn = compare(model, bias, users, root=True, seed=1)
    assert row["model"] - row["reference"] == pytest.approx(drawn.difference)
    assert drawn.standard_error is not None
    assert (row["high"] - row["low"]) / (2 * 1.96) == pytest.approx(drawn.standard_error, rel=0.05)


def test_there_is_no_interval_for_one_user_nor_where_the_root_is_zero() -> None:
    one = scored(events((9, 1)), events((1, 1), (1, 2)), model=np.array([1.0, 3]))
    assert {(row["low"], row["high"]) for row in one} == {(None, None)}
    perfect = scored(events((9, 1)), events((1, 1), (2, 1)), root=True, model=np.zeros(2))
    assert {(row["model"], row["low"], row["high"]) for row in perfect} == {(0, None, None)}


def test_losses_that_are_missing_or_no_numbers_are_refused() -> None:
    train, test = events((1, 1)), events((1, 1), (1, 2))
    labels = Labels(train, NOBODY, NOTHING)

    def refused(says: str, **losses: list[float]) -> None:
        given = {name: np.array(each) for name, each in losses.items()}
        with pytest.raises(EvaluationError, match=says):
            slices.of_scores(labels, test, given, metric="rmse", against="bias", root=True)

    refused("nothing of the bias, only of model", model=[1, 1])
    refused("nothing of the model and the bias, only of nobody")
    refused(r"losses of the bias have shape \(1,\) for 2 test", model=[1, 1], bias=[1])
    refused("rmse of the model: row 1 is nan", model=[1, float("nan")], bias=[1, 1])
    refused("rmse of the reference: row 0 is inf", model=[1, 1], bias=[float("inf"), 1])
    refused(
        "rmse of the champion: row 1 is inf",
        model=[1, 1], bias=[1, 1], champion=[float("nan"), float("inf")],
    )  # fmt: skip


DEPTH = 50


def lists(*rows: list[int]) -> np.ndarray:
    return np.array([row + [-1] * (DEPTH - len(row)) for row in rows])


def ranked(
    train: pd.DataFrame,
    test: pd.DataFrame,
    given: dict[str, tuple[list[int], np.ndarray]],
    *,
    users: pa.Table = NOBODY,
    items: pa.Table = NOTHING,
) -> list[dict[str, Any]]:
    hits = {name: ranking.hits(np.array(ids), rows, test) for name, (ids, rows) in given.items()}
    return slices.of_lists(
        Labels(train, users, items),
        test,
        {name: rows for name, (_, rows) in given.items()},
        hits,
        metric="ndcg@10",
        against="popularity",
    )


# User 1 likes 10, 11 and the new film 99, user 2 likes 12; nobody judges user 3, who is new.
TRAIN = events((1, 20), (1, 10), (2, 20), (2, 11), (2, 12), (4, 20))
TEST = events((1, 10, 5), (1, 11, 4), (1, 99, 5), (1, 13, 3), (2, 12, 4), (3, 10, 5))
MODEL = lists([10, 21, 11], [21, 22, *range(30, 38), 12])
POPULAR = lists([21, 10], [12])


def test_lists_worked_by_hand() -> None:
    items = films({10: ["War"], 11: ["War", "Drama"], 12: ["Drama"]})
    rows = ranked(
        TRAIN,
        TEST,
        {"model": ([1, 2], MODEL), "popularity": ([1, 2], POPULAR)},
        users=people({1: 20, 2: 30}),
        items=items,
    )
    ideal = 1 + 1 / np.log2(3) + 1 / 2
    ndcg = (1 + 1 / 2) / ideal, (1 / np.log2(3)) / ideal
    age = of(rows, "age")
    assert [row["metric"] for row in age.values()] == ["ndcg@10", "ndcg@10"]
    assert [row["over"] for row in age.values()] == ["users", "users"]
    assert [row["model"] for row in age.values()] == pytest.approx([ndcg[0], 0])
    assert [row["reference"] for row in age.values()] == pytest.approx([ndcg[1], 1])
    assert [(row["events"], row["users"]) for row in age.values()] == [(3, 1), (1, 1)]
    (activity,) = of(rows, "user activity").values()
    assert activity["slice"] == "1 to 20 ratings"
    assert activity["model"] == pytest.approx(ndcg[0] / 2)
    assert (activity["events"], activity["users"]) == (4, 2)

    pairs = of(rows, "user and film")
    assert list(pairs) == ["known user, known film", "known user, new film"]
    known, new = pairs.values()
    # Of 10, 11 and 12 the model lists two in time: 12 is on place eleven.
    assert (known["model"], known["reference"]) == pytest.approx((2 / 3, 2 / 3))
    assert (known["events"], known["users"]) == (3, 2)
    assert (new["model"], new["reference"], new["events"], new["users"]) == (0, 0, 1, 1)
    assert {(row["metric"], row["over"], row["better"]) for row in pairs.values()} == {
        ("recall@10", "events", "more")
    }
    genre = of(rows, "genre")
    assert {name: row["model"] for name, row in genre.items()} == {
        "Drama": 0.5,
        "War": 1,
        "unknown": 0,
    }
    assert {name: row["reference"] for name, row in genre.items()} == {
        "Drama": 0.5,
        "War": 0.5,
        "unknown": 0,
    }
    assert list(dict.fromkeys(row["by"] for row in rows)) == list(MEANINGS)


def test_the_champion_is_shown_for_the_users_it_may_be_judged_on() -> None:
    rows = ranked(
        TRAIN,
        TEST,
        {
            "model": ([1, 2], MODEL),
            "popularity": ([1, 2], POPULAR),
            "champion": ([2], lists([12, 5])),
        },
        users=people({1: 20, 2: 30}),
    )
    young, old = of(rows, "age").values()
    assert (young["champion"], young["champion_events"]) == (None, 0)
    assert (old["champion"], old["champion_events"]) == (1, 1)
    known, new = of(rows, "user and film").values()
    assert (known["champion"], known["champion_events"], known["events"]) == (1, 1, 3)
    assert (new["champion"], new["champion_events"], new["events"]) == (None, 0, 1)


def test_lists_that_do_not_belong_together_are_refused() -> None:
    whole = ([1, 2], MODEL)

    def refused(says: str, **given: tuple[list[int], np.ndarray]) -> None:
        with pytest.raises(EvaluationError, match=says):
            ranked(TRAIN, TEST, given)

    refused("nothing of the popularity, only of model", model=whole)
    refused("lists of 1 users from the popularity", model=whole, popularity=([2], POPULAR[1:]))
    labels = Labels(TRAIN, NOBODY, NOTHING)
    hits = {name: ranking.hits(np.array([1, 2]), POPULAR, TEST) for name in ("model", "popularity")}
    for wrong, says in (
        (POPULAR[:1], r"lists of the popularity have shape \(1, 50\) for 2 users"),
        (POPULAR[:, :9], r"lists of the popularity have shape \(2, 9\) for 2 users"),
    ):
        with pytest.raises(EvaluationError, match=says):
            slices.of_lists(
                labels,
                TEST,
                {"model": MODEL, "popularity": wrong},
                hits,
                metric="ndcg@10",
                against="popularity",
            )
    refused(
        "the champion has a list of user 2, the model has none",
        model=([1], MODEL[:1]),
        popularity=([1], POPULAR[:1]),
        champion=([2], POPULAR[1:]),
    )


def test_a_rating_below_four_stars_is_not_relevant_and_a_film_is_so_once() -> None:
    test = pd.concat([TEST, TEST.head(1)], ignore_index=True)
    rows = ranked(TRAIN, test, {"model": ([1, 2], MODEL), "popularity": ([1, 2], POPULAR)})
    assert sum(row["events"] for row in of(rows, "film popularity").values()) == 4
