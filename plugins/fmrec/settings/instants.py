"""Moments as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

from fmrec.errors import ConfigurationError


def parse_instant(text: str) -> datetime:
    """An ISO 8601 date or moment as an aware UTC datetime; a bare one is taken as UTC.

    Raises ConfigurationError for anything else.
    """
    try:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is None:
            return instant.replace(tzinfo=UTC)
        return instant.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise ConfigurationError(
            f"parameter as_of: {text!r} is not a date or time; write it as 1998-03-08 "
            "or 1998-03-08T00:00:00Z"
        ) from None
