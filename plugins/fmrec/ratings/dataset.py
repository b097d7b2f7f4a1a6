"""What every source yields: one typed table of ratings, who gave them, what for, and whence."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Origin:
    """Where ratings came from, in the words and sums that a manifest and a report carry.

    `location` is the path of the archive that was read; `url` where it was or can be had, if
    anywhere. `bytes`, `md5` and `sha256` are the archive's own. `sentence` is for people and
    always says whether the ratings are real. `seed` is None unless `generated`.
    """

    source: str
    sentence: str
    location: str
    url: str | None
    bytes: int
    md5: str
    sha256: str
    generated: bool
    seed: int | None


@dataclass(frozen=True)
class RatingsData:
    """Ratings with the users and items they speak of.

    `ratings`: user_id int64, item_id int64, rating float32, timestamp int64 (UTC seconds), fold
    str ("" | "base" | "test"); file order, base rows before test rows; no (user, item) twice.
    `users`: user_id int64, age int64 (years), gender, occupation, zip_code str.
    `items`: item_id int64, title str, release_date datetime64[s] (NaT when not known), genres
    list[str]. Every rated user and item has its row there.
    """

    ratings: pd.DataFrame
    users: pd.DataFrame
    items: pd.DataFrame
    origin: Origin
