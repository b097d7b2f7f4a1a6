"""The design matrix: rows by hand, rules for the unknown, and a sample of real ratings."""

from __future__ import annotations

import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from events_oracle import OF_PRESET, SlowDesign, ids_facts, slow_facts, with_previous
from fmrec.errors import DataError
from fmrec.events.design import Design
from fmrec.events.space import FeatureSpace
from fmrec.ratings.tables import ITEMS, USERS

pytestmark = pytest.mark.slow

DAY, HOUR = 86_400, 3_600
MONDAY = 4 * DAY  # 1970-01-05
PEOPLE = [
    {"user_id": 1, "age": 20, "gender": "F", "occupation": "writer", "zip_code": "90210"},
    {"user_id": 3, "age": 40, "gender": "F", "occupation": "artist", "zip_code": None},
    {"user_id": 9, "age": 21, "gender": "F", "occupation": "nobody", "zip_code": "1"},
]
FILMS = [
    {"item_id": 10, "title": "Ten", "release_year": 1995, "genres": ["Drama", "War", "Drama"]},
    {"item_id": 50, "title": "Fifty", "release_year": 1995, "genres": ["Noir"]},
]
RATINGS = [
    (1, 10, 5.0, MONDAY),
    (1, 20, 1.0, MONDAY + 1),
    (1, 30, 3.0, MONDAY + 2 * DAY),
    (2, 10, 4.0, MONDAY + 2 * DAY),
    (3, 40, 4.0, MONDAY + 5 * DAY),  # this one is not trained on
]
TRAINED = 4


def table(ratings: list[Any]) -> pd.DataFrame:
    found = pd.DataFrame(ratings, columns=["user_id", "item_id", "rating", "timestamp"])
    return found.assign(arrived=0)


def made(
    preset: str, *, length: int = 2, graded: bool = False, leave_own_out: bool = False
) -> Design:
    events = with_previous(table(RATINGS), table(RATINGS[:TRAINED]))
    facts = slow_facts(events[:TRAINED], events, length)
    users = pa.Table.from_pylist(PEOPLE, schema=USERS)
    items = pa.Table.from_pylist(FILMS, schema=ITEMS)
    space = FeatureSpace.from_facts(facts, users, items, preset=preset)
    return Design(
        space,
        facts,
        users,
        items,
        history_length=length,
        graded=graded,
        leave_own_out=leave_own_out,
    )


def rows(design: Design, matrix: Any) -> list[dict[str, float]]:
    """Each row as name and value, rounded."""
    names = design.space.names()
    return [
        {names[at]: round(float(row[at]), 4) for at in np.flatnonzero(row)}
        for row in matrix.toarray()
    ]


def event(user: int, item: int, timestamp: int = MONDAY, previous: int = 0) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "user_id": [user],
            "item_id": [item],
            "timestamp": [timestamp],
            "previous_item_id": [previous],
        }
    )


def row(design: Design, *of: int) -> dict[str, float]:
    return rows(design, design.encode(event(*of)))[0]


def test_a_row_of_everything_by_hand() -> None:
    assert row(made("everything"), 1, 10, MONDAY + DAY, 20) == {
        "user:1": 1,
        "item:10": 1,
        "age_band:18-24": 1,
        "gender:F": 1,
        "occupation:writer": 1,
        "zip_area:9": 1,
        "genre:Drama": 1,
        "genre:War": 1,
        "release_year:1995": 1,
        "day:1970-01-05": 1,  # Tuesday was not trained on, nor its weekday or a visit then
        "rated:20": 0.7071,
        "rated:30": 0.7071,
        "rated_by:1": 0.7071,
        "rated_by:2": 0.7071,
        "previous:20": 1,
    }


def test_a_row_may_leave_its_own_film_and_user_out() -> None:
    design = made("history", leave_own_out=True)
    # User 1's latest first: 30, 20, 10. Of those without the row's own film two are taken.
    assert row(design, 1, 10) == {
        "user:1": 1,
        "item:10": 1,
        "rated:30": 0.7071,
        "rated:20": 0.7071,
        "rated_by:2": 1,
    }
    assert row(design, 1, 30) == {
        "user:1": 1,
        "item:30": 1,
        "rated:20": 0.7071,
        "rated:10": 0.7071,
    }
    # A film that is not in the history: the latest two of the three are taken.
    assert row(design, 1, 99) == {"user:1": 1, "rated:30": 0.7071, "rated:20": 0.7071}
    # User 2 rated nothing else.
    assert row(design, 2, 10) == {"user:2": 1, "item:10": 1, "rated_by:1": 1}


def test_graded_films_weigh_their_stars() -> None:
    design = made("history", graded=True)
    assert row(design, 1, 30) == {
        "user:1": 1,
        "item:30": 1,
        "rated:30": 0.9285,
        "rated:20": 0.3714,
        "rated_by:1": 1,
    }


