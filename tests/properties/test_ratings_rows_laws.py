"""Reading ratings as a stream: the rules in words, the parser and any block size agree."""

from __future__ import annotations

from io import BytesIO

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fmrec.ratings import QUARANTINE, RATINGS, Scale
from fmrec.ratings.checks import EARLIEST, LATEST
from fmrec.ratings.rows import Form
from fmrec.ratings.stream import COLONS, CSV, TABS, read_stream

HALVES = Scale(0.5, 5.0, 0.5)
HEADER = b"userId,movieId,rating,timestamp\r\n"
FORMS = {"\t": TABS, "::": COLONS, ",": CSV}

ids = st.integers(1, 2**63 - 1)
good_row = st.tuples(
    ids, ids, st.sampled_from([0.5, 1, 3.5, 5]), st.integers(EARLIEST, LATEST - 1)
).map(lambda row: [str(field).encode() for field in row])
odd_number = st.one_of(
    st.sampled_from([0, 6, EARLIEST - 1, EARLIEST, LATEST, 2**63 - 1, 2**63, -1, 10**40]),
    st.integers(-10, 10**20),
).map(lambda number: str(number).encode())
odd_text = st.sampled_from(
    [b"", b" 3", b"3 ", b"+3", b"3.0", b"3.", b".5", b".", b"1.2.3", b"1e3", b"0x2", b"NA", b"nan",
     b"inf", b'"3"', b"03", b"0" * 30 + b"3", b"4.4999999999", b"-2", b"-0.5", b"3:", b":3", b"\t",
     b",", b"::", b"3\r"]
)  # fmt: skip
odd_row = st.lists(st.one_of(odd_number, odd_text), min_size=1, max_size=6)
any_row = st.binary(max_size=30).filter(lambda data: b"\n" not in data).map(lambda data: [data])
rows = st.lists(st.one_of(good_row, good_row, odd_row, any_row), min_size=1, max_size=12)
delimiters = st.sampled_from(sorted(FORMS))
line_ends = st.sampled_from([b"\n", b"\r\n"])


def text_of(
    table: list[list[bytes]], delimiter: str, line_end: bytes, last_line_ends: bool = True
) -> bytes:
    lines = [delimiter.encode().join(fields) for fields in table]
    data = (HEADER if delimiter == "," else b"") + line_end.join(lines)
    return data + line_end if last_line_ends or not lines[-1] else data


def read(data: bytes, delimiter: str, block_bytes: int) -> tuple[pa.Table, pa.Table]:
    chunks = list(
        read_stream(
            BytesIO(data), FORMS[delimiter], scale=HALVES, file="x/y", block_bytes=block_bytes
        )
    )
    return (
        pa.concat_tables([RATINGS.empty_table(), *(chunk.ratings for chunk in chunks)]),
        pa.concat_tables([QUARANTINE.empty_table(), *(chunk.quarantine for chunk in chunks)]),
    )


@settings(deadline=None)  # the first screening imports pandera
@given(rows, delimiters, line_ends, st.booleans(), st.integers(1, 400))
@example([[b"1", b"2", b"3", b"881250949"], [b""]], "\t", b"\n", True, 1)
def test_the_result_does_not_depend_on_the_block_size_and_no_row_is_lost(
    table: list[list[bytes]], delimiter: str, line_end: bytes, ends: bool, block_bytes: int
) -> None:
    data = text_of(table, delimiter, line_end, ends)
    ratings, quarantine = read(data, delimiter, 1 << 20)
    again, refused = read(data, delimiter, block_bytes)
    assert ratings.equals(again)
    assert quarantine.equals(refused)
    first = 2 if delimiter == "," else 1
    numbers = quarantine["row"].to_pylist()
    assert numbers == sorted(set(numbers))
    assert ratings.num_rows + quarantine.num_rows == len(table)
    # Taking the refused rows out leaves a file that reads the same and refuses nothing.
    good = [fields for number, fields in enumerate(table, start=first) if number not in numbers]
    if good:
        clean, none = read(text_of(good, delimiter, line_end), delimiter, block_bytes)
        assert clean.equals(ratings)
        assert none.num_rows == 0


@settings(deadline=None)
@given(st.lists(good_row, min_size=1, max_size=20), delimiters, line_ends)
def test_good_rows_are_read_as_they_are_written(
    table: list[list[bytes]], delimiter: str, line_end: bytes
) -> None:
    ratings, quarantine = read(text_of(table, delimiter, line_end), delimiter, 1 << 20)
    assert quarantine.num_rows == 0
    for name, values in zip(RATINGS.names[:4], zip(*table, strict=True), strict=True):
        kind = float if name == "rating" else int
        assert ratings[name].to_pylist() == [kind(value) for value in values]


@given(st.one_of(good_row, odd_row, any_row), delimiters)
def test_the_parser_takes_exactly_the_rows_without_fault(
    fields: list[bytes], delimiter: str
) -> None:
    form = Form(delimiter)
    line = delimiter.encode().join(fields)
    if line.endswith(b"\r"):
        return  # a line has lost its end before it is judged
    assert (form.parse(line + b"\n") is None) == (form.fault_in(line) is not None)


@pytest.mark.parametrize("block_bytes", [1, 7, 64, 1 << 20])
def test_a_byte_order_mark_is_passed_over(block_bytes: int) -> None:
    data = b"\xef\xbb\xbf1\t2\t3\t881250949\n"
    assert read(data, "\t", block_bytes)[0]["user_id"].to_pylist() == [1]
    headed = b"\xef\xbb\xbfuserId,movieId,rating,timestamp\n1,2,3.5,881250949\n"
    ratings, quarantine = read(headed, ",", block_bytes)
    assert ratings.to_pylist() == [
        {"user_id": 1, "item_id": 2, "rating": 3.5, "timestamp": 881250949, "arrived": 0, "fold": 0}
    ]
    assert quarantine.num_rows == 0
