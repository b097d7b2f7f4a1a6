"""The k-core of events small enough to thin by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fmrec.events.intake import take_in
from fmrec.events.splits import FILTERED, TEST, TRAIN, VALIDATION
from fmrec.events.thinning import thin
from prepare_oracle import Row, table

TIME = 900_000_000


def thinned(
    folder: Path, parts: dict[tuple[int, int], int], user_least: int, item_least: int
) -> dict[tuple[int, int], int]:
    """The part of each (user, item) after thinning, from the part of each before."""
    intake = take_in([table([Row(*pair, 3.0, TIME) for pair in parts])], TIME + 1, folder)

    def pairs(rows: np.ndarray) -> list[tuple[int, int]]:
        users, items = intake.users.values[rows["user"]], intake.items.values[rows["item"]]
        return list(zip(users.tolist(), items.tolist(), strict=True))

    for bucket in intake.each():
        rows = intake.read(bucket)
        rows["part"] = [parts[pair] for pair in pairs(rows)]
        intake.replace(bucket, rows)
    thin(intake, user_least, item_least)
    found = {}
    for bucket in intake.each():
        rows = intake.read(bucket)
        found |= zip(pairs(rows), rows["part"].tolist(), strict=True)
    return found


def test_users_and_items_with_too_few_training_events_go(tmp_path: Path) -> None:
    block = {(user, item): TRAIN for user in (1, 2) for item in (10, 11)}
    poor = {(3, 10): TRAIN, (1, 12): TRAIN}
    assert thinned(tmp_path, block | poor, 2, 2) == block | dict.fromkeys(poor, FILTERED)


def test_removal_goes_on_until_nobody_has_too_few(tmp_path: Path) -> None:
    chain = {(at + side, 100 + at): TRAIN for at in range(1, 31) for side in (0, 1)}
    # Each end has one neighbour: its loss leaves the next with one, to the last.
    assert set(thinned(tmp_path, chain, 2, 2).values()) == {FILTERED}


def test_a_ring_keeps_itself(tmp_path: Path) -> None:
    ring = {((at + side) % 30 + 1, 100 + at): TRAIN for at in range(30) for side in (0, 1)}
    assert thinned(tmp_path, ring, 2, 2) == ring


@pytest.mark.parametrize(("user_least", "item_least"), [(3, 1), (1, 3)])
def test_each_side_has_its_own_least(tmp_path: Path, user_least: int, item_least: int) -> None:
    star = {(1, item): TRAIN for item in (1, 2, 3)}
    across = {(user, 9): TRAIN for user in (5, 6, 7)}
    stays, goes = (star, across) if user_least == 3 else (across, star)
    assert thinned(tmp_path, star | across, user_least, item_least) == stays | dict.fromkeys(
        goes, FILTERED
    )


def test_other_parts_stay_and_do_not_count(tmp_path: Path) -> None:
    kept = {(1, 1): TRAIN, (1, 2): TRAIN}
    others = {(2, 1): TEST, (2, 2): VALIDATION}
    found = thinned(tmp_path, kept | others | {(2, 3): TRAIN}, 2, 1)
    assert found == kept | others | {(2, 3): FILTERED}
