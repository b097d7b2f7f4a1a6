"""The ranges that a tuning job searches: what SageMaker allows, their scales and their values.

A place within a range is a number from 0 to 1 on the range's scale, or a category; the text is
what a training job gets.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from fmrec.local_aws.api.faults import invalid, unsupported
from fmrec.local_aws.api.json_wire import Document

KINDS = ("CategoricalParameterRanges", "ContinuousParameterRanges", "IntegerParameterRanges")
# From so many times the least value on, ScalingType Auto means Logarithmic.
_SEVERAL_ORDERS = 1000
_MOST_RANGES = 30
_LARGEST_INTEGER = 2**53

Place = float | str


@dataclass(frozen=True)
class Range(ABC):
    """The values that one hyperparameter may take."""

    name: str

    @property
    @abstractmethod
    def kind(self) -> str:
        """The member of ParameterRanges to which such a range belongs."""

    @property
    @abstractmethod
    def size(self) -> float:
        """How many values there are; infinity for a continuous range."""

    @abstractmethod
    def text(self, place: Place) -> str:
        """Return the value at a place."""

    @abstractmethod
    def place(self, text: str) -> Place | None:
        """Return the place of a value; None when it lies outside."""

    @abstractmethod
    def draw(self, source: random.Random) -> str:
        """Return a value, each stretch of the scale being equally likely."""


@dataclass(frozen=True)
class Categories(Range):
    """A list of values."""

    values: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The member of ParameterRanges to which such a range belongs."""
        return "CategoricalParameterRanges"

    @property
    def size(self) -> float:
        """How many values there are."""
        return float(len(self.values))

    def text(self, place: Place) -> str:
        """Return the value at a place."""
        return str(place)

    def place(self, text: str) -> Place | None:
        """Return the place of a value; None when it lies outside."""
        return text if text in self.values else None

    def draw(self, source: random.Random) -> str:
        """Return a value, each equally likely."""
        return source.choice(self.values)


@dataclass(frozen=True)
class Numbers(Range):
    """The numbers from `low` to `high`, both included, integers alone if `whole`.

    `scale` is Linear, Logarithmic or ReverseLogarithmic.
    """

    low: float
    high: float
    whole: bool
    scale: str

    @property
    def kind(self) -> str:
        """The member of ParameterRanges to which such a range belongs."""
        return "IntegerParameterRanges" if self.whole else "ContinuousParameterRanges"

    @property
    def size(self) -> float:
        """How many values there are; infinity for a continuous range."""
        return self.high - self.low + 1 if self.whole else math.inf

    def text(self, place: Place) -> str:
        """Return the value at a place."""
        first, last = self._ends()
        value = self._unscaled(first + float(place) * (last - first))
        if self.whole:
            return str(int(min(max(math.floor(value + 0.5), self.low), self.high)))
        return repr(float(min(max(value, self.low), self.high)))

    def place(self, text: str) -> Place | None:
        """Return the place of a value; None when it lies outside."""
        try:
            value = float(text)
        except ValueError:
            return None
        if not self.low <= value <= self.high or (self.whole and not value.is_integer()):
            return None
        first, last = self._ends()
        return min(max((self._scaled(value) - first) / (last - first), 0.0), 1.0)

    def draw(self, source: random.Random) -> str:
        """Return a value, each stretch of the scale being equally likely."""
        return self.text(source.random())

    def _ends(self) -> tuple[float, float]:
        # The outermost integers stand for as wide a stretch as the others.
        margin = 0.5 if self.whole else 0.0
        return self._scaled(self.low - margin), self._scaled(self.high + margin)

    def _scaled(self, value: float) -> float:
        if self.scale == "Logarithmic":
            return math.log(value)
        return -math.log1p(-value) if self.scale == "ReverseLogarithmic" else value

    def _unscaled(self, value: float) -> float:
        if self.scale == "Logarithmic":
            return math.exp(value)
        return -math.expm1(-value) if self.scale == "ReverseLogarithmic" else value


Space = tuple[Range, ...]


def parse(ranges: Document) -> Space:
    """Return the ranges of a ParameterRanges; raise ValidationException naming a wrong one."""
    if ranges.get("AutoParameters"):
        raise unsupported("AutoParameters (ranges that Autotune finds); give the ranges")
    space: Space = (
        *(_categories(given) for given in ranges.get("CategoricalParameterRanges", [])),
        *(_continuous(given) for given in ranges.get("ContinuousParameterRanges", [])),
        *(_integers(given) for given in ranges.get("IntegerParameterRanges", [])),
    )
    names = [item.name for item in space]
    if not space:
        raise invalid("A hyperparameter tuning job needs at least one hyperparameter range.")
    if len(space) > _MOST_RANGES:
        raise invalid(f"{len(space)} hyperparameter ranges; at most {_MOST_RANGES} are searched.")
    for name in names:
        if names.count(name) > 1:
            raise invalid(f"The hyperparameter {name!r} has more than one range.")
    return space


def combinations(space: Sequence[Range]) -> float:
    """Return how many different choices there are in all ranges together."""
    return math.prod(item.size for item in space)


def _categories(given: Document) -> Categories:
    values = tuple(given["Values"])
    if len(set(values)) < len(values):
        raise invalid(f"The values of the hyperparameter {given['Name']!r} are not all different.")
    return Categories(given["Name"], values)


def _continuous(given: Document) -> Numbers:
    low, high = (_number(given, member) for member in ("MinValue", "MaxValue"))
    return Numbers(given["Name"], low, high, whole=False, scale=_scale(given, low, high))


def _integers(given: Document) -> Numbers:
    low, high = (_integer(given, member) for member in ("MinValue", "MaxValue"))
    if given.get("ScalingType") == "ReverseLogarithmic":
        raise invalid(
            "Reverse logarithmic scaling is supported only for continuous hyperparameter ranges "
            f"(hyperparameter {given['Name']!r})."
        )
    return Numbers(given["Name"], low, high, whole=True, scale=_scale(given, low, high))


def _number(given: Document, member: str) -> float:
    try:
        value = float(given[member])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise invalid(
            f"{member} of the hyperparameter {given['Name']!r} is {given[member]!r}; a continuous "
            "range needs a finite number."
        )
    return value


def _integer(given: Document, member: str) -> int:
    try:
        value = int(given[member]) if len(given[member]) < 20 else None
    except ValueError:
        value = None
    if value is None or abs(value) > _LARGEST_INTEGER:
        raise invalid(
            f"{member} of the hyperparameter {given['Name']!r} is {given[member]!r}; an integer "
            f"range needs an integer of at most {_LARGEST_INTEGER}."
        )
    return value


def _scale(given: Document, low: float, high: float) -> str:
    """Return the scale of a range that is in order; refuse one that is not."""
    where = f"the hyperparameter {given['Name']!r}"
    if low >= high:
        raise invalid(f"MinValue {low} of {where} must be less than its MaxValue {high}.")
    scale: str = given.get("ScalingType", "Auto")
    if scale == "Auto":
        return "Logarithmic" if low > 0 and high / low >= _SEVERAL_ORDERS else "Linear"
    if scale == "Logarithmic" and low <= 0:
        raise invalid(
            f"Logarithmic scaling works only for ranges that have only values greater than 0 "
            f"({where})."
        )
    if scale == "ReverseLogarithmic" and not 0 <= low < high < 1:
        raise invalid(
            "Reverse logarithmic scaling works only for ranges that are entirely within the range "
            f"0<=x<1.0 ({where})."
        )
    return scale
