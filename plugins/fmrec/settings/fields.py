"""A setting: a dataclass field that carries its form section, texts and limits."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import Field, field, fields
from typing import Any

from fmrec.errors import ConfigurationError


def setting(
    default: Any,
    section: str,
    title: str,
    description: str,
    **schema: Any,
) -> Any:
    """A dataclass field that carries its form section, texts and JSON-schema limits."""
    metadata = {"section": section, "title": title, "description": description, "schema": schema}
    return field(default=default, metadata=metadata)


_HINTS = {"str": str, "int": int, "float": float, "bool": bool}
_SAID = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def value_type(each: Field[Any]) -> tuple[type, bool]:
    """The plain type of a field (str, int, float, bool), and whether None is allowed."""
    name, _, rest = str(each.type).partition(" | ")
    return _HINTS[name], rest == "None"


def checked(each: Field[Any], value: Any) -> Any:
    """`value` as the field's type, inside its limits."""
    kind, optional = value_type(each)
    schema: dict[str, Any] = each.metadata["schema"]
    if value is None or (optional and value == ""):
        if optional:
            return None
        raise ConfigurationError(f"parameter {each.name}: a value is needed")
    if kind is bool:
        said = value if isinstance(value, bool) else _SAID.get(str(value).lower())
        if said is None:
            raise ConfigurationError(f"parameter {each.name}: {value!r} is not true or false")
        return said
    try:
        number = 0.0 if kind is str else float(value)
        if isinstance(value, bool) or (kind is int and number != int(number)):
            raise ValueError
        typed: Any = value if kind is str else kind(number)
        if not (math.isfinite(number) and isinstance(typed, kind)):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise ConfigurationError(f"parameter {each.name}: {value!r} is not {_noun(kind)}") from None
    allowed = (
        typed in schema.get("enum", [typed])
        and (kind is str or schema.get("minimum", typed) <= typed <= schema.get("maximum", typed))
        and (kind is str or typed > schema.get("exclusiveMinimum", -math.inf))
        and (
            kind is not str
            or re.fullmatch(str(schema.get("pattern", ".*")), str(typed)) is not None
        )
    )
    if not allowed:
        raise ConfigurationError(
            f"parameter {each.name}: {value!r} is not allowed; it takes {describe_limits(each)}"
        )
    return typed


def typed(cls: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a settings class's fields, checked one by one. Raises ConfigurationError."""
    known = {each.name: each for each in fields(cls)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigurationError(
            f"unknown parameter {unknown[0]!r}; the parameters are: {', '.join(known)}"
        )
    return {name: checked(known[name], value) for name, value in values.items()}


def _noun(kind: type) -> str:
    return {int: "a whole number", float: "a number", str: "text"}[kind]


def describe_limits(each: Field[Any]) -> str:
    """What a field takes, in words: for messages and docs."""
    kind, _ = value_type(each)
    schema = each.metadata["schema"]
    if kind is bool:
        return "true or false"
    if "enum" in schema:
        return ", ".join(str(choice) for choice in schema["enum"])
    if "pattern" in schema:
        return f"text like {each.default}"
    words = {"minimum": "at least", "exclusiveMinimum": "more than", "maximum": "at most"}
    limits = [f"{word} {schema[rule]}" for rule, word in words.items() if rule in schema]
    noun = "a moment like 1998-03-08T00:00:00Z" if schema.get("format") else _noun(kind)
    return " ".join([noun, " and ".join(limits)]).strip()


def default_of(each: Field[Any], environ: Mapping[str, str]) -> Any:
    """A field's default: the variable FMREC_<NAME> when it is set, else the project's own."""
    name = env_name(each)
    if environ.get(name):
        try:
            return checked(each, environ[name])
        except ConfigurationError as error:
            raise ConfigurationError(f"environment variable {name}: {error}") from None
    return each.default


def env_name(each: Field[Any]) -> str:
    """The environment variable that changes a field's default."""
    return f"FMREC_{each.name.upper()}"
