"""Every fault of a row is told with its file, row, check and text; the rows around it are kept."""

from __future__ import annotations

from io import BytesIO

import pytest

from fmrec.errors import DataError
from fmrec.ratings import Chunk, Scale
from fmrec.ratings.rows import Form
from fmrec.ratings.stream import COLONS, CSV, TABS, read_stream

WHOLE = Scale(1.0, 5.0, 1.0)
GOOD = b"196\t242\t3\t881250949\n186\t302\t5\t891717742\n"
HEADER = b"userId,movieId,rating,timestamp\n"


def read(data: bytes, form: Form = TABS, scale: Scale = WHOLE) -> Chunk:
    (chunk,) = read_stream(BytesIO(data), form, scale=scale, file="made/u.data", fold=2)
    return chunk


def test_rows_come_in_file_order_as_typed_columns() -> None:
    assert read(GOOD).ratings.to_pydict() == {
        "user_id": [196, 186],
        "item_id": [242, 302],
        "rating": [3.0, 5.0],
        "timestamp": [881250949, 891717742],
        "arrived": [0, 0],
        "fold": [2, 2],
    }


@pytest.mark.parametrize(
    ("row", "check", "reason"),
    [
        (b"1\t2\t6\t881250949", "range", "rating 6 is not on the scale 1 to 5 in steps of 1"),
        (b"1\t2\t0\t881250949", "range", "rating 0 is not on the scale 1 to 5 in steps of 1"),
        (b"1\t2\t3.5\t881250949", "range", "rating 3.5 is not on the scale 1 to 5"),
        (b"1\t2\t-3\t881250949", "range", "rating '-3' is not a number of stars"),
        (b"1\t2\t\t881250949", "type", "rating '' is not a number of stars"),
        (b"1\t2\tnan\t881250949", "type", "rating 'nan' is not a number of stars"),
        (b"x1\t2\t3\t881250949", "type", "user_id 'x1' is not a whole number from 1"),
        (b'"1"\t2\t3\t881250949', "type", "user_id '\"1\"' is not a whole number from 1"),
        (b"0\t2\t3\t881250949", "id", "user_id 0 is not a whole number from 1"),
        (b"-7\t2\t3\t881250949", "id", "user_id '-7' is not a whole number from 1"),
        (b"1\t0x1F\t3\t881250949", "type", "item_id '0x1F' is not a whole number from 1"),
        (b"1\t9223372036854775808\t3\t881250949", "id", "item_id '9223372036854775808' is not"),
        (b"1\t2\xff\t3\t881250949", "type", r"item_id '2\\xff' is not a whole number"),
        (b"1\t2\t3\t881250949000", "clock", "timestamp 881250949000 looks like milliseconds"),
        (b"1\t2\t3\t-5", "clock", "timestamp '-5' is not a whole number of UTC seconds"),
        (b"1\t2\t3\t8812", "clock", "timestamp 8812 is not a time between 1990 and 2100"),
        (b"1\t2\t3", "columns", "3 column(s) where 4 are expected (tab-separated: user_id, item"),
        (b"1\t2\t3\t881250949\t9", "columns", "5 column(s) where 4 are expected"),
        (b"1\t2\t3\t881250949\r1\t3\t3\t881250949", "columns", "7 column(s) where 4"),
        (b"1::2::3::881250949", "columns", "1 column(s) where 4 are expected"),
        (b"1,2,3,881250949", "columns", "1 column(s) where 4 are expected"),
        (b"", "columns", "the row is empty"),
    ],
)
def test_a_bad_row_is_refused_alone(row: bytes, check: str, reason: str) -> None:
    chunk = read(GOOD + row + b"\n" + GOOD)
    (refused,) = chunk.quarantine.to_pylist()
    assert (refused["file"], refused["row"], refused["check"]) == ("made/u.data", 3, check)
    assert reason in refused["reason"]
    assert refused["text"] == row.decode(errors="backslashreplace")
    assert chunk.ratings["user_id"].to_pylist() == [196, 186, 196, 186]


