"""The columns of the design matrix: which there are, what they are called, how events fill them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from fmrec.errors import ConfigurationError, FormatError

SCHEMA = 1


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """The feature set `ids`: one column for each user, then one for each item, ids ascending.

    An id is *known* when it has a column. `users` and `items` are int64, strictly ascending;
    column j < len(users) is users[j], column len(users) + j is items[j].
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]

    @classmethod
    def from_ids(cls, users: Iterable[int], items: Iterable[int]) -> Self:
        """The space of the given ids, in any order.

        Raises ConfigurationError when there is no user or no item.
        """
        space = cls(_ascending(users), _ascending(items))
        if not len(space.users) or not len(space.items):
            raise ConfigurationError("a feature space needs at least one user and one item.")
        return space

    @classmethod
    def from_events(cls, train: pd.DataFrame) -> Self:
        """The space of the ids that occur in the training part. Raises as from_ids does."""
        return cls.from_ids(train["user_id"].to_numpy(), train["item_id"].to_numpy())

    @property
    def dimension(self) -> int:
        """Number of columns: the algorithm's `feature_dim`."""
        return len(self.users) + len(self.items)

    def names(self) -> list[str]:
        """What each column is called, in column order: `user:196`, `item:242`."""
        return [f"user:{i}" for i in self.users.tolist()] + [
            f"item:{i}" for i in self.items.tolist()
        ]

    def knows_user(self, events: pd.DataFrame) -> NDArray[np.bool_]:
        """Mask over the events: the user has a column."""
        return _positions(self.users, events["user_id"])[1]

    def knows_item(self, events: pd.DataFrame) -> NDArray[np.bool_]:
        """Mask over the events: the item has a column."""
        return _positions(self.items, events["item_id"])[1]

    def encode(self, events: pd.DataFrame) -> csr_matrix:
        """The design matrix: float32, one row for each event in order, `dimension` columns.

        Each row holds a 1 for its user and a 1 for its item, in column order. An id without a
        column adds nothing to its row; `events.policy` decides which events come this far.
        """
        user, user_known = _positions(self.users, events["user_id"])
        item, item_known = _positions(self.items, events["item_id"])
        columns = np.column_stack([user, len(self.users) + item])
        known = np.column_stack([user_known, item_known])
        indptr = np.concatenate([[0], np.cumsum(known.sum(axis=1))])
        indices = columns[known]
        data = np.ones(len(indices), dtype=np.float32)
        return csr_matrix((data, indices, indptr), shape=(len(events), self.dimension))

    def to_bytes(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, ASCII, one line.

        `{"checksum": …, "features": "ids", "items": […], "schema": 1, "users": […]}`; the
        checksum is the sha256 of the same text without that key. Equal spaces give equal bytes.
        """
        body = {
            "features": "ids",
            "items": self.items.tolist(),
            "schema": SCHEMA,
            "users": self.users.tolist(),
        }
        return _canonical(body | {"checksum": _sha256(_canonical(body))})

    @property
    def sha256(self) -> str:
        """Checksum of to_bytes(), for the manifest: what `sha256sum` says of the stored file."""
        return _sha256(self.to_bytes())

    @classmethod
    def from_bytes(cls, data: bytes, *, sha256: str | None = None) -> Self:
        """Read what to_bytes wrote; with `sha256`, only the very file that has it.

        Raises FormatError for anything else: other text, another schema, an altered list.
        """
        if sha256 is not None and _sha256(data) != sha256:
            raise FormatError(
                f"id map: sha256 is {_sha256(data)}, the manifest says {sha256}: it is not the one "
                "of this run. Run the events step again."
            )
        try:
            body: Any = json.loads(data)
        except ValueError as error:
            raise FormatError(f"id map: not JSON ({error}). Run the events step again.") from error
        if not isinstance(body, dict) or "schema" not in body:
            raise FormatError("id map: no key `schema`: this file is not an id map of fmrec.")
        if body["schema"] != SCHEMA or body.get("features") != "ids":
            raise FormatError(
                f"id map: schema {body['schema']!r} with features {body.get('features')!r} cannot "
                f"be read by this version, which reads schema {SCHEMA} with features 'ids'."
            )
        checksum = body.pop("checksum", None)
        if checksum != _sha256(_canonical(body)):
            raise FormatError(
                "id map: the checksum inside does not fit the ids: it was altered. "
                "Run the events step again."
            )
        return cls.from_ids(body["users"], body["items"])


def _ascending(ids: Iterable[int]) -> NDArray[np.int64]:
    values = ids if isinstance(ids, np.ndarray) else np.fromiter(ids, dtype=np.int64)
    ascending = np.unique(values).astype(np.int64)
    ascending.flags.writeable = False
    return ascending


def _positions(
    known: NDArray[np.int64], ids: pd.Series[int]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where each id stands among the known ones, and whether it is one of them."""
    wanted = ids.to_numpy()
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return at, known[at] == wanted


def _canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
