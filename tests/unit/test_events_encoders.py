"""The features: their values by hand, and that each is declared whole."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from events_oracle import OF_PRESET, ORDER
from fmrec.events.encoders import FEATURES, PRESETS, weekday
from fmrec.ratings.tables import ITEMS, USERS

DOCS = Path(__file__).resolve().parents[2] / "docs" / "data.md"


def read(name: str, values: list[object]) -> list[tuple[int, object]]:
    """What a feature reads of a table that has the values in its column."""
    column = {"age_band": "age", "zip_area": "zip_code", "genre": "genres"}.get(name, name)
    schema = USERS if column in USERS.names else ITEMS
    key = schema.names[0]
    rows = [{key: at + 1, column: value} for at, value in enumerate(values)]
    feature = next(feature for feature in FEATURES if feature.name == name)
    assert feature.read is not None
    at, found = feature.read(pa.Table.from_pylist(rows, schema=schema))
    return list(zip(at.tolist(), found.to_pylist(), strict=True))


@pytest.mark.parametrize(
    ("age", "band"),
    [
        (1, "0-17"),
        (17, "0-17"),
        (18, "18-24"),
        (24, "18-24"),
        (25, "25-34"),
        (34, "25-34"),
        (35, "35-44"),
        (44, "35-44"),
        (45, "45-49"),
        (49, "45-49"),
        (50, "50-55"),
        (55, "50-55"),
        (56, "56+"),
        (99, "56+"),
    ],
)
def test_age_bands_are_those_of_movielens_1m(age: int, band: str) -> None:
    assert read("age_band", [None, age]) == [(1, band)]


def test_a_zip_area_is_the_first_character() -> None:
    values = ["90210", None, "T8H1N", "", "é1"]
    assert read("zip_area", values) == [(0, "9"), (2, "T"), (4, "é")]


def test_empty_text_is_unknown() -> None:
    assert read("gender", ["", None, "F"]) == [(2, "F")]
    assert read("occupation", ["", None, "writer"]) == [(2, "writer")]


def test_a_film_may_have_several_genres_or_none() -> None:
    values = [["Drama", "War"], None, [], [None, ""], ["Drama"]]
    assert read("genre", values) == [(0, "Drama"), (0, "War"), (4, "Drama")]


def test_a_table_that_was_put_together_of_parts_is_read_whole() -> None:
    part = pa.Table.from_pylist([{"user_id": 1, "gender": "F"}], schema=USERS)
    feature = next(feature for feature in FEATURES if feature.name == "gender")
    assert feature.read is not None
    rows, values = feature.read(pa.concat_tables([part, part]))
    assert (rows.tolist(), values.to_pylist()) == ([0, 1], ["F", "F"])


def test_weekdays_by_hand() -> None:
    # 1970-01-01 was a Thursday, 2000-01-03 (day 10,959) a Monday, 1969-12-31 a Wednesday.
    assert weekday(np.array([0, 10_959, -1])).tolist() == [3, 0, 2]


def test_presets_hold_the_declared_features_in_order() -> None:
    assert [feature.name for feature in FEATURES] == ORDER
    assert {preset: list(names) for preset, names in PRESETS.items()} == OF_PRESET


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_every_feature_is_in_the_docs_with_its_rule(feature: object) -> None:
    line = next(
        line for line in DOCS.read_text().splitlines() if line.startswith(f"| `{feature.name}:")
    )
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    assert cells[1] == feature.meaning
    assert cells[2] == feature.unknown
    assert cells[3] == ", ".join(name for name, names in PRESETS.items() if feature.name in names)
