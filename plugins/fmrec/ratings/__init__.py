"""Ratings from a named source as typed tables, checked row by row."""

from fmrec.ratings.origin import Origin
from fmrec.ratings.sources import (
    FOLD_SPLITS,
    SOURCES,
    SPLITS,
    ArchiveSource,
    find_archive,
    obtain,
    open_archive,
)
from fmrec.ratings.tables import ITEMS, QUARANTINE, RATINGS, USERS, Chunk, Scale

__all__ = [
    "FOLD_SPLITS",
    "ITEMS",
    "QUARANTINE",
    "RATINGS",
    "SOURCES",
    "SPLITS",
    "USERS",
    "ArchiveSource",
    "Chunk",
    "Origin",
    "Scale",
    "find_archive",
    "obtain",
    "open_archive",
]
