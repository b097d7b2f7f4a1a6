"""Rating rows: what is read, and how each kind of bad row is called by file, line and cure."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from fmrec.errors import DataError
from fmrec.ratings.archive import Archive
from fmrec.ratings.rows import read_ratings

GOOD = b"196\t242\t3\t881250949\n186\t302\t5\t891717742\n"


def archive_of(folder: Path, **files: bytes) -> Archive:
    path = folder / "made.zip"
    with zipfile.ZipFile(path, "w") as made:
        for name, data in files.items():
            made.writestr(f"made/{name.replace('_', '.')}", data)
    return Archive(path, "made", "Get a fresh one.")


def test_rows_come_in_file_order_as_whole_numbers(tmp_path: Path) -> None:
    table = read_ratings(archive_of(tmp_path, u_data=GOOD), "u.data")
    assert table.to_numpy().tolist() == [[196, 242, 3, 881250949], [186, 302, 5, 891717742]]
    assert list(table.columns) == ["user_id", "item_id", "rating", "timestamp"]
    assert set(table.dtypes) == {np.dtype(np.int64)}


@pytest.mark.parametrize("data", [GOOD.rstrip(b"\n"), GOOD.replace(b"\n", b"\r\n")])
def test_line_ends_of_any_system_and_none_at_the_end_are_read_alike(
    tmp_path: Path, data: bytes
) -> None:
    assert len(read_ratings(archive_of(tmp_path, u_data=data), "u.data")) == 2


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (b"1\t2\t6\t881250949", "rating '6' is not a whole number from 1 to 5"),
        (b"1\t2\t0\t881250949", "rating '0' is not a whole number from 1 to 5"),
        (b"1\t2\t-3\t881250949", "rating '-3' is not a whole number from 1 to 5"),
        (b"1\t2\t3.5\t881250949", "rating '3.5' is not a whole number from 1 to 5"),
        (b"1\t2\t\t881250949", "rating '' is not a whole number from 1 to 5"),
        (b"x1\t2\t3\t881250949", "user_id 'x1' is not a whole number from 1"),
        (b"0\t2\t3\t881250949", "user_id '0' is not a whole number from 1"),
        (b"1\tnan\t3\t881250949", "item_id 'nan' is not a whole number from 1"),
        (b"1\t0x1F\t3\t881250949", "item_id '0x1F' is not a whole number from 1"),
        (b"1\t9223372036854775808\t3\t881250949", "item_id '9223372036854775808' is not a whole"),
        (b"1\t2\t3\t881250949000", "timestamp 881250949000 looks like milliseconds"),
        (b"1\t2\t3\t881250949000000", "timestamp 881250949000000 looks like microseconds"),
        (b"1\t2\t3\t881250949000000000", "looks like nanoseconds"),
        (b"1\t2\t3\t-5", "timestamp '-5' is not a whole number of UTC seconds"),
        (b"1\t2\t3\t0", "timestamp 0 is not a time between 1990 and 2100"),
        (b"1\t2\t3\t8812", "timestamp 8812 is not a time between 1990 and 2100"),
        (b"1\t2\t3", "3 column(s) where 4 are expected"),
        (b"1\t2\t3\t881250949\t9", "5 column(s) where 4 are expected"),
        (b"1\t2\t3\t881250949\r1\t3\t3\t881250949", "7 column(s) where 4 are expected"),
        (b"1::2::3::881250949", "1 column(s) where 4 are expected"),
        (b"1\t2\xff\t3\t881250949", r"item_id '2\\xff' is not a whole number"),
        (b"", "the row is empty"),
    ],
)
def test_a_bad_row_is_called_by_file_line_and_cure(tmp_path: Path, row: bytes, fault: str) -> None:
    archive = archive_of(tmp_path, u_data=GOOD + row + b"\n" + GOOD)
    with pytest.raises(DataError) as caught:
        read_ratings(archive, "u.data")
    text = str(caught.value)
    assert fault in text
    assert f"{tmp_path / 'made.zip'}: made/u.data, line 3: " in text
    assert text.endswith("Get a fresh one.")


def test_the_first_of_several_bad_rows_is_named(tmp_path: Path) -> None:
    archive = archive_of(tmp_path, u_data=GOOD + b"1\t2\t9\t881250949\nx\n")
    with pytest.raises(DataError, match=r"line 3: rating '9'"):
        read_ratings(archive, "u.data")


def test_a_very_long_field_is_cut_in_the_message(tmp_path: Path) -> None:
    archive = archive_of(tmp_path, u_data=b"1\t2\t3\t" + b"7" * 100_000 + b"\n")
    with pytest.raises(DataError) as caught:
        read_ratings(archive, "u.data")
    assert len(str(caught.value)) < 400


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"made/u\.data: this member is empty"):
        read_ratings(archive_of(tmp_path, u_data=b""), "u.data")
