"""What a run's events say of users, items and moments: gathered once, used to encode."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmrec.errors import FormatError

# What numpy and zipfile raise for bytes that are no such file, or no whole one.
_UNREADABLE = (
    ValueError,
    LookupError,
    TypeError,
    OSError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, eq=False)
class History:
    """For each user its items, or for each item its users: of training events alone.

    Row r is `indices[indptr[r]:indptr[r + 1]]`, the latest event first, with the ratings that
    were given. Rows are cut to the latest events that an encoder needs.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    ratings: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Facts:
    """Users, items, days and visits of the visible events, and what training events each has.

    `users` and `items` are ids, `days` UTC days since 1970 on which events lie; all ascending.
    Visit v is user `users[visits_user[v]]` in the hour `visits_hour[v]`, UTC hours since 1970;
    visits ascend by user, then hour, and there are none where they were not asked for.
    `*_known` is the least clock (UTC second) of a run that sees each, which orders the columns: the
    least over its events of max(timestamp + 1, arrived). `*_trained` counts the rows that are
    trained on: the training events, or in a ranking by samples the likes and what is sampled;
    `previous_trained[j]` counts those whose user's film before was items[j]. `rated` has a row of
    indices into `items` for each user, `raters` a row of indices into `users` for each item.
    """

    users: NDArray[np.int64]
    users_known: NDArray[np.int64]
    users_trained: NDArray[np.int32]
    items: NDArray[np.int64]
    items_known: NDArray[np.int64]
    items_trained: NDArray[np.int32]
    days: NDArray[np.int64]
    days_known: NDArray[np.int64]
    days_trained: NDArray[np.int32]
    visits_user: NDArray[np.int32]
    visits_hour: NDArray[np.int32]
    visits_known: NDArray[np.int64]
    visits_trained: NDArray[np.int32]
    previous_trained: NDArray[np.int32]
    rated: History
    raters: History

    def to_bytes(self) -> bytes:
        """All arrays as an .npz file; equal facts give equal bytes."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **_flat(self, ""))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Facts:
        """Read what to_bytes wrote. Raises FormatError for anything else."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as found:
                arrays: dict[str, Any] = dict(found)
            arrays |= {
                side: History(*(arrays.pop(f"{side}.{each.name}") for each in fields(History)))
                for side in ("rated", "raters")
            }
            return cls(**arrays)
        except _UNREADABLE as error:
            raise FormatError(
                f"facts: not a file of fmrec's ({error}). Run the events step again."
            ) from error


def _flat(value: Facts | History, prefix: str) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for each in fields(value):
        found = getattr(value, each.name)
        name = f"{prefix}{each.name}"
        arrays |= _flat(found, f"{name}.") if isinstance(found, History) else {name: found}
    return arrays
