"""The MovieLens 100K layout on a small archive made here, and every way to spoil it."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from fmrec.errors import ConfigurationError, DataError
from fmrec.ratings import movielens
from fmrec.ratings.archive import Archive

FILES = {
    "u.genre": b"unknown|0\nComedy|1\nDrama|2\n\n",
    "u.item": (
        "1|The Caf\xe9 (1995)|01-Jan-1995|||0|1|1\n"
        "2|Nothing Known||||1|0|0\n"
        "7|Old One (1931)|4-Feb-1931|||0|0|0\n"
    ).encode("latin-1"),
    "u.user": b"1|24|M|technician|85711\n3|53|F|other|T8H1N\n",
    "u.data": b"3\t7\t4\t881250949\n1\t1\t5\t881250949\n1\t2\t2\t881250950\n",
    "u1.base": b"1\t1\t5\t881250949\n3\t7\t4\t881250949\n",
    "u1.test": b"1\t2\t2\t881250950\n",
}


def archive_of(folder: Path, changes: Mapping[str, bytes | None] | None = None) -> Archive:
    """The small archive, with files replaced, or left out where None."""
    path = folder / "small.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in (FILES | dict(changes or {})).items():
            if data is not None:
                made.writestr(f"small/{name}", data)
    return Archive(path, "small", "Get a fresh one.")


def fault(folder: Path, changes: Mapping[str, bytes | None], split: str = "u1") -> str:
    with pytest.raises(DataError) as caught:
        movielens.read(archive_of(folder, changes), split)
    text = str(caught.value)
    assert text.startswith(f"{folder / 'small.zip'}: small/")
    assert text.endswith(". Get a fresh one.")
    return text


def test_a_fold_split_has_base_rows_before_test_rows_in_file_order(tmp_path: Path) -> None:
    ratings, _, _ = movielens.read(archive_of(tmp_path), "u1")
    assert ratings["fold"].tolist() == ["base", "base", "test"]
    assert ratings["item_id"].tolist() == [1, 7, 2]
    assert ratings["rating"].dtype == np.float32
    assert ratings["rating"].tolist() == [5.0, 4.0, 2.0]
    assert ratings.index.tolist() == [0, 1, 2]


def test_time_reads_u_data_without_folds(tmp_path: Path) -> None:
    ratings, _, _ = movielens.read(archive_of(tmp_path), "time")
    assert ratings["item_id"].tolist() == [7, 1, 2]
    assert ratings["fold"].tolist() == ["", "", ""]
    assert list(ratings.columns) == ["user_id", "item_id", "rating", "timestamp", "fold"]


def test_users_and_items_are_typed(tmp_path: Path) -> None:
    _, users, items = movielens.read(archive_of(tmp_path), "time")
    assert users.to_dict("list") == {
        "user_id": [1, 3],
        "age": [24, 53],
        "gender": ["M", "F"],
        "occupation": ["technician", "other"],
        "zip_code": ["85711", "T8H1N"],
    }
    assert items["title"].tolist() == ["The Café (1995)", "Nothing Known", "Old One (1931)"]
    assert items["genres"].tolist() == [["Comedy", "Drama"], ["unknown"], []]
    assert items["release_date"].dtype == "datetime64[s]"
    assert [str(day)[:10] for day in items["release_date"]] == ["1995-01-01", "NaT", "1931-02-04"]


def test_an_unknown_split_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'u6'.*time, u1, u2, u3, u4, u5, ua, ub"):
        movielens.read(archive_of(tmp_path), "u6")


@pytest.mark.parametrize("name", ["u1.base", "u1.test", "u.user", "u.item", "u.genre"])
def test_a_missing_member_is_named(tmp_path: Path, name: str) -> None:
    assert f"small/{name}: this member is missing" in fault(tmp_path, {name: None})


@pytest.mark.parametrize("name", ["u1.base", "u1.test", "u.user", "u.item", "u.genre"])
def test_an_empty_member_is_named(tmp_path: Path, name: str) -> None:
    assert f"small/{name}: this member is empty" in fault(tmp_path, {name: b""})


def test_a_rating_given_twice_in_one_file_names_both_lines(tmp_path: Path) -> None:
    doubled = FILES["u.data"] + b"3\t7\t1\t881250951\n"
    text = fault(tmp_path, {"u.data": doubled}, "time")
    assert "small/u.data, line 4: user 3 rated item 7 already in small/u.data, line 1" in text


def test_a_rating_given_twice_across_base_and_test_names_both_files(tmp_path: Path) -> None:
    doubled = FILES["u1.test"] + b"3\t7\t4\t881250949\n"
    text = fault(tmp_path, {"u1.test": doubled})
    assert "small/u1.test, line 2: user 3 rated item 7 already in small/u1.base, line 2" in text


def test_a_rating_of_nobody_or_of_nothing_names_its_line(tmp_path: Path) -> None:
    of_nobody = {"u1.test": b"1\t2\t2\t881250950\n2\t2\t2\t881250950\n"}
    assert "small/u1.test, line 2: user_id 2 is not in small/u.user" in fault(tmp_path, of_nobody)
    of_nothing = {"u1.base": b"1\t6\t5\t881250949\n"}
    assert "small/u1.base, line 1: item_id 6 is not in small/u.item" in fault(tmp_path, of_nothing)


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("u.user", b"1|24|M|technician\n", "u.user, line 1: 4 column(s) where 5 are expected"),
        ("u.user", FILES["u.user"] + b"x|2|M|a|1\n", "u.user, line 3: user id 'x' is not a whole"),
        ("u.user", b"1|240|M|a|1\n", "u.user, line 1: age '240' is not a whole number from 0"),
        ("u.user", FILES["u.user"] + b"1|2|M|a|1\n", "u.user, line 3: user 1 is listed a second"),
        ("u.user", b"1|24|M|caf\xe9|1\n", "u.user, line 1: byte 0xe9 is not ascii text"),
        ("u.item", FILES["u.item"] + b"9|A|||\n", "u.item, line 4: 5 column(s) where 8 are"),
        ("u.item", b"0|A|||" + b"|0|1|1\n", "u.item, line 1: item id '0' is not a whole number"),
        ("u.item", b"1||||" + b"|0|1|1\n", "u.item, line 1: item 1 has no title"),
        ("u.item", b"1|A|||" + b"|0|1|2\n", "u.item, line 1: item 1 has a genre flag"),
        ("u.item", b"1|A|1995-01-01||" + b"|0|1|1\n", "line 1: release date '1995-01-01' is not"),
        ("u.item", b"1|A|31-Feb-1995||" + b"|0|1|1\n", "release date '31-Feb-1995' is not a day"),
        ("u.item", b"1|A||||0|1|1\n1|B||||0|1|1\n", "u.item, line 2: item 1 is listed a second"),
        ("u.item", "1|Café||||0|1|1\n".encode(), "u.item: UTF-8 text where latin-1 is expected"),
        ("u.item", b"1|A||||0|1|1\n2|B\x93||||0|1|1\n", "line 2: control character 0x93"),
        ("u.item", "1|A||||0|1|1\n".encode("utf-16"), "u.item, line 1: control character 0x00"),
        ("u.genre", b"unknown|0\nDrama|2\n", "u.genre, line 2: 'Drama|2' where a name and the"),
    ],
)
def test_a_bad_line_about_users_items_or_genres_is_named(
    tmp_path: Path, name: str, data: bytes, what: str
) -> None:
    assert what in fault(tmp_path, {name: data})


def test_an_archive_cut_short_is_an_error(tmp_path: Path) -> None:
    path = archive_of(tmp_path).path
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"small\.zip: not a whole zip archive.*Get a fresh one"):
        Archive(path, "small", "Get a fresh one.")


def test_a_damaged_member_is_an_error(tmp_path: Path) -> None:
    path = archive_of(tmp_path).path
    with zipfile.ZipFile(path) as whole:
        info = whole.getinfo("small/u1.base")
        begin = info.header_offset + len(info.FileHeader()) + 4
    data = bytearray(path.read_bytes())
    data[begin] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"small/u1\.base: this member is damaged"):
        movielens.read(Archive(path, "small", "Get a fresh one."), "u1")


def test_a_missing_or_unreadable_archive_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.zip: cannot be opened"):
        Archive(tmp_path / "none.zip", "small", "Get a fresh one.")