def test_rows_refused_by_form_and_by_value_come_in_file_order() -> None:
    chunk = read(b"1\t2\t9\t881250949\nx\n" + GOOD + b"1\t0\t3\t881250949\ny\n")
    assert chunk.quarantine["row"].to_pylist() == [1, 2, 5, 6]
    assert chunk.quarantine["check"].to_pylist() == ["range", "columns", "id", "columns"]
    assert chunk.ratings["user_id"].to_pylist() == [196, 186]


def test_a_file_of_bad_rows_alone_has_no_ratings_and_loses_none() -> None:
    chunk = read(b"1,2,3,881250949\n" * 3)
    assert (chunk.ratings.num_rows, chunk.quarantine.num_rows) == (0, 3)


def test_a_very_long_row_is_cut_in_the_quarantine() -> None:
    chunk = read(GOOD + b"1\t2\t3\t" + b"x" * 100_000 + b"\n")
    (refused,) = chunk.quarantine.to_pylist()
    assert len(refused["text"]) == 200
    assert len(refused["reason"]) < 200


def test_a_line_without_end_is_an_error_before_it_fills_the_memory() -> None:
    chunks = read_stream(
        BytesIO(b"\0" * 5_000_000), TABS, scale=WHOLE, file="made/u.data", block_bytes=1 << 16
    )
    with pytest.raises(DataError, match=r"made/u\.data: a line is longer than 1,048,576"):
        next(chunks)


def test_rows_with_two_colons_between_their_fields() -> None:
    chunk = read(b"1::122::5::838985046\n1::2\t::5::838985046\n1:2:3:4\n", COLONS)
    assert chunk.ratings["item_id"].to_pylist() == [122]
    assert chunk.quarantine["row"].to_pylist() == [2, 3]
    assert "'::'-separated" in chunk.quarantine["reason"][1].as_py()


def test_a_csv_may_have_its_columns_in_any_order_and_quoted_names() -> None:
    data = b'"timestamp",rating,"movieId",userId\n881250949,4.5,2,1\n881250949,4.7,2,1\n'
    chunk = read(data, CSV, Scale(0.5, 5.0, 0.5))
    assert [chunk.ratings[name].to_pylist() for name in ("user_id", "item_id", "rating")] == [
        [1],
        [2],
        [4.5],
    ]
    (refused,) = chunk.quarantine.to_pylist()
    assert (refused["row"], refused["text"]) == (3, "881250949,4.7,2,1")


@pytest.mark.parametrize(
    "header",
    [
        b"userId,movieId,rating,timestamp,tag",
        b"userId,movieId,rating",
        b"userid,movieid,rating,timestamp",
        b"userId,movieId,rating,timestamp,rating",
        b"userId;movieId;rating;timestamp",
        b"1,2,3.5,881250949",
        b"",
        HEADER.strip().decode().encode("utf-16"),
        b"0" * 140_000,
        b"userId,movieId\rrating,timestamp",
    ],
)
def test_another_header_is_named_beside_the_expected_one(header: bytes) -> None:
    with pytest.raises(DataError) as caught:
        read(header + b"\n1,2,3.5,881250949\n", CSV)
    text = str(caught.value)
    assert text.startswith("made/u.data, line 1: the columns ")
    assert "where the header userId,movieId,rating,timestamp is expected" in text


@pytest.mark.parametrize(
    ("data", "form", "what"),
    [
        (b"", TABS, "this file is empty"),
        (b"", CSV, "this file is empty"),
        (HEADER, CSV, "there is no row after the header"),
    ],
)
def test_a_file_without_rows_is_an_error(data: bytes, form: Form, what: str) -> None:
    with pytest.raises(DataError, match=rf"made/u\.data: {what}"):
        read(data, form)
