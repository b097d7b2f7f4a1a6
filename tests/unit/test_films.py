"""Which films may be recommended: what conditions mean, and what is said of wrong ones."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from fmrec import films
from fmrec.errors import ConfigurationError
from fmrec.films import Condition
from fmrec.ratings.tables import ITEMS

TABLE = pa.Table.from_pylist(
    [
        {"item_id": 1, "title": "Toy Story (1995)", "release_year": 1995,
         "genres": ["Animation", "Children's", "Comedy"]},
        {"item_id": 2, "title": "Alien (1979)", "release_year": 1979,
         "genres": ["Horror", "Sci-Fi"]},
        {"item_id": 3, "title": "Scary Movie, The (2000)", "release_year": 2000,
         "genres": ["Comedy", "Horror"]},
        {"item_id": 4, "title": "Sense and Sensibility (1995)", "release_year": 1995,
         "genres": ["Drama"]},
        {"item_id": 5, "title": "M=A=S=H", "release_year": None, "genres": ["Comedy"]},
        {"item_id": 6, "title": None, "release_year": 1990, "genres": []},
        {"item_id": 7, "title": "Éloge (1990)", "release_year": 1990, "genres": None},
    ],
    ITEMS,
)  # fmt: skip
NOT_IN_THE_TABLE = 8


def names(expression: str) -> list[int]:
    ids = np.arange(1, NOT_IN_THE_TABLE + 1)
    mask = films.allowed(expression, TABLE, ids)
    assert mask.dtype == np.bool_
    assert mask.shape == ids.shape
    return ids[mask].tolist()


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("genre=Comedy", [1, 3, 5]),
        ("genre=Drama,Animation", [1, 4]),
        ("genre!=Horror", [1, 4, 5]),
        ("genre!=Horror,Drama", [1, 5]),
        ("genre=Comedy and genre=Horror", [3]),
        ("genre=Children's", [1]),
        ("genre=sci-fi", [2]),
        ("year=1995", [1, 4]),
        ("year=1979,2000", [2, 3]),
        ("year!=1995", [2, 3, 6, 7]),
        ("year!=1995,1990", [2, 3]),
        ("year>=1995", [1, 3, 4]),
        ("year>1995", [3]),
        ("year<=1990", [2, 6, 7]),
        ("year<1990", [2]),
        ("year>=1980 and year<1995", [6, 7]),
        ("item=2,8,99", [2, 8]),
        ("item!=1,2", [3, 4, 5, 6, 7, 8]),
        ("title~STORY", [1]),
        ('title~"sense and sens"', [4]),
        ('title~"m=a"', [5]),
        ('title~"movie, the"', [3]),
        ("title~éloge", [7]),
        ("title~(19", [1, 2, 4, 7]),
        ("title~toy,alien", [1, 2]),
        ("genre=Comedy,Drama and year>=1990 and genre!=Horror and item!=50,100", [1, 4]),
        ("year>2100", []),
    ],
)
def test_conditions_choose_films(expression: str, expected: list[int]) -> None:
    assert names(expression) == expected


def test_nothing_is_asked_of_no_films() -> None:
    assert films.allowed("year>1990", TABLE, np.empty(0, np.int64)).shape == (0,)


def test_the_order_of_the_ids_asked_for_is_kept() -> None:
    asked = np.array([4, 2, 4, 1])
    assert films.allowed("genre=Drama", TABLE, asked).tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("genre=Film-Noir", [("genre", "=", ("Film-Noir",))]),
        ("  GENRE = film noir ,  War ", [("genre", "=", ("film noir", "War"))]),
        ("title~Airplane! AND year >= 1980", [("title", "~", ("Airplane!",)),
                                              ("year", ">=", (1980,))]),
        ("item!=007", [("item", "!=", (7,))]),
        ("genre=Sand and genre!=Android", [("genre", "=", ("Sand",)),
                                           ("genre", "!=", ("Android",))]),
        ("title~a\nand\ttitle~b", [("title", "~", ("a",)), ("title", "~", ("b",))]),
    ],
)  # fmt: skip
def test_what_is_written_is_what_is_meant(text: str, expected: list[tuple]) -> None:
    assert films.parse(text) == tuple(Condition(*each) for each in expected)


FIELD = "a condition begins with a field: genre, year, item, title"
JOINED = (
    "the word and joins conditions, a comma values; a value with signs in it stands in "
    '"double quotes"'
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", f"it ends too early: {FIELD}"),
        ("  ", f"it ends too early: {FIELD}"),
        ("genr=Drama", f"at character 1 stands 'genr': {FIELD}"),
        ("genre=Drama and yeer>1990", f"at character 17 stands 'yeer': {FIELD}"),
        ("genre=Drama and", f"it ends too early: {FIELD}"),
        ("and genre=Drama", f"at character 1 stands 'and': {FIELD}"),
        ('"genre"=Drama', f"at character 1 stands '\"genre\"': {FIELD}"),
        ("genre", "it ends too early: behind genre stands one of = !="),
        ("genre>Drama", "at character 6 stands '>': behind genre stands one of = !="),
        ("title=Alien", "at character 6 stands '=': behind title stands one of ~"),
        ("year is 1990", "at character 6 stands 'is': behind year stands one of = != >= <= > <"),
        ("year == 1990", "at character 7 stands '=': year takes whole numbers, such as 1990"),
        ("year>=nineties", "at character 7 stands 'nineties': year takes whole numbers"),
        ("year>=1990.5", "at character 7 stands '1990.5': year takes whole numbers"),
        ("year>-5", "at character 6 stands '-5': year takes whole numbers"),
        ("year>²", "at character 6 stands '²': year takes whole numbers"),
        ("item=" + "9" * 19, "item takes whole numbers, such as 50"),
        ("item=1,", "it ends too early: item takes whole numbers, such as 50"),
        ("year>=1990,1995", "at character 11 stands ',': year>= takes one value"),
        ("genre=", "it ends too early: a value of genre is missing, such as Drama"),
        ("genre=,Drama", "at character 7 stands ',': a value of genre is missing"),
        ("genre= and year>1990", "at character 8 stands 'and': a value of genre is missing"),
        ('title~""', "at character 7 stands '\"\"': a value of title is missing, such as star"),
        ('title~"  "', "stands '\"  \"': a value of title is missing"),
        ('title~"Alien', "at character 7 stands '\"': the quotes that open here are not closed"),
        ("genre=Drama year>1990", f"at character 17 stands '>': {JOINED}"),
        ("year>1990 year<1995", f"at character 11 stands 'year': {JOINED}"),
        ('genre="Drama" War', f"at character 15 stands 'War': {JOINED}"),
        ("__import__('os')", f"at character 1 stands '__import__('os')': {FIELD}".replace(
            "'__import__('os')'", '"__import__(\'os\')"')),
    ],
)  # fmt: skip
def test_a_wrong_word_is_named_with_its_place_and_what_belongs_there(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        films.parse(text)
    assert str(error.value).startswith("parameter only: ")
    assert said in str(error.value)
    with pytest.raises(ConfigurationError) as again:
        films.allowed(text, TABLE, np.array([1]))
    assert str(again.value) == str(error.value)


@pytest.mark.parametrize("sign", ["=", "!="])
def test_a_genre_that_no_film_has_is_an_error_that_lists_the_genres(sign: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        films.allowed(f"year>1990 and genre{sign}Comedy,Komedy", TABLE, np.array([1]))
    assert str(error.value) == (
        "parameter only: no film has the genre 'Komedy'; the genres are Animation, Children's, "
        "Comedy, Drama, Horror, Sci-Fi"
    )


def test_where_no_genre_is_known_this_is_said() -> None:
    with pytest.raises(ConfigurationError, match="'Comedy'; no genre is known"):
        films.allowed("genre=Comedy", TABLE.slice(5), np.array([1]))
