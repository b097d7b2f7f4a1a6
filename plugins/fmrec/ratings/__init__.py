"""Ratings from a named source as one typed table, checked row by row."""

from fmrec.ratings.dataset import Origin, RatingsData
from fmrec.ratings.movielens import FOLD_SPLITS, SPLITS
from fmrec.ratings.sources import SOURCES, find_archive, load, obtain

__all__ = [
    "FOLD_SPLITS",
    "SOURCES",
    "SPLITS",
    "Origin",
    "RatingsData",
    "find_archive",
    "load",
    "obtain",
]
