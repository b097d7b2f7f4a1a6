"""Which films may be recommended: a small language of conditions on what is known of them.

    genre=Comedy,Drama and year>=1990 and genre!=Horror and item!=50,100

Every condition must hold; the word `and` joins them. A condition is a field, an operator and a
value, or several values with commas between, of which one is enough (`!=`: none may apply):

    genre   = !=               one of the genres that are listed for the film
    year    = != >= <= > <     the year of its release
    item    = !=               its id
    title   ~                  the title contains the text

Case does not matter. A value with a comma, one of `= < > ~` or the word `and` in it stands in
double quotes: `title~"Sense and Sensibility"`. What is not known of a film meets no condition:
without a year it fails `year<1990` and `year!=1990` alike.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fmrec.errors import ConfigurationError

OPERATORS: Mapping[str, tuple[str, ...]] = {
    "genre": ("=", "!="),
    "year": ("=", "!=", ">=", "<=", ">", "<"),
    "item": ("=", "!="),
    "title": ("~",),
}
"""The fields, and the operators that each takes."""

_EXAMPLES = {"genre": "Drama", "year": "1990", "item": "50", "title": "star"}
_NUMBERS = ("year", "item")
_ORDERS: Mapping[str, Callable[[int, int], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}

# Text in quotes, a sign, or a word; a quote alone was never closed.
_TOKEN = re.compile(r'"[^"]*"|!=|>=|<=|[=<>~,"]|(?:[^\s=<>~,"!]|!(?!=))+')
_SIGNS = {"", ",", "=", "~", "!=", *_ORDERS}
_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Condition:
    """A field, an operator that it takes, and its values: whole numbers, or text as written."""

    field: str
    operator: str
    values: tuple[Any, ...]


def parse(expression: str) -> tuple[Condition, ...]:
    """The conditions of an expression, in order.

    Raises ConfigurationError with the place (characters count from 1), the word found there, and
    what belongs there.
    """
    tokens = _Tokens(expression)
    conditions = [_condition(tokens)]
    while tokens.next:
        if tokens.next.lower() != "and":
            raise tokens.fault(
                "the word and joins conditions, a comma values; a value with signs in it stands "
                'in "double quotes"'
            )
        tokens.take()
        conditions.append(_condition(tokens))
    return tuple(conditions)


def allowed(expression: str, items: pa.Table, item_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of `item_ids`, (n,), meet an expression: a mask (n,).

    `items` is a table ITEMS (`fmrec.ratings.tables`); of a film that it lacks the id alone is
    known. Raises ConfigurationError as `parse` does, and for a genre that no film of the table has.
    """
    conditions = parse(expression)
    facts = items.select(["item_id", "title", "release_year", "genres"]).to_pylist()
    films = {each["item_id"]: _Film.of(each) for each in facts}
    _check_genres(conditions, facts)
    tests = [_test(condition) for condition in conditions]
    asked = (films.get(item, _Film(item)) for item in item_ids.tolist())
    return np.fromiter((all(test(film) for test in tests) for film in asked), bool, item_ids.size)


class _Tokens:
    """The words and signs of an expression, read one after another."""

    def __init__(self, expression: str) -> None:
        self._found = [(each.group(), each.start() + 1) for each in _TOKEN.finditer(expression)]
        self._found.append(("", len(expression) + 1))
        self._at = 0

    @property
    def next(self) -> str:
        """What comes next; empty at the end."""
        return self._found[self._at][0]

    def take(self) -> str:
        """What comes next, and go on behind it."""
        self._at += 1
        return self._found[self._at - 1][0]

    def fault(self, expected: str) -> ConfigurationError:
        """What to raise when something else than what comes next is expected."""
        word, place = self._found[self._at]
        found = f"at character {place} stands {word!r}" if word else "it ends too early"
        return ConfigurationError(f"parameter only: {found}: {expected}")


def _condition(tokens: _Tokens) -> Condition:
    field = tokens.next.lower()
    if field not in OPERATORS:
        raise tokens.fault(f"a condition begins with a field: {', '.join(OPERATORS)}")
    tokens.take()
    sign = tokens.next
    if sign not in OPERATORS[field]:
        raise tokens.fault(f"behind {field} stands one of {' '.join(OPERATORS[field])}")
    tokens.take()
    values = [_value(tokens, field)]
    while tokens.next == ",":
        if sign in _ORDERS:
            raise tokens.fault(f"{field}{sign} takes one value")
        tokens.take()
        values.append(_value(tokens, field))
    return Condition(field, sign, tuple(values))


def _value(tokens: _Tokens, field: str) -> Any:
    if field in _NUMBERS:
        if not _NUMBER.fullmatch(tokens.next):
            raise tokens.fault(f"{field} takes whole numbers, such as {_EXAMPLES[field]}")
        return int(tokens.take())
    if tokens.next == '"':
        raise tokens.fault("the quotes that open here are not closed")
    if tokens.next.startswith('"') and tokens.next.strip('" '):
        return tokens.take()[1:-1]
    words = []
    while tokens.next not in _SIGNS and tokens.next[0] != '"' and tokens.next.lower() != "and":
        words.append(tokens.take())
    if not words:
        raise tokens.fault(f"a value of {field} is missing, such as {_EXAMPLES[field]}")
    return " ".join(words)


@dataclass(frozen=True)
class _Film:
    """What is known of a film, text without case; None or nothing where it is not."""

    item: int
    title: str | None = None
    year: int | None = None
    genres: frozenset[str] = frozenset()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> _Film:
        """The film of a row of ITEMS."""
        return cls(
            row["item_id"],
            None if row["title"] is None else row["title"].casefold(),
            row["release_year"],
            frozenset(genre.casefold() for genre in row["genres"] or ()),
        )


def _test(condition: Condition) -> Callable[[_Film], bool]:
    """Whether a film meets the condition."""
    values = condition.values
    match condition.field, condition.operator:
        case "title", _:
            texts = [value.casefold() for value in values]
            return lambda film: film.title is not None and any(each in film.title for each in texts)
        case "genre", sign:
            genres = {value.casefold() for value in values}
            return lambda film: (
                bool(film.genres) and (sign == "=") != film.genres.isdisjoint(genres)
            )
        case "item", sign:
            return lambda film: (film.item in values) == (sign == "=")
        case _, "=" | "!=" as sign:
            return lambda film: film.year is not None and (film.year in values) == (sign == "=")
        case _, sign:
            compare, bound = _ORDERS[sign], values[0]
            return lambda film: film.year is not None and compare(film.year, bound)


def _check_genres(conditions: Iterable[Condition], facts: Iterable[Mapping[str, Any]]) -> None:
    wanted = [name for each in conditions if each.field == "genre" for name in each.values]
    if not wanted:
        return
    there = {genre for film in facts for genre in film["genres"] or () if genre}
    known = {genre.casefold() for genre in there}
    for genre in wanted:
        if genre.casefold() not in known:
            raise ConfigurationError(
                f"parameter only: no film has the genre {genre!r}; "
                + (f"the genres are {', '.join(sorted(there))}" if there else "no genre is known")
            )
