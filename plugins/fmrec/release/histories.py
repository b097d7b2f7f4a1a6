"""Histories in S3 that are only ever added to: objects that are numbered without a gap."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TypeVar

from fmrec.errors import ConflictError, DataError
from fmrec.store import Store

SCHEMA = 1
Entry = TypeVar("Entry")


def key_of(prefix: str, sequence: int) -> str:
    """The key of the entry of a number; the first is 1."""
    return f"{prefix}{sequence:08d}.json"


def read(
    store: Store,
    prefix: str,
    what: str,
    entry: Callable[[dict[str, Any], Sequence[Entry]], Entry],
) -> list[Entry]:
    """The entries below a prefix in their order.

    `entry` makes one of its content and those before it; what Python raises there of ValueError,
    KeyError, TypeError or AttributeError says why it is none. Raises DataError for such an object,
    which names its key and `what` has that history, and for a gap; StoreError for one that was
    altered.
    """
    found: list[Entry] = []
    for key in store.list(prefix):
        if key == prefix:
            continue  # what a console makes of "create folder"
        expected = key_of(prefix, len(found) + 1)
        if key != expected:
            raise DataError(
                f"s3://{store.bucket}/{expected} is missing, and there is {key}: the history of "
                f"{what} is numbered without a gap. Put the entry back from a backup, or move away "
                "what does not belong there."
            )
        try:
            found.append(entry(json.loads(store.get(key)), found))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"s3://{store.bucket}/{key} is no entry of the history of {what} "
                f"({type(error).__name__}: {error}). Put it back from a backup."
            ) from None
    return found


def to_json(entry: Any) -> bytes:
    """An entry, a dataclass with moments `as_of` and `at`, as it is stored."""
    moments = {name: getattr(entry, name).isoformat() for name in ("as_of", "at")}
    content = {"schema": SCHEMA, **asdict(entry), **moments}
    return (json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def require(content: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise ValueError when a member of an entry is not what it must be."""
    for name, value in {"schema": SCHEMA, **wanted}.items():
        if content[name] != value:
            raise ValueError(f"{name} is {content[name]!r}, not {value!r}")


def moments(content: dict[str, Any]) -> dict[str, Any]:
    """The moments of an entry, in UTC. Raises ValueError for one without a time zone."""
    found = {name: datetime.fromisoformat(content[name]) for name in ("as_of", "at")}
    if any(each.tzinfo is None for each in found.values()):
        raise ValueError("a moment has no time zone")
    return {name: each.astimezone(UTC) for name, each in found.items()}


def add(store: Store, prefix: str, entry: Any) -> bool:
    """Write an entry under its number; False when somebody else has written that one before.

    Raises ConflictError when nobody has, and it could not be written all the same.
    """
    key = key_of(prefix, entry.sequence)
    try:
        store.put(key, to_json(entry))
    except ConflictError:
        if not store.exists(key):
            raise
        return False
    return True
