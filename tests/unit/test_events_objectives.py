"""Labels and grades."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fmrec.errors import ConfigurationError
from fmrec.events.objectives import graded, labels

EVENTS = pd.DataFrame({"rating": np.array([0.5, 3.5, 4.0, 4.5, 5.0], np.float32)})


def test_a_like_begins_at_four_stars_for_both_objectives_that_know_likes() -> None:
    assert labels(EVENTS, "rating").tolist() == [0.5, 3.5, 4.0, 4.5, 5.0]
    assert labels(EVENTS, "like").tolist() == [0, 0, 1, 1, 1]
    assert labels(EVENTS, "ranking").tolist() == [0, 0, 1, 1, 1]
    assert labels(EVENTS, "ranking").dtype == np.float32


def test_an_unknown_objective_is_named() -> None:
    with pytest.raises(ConfigurationError, match="rating, like, ranking"):
        labels(EVENTS, "guess")


def test_grades_of_whole_and_half_stars() -> None:
    stars = [0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5]
    expected = [0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8, 0.9, 1.0]
    assert graded(stars) == pytest.approx(expected)
    assert graded(stars).dtype == np.float32
