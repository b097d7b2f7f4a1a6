"""Design matrices by sides, made by hand: for tests of what ranks items for users."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse


@dataclass(frozen=True, eq=False)
class Space:
    trained_users: np.ndarray
    trained_items: np.ndarray
    dimension: int


@dataclass(frozen=True, eq=False)
class Sides:
    """`users` and `items` hold the row of each trained id, (n, D) dense."""

    space: Space
    users: np.ndarray
    items: np.ndarray

    @classmethod
    def of_ids(cls, users: Iterable[int], items: Iterable[int]) -> Self:
        """A column for each user, then one for each item."""
        ids = [np.sort(np.fromiter(each, np.int64)) for each in (users, items)]
        width = ids[0].size + ids[1].size
        eye = np.eye(width, dtype=np.float32)
        return cls(Space(ids[0], ids[1], width), eye[: ids[0].size], eye[ids[0].size :])

    def user_side(self, user_ids: np.ndarray, at: int) -> sparse.csr_matrix:
        return sparse.csr_matrix(self.users[np.searchsorted(self.space.trained_users, user_ids)])

    def item_side(self, item_ids: np.ndarray) -> sparse.csr_matrix:
        return sparse.csr_matrix(self.items[np.searchsorted(self.space.trained_items, item_ids)])
