"""Where ratings came from, in the words and sums that a manifest and a report carry."""

from __future__ import annotations

from dataclasses import dataclass

from fmrec.ratings.tables import Scale


@dataclass(frozen=True)
class Origin:
    """The archive that ratings were read from.

    `location` is the path of the archive that was read; `url` where it was or can be had, if
    anywhere. `bytes`, `md5` and `sha256` are the archive's own. `sentence` is for people and
    always says whether the ratings are real. `verified` says whether the content is known to be
    what its publisher made; the sentence says so when it is not. `seed` is None unless
    `generated`.
    """

    source: str
    sentence: str
    location: str
    url: str | None
    bytes: int
    md5: str
    sha256: str
    scale: Scale
    verified: bool
    generated: bool
    seed: int | None
