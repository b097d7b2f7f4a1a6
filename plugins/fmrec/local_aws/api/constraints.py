"""Requests checked against botocore's service model, refused in the words AWS uses.

The client-side check of botocore knows required members, types and minima; patterns, enumerations
and maxima are checked by the service alone, so they are checked here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from fmrec.local_aws.api.faults import ApiError, invalid

# A request of megabytes can break the model a hundred thousand times.
_MOST_TOLD = 50
# The model's patterns are Java's. Python's re has no Unicode categories.
_JAVA_CLASSES = {
    r"\p{L}": r"\w",
    r"\p{N}": r"\d",
    r"\p{Z}": r"\s",
    r"\p{Alnum}": "a-zA-Z0-9",
    # Beyond ASCII every character will do.
    r"\p{M}": "\u0300-\U0010ffff",
    r"\p{P}": "!-#%-*,-/:;?@\\[-\\]_{}\u00a0-\U0010ffff",
    r"\p{S}": "$+<=>^`|~\u00a0-\U0010ffff",
    # What Java writes as a pair of surrogates.
    r"\uD800\uDC00-\uDBFF\uDFFF": "\U00010000-\U0010ffff",
    # An anchor that is repeated, as Java allows, is an anchor.
    "${1,128}": "",
    "${1,256}": "",
}
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "timestamp": (int, float, str),
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "blob": (str,),
}


def check(parameters: object, shape: StructureShape) -> None:
    """Raise the ValidationException of AWS naming every member that breaks the model."""
    found = list(islice(_violations(parameters, shape, ""), _MOST_TOLD))
    if not found:
        return
    noun = "error" if len(found) == 1 else "errors"
    raise invalid(f"{len(found)} validation {noun} detected: " + "; ".join(found))


def missing(path: str) -> ApiError:
    """Build the refusal of a request that lacks a member which the model calls optional."""
    return invalid(f"1 validation error detected: {_failed('null', path, 'must not be null')}")


def _violations(value: object, shape: Shape, path: str) -> Iterator[str]:
    expected = _PYTHON_TYPES[shape.type_name]
    wrong_number = isinstance(value, bool) and bool not in expected
    if wrong_number or not isinstance(value, expected):
        yield _failed(_shown(value), path, f"must be of type {shape.type_name}")
        return
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        yield from _structure(value, shape, path)
    elif isinstance(shape, MapShape) and isinstance(value, dict):
        yield from _size(len(value), value, shape, path)
        for key, member in value.items():
            yield from _violations(key, shape.key, f"{path}.key")
            yield from _violations(member, shape.value, f"{path}.{key}.member")
    elif isinstance(shape, ListShape) and isinstance(value, list):
        yield from _size(len(value), value, shape, path)
        for position, member in enumerate(value, start=1):
            yield from _violations(member, shape.member, f"{path}.{position}.member")
    elif isinstance(value, str):
        yield from _text(value, shape, path)
    elif shape.type_name != "timestamp" and isinstance(value, int | float):
        yield from _bounds(value, value, shape, path, "value")


def _structure(value: dict[str, object], shape: StructureShape, path: str) -> Iterator[str]:
    for name in shape.required_members:
        if value.get(name) is None:
            yield _failed("null", _member(path, name), "must not be null")
    for name, member in value.items():
        if name not in shape.members:
            known = ", ".join(shape.members)
            yield f"Unknown parameter '{_member(path, name)}', must be one of: {known}"
        elif member is not None:
            yield from _violations(member, shape.members[name], _member(path, name))


def _text(value: str, shape: Shape, path: str) -> Iterator[str]:
    if shape.type_name != "string":
        return
    yield from _size(len(value), value, shape, path)
    pattern = shape.metadata.get("pattern")
    if pattern and not _compiled(pattern).fullmatch(value):
        yield _failed(value, path, f"must satisfy regular expression pattern: {pattern}")
    allowed = shape.metadata.get("enum")
    if allowed and value not in allowed:
        yield _failed(value, path, f"must satisfy enum value set: [{', '.join(allowed)}]")


def _size(size: int, value: object, shape: Shape, path: str) -> Iterator[str]:
    yield from _bounds(size, value, shape, path, "length")


def _bounds(measure: float, value: object, shape: Shape, path: str, quantity: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and measure < least:
        yield _failed(_shown(value), path, f"must have {quantity} greater than or equal to {least}")
    if most is not None and measure > most:
        yield _failed(_shown(value), path, f"must have {quantity} less than or equal to {most}")


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str]:
    for java, python in _JAVA_CLASSES.items():
        pattern = pattern.replace(java, python)
    return re.compile(pattern)


def _failed(shown: str, path: str, constraint: str) -> str:
    return f"Value '{shown}' at '{path}' failed to satisfy constraint: Member {constraint}".replace(
        "Value 'null'", "Value null"
    )


def _member(path: str, name: str) -> str:
    name = name[0].lower() + name[1:]
    return f"{path}.{name}" if path else name


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:200] + "…"
