"""The JSONPath subset of batch transform's filters.

Source: "Associate Prediction Results with Input Records" in the SageMaker developer guide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fmrec.errors import DataError
from fmrec.local_aws.api.faults import ApiError, invalid

_CSV = "text/csv"
_OPERATORS = ("$", "[", "]", "*", ".", " ", ",", ":", "-", "'")
# A row of CSV is an array, so there is nothing to call by name.
_CSV_OPERATORS = ("$", "[", "]", "*", " ", ",", ":", "-")
_STEP = re.compile(
    r"\.?\[ *(?P<inside>[^\]]*?) *\]|\.(?P<child>[^\[\].*,:' ]+)|\.(?P<any>\*)", re.DOTALL
)
_INDEX = re.compile(r"-?\d+")
_RANGE = re.compile(r"(-?\d+)? *: *(-?\d+)?")
_QUOTED = re.compile(r"'[^']+'")


@dataclass(frozen=True)
class _Names:
    names: tuple[str, ...]


@dataclass(frozen=True)
class _Indexes:
    positions: tuple[int, ...]


@dataclass(frozen=True)
class _Range:
    start: int | None
    stop: int | None


class _Wildcard:
    pass


_Step = _Names | _Indexes | _Range | _Wildcard


class Path:
    """A parsed path. `text` is what the request said.

    A path that can mean one element alone gives that element; one with a wildcard, a range or
    several indexes gives a list, one that ends in several names an object of these members.
    """

    def __init__(self, text: str, steps: Sequence[_Step]) -> None:
        self.text = text
        self._steps = tuple(steps)
        self._single = all(
            isinstance(step, _Names) or (isinstance(step, _Indexes) and len(step.positions) == 1)
            for step in steps
        )

    @property
    def is_root(self) -> bool:
        """Whether the path selects everything."""
        return not self._steps

    def select(self, value: Any) -> Any:
        """Return what the path selects of a JSON value; raise DataError when it is not there."""
        found = list(self._matches(value, self._steps))
        return found[0] if self._single else found

    def columns(self, row: list[bytes]) -> list[bytes]:
        """Return the fields that the path selects of a row; raise DataError for a missing one."""
        found: Any = self.select(row)
        return found if isinstance(found, list) else [found]

    def _matches(self, value: Any, steps: Sequence[_Step]) -> Iterator[Any]:
        if not steps:
            yield value
            return
        for child in self._children(value, steps[0]):
            yield from self._matches(child, steps[1:])

    def _children(self, value: Any, step: _Step) -> Sequence[Any]:
        if isinstance(step, _Names):
            if not isinstance(value, Mapping):
                raise self._missing(f"{step.names[0]!r}: the value is not an object")
            for name in step.names:
                if name not in value:
                    raise self._missing(repr(name))
            if len(step.names) == 1:
                return [value[step.names[0]]]
            return [{name: value[name] for name in step.names}]
        if isinstance(step, _Wildcard) and isinstance(value, Mapping):
            return list(value.values())
        if not isinstance(value, list):
            raise self._missing("an index: the value is not an array")
        if isinstance(step, _Wildcard):
            return value
        return self._elements(value, step)

    def _elements(self, value: list[Any], step: _Indexes | _Range) -> Sequence[Any]:
        size = len(value)
        if isinstance(step, _Range):
            part = value[step.start : step.stop]
            if not part:
                raise self._missing(f"any of the elements: the array has {size}")
            return part
        for position in step.positions:
            if not -size <= position < size:
                raise self._missing(f"index {position}: the array has {size} elements")
        return [value[position] for position in step.positions]

    def _missing(self, what: str) -> DataError:
        return DataError(f"Invalid JsonPath: {self.text}: the record has not {what}")


def parse(member: str, text: str, content_type: str) -> Path:
    """Return the path that a member of DataProcessing holds; an empty one selects everything.

    `content_type` is that of the records. Raises ValidationException for a path that SageMaker
    would refuse.
    """
    if text in ("", "$"):
        return Path("$", ())
    csv = content_type == _CSV
    operators = _CSV_OPERATORS if csv else _OPERATORS
    for character in text:
        if character not in operators and not (
            character.isdecimal() if csv else character.isalnum()
        ):
            supported = ", ".join(f"'{operator}'" for operator in operators)
            raise invalid(
                f'Invalid {member}: "{text}". Unexpected "{character}" in JsonPath. '
                f'Supported operators for "{content_type}" are [{supported}]'
            )
    if not text.startswith("$"):
        raise _refused(member, text, 'It must begin with "$"')
    steps: list[_Step] = []
    at = 1
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            raise _refused(member, text, f"{text[at:]!r} is not understood")
        steps.append(_step(member, text, match))
        at = match.end()
    if csv and len(steps) > 1:
        raise _refused(member, text, "A row of CSV has one level")
    if any(isinstance(step, _Names) and len(step.names) > 1 for step in steps[:-1]):
        raise _refused(member, text, "Several names may stand at the end alone")
    return Path(text, steps)


def _step(member: str, text: str, match: re.Match[str]) -> _Step:
    if match["any"] or match["inside"] == "*":
        return _Wildcard()
    if match["child"]:
        return _Names((match["child"],))
    inside = match["inside"]
    if bounds := _RANGE.fullmatch(inside):
        start, stop = (None if bound is None else int(bound) for bound in bounds.groups())
        return _Range(start, stop)
    if ":" in inside and "'" not in inside:
        raise invalid(
            f"Invalid JsonPath: {text}: only single range filters of format (eg: [1:5]) are "
            f"supported. Format [{inside}] is not supported"
        )
    items = [item.strip(" ") for item in inside.split(",")]
    if all(_INDEX.fullmatch(item) for item in items):
        return _Indexes(tuple(int(item) for item in items))
    if all(_QUOTED.fullmatch(item) for item in items):
        names = tuple(item[1:-1] for item in items)
        if any("." in name for name in names):
            raise _refused(member, text, "Names in brackets are not nested further")
        return _Names(names)
    raise _refused(member, text, f"[{inside}] is not understood")


def _refused(member: str, text: str, why: str) -> ApiError:
    return invalid(f'Invalid {member}: "{text}". {why} in JsonPath.')
