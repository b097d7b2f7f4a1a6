"""The clock: which moment it is, and what is said when nothing lies before it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from fmrec.errors import ConfigurationError
from fmrec.events.window import Span, as_seconds, moment, visible

SECOND = 888_000_200


def test_the_moment_itself_is_not_seen_and_what_arrives_at_it_is() -> None:
    times = np.array([SECOND - 1, SECOND, SECOND + 1, SECOND - 1, SECOND - 1])
    arrived = np.array([0, 0, 0, SECOND, SECOND + 1])
    assert visible(times, arrived, SECOND).tolist() == [True, False, False, True, False]


def test_a_moment_is_the_same_in_every_zone() -> None:
    instant = datetime.fromtimestamp(SECOND, UTC)
    elsewhere = instant.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert as_seconds(instant) == as_seconds(elsewhere) == SECOND


@pytest.mark.parametrize("part", [1, 500_000, 999_999])
def test_parts_of_a_second_count(part: int) -> None:
    just_after = datetime.fromtimestamp(SECOND, UTC) + timedelta(microseconds=part)
    assert as_seconds(just_after) == SECOND + 1


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"write it as 1998-03-08T00:00:00\+00:00"):
        as_seconds(datetime(1998, 3, 8))  # noqa: DTZ001


def test_a_span_says_how_many_ratings_lie_between_which_moments() -> None:
    span = Span()
    assert str(span) == "there are no ratings at all"
    span.add(np.array([SECOND + 100, SECOND]))
    span.add(np.array([], np.int64))
    span.add(np.array([SECOND + 50] * 1000))
    assert str(span) == (
        "the 1,002 ratings lie between 1998-02-20T18:43:20+00:00 (timestamp 888000200) and "
        "1998-02-20T18:45:00+00:00 (timestamp 888000300)"
    )


def test_a_moment_that_no_calendar_has_is_its_number() -> None:
    assert moment(2**62) == f"timestamp {2**62}"
