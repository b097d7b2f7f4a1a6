"""Laws of the conditions that choose films."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from fmrec import films
from fmrec.errors import ConfigurationError
from fmrec.films import OPERATORS, Condition
from fmrec.ratings.tables import ITEMS

GENRES = ("Drama", "Film-Noir", "Children's", "Sci-Fi & More", "and", "Drama = Life, or <so>")
YEARS = st.integers(1988, 1993)
TITLES = st.text(st.sampled_from("ab É,=!<~"), min_size=1, max_size=4).filter(str.strip)
IDS = st.integers(1, 12)

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "item_id": IDS,
            "title": st.none() | TITLES,
            "release_year": st.none() | YEARS,
            "genres": st.none() | st.lists(st.sampled_from(GENRES), max_size=3),
        }
    ),
    max_size=10,
    unique_by=lambda row: row["item_id"],
)
VALUES = {"genre": st.sampled_from(GENRES), "year": YEARS, "item": IDS, "title": TITLES}


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    field = draw(st.sampled_from(sorted(OPERATORS)))
    sign = draw(st.sampled_from(OPERATORS[field]))
    most = 1 if sign in (">=", "<=", ">", "<") else 3
    values = draw(st.lists(VALUES[field], min_size=1, max_size=most))
    return Condition(field, sign, tuple(values))


CONDITIONS = st.lists(conditions(), min_size=1, max_size=3)


@st.composite
def written(draw: st.DrawFn, meant: list[Condition]) -> str:
    """Conditions as a person may write them."""
    space = st.sampled_from(["", " ", "  "])

    def value(each: str | int) -> str:
        if isinstance(each, int):
            return str(each)
        # Two spaces in a row are kept by quotes alone.
        plain = re.fullmatch(r"[^\s=<>~,!]+( [^\s=<>~,!]+)*", each) and each.lower() != "and"
        return each if plain and draw(st.booleans()) else f'"{each}"'

    parts = []
    for each in meant:
        field = draw(st.sampled_from([each.field, each.field.upper()]))
        comma = draw(space) + "," + draw(space)
        values = comma.join(value(one) for one in each.values)
        parts.append(draw(space) + field + draw(space) + each.operator + draw(space) + values)
    word = draw(st.sampled_from(["and", "AND"]))
    return f" {word} ".join(parts) + draw(space)


def table(rows: list[dict]) -> pa.Table:
    # The genres that conditions may name are there, on a film that nobody asks for.
    every = {"item_id": 99, "title": None, "release_year": None, "genres": list(GENRES)}
    return pa.Table.from_pylist([*rows, every], ITEMS)


def meets(film: dict, condition: Condition) -> bool:
    """One film and one condition, by cases."""
    values = condition.values
    match condition.field:
        case "item":
            return (film["item_id"] in values) is (condition.operator == "=")
        case "title":
            title = film.get("title")
            return title is not None and any(v.lower() in title.lower() for v in values)
        case "genre":
            has = [v for v in values if v in (film.get("genres") or [])]
            if not film.get("genres"):
                return False
            return len(has) > 0 if condition.operator == "=" else len(has) == 0
    year = film.get("release_year")
    if year is None:
        return False
    return {
        "=": year in values,
        "!=": year not in values,
        ">=": year >= values[0],
        "<=": not year > values[0],
        ">": year > values[0],
        "<": not year >= values[0],
    }[condition.operator]


@given(st.data(), CONDITIONS)
def test_conditions_that_are_written_are_read_again(data, meant) -> None:
    assert films.parse(data.draw(written(meant))) == tuple(meant)


@given(st.data(), CONDITIONS, ROWS, st.lists(IDS, max_size=15))
def test_a_film_is_allowed_when_it_meets_every_condition(data, meant, rows, asked) -> None:
    by_id = {row["item_id"]: row for row in rows}
    mask = films.allowed(data.draw(written(meant)), table(rows), np.array(asked, np.int64))
    expected = [
        all(meets(by_id.get(item, {"item_id": item}), each) for each in meant) for item in asked
    ]
    assert mask.tolist() == expected


@given(st.data(), CONDITIONS, CONDITIONS, ROWS)
def test_more_conditions_allow_what_both_allow(data, one, other, rows) -> None:
    ids, items = np.arange(1, 13), table(rows)
    first, second, both = (
        films.allowed(data.draw(written(each)), items, ids) for each in (one, other, other + one)
    )
    assert both.tolist() == (first & second).tolist()


@given(
    st.text(st.sampled_from('gnaryeid =!<>~,"19 \n'), max_size=30)
    | st.lists(
        st.sampled_from(
            ["genre", "year", "=", ">=", "1990", "Drama", "and", ",", '"', '"a b"', "!"]
        ),
        max_size=8,
    ).map(" ".join)
    | st.text(max_size=20)
)
@example("genre=a\x00b")
def test_any_text_is_read_or_refused_at_a_place_within_it(text) -> None:
    try:
        assert len(films.parse(text)) > 0
    except ConfigurationError as error:
        said = re.match(
            r"parameter only: (at character (\d+) stands|it ends too early)", str(error)
        )
        assert said is not None
        if said[2]:
            place = int(said[2])
            assert 1 <= place <= len(text)
            assert not text[place - 1].isspace()