def test_a_graded_row_without_its_own_has_the_norm_of_the_others() -> None:
    design = made("history", graded=True, leave_own_out=True)
    # User 1's latest first: 30 (3 stars, .5), 20 (1 star, .2), 10 (5 stars, 1).
    assert row(design, 1, 10) == {
        "user:1": 1,
        "item:10": 1,
        "rated:30": 0.9285,
        "rated:20": 0.3714,
        "rated_by:2": 1,
    }
    assert row(design, 1, 30) == {
        "user:1": 1,
        "item:30": 1,
        "rated:20": 0.1961,
        "rated:10": 0.9806,
    }
    # A film that is not in the history: the latest two of the three are taken.
    assert row(design, 1, 99) == {"user:1": 1, "rated:30": 0.9285, "rated:20": 0.3714}
    assert row(design, 2, 10) == {"user:2": 1, "item:10": 1, "rated_by:1": 1}


def test_histories_are_the_latest_training_events() -> None:
    assert row(made("history", length=1), 1, 10) == {
        "user:1": 1,
        "item:10": 1,
        "rated:30": 1,
        "rated_by:2": 1,
    }


@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("leave_own_out", [False, True])
def test_the_unknown_adds_nothing_but_what_a_table_tells(graded: bool, leave_own_out: bool) -> None:
    design = made("everything", graded=graded, leave_own_out=leave_own_out)
    first = {"day:1970-01-05": 1, "weekday:Mon": 1}
    # User 3 has a column and no training event; film 40 likewise; previous:10 was trained on.
    assert row(design, 3, 40, MONDAY, 10) == first | {"gender:F": 1, "previous:10": 1}
    # Neither user 9 nor film 50 occurs in the events at all.
    assert row(design, 9, 50) == first | {
        "age_band:18-24": 1,
        "gender:F": 1,
        "release_year:1995": 1,
    }
    assert row(design, 77, 77, MONDAY, 77) == first
    assert row(design, 77, 77, MONDAY, 30) == first  # nothing was trained on after film 30


@pytest.mark.parametrize(
    ("at", "names"),
    [
        (MONDAY - 30 * DAY, {"day:1970-01-05"}),  # a Saturday, before all
        (MONDAY + DAY - 1, {"day:1970-01-05", "weekday:Mon"}),
        (MONDAY + DAY, {"day:1970-01-05"}),
        (MONDAY + 2 * DAY, {"day:1970-01-07", "weekday:Wed"}),
        (MONDAY + 5 * DAY, {"day:1970-01-07"}),  # a day of the test part
        (MONDAY + 700 * DAY, {"day:1970-01-07", "weekday:Mon"}),
    ],
)
def test_an_unknown_day_takes_the_latest_trained_day_before_it(at: int, names: set[str]) -> None:
    assert set(row(made("everything"), 77, 77, at)) == names


@pytest.mark.parametrize(
    ("user", "at", "visit"),
    [
        (1, MONDAY, "visit:1@1970-01-05T00"),
        (1, MONDAY + HOUR - 1, "visit:1@1970-01-05T00"),
        (1, MONDAY + HOUR, None),
        (1, MONDAY - 1, None),
        (1, MONDAY + 2 * DAY, "visit:1@1970-01-07T00"),
        (2, MONDAY, None),  # a visit of another user
        (2, MONDAY + 2 * DAY + 5, "visit:2@1970-01-07T00"),
        (3, MONDAY + 5 * DAY, None),  # it was not trained on
        (9, MONDAY, None),  # a table alone knows this user
        (77, MONDAY, None),
        (1, MONDAY + (2**21 + 48) * HOUR, None),  # the hours of a user are 2**21
        (2, MONDAY - 2**21 * HOUR, None),
        (1, -1, None),
        (1, 2**62, None),
    ],
)
def test_a_visit_is_the_users_own_hour(user: int, at: int, visit: str | None) -> None:
    design = made("full")
    found = row(design, user, 10, at), rows(design, design.user_side(np.array([user]), at))[0]
    for names in found:
        assert [name for name in names if name.startswith("visit:")] == ([visit] if visit else [])


@pytest.mark.parametrize("leave_own_out", [False, True])
def test_the_sides_by_hand(leave_own_out: bool) -> None:
    design = made("history", graded=True, leave_own_out=leave_own_out)
    assert rows(design, design.user_side(np.array([1, 3, 77]), MONDAY)) == [
        {"user:1": 1, "rated:30": 0.9285, "rated:20": 0.3714},
        {},
        {},
    ]
    assert rows(design, design.item_side(np.array([10, 40, 77]))) == [
        {"item:10": 1, "rated_by:1": 0.7071, "rated_by:2": 0.7071},
        {},
        {},
    ]
    side = made("everything").user_side(np.array([2, 77]), MONDAY)
    assert rows(made("everything"), side) == [
        {"user:2": 1, "rated:10": 1, "day:1970-01-05": 1, "weekday:Mon": 1, "previous:10": 1},
        {"day:1970-01-05": 1, "weekday:Mon": 1},
    ]


