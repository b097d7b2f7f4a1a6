"""Slices and changes of random worlds: laws, and everything counted again in plain Python."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmrec.evaluation import ranking, slices
from fmrec.evaluation.changes import changes
from fmrec.evaluation.slice_labels import MEANINGS, Labels
from fmrec.ratings.tables import ITEMS, USERS

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.integers(1, 120)
GENRES = ["Action", "Comedy", "Drama", "Sci-Fi", "unknown"]
KEYS = ("model", "reference", "champion")
BOUNDS = ((18, "0-17"), (25, "18-24"), (35, "25-34"), (45, "35-44"), (50, "45-49"), (56, "50-55"))


class World:
    """Ratings of up to 25 users and 30 films, some of which are new in the test part."""

    def __init__(self, size: int, seed: int) -> None:
        self.rng = rng = np.random.default_rng(seed)
        self.train = self._events(size * 4, 20, 25)
        self.test = self._events(size, 25, 30)
        self.by_user = Counter(self.train["user_id"].tolist())
        self.by_item = Counter(self.train["item_id"].tolist())
        known = rng.random() < 0.8
        self.age = {
            int(u): int(rng.integers(1, 80)) if known and rng.random() < 0.7 else None
            for u in range(1, 24)
        }
        self.genres = {
            int(i): [str(g) for g in rng.choice(GENRES, rng.integers(0, 4))] if known else []
            for i in range(1, 29)
        }
        self.labels = Labels(
            self.train,
            pa.Table.from_pylist([{"user_id": u, "age": a} for u, a in self.age.items()], USERS),
            pa.Table.from_pylist(
                [{"item_id": i, "genres": g} for i, g in self.genres.items()], ITEMS
            ),
        )

    def _events(self, size: int, users: int, items: int) -> pd.DataFrame:
        # Low ids are drawn more often, so that activity and popularity differ.
        drawn = [np.square(self.rng.random(size)) * n + 1 for n in (users, items)]
        frame = pd.DataFrame(
            {
                "user_id": drawn[0].astype(np.int64),
                "item_id": drawn[1].astype(np.int64),
                "rating": self.rng.integers(1, 6, size),
            }
        )
        return frame.drop_duplicates(["user_id", "item_id"], ignore_index=True)

    def slices_of(self, user: int, item: int) -> set[tuple[str, str]]:
        """Where an event belongs, from the definitions."""
        by_user, by_item = self.by_user[user], self.by_item[item]
        known = [
            f"{'known' if by_user else 'new'} user",
            f"{'known' if by_item else 'new'} film",
        ]
        activity = next(
            (name for end, name in ((0, "new user"), (20, "1 to 20 ratings"),
             (50, "21 to 50 ratings"), (100, "51 to 100 ratings"), (200, "101 to 200 ratings"))
             if by_user <= end),
            "more than 200 ratings",
        )  # fmt: skip
        more = sum(n for n in self.by_item.values() if n > by_item)
        popular = "tail"
        if not by_item:
            popular = "new film"
        elif more * 5 < len(self.train):
            popular = "head"
        elif more * 5 < len(self.train) * 4:
            popular = "torso"
        age = self.age.get(user)
        band = "unknown"
        if age is not None:
            band = next((name for end, name in BOUNDS if age < end), "56+")
        return {
            ("user and film", ", ".join(known)),
            ("user activity", activity),
            ("film popularity", popular),
            ("age", band),
            *(("genre", name) for name in self.genres.get(item) or ["unknown"]),
        }


def again(
    world: World, pairs: list[tuple[int, int]], values: dict[str, list[float]]
) -> dict[tuple[str, str], dict[str, Any]]:
    """Means over rows, row by row; without dimensions of which nothing is known."""
    members: dict[tuple[str, str], list[int]] = {}
    for row, pair in enumerate(pairs):
        for each in world.slices_of(*pair):
            members.setdefault(each, []).append(row)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for each, rows in members.items():
        if {name for by, name in members if by == each[0]} == {"unknown"}:
            continue
        found[each] = {"events": len(rows), "users": len({pairs[row][0] for row in rows})}
        for key, column in values.items():
            left = [column[row] for row in rows if not np.isnan(column[row])]
            found[each][key] = sum(left) / len(left) if left else None
            found[each][f"{key}_events"] = len(left)
    return found


def losses_of(world: World) -> dict[str, np.ndarray]:
    size = len(world.test)
    losses = {key: world.rng.exponential(1, size) for key in KEYS}
    losses["champion"][world.rng.random(size) < 0.3] = np.nan
    return losses


def scored(world: World, test: pd.DataFrame, losses: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    return slices.of_scores(
        world.labels, test, losses, metric="rmse", against="reference", root=True
    )


@settings(max_examples=25, deadline=None)
@given(SIZES, SEEDS)
def test_every_row_is_what_counting_by_hand_gives(size: int, seed: int) -> None:
    world = World(size, seed)
    losses = losses_of(world)
    rows = scored(world, world.test, losses)
    pairs = list(zip(world.test["user_id"].tolist(), world.test["item_id"].tolist(), strict=True))
    expected = again(world, pairs, {key: each.tolist() for key, each in losses.items()})
    found = {(row["by"], row["slice"]): row for row in rows}
    assert found.keys() == expected.keys()
    assert len(found) == len(rows)
    for key, row in found.items():
        hand = expected[key]
        for name in ("events", "users", "champion_events"):
            assert row[name] == hand[name]
        assert row["small"] is (hand["events"] < 100 or hand["users"] < 30)
        for name in KEYS:
            mean = hand[name]
            assert row[name] == (None if mean is None else pytest.approx(np.sqrt(mean)))
        if hand["users"] == 1:
            assert row["low"] is row["high"] is None
        else:
            assert row["low"] <= row["model"] - row["reference"] <= row["high"]


@settings(max_examples=25, deadline=None)
@given(SIZES, SEEDS)
def test_the_slices_of_a_dimension_give_the_whole_back(size: int, seed: int) -> None:
    world = World(size, seed)
    losses = losses_of(world)
    rows = pd.DataFrame(scored(world, world.test, losses))
    for by, part in rows.groupby("by"):
        assert by in MEANINGS
        if by == "genre":
            assert part["events"].sum() >= len(world.test)
            continue
        assert part["events"].sum() == len(world.test)
        for key in ("model", "reference"):
            mean = (part["events"] * np.square(part[key])).sum() / len(world.test)
            assert mean == pytest.approx(losses[key].mean())
        judged = part[part["champion_events"] > 0]
        left = losses["champion"][~np.isnan(losses["champion"])]
        assert judged["champion_events"].sum() == left.size
        squares = np.square(judged["champion"].astype(float)) * judged["champion_events"]
        assert squares.sum() == pytest.approx(left.sum())


@settings(max_examples=25, deadline=None)
@given(SIZES, SEEDS)
def test_the_order_of_the_events_does_not_matter(size: int, seed: int) -> None:
    world = World(size, seed)
    losses = losses_of(world)
    rows = scored(world, world.test, losses)
    order = world.rng.permutation(len(world.test))
    turned = scored(world, world.test.iloc[order], {key: x[order] for key, x in losses.items()})
    for row, other in zip(rows, turned, strict=True):
        assert row == {k: pytest.approx(v) if isinstance(v, float) else v for k, v in other.items()}


@settings(max_examples=25, deadline=None)
@given(SIZES, SEEDS)
def test_the_roles_may_be_swapped(size: int, seed: int) -> None:
    world = World(size, seed)
    losses = losses_of(world)
    swapped = losses | {"model": losses["reference"], "reference": losses["model"]}
    for row, other in zip(
        scored(world, world.test, losses), scored(world, world.test, swapped), strict=True
    ):
        assert (row["model"], row["reference"]) == (other["reference"], other["model"])
        if row["low"] is not None:
            assert (row["low"], row["high"]) == pytest.approx((-other["high"], -other["low"]))


@settings(max_examples=25, deadline=None)
@given(SIZES, SEEDS)
def test_slices_of_lists_are_what_counting_by_hand_gives(size: int, seed: int) -> None:
    world = World(size, seed)
    liked = world.test[world.test["rating"] >= 4]
    users = np.intersect1d(liked["user_id"], world.train["user_id"])
    if not users.size:
        return
    fair = users[world.rng.random(users.size) < 0.7]
    fair = fair if fair.size else users
    who = {"model": users, "popularity": users, "champion": fair}
    lists = {
        name: np.array([world.rng.permutation(np.r_[1:31, np.full(20, -1)]) for _ in ids]).reshape(
            -1, 50
        )
        for name, ids in who.items()
    }
    hits = {name: ranking.hits(ids, lists[name], world.test) for name, ids in who.items()}
    rows = slices.of_lists(
        world.labels, world.test, lists, hits, metric="ndcg@10", against="popularity"
    )
    gains = {name: ranking.per_user(each)["ndcg@10"] for name, each in hits.items()}

    mine = liked[liked["user_id"].isin(users)]
    events = list(zip(mine["user_id"].tolist(), mine["item_id"].tolist(), strict=True))

    def hit(name: str, user: int, item: int) -> float:
        (place,) = np.flatnonzero(who[name] == user)
        return float(item in lists[name][place, :10].tolist())

    of_events = again(
        world,
        events,
        {
            name: [
                hit(name, *pair) if pair[0] in who[name].tolist() else float("nan")
                for pair in events
            ]
            for name in who
        },
    )
    of_users = again(
        world,
        [(user, 0) for user in users.tolist()],
        {name: pd.Series(gains[name], who[name]).reindex(users).tolist() for name in who},
    )
    per_user = mine.groupby("user_id").size()
    seen = set()
    for row in rows:
        key = (row["by"], row["slice"])
        seen.add(key)
        users_side = row["by"] in ("user activity", "age")
        hand = (of_users if users_side else of_events)[key]
        assert row["metric"] == ("ndcg@10" if users_side else "recall@10")
        assert row["users"] == hand["users"]
        if not users_side:
            assert row["events"] == hand["events"]
            assert row["champion_events"] == hand["champion_events"]
        for name, shown in (("model", "model"), ("popularity", "reference"), ("champion",) * 2):
            assert row[shown] == (None if hand[name] is None else pytest.approx(hand[name]))
    assert seen == {key for key in of_users if key[0] in ("user activity", "age")} | {
        key for key in of_events if key[0] in ("user and film", "film popularity", "genre")
    }

    table = pd.DataFrame(rows)
    for _, part in table[table["by"].isin(["user activity", "age"])].groupby("by"):
        assert part["events"].sum() == per_user.sum()
        assert part["champion_events"].sum() == per_user[per_user.index.isin(fair)].sum()
        assert np.average(part["model"], weights=part["users"]) == pytest.approx(
            gains["model"].mean()
        )
    for _, part in table[table["by"].isin(["user and film", "film popularity"])].groupby("by"):
        whole = hits["model"].places[:, :10].sum() / hits["model"].relevant.sum()
        assert np.average(part["model"], weights=part["events"]) == pytest.approx(whole)


def random_lists(rng: np.random.Generator, users: int) -> np.ndarray:
    rows = np.full((users, 12), -1)
    for row in rows:
        filled = rng.integers(0, 13)
        row[:filled] = rng.choice(np.arange(1, 19), filled, replace=False)
    return rows


@settings(deadline=None)
@given(st.integers(1, 40), SEEDS)
def test_changes_are_what_sets_give(users: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = random_lists(rng, users), random_lists(rng, users)
    same = rng.random(users) < 0.2
    ours[same] = theirs[same]
    found = changes(np.arange(users) + 1, ours, theirs, {3: "Three"})
    sets = [
        ({*a[:10].tolist()} - {-1}, {*b[:10].tolist()} - {-1})
        for a, b in zip(ours, theirs, strict=True)
    ]
    values = [len(a & b) / len(a | b) if a | b else 1.0 for a, b in sets]
    assert found["users"] == users
    assert found["jaccard"]["mean"] == pytest.approx(sum(values) / users)
    assert found["jaccard"]["median"] == pytest.approx(float(np.median(values)))
    assert found["jaccard"]["q05"] == pytest.approx(float(np.quantile(values, 0.05)))
    assert found["same"] == sum(a == b for a, b in sets)
    assert found["disjoint"] == sum(bool(a | b) and not a & b for a, b in sets)
    now = {i: sum(i in a for a, _ in sets) for i in range(1, 19)}
    before = {i: sum(i in b for _, b in sets) for i in range(1, 19)}
    for name, sign in (("risers", 1), ("fallers", -1)):
        moved = [i for i in now if sign * (now[i] - before[i]) > 0]
        moved.sort(key=lambda i: (-sign * (now[i] - before[i]), i))
        assert found[name] == [
            {
                "item_id": i,
                "title": "Three" if i == 3 else f"item {i}",
                "lists": now[i],
                "lists_before": before[i],
            }
            for i in moved[:10]
        ]


@settings(deadline=None)
@given(st.integers(1, 40), SEEDS)
def test_what_rises_one_way_falls_the_other(users: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = random_lists(rng, users), random_lists(rng, users)
    there, back = (changes(np.arange(users) + 1, *x, {}) for x in ((ours, theirs), (theirs, ours)))
    for name in ("jaccard", "same", "disjoint"):
        assert there[name] == back[name]
    turned = [
        each | {"lists": each["lists_before"], "lists_before": each["lists"]}
        for each in back["fallers"]
    ]
    assert there["risers"] == turned
