"""The k-core: no training event of a user or an item that has too few of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fmrec.events.intake import Intake
from fmrec.events.splits import FILTERED, TRAIN


def thin(intake: Intake, user_least: int, item_least: int) -> None:
    """Move training events out until each user and item has none or at least its least number.

    They are marked as filtered in the files of `intake`; events of the other parts stay. What is
    left is the k-core of the training events, which does not depend on the order of removal
    (Seidman, "Network structure and minimum degree", Social Networks 5, 1983).
    """
    users = np.ones(intake.users.values.size, np.bool_)
    items = np.ones(intake.items.values.size, np.bool_)
    removed = True
    while removed:
        user_count, item_count = _counts(intake, users, items)
        user_stays = users & (user_count >= user_least)
        item_stays = items & (item_count >= item_least)
        removed = bool((user_stays != users).any() or (item_stays != items).any())
        users, items = user_stays, item_stays
    for bucket in intake.each():
        rows = intake.read(bucket)
        thin_out = (rows["part"] == TRAIN) & ~(users[rows["user"]] & items[rows["item"]])
        rows["part"][thin_out] = FILTERED
        intake.replace(bucket, rows)


def _counts(
    intake: Intake, users: NDArray[np.bool_], items: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    user_count, item_count = np.zeros(users.size, np.int64), np.zeros(items.size, np.int64)
    for bucket in intake.each():
        rows = intake.read(bucket)
        user, item = rows["user"], rows["item"]
        stays = (rows["part"] == TRAIN) & users[user] & items[item]
        user_count += np.bincount(user[stays], minlength=users.size)
        item_count += np.bincount(item[stays], minlength=items.size)
    return user_count, item_count
