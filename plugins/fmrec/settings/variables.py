"""Environment variables as fields of a dataclass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Any, get_type_hints

from fmrec.errors import ConfigurationError

# Where no default would be right: the bucket of that name may be a stranger's.
NEEDED = "(must be set)"


def variable(name: str, default: Any, description: str, *, least: int = 1) -> Any:
    """A dataclass field read from the variable `name`; whole numbers are `least` or more."""
    metadata = {"env": name, "description": description, "least": least}
    return field(default=default, metadata=metadata)


def from_environ(cls: Any, environ: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a dataclass that the environment sets. Raises ConfigurationError."""
    hints = get_type_hints(cls)
    given: dict[str, Any] = {}
    for each in fields(cls):
        name = each.metadata["env"]
        text = environ.get(name)
        if not text:
            if each.default == NEEDED:
                raise ConfigurationError(
                    f"environment variable {name} is not set: {each.metadata['description']}"
                )
            if isinstance(each.default, Path):
                given[each.name] = _expanded(name, each.default)
        elif hints[each.name] is int:
            least = each.metadata["least"]
            if not text.isdecimal() or int(text) < least:
                raise ConfigurationError(
                    f"environment variable {name}: {text!r} is not a whole number of at least "
                    f"{least}"
                )
            given[each.name] = int(text)
        elif hints[each.name] == float | None:
            given[each.name] = _amount(name, text)
        elif hints[each.name] in (str, str | None):
            given[each.name] = text.strip("/") if each.name == "prefix" else text
        else:
            given[each.name] = _expanded(name, Path(text))
    return given


def _amount(name: str, text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not (math.isfinite(amount) and amount >= 0):
        raise ConfigurationError(f"environment variable {name}: {text!r} is not an amount like 250")
    return amount


def _expanded(name: str, path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigurationError(
            f"environment variable {name}: {path} needs a home folder, and there is none; "
            "set it to another folder"
        ) from None
