"""Erased users are gone from every table, and a list that cannot be read stops the run."""

from __future__ import annotations

import pyarrow as pa
import pytest

from fmrec.errors import DataError
from fmrec.ratings.erasure import apply, load
from fmrec.ratings.tables import USERS
from fmrec.store import Store


class Lists(Store):
    """Objects in memory."""

    def __init__(self, **files: bytes) -> None:
        self.bucket = "bbb"
        self.files = {f"p/erasure/{name.replace('_', '.')}": data for name, data in files.items()}

    def list(self, prefix: str) -> list[str]:
        return sorted(key for key in self.files if key.startswith(prefix))

    def get(self, key: str, *, etag: str | None = None) -> bytes:
        return self.files[key]


def test_lists_are_put_together() -> None:
    found = load(
        Lists(
            a_csv=b"\xef\xbb\xbfuser_id\r\n7\r\n\r\n9223372036854775807\r\n",
            b_txt=b"# asked on 8 March\n3  # by letter\n7",
        ),
        "p",
    )
    assert found.users.tolist() == [3, 7, 2**63 - 1]


def test_the_identity_is_that_of_the_users() -> None:
    once = load(Lists(a_csv=b"1\n2\n"), "p")
    assert load(Lists(a_txt=b"2\n", b_txt=b"1\n1\n"), "p").identity == once.identity
    assert load(Lists(a_csv=b"1\n"), "p").identity != once.identity
    assert load(Lists(), "p").users.tolist() == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"1\nx7\n", r"a\.csv, line 2: 'x7' is no user id. Write one whole number"),
        (b"1\nuser_id\n", "line 2: 'user_id' is no user id"),
        (b"1,2\n", "line 1: '1,2' is no user id"),
        (b"0\n", "line 1: '0' is no user id"),
        (b"9223372036854775808\n", "is no user id"),
        (b"1\n\n\xe9\n", "line 3: not UTF-8 text"),
    ],
)
def test_a_line_that_is_no_id_is_an_error(data: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load(Lists(a_csv=data), "p")


def test_a_file_of_another_kind_is_an_error() -> None:
    with pytest.raises(DataError, match=r"s3://bbb/p/erasure/a\.xlsx: a list of users to erase is"):
        load(Lists(a_xlsx=b""), "p")


def test_the_rows_of_erased_users_go_and_are_counted() -> None:
    erasure = load(Lists(a_csv=b"2\n9\n"), "p")
    blank = {name: pa.nulls(4, USERS.field(name).type) for name in USERS.names}
    table = pa.table(blank | {"user_id": [1, 2, 3, 2]}, schema=USERS)
    kept, count = apply(table, erasure)
    assert (kept["user_id"].to_pylist(), count) == ([1, 3], 2)
    assert kept.schema == USERS
    assert apply(table, load(Lists(), "p")) == (table, 0)
