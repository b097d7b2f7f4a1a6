"""The fast path and the rules in words are two statements of one thing."""

from __future__ import annotations

import zipfile
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmrec.errors import DataError
from fmrec.ratings.archive import Archive
from fmrec.ratings.rows import EARLIEST, LATEST, fault_in, read_ratings

ids = st.integers(1, 2**63 - 1)
good_row = st.tuples(ids, ids, st.integers(1, 5), st.integers(EARLIEST, LATEST - 1)).map(
    lambda row: "\t".join(map(str, row)).encode()
)
odd_number = st.one_of(
    st.sampled_from([0, 6, EARLIEST - 1, EARLIEST, LATEST, 2**63 - 1, 2**63, -1]),
    st.integers(-10, 10**20),
).map(lambda number: str(number).encode())
odd_text = st.sampled_from([b"", b" 3", b"3 ", b"+3", b"3.0", b"1e3", b"0x2", b"NA", b'"3"', b"03"])
odd_row = st.lists(st.one_of(odd_number, odd_text), min_size=1, max_size=6).map(b"\t".join)
any_bytes = st.binary(max_size=30).filter(lambda data: b"\n" not in data)


def archive_of(data: bytes) -> Archive:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as made:
        made.writestr("x/u.data", data)
    return Archive(packed, "x", "Cure.")  # type: ignore[arg-type]


@given(st.lists(st.one_of(good_row, odd_row, any_bytes), min_size=1, max_size=8))
def test_a_file_is_read_exactly_when_no_line_is_at_fault(lines: list[bytes]) -> None:
    text = b"\n".join(lines) + b"\n"
    stripped = [line.removesuffix(b"\r") for line in lines]
    faulty = [number for number, line in enumerate(stripped, start=1) if fault_in(line)]
    if faulty:
        with pytest.raises(DataError, match=f", line {faulty[0]}: "):
            read_ratings(archive_of(text), "u.data")
    else:
        table = read_ratings(archive_of(text), "u.data")
        assert table.to_numpy().tolist() == [list(map(int, line.split(b"\t"))) for line in stripped]
