"""Users who asked to be forgotten: lists below `<prefix>/erasure/`, honoured by every run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fmrec.errors import DataError
from fmrec.store import Store

_BOM = "\ufeff"


@dataclass(frozen=True, eq=False)
class Erasure:
    """User ids, ascending, each once; `identity` is a hash of them."""

    users: NDArray[np.int64]
    identity: str


def load(store: Store, prefix: str) -> Erasure:
    """The users listed in the .csv and .txt files below `<prefix>/erasure/`.

    `prefix` is the deployment's. A line holds one user id; a first line `user_id`, empty lines and
    what follows a # do not count. Raises DataError for anything else: a person's wish must not be
    passed over because of a typing error.
    """
    root = f"{prefix}/erasure/"
    users: set[int] = set()
    for key in store.list(root):
        if key.endswith("/"):
            continue
        where = f"s3://{store.bucket}/{key}"
        if not key.endswith((".csv", ".txt")):
            raise DataError(
                f"{where}: a list of users to erase is a .csv or .txt file with one user id in a "
                "line. Rename it, or move it elsewhere."
            )
        users |= _ids(store.get(key), where)
    ordered = np.array(sorted(users), np.int64)
    return Erasure(ordered, hashlib.sha256(ordered.astype("<i8").tobytes()).hexdigest())


def apply(table: pa.Table, erasure: Erasure) -> tuple[pa.Table, int]:
    """A RATINGS or USERS table without the rows of erased users, and how many these were."""
    if not erasure.users.size:
        return table, 0
    stays = pc.invert(pc.is_in(table["user_id"], pa.array(erasure.users)))
    kept = table.filter(stays)
    return kept, table.num_rows - kept.num_rows


def _ids(data: bytes, where: str) -> set[int]:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        bad = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{where}, line {bad}: not UTF-8 text. Save the file as UTF-8.") from None
    found: set[int] = set()
    for number, line in enumerate(text.removeprefix(_BOM).split("\n"), start=1):
        word = line.partition("#")[0].strip()
        if not word or (number == 1 and word.strip('"') == "user_id"):
            continue
        digits = word.isascii() and word.isdecimal() and len(word) < 20
        if not digits or not 1 <= int(word) < 2**63:
            raise DataError(
                f"{where}, line {number}: {word[:40]!r} is no user id. Write one whole number from "
                "1 in each line."
            )
        found.add(int(word))
    return found
