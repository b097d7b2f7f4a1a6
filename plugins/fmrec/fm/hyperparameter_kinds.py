"""What values hyperparameters take, and how a built-in container refuses others.

The texts are those of the built-in containers, which validate against a JSON schema (SageMaker
Developer Guide, "Logs and metrics of built-in algorithms"); the last words of each are our own.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from fmrec.errors import ConfigurationError


@dataclass(frozen=True)
class Kind:
    """What values a hyperparameter takes: a test, the schema the container prints, and words."""

    valid: Callable[[str], bool]
    schema: str
    words: str
    values: tuple[str, ...] = ()


_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def integer(least: int, *, or_word: str | None = None) -> Kind:
    """Return whole numbers from ``least``, 0 or 1, on; ``or_word`` is allowed as well."""
    pattern = "^([1-9][0-9]*)$" if least else "^(0|[1-9][0-9]*)$"
    word = f"{{'enum': ['{or_word}']}}, " if or_word else ""
    return Kind(
        lambda text: text == or_word or re.fullmatch(pattern.strip("^$"), text) is not None,
        f"{{'oneOf': [{word}{{'pattern': '{pattern}', 'type': 'string'}}, "
        f"{{'minimum': {least}, 'type': 'integer'}}]}}",
        f"a whole number, {least} or more" + (f", or {or_word}" if or_word else ""),
    )


def number(
    *,
    signed: bool = False,
    above_zero: bool = False,
    below_one: bool = False,
    most: float | None = None,
) -> Kind:
    """Return finite numbers from 0 on, or the range that is asked for."""

    def valid(text: str) -> bool:
        if not _NUMBER.fullmatch(text) or float(text) in (float("inf"), float("-inf")):
            return False
        if (below_one and float(text) >= 1) or (most is not None and float(text) > most):
            return False
        return signed or (float(text) > 0 if above_zero else float(text) >= 0)

    limit = "" if signed else "'minimum': 0, "
    limit += "" if most is None else f"'maximum': {most:g}, "
    words = "a number" if signed else "a number above 0" if above_zero else "a number, 0 or more"
    words += ", below 1" if below_one else ""
    words += "" if most is None else f", {most:g} or less"
    schema = (
        "{'oneOf': [{'pattern': '^[-+]?[0-9]*\\\\.?[0-9]+([eE][-+]?[0-9]+)?$', "
        f"'type': 'string'}}, {{{limit}'type': 'number'}}]}}"
    )
    return Kind(valid, schema, words)


def one_of(*values: str) -> Kind:
    """Return these words and no other."""
    schema = f"{{'enum': {list(values)}}}"
    return Kind(lambda text: text in values, schema, " or ".join(values), values)


ANY = Kind(lambda _: True, "{'type': 'string'}", "a text")


def check_known(given: Collection[str], known: Collection[str]) -> None:
    """Raise ConfigurationError for names that the algorithm does not have."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        listed = ", ".join(map(repr, unknown))
        verb = "was" if len(unknown) == 1 else "were"
        near = difflib.get_close_matches(unknown[0], known, 1)
        hint = f" Did you mean {near[0]!r}?" if near else f" Known are: {', '.join(known)}."
        raise ConfigurationError(
            f"Additional properties are not allowed ({listed} {verb} unexpected) "
            f"(caused by ValidationError).{hint}"
        )


def check_required(given: Collection[str], required: Collection[str]) -> None:
    """Raise ConfigurationError when a required one is not given."""
    missing = [name for name in required if name not in given]
    if missing:
        raise ConfigurationError(
            f"No value(s) were specified for {', '.join(map(repr, missing))} which are required "
            "hyperparameter(s) (caused by ValidationError)"
        )


def check_values(texts: Mapping[str, str], kinds: Mapping[str, Kind]) -> None:
    """Raise ConfigurationError for the first value that is not of its kind."""
    for name, text in texts.items():
        kind = kinds[name]
        if kind.valid(text):
            continue
        keyword, first = "oneOf", f"{text!r} is not valid under any of the given schemas"
        if kind.values:
            keyword, first = "enum", f"{text!r} is not one of {list(kind.values)}"
        raise ConfigurationError(
            f"{first} (caused by ValidationError)\n\n"
            f"Failed validating {keyword!r} in schema['properties'][{name!r}]:\n"
            f"    {kind.schema}\n\n"
            f"On instance[{name!r}]:\n    {text!r}\n\n{name} must be {kind.words}."
        )