def test_ids_alone_need_neither_times_nor_tables() -> None:
    facts = ids_facts(range(1, 944), range(1, 1683))
    tables = USERS.empty_table(), ITEMS.empty_table()
    space = FeatureSpace.from_facts(facts, *tables, preset="ids")
    design = Design(space, facts, *tables, history_length=5, graded=False, leave_own_out=True)
    matrix = design.encode(pd.DataFrame({"user_id": [1, 943], "item_id": [1, 1682]}))
    assert matrix.indices.tolist() == [0, 943, 942, 2624]
    assert matrix.data.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("preset", sorted(OF_PRESET))
def test_no_events_make_a_matrix_without_rows(preset: str) -> None:
    design = made(preset)
    assert design.encode(event(1, 1)[:0]).shape == (0, design.space.dimension)
    assert design.user_side(np.empty(0, np.int64), 0).shape == (0, design.space.dimension)
    assert design.item_side(np.empty(0, np.int64)).shape == (0, design.space.dimension)


def test_an_id_that_a_table_describes_twice_is_refused() -> None:
    facts = ids_facts([1], [10])
    twice = pa.Table.from_pylist([PEOPLE[0], PEOPLE[1], PEOPLE[0]], schema=USERS)
    films = ITEMS.empty_table()
    with pytest.raises(DataError, match="user 1 has 2 rows in the table of users"):
        space = FeatureSpace.from_facts(facts, twice, films, preset="side")
        Design(space, facts, twice, films, history_length=5, graded=False, leave_own_out=True)


def test_threads_may_encode_at_once() -> None:
    design = made("everything", graded=True, leave_own_out=True)
    events = with_previous(table(RATINGS), table(RATINGS[:TRAINED]))
    events = events.iloc[np.random.default_rng(3).integers(0, len(events), 5_000)]
    chunks = [events[start : start + 100] for start in range(0, 5_000, 100)]
    alone = [design.encode(chunk) for chunk in chunks]
    with ThreadPoolExecutor(2) as pool:
        for one, other in zip(alone, pool.map(design.encode, chunks), strict=True):
            assert (one != other).nnz == 0


@pytest.mark.data
@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("leave_own_out", [False, True])
@pytest.mark.parametrize("preset", sorted(OF_PRESET))
def test_real_ratings_are_what_a_slow_encoder_makes(
    data_dir: Path, preset: str, graded: bool, leave_own_out: bool
) -> None:
    events, users, items = movielens(data_dir)
    trained = np.random.default_rng(7).random(len(events)) < 0.8
    events = with_previous(events, events[trained])
    train = events[trained]
    facts = slow_facts(train, events, 10)
    tables = pa.Table.from_pylist(users, schema=USERS), pa.Table.from_pylist(items, schema=ITEMS)
    space = FeatureSpace.from_facts(facts, *tables, preset=preset)
    how = {"graded": graded, "leave_own_out": leave_own_out}
    design = Design(space, facts, *tables, history_length=10, **how)
    slow = SlowDesign(train, events, users, items, preset=preset, length=10, **how)
    assert space.names() == slow.names
    matrix = design.encode(events)
    expected = slow.encode(events)
    np.testing.assert_allclose(matrix.toarray(), expected, rtol=1e-6)
    assert matrix.nnz == np.count_nonzero(expected)


def movielens(data_dir: Path) -> tuple[pd.DataFrame, list[dict[str, Any]], list[dict[str, Any]]]:
    """Ratings of six users of ML-100K, with all that is known of users and films."""
    with zipfile.ZipFile(data_dir / "ml-100k.zip") as archive:
        text = {
            Path(name).name: archive.read(name).decode("latin-1")
            for name in archive.namelist()
            if name.endswith(("u.data", "u.user", "u.item", "u.genre"))
        }
    ratings = [[int(cell) for cell in line.split("\t")] for line in text["u.data"].splitlines()]
    events = table([each for each in ratings if each[0] in (2, 3, 4, 6, 8, 9)])
    events["rating"] = events["rating"].astype(np.float32)
    people = [line.split("|") for line in text["u.user"].splitlines()]
    users = [
        dict(zip(USERS.names, [int(one), int(age), *rest], strict=True))
        for one, age, *rest in people
    ]
    genres = [line.split("|")[0] for line in text["u.genre"].split() if line]
    items = []
    for line in text["u.item"].splitlines():
        number, title, date, _, _, *flags = line.split("|")
        items.append(
            {
                "item_id": int(number),
                "title": title,
                "release_year": int(date[-4:]) if date else None,
                "genres": [name for name, flag in zip(genres, flags, strict=True) if flag == "1"],
            }
        )
    return events, users, items
