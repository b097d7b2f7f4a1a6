"""Dividing ratings into what is trained on, what is tuned on and what is judged on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmrec.errors import ConfigurationError, DataError
from fmrec.events.window import span
from fmrec.ratings import FOLD_SPLITS, SPLITS


@dataclass(frozen=True)
class Split:
    """Three tables with the columns of the ratings they were made of, each with a fresh index.

    Together they hold every rating exactly once. `train` and `test` have rows; `validation` may
    be empty.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame


def divide(
    ratings: pd.DataFrame,
    split: str,
    *,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
) -> Split:
    """Divide ratings by a named split.

    `time` orders them by timestamp (ties in file order); the latest `test_fraction` of them are
    the test part, the `validation_fraction` before those the validation part, the rest is
    trained on. Events of one second are never divided: a cut that falls among them moves behind
    them, so every part is strictly later than the one before. The other splits follow the column
    `fold` that the files gave; the validation part is empty and the rows keep their order.

    Raises ConfigurationError for an unknown split, for fractions that do not fit, and for
    ratings loaded for another split; DataError when a part that needs rows would have none.
    """
    if split == "time":
        return _by_time(ratings, validation_fraction, test_fraction)
    if split in FOLD_SPLITS:
        return _by_fold(ratings, split)
    raise ConfigurationError(f"split {split!r} is not known: choose one of {', '.join(SPLITS)}.")


def _by_time(ratings: pd.DataFrame, validation_fraction: float, test_fraction: float) -> Split:
    fits = validation_fraction >= 0 and test_fraction > 0
    if not (fits and validation_fraction + test_fraction < 1):
        raise ConfigurationError(
            f"validation_fraction {validation_fraction} and test_fraction {test_fraction} do not "
            "fit: the first is at least 0, the second above 0, and together they stay below 1."
        )
    ordered = ratings.sort_values("timestamp", kind="stable", ignore_index=True)
    times = ordered["timestamp"].to_numpy()
    second = _cut(times, 1 - test_fraction)
    first = _cut(times, 1 - test_fraction - validation_fraction) if validation_fraction else second
    parts = Split(
        ordered.iloc[:first].reset_index(drop=True),
        ordered.iloc[first:second].reset_index(drop=True),
        ordered.iloc[second:].reset_index(drop=True),
    )
    wanted = {"train": parts.train, "test": parts.test}
    if validation_fraction:
        wanted["validation"] = parts.validation
    _check_rows(ratings, "time", wanted)
    return parts


def _cut(times: NDArray[np.int64], fraction: float) -> int:
    """Rows before the cut: at least `fraction` of them, and all of the last one's second."""
    rows = round(fraction * len(times))
    if rows == 0:
        return 0
    return int(np.searchsorted(times, times[rows - 1], side="right"))


def _by_fold(ratings: pd.DataFrame, split: str) -> Split:
    known = ratings["fold"].isin(["base", "test"])
    if not known.all():
        raise ConfigurationError(
            f"split {split!r} needs the fold of every rating, and these were loaded without: "
            f"load them with split={split!r}."
        )
    base = ratings["fold"] == "base"
    parts = Split(
        ratings[base].reset_index(drop=True),
        ratings.iloc[:0].reset_index(drop=True),
        ratings[~base].reset_index(drop=True),
    )
    _check_rows(ratings, split, {"train": parts.train, "test": parts.test})
    return parts


def _check_rows(ratings: pd.DataFrame, split: str, wanted: dict[str, pd.DataFrame]) -> None:
    empty = [name for name, part in wanted.items() if part.empty]
    if empty:
        raise DataError(
            f"split {split!r} leaves no rating for {' and '.join(empty)}: {span(ratings)}. "
            "Set as_of to a later moment, or choose another split."
        )
