"""What a run is told of its data: where they come from, how they are cut, what is too bad."""

from __future__ import annotations

from dataclasses import dataclass

from fmrec.settings.fields import setting

ARCHIVES = (
    "ml-100k",
    "ml-latest-small",
    "ml-1m",
    "ml-10m",
    "ml-20m",
    "ml-25m",
    "ml-32m",
    "sample",
)
SPLITS = ("time", "random", "leave-last-k", "u1", "u2", "u3", "u4", "u5", "ua", "ub")


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The choices of a run that its data depend on."""

    source: str = setting(
        "ml-100k",
        "Data",
        "Source of ratings",
        "An archive of MovieLens; `sample`: generated ratings of the shape of ml-100k, needing no "
        "download; `landing`: your own ratings, landed by day (docs/landing.md).",
        enum=[*ARCHIVES, "landing"],
    )
    base: str = setting(
        "none",
        "Data",
        "Archive below the landing zone",
        "Source `landing`: the archive that landed ratings are added to.",
        enum=["none", *ARCHIVES],
    )
    split: str = setting(
        "time",
        "Data",
        "Split",
        "`time`: train, validation and test in time order; `random`: the same shares of each "
        "user; `leave-last-k`: each user's latest events; the others are the source's own files.",
        enum=list(SPLITS),
    )
    as_of: str | None = setting(
        None,
        "Data",
        "As of",
        "Only ratings before this moment are seen. Empty: the end of the data interval. "
        "(`python -m fmrec run` also takes a bare day.)",
        format="date-time",
    )
    validation_fraction: float = setting(
        0.1,
        "Data",
        "Validation fraction",
        "Splits `time` and `random`: the share of events that the job reports on.",
        minimum=0.0,
        maximum=0.5,
    )
    test_fraction: float = setting(
        0.1,
        "Data",
        "Test fraction",
        "Splits `time` and `random`: the share of events that the model is judged by.",
        exclusiveMinimum=0.0,
        maximum=0.5,
    )
    leave_last: int = setting(
        1,
        "Data",
        "Events left for the test",
        "Split `leave-last-k`: k, the events of each user that the model is judged by; the k "
        "before them are those that the job reports on.",
        minimum=1,
    )
    min_user_ratings: int = setting(
        1,
        "Data",
        "Fewest ratings of a user",
        "Training events of users with fewer are left out, until none is (k-core); counted.",
        minimum=1,
    )
    min_item_ratings: int = setting(
        1,
        "Data",
        "Fewest ratings of a film",
        "Training events of films with fewer are left out, until none is (k-core); counted.",
        minimum=1,
    )
    unknown_ids: str = setting(
        "score",
        "Data",
        "Unknown users and films",
        "Events whose user or film is not in the training part: `score` them by what is known, "
        "`exclude` them (counted and kept aside), or `fail` the run.",
        enum=["score", "exclude", "fail"],
    )
    order: str = setting(
        "shuffled",
        "Data",
        "Order of training rows",
        "The built-in algorithm reads rows in file order; shuffled once, it learns far better.",
        enum=["shuffled", "file"],
    )
    seed: int = setting(
        1,
        "Data",
        "Seed",
        "For the order of the rows, random splits, sampled films, the training in image `fmrec`, "
        "and the resampling in the report.",
        minimum=0,
        maximum=2**31 - 1,
    )
    max_refused: float = setting(
        0.05,
        "Data quality",
        "Largest share refused",
        "A new landing day of which a larger share of rows or files is refused fails the run; so "
        "does an archive.",
        minimum=0.0,
        maximum=1.0,
    )
    max_day_ratio: float = setting(
        20.0,
        "Data quality",
        "Largest landing day",
        "A new landing day with more than so many times the median of the days before fails the "
        "run.",
        exclusiveMinimum=0.0,
    )
    max_drift: float = setting(
        0.5,
        "Data quality",
        "Largest drift",
        "A new landing day whose stars differ more from those of the days before fails the run "
        "(total variation distance, 0 to 1).",
        minimum=0.0,
        maximum=1.0,
    )
