"""Every source from a small archive made here in its own format; where archives are looked for."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from fmrec.errors import ConfigurationError, DataError
from fmrec.ratings import (
    FOLD_SPLITS,
    ITEMS,
    RATINGS,
    SOURCES,
    SPLITS,
    USERS,
    ArchiveSource,
    Scale,
    find_archive,
    open_archive,
)
from fmrec.ratings.published import ARCHIVES

U_FILES = {
    "u.data": b"3\t7\t4\t881250949\n1\t1\t5\t881250949\n1\t7\t2\t881250950\n",
    "u1.base": b"1\t1\t5\t881250949\n3\t7\t4\t881250949\n",
    "u1.test": b"1\t7\t2\t881250950\n",
    "u.genre": b"unknown|0\nComedy|1\nDrama|2\n\n",
    "u.item": (
        "1|The Caf\xe9 (1995)|01-Jan-1995|||0|1|1\n7|Old One (1931)|4-Feb-1932|||0|0|0\n"
    ).encode("latin-1"),
    "u.user": b"1|24|M|technician|85711\n3|53|F|other|T8H1N\n",
}
DAT_FILES = {
    "ratings.dat": b"3::7::4::978300760\n1::1::5::978302109\n1::7::2::978301968\n",
    "movies.dat": "1::The Caf\xe9 (1995)::Comedy|Drama\n7::Old One (1931)::Drama\n".encode(
        "latin-1"
    ),
    "users.dat": b"1::M::1::10::48067\n3::F::56::0::70072\n",
}
HALF_DAT_FILES = {
    "ratings.dat": b"3::7::4.5::838985046\n1::1::5::838983525\n1::7::0.5::838983392\n",
    "movies.dat": "1::The Caf\xe9 (1995)::Comedy|Drama\n7::Old::(no genres listed)\n".encode(),
}
CSV_FILES = {
    "ratings.csv": (
        b"userId,movieId,rating,timestamp\n"
        b"3,7,4.5,964982703\n1,1,5.0,964981247\n1,7,0.5,964982224\n"
    ),
    "movies.csv": (
        "movieId,title,genres\r\n"
        '1,"Caf\xe9, ""The"" (1995)",Comedy|Drama\r\n'
        "7,Old One,(no genres listed)\r\n"
    ).encode(),
}
FILES = {
    "ml-100k": ("ml-100k", U_FILES),
    "ml-1m": ("ml-1m", DAT_FILES),
    "ml-10m": ("ml-10M100K", HALF_DAT_FILES),
    **{name: (name, CSV_FILES) for name in ("ml-latest-small", "ml-20m", "ml-25m", "ml-32m")},
}


@pytest.fixture(autouse=True)
def any_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """The content of MovieLens 100K is compared with the published one; here it is made up."""
    monkeypatch.setitem(ARCHIVES, "ml-100k", dataclasses.replace(ARCHIVES["ml-100k"], members={}))


def pack(folder: Path, source: str, changes: Mapping[str, bytes | None] | None = None) -> Path:
    """The small archive of a source, with members replaced, or left out where None."""
    inside, files = FILES[source]
    path = folder / f"{source}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(f"{inside}/", b"")
        for name, data in (files | dict(changes or {})).items():
            if data is not None:
                made.writestr(f"{inside}/{name}", data)
    return path


def opened(folder: Path, source: str) -> ArchiveSource:
    with open_archive(source, data_dir=folder, cache_dir=folder / "cache") as archive:
        return archive


def ratings_of(folder: Path, source: str, split: str = "time") -> pa.Table:
    with open_archive(source, data_dir=folder, cache_dir=folder / "cache") as archive:
        chunks = list(archive.ratings(split))
    assert sum(chunk.quarantine.num_rows for chunk in chunks) == 0
    return pa.concat_tables(chunk.ratings for chunk in chunks)


def test_every_source_but_the_sample_is_tried_here() -> None:
    assert {*FILES, "sample"} == set(SOURCES)


@pytest.mark.parametrize("source", FILES)
def test_every_source_is_read_from_its_own_files(tmp_path: Path, source: str) -> None:
    pack(tmp_path, source)
    whole_stars = source in ("ml-100k", "ml-1m")
    with open_archive(source, data_dir=tmp_path, cache_dir=tmp_path) as archive:
        assert archive.origin.source == source
        assert archive.origin.scale == Scale(*((1, 5, 1) if whole_stars else (0.5, 5, 0.5)))
        users, items = archive.users(), archive.items()
    for split in ("time", "random", "leave-last-k"):
        ratings = ratings_of(tmp_path, source, split)
        assert ratings.schema == RATINGS
        assert ratings["user_id"].to_pylist() == [3, 1, 1]
        assert ratings["item_id"].to_pylist() == [7, 1, 7]
        assert ratings["rating"].to_pylist() == ([4, 5, 2] if whole_stars else [4.5, 5, 0.5])
        assert set(ratings["arrived"].to_pylist()) == set(ratings["fold"].to_pylist()) == {0}
    assert items.schema == ITEMS
    assert items["item_id"].to_pylist() == [1, 7]
    assert "Caf\xe9" in items["title"][0].as_py()
    assert items["release_year"][0].as_py() == 1995
    assert items["genres"][0].as_py() == ["Comedy", "Drama"]
    assert users.schema == USERS
    assert users["user_id"].to_pylist() == ([1, 3] if whole_stars else [])


def test_the_files_own_split_has_base_rows_before_test_rows(tmp_path: Path) -> None:
    pack(tmp_path, "ml-100k")
    ratings = ratings_of(tmp_path, "ml-100k", "u1")
    assert ratings["fold"].to_pylist() == [1, 1, 2]
    assert ratings["item_id"].to_pylist() == [1, 7, 7]


@pytest.mark.parametrize("split", FOLD_SPLITS)
def test_a_split_that_the_files_do_not_have_is_refused_at_once(tmp_path: Path, split: str) -> None:
    pack(tmp_path, "ml-1m")
    with (
        open_archive("ml-1m", data_dir=tmp_path, cache_dir=tmp_path) as archive,
        pytest.raises(ConfigurationError, match=rf"'{split}' is not in the files of ml-1m: .*time"),
    ):
        archive.ratings(split)


def test_an_unknown_split_lists_the_known_ones(tmp_path: Path) -> None:
    pack(tmp_path, "ml-1m")
    with (
        open_archive("ml-1m", data_dir=tmp_path, cache_dir=tmp_path) as archive,
        pytest.raises(ConfigurationError, match=f"'u6' is not known: .*{', '.join(SPLITS)}"),
    ):
        archive.ratings("u6")


def test_a_bad_row_is_told_by_member_and_row(tmp_path: Path) -> None:
    pack(tmp_path, "ml-25m", {"ratings.csv": CSV_FILES["ratings.csv"] + b"1;2;3.5;964982224\n"})
    with open_archive("ml-25m", data_dir=tmp_path, cache_dir=tmp_path) as archive:
        (chunk,) = archive.ratings("time")
    assert chunk.ratings.num_rows == 3
    (refused,) = chunk.quarantine.to_pylist()
    assert (refused["file"], refused["row"]) == ("ml-25m/ratings.csv", 5)


def test_a_bad_file_is_told_by_archive_member_line_and_remedy(tmp_path: Path) -> None:
    path = pack(tmp_path, "ml-32m", {"ratings.csv": b"user,movie,rating,timestamp\n1,2,3,4\n"})
    with (
        open_archive("ml-32m", data_dir=tmp_path, cache_dir=tmp_path) as archive,
        pytest.raises(DataError) as caught,
    ):
        list(archive.ratings("time"))
    text = str(caught.value)
    assert text.startswith(f"{path}: ml-32m/ratings.csv, line 1: the columns 'user', 'movie', ")
    assert text.endswith(f"or remove {path} and the next run downloads it.")


@pytest.mark.parametrize(
    ("source", "member"),
    [("ml-1m", "ratings.dat"), ("ml-1m", "movies.dat"), ("ml-1m", "users.dat"),
     ("ml-10m", "movies.dat"), ("ml-20m", "ratings.csv"), ("ml-20m", "movies.csv"),
     ("ml-100k", "u.data"), ("ml-100k", "u.user"), ("ml-100k", "u.item"), ("ml-100k", "u.genre")],
)  # fmt: skip
@pytest.mark.parametrize("content", [None, b""])
def test_a_missing_or_empty_member_is_named(
    tmp_path: Path, source: str, member: str, content: bytes | None
) -> None:
    pack(tmp_path, source, {member: content})
    with (
        open_archive(source, data_dir=tmp_path, cache_dir=tmp_path) as archive,
        pytest.raises(
            DataError, match=rf"/{member}: this (member is (missing|empty)|file is empty)"
        ),
    ):
        list(archive.ratings("time"))
        archive.users()
        archive.items()


def test_an_archive_with_the_published_sum_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = pack(tmp_path, "ml-1m")
    content = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        foreign = opened(tmp_path, "ml-1m").origin
    assert not foreign.verified
    assert "not GroupLens's own file" in foreign.sentence
    assert "not GroupLens's own file" in caplog.text
    caplog.clear()
    known = dataclasses.replace(ARCHIVES["ml-1m"], md5=hashlib.md5(content).hexdigest())  # noqa: S324
    monkeypatch.setitem(ARCHIVES, "ml-1m", known)
    with caplog.at_level(logging.WARNING):
        origin = opened(tmp_path, "ml-1m").origin
    assert origin.verified
    assert origin.sentence == "ml-1m: MovieLens 1M, real ratings collected by GroupLens Research"
    assert caplog.text == ""
    assert origin.bytes == len(content)
    assert origin.sha256 == hashlib.sha256(content).hexdigest()
    assert origin.url == "https://files.grouplens.org/datasets/movielens/ml-1m.zip"
    assert (origin.generated, origin.seed) == (False, None)


def test_the_archive_that_changes_says_that_it_has_no_sum(tmp_path: Path) -> None:
    pack(tmp_path, "ml-latest-small")
    origin = opened(tmp_path, "ml-latest-small").origin
    assert not origin.verified
    assert "no published checksum" in origin.sentence


def test_an_unknown_source_lists_the_known_ones(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigurationError, match=r"'ml-1b' is not known: .*sample, ml-100k.*ml-32m"),
        open_archive("ml-1b", data_dir=None, cache_dir=tmp_path),
    ):
        pass
    with pytest.raises(ConfigurationError, match="'ml-1b' is not known"):
        find_archive("ml-1b", None, tmp_path)


@pytest.mark.parametrize("source", FILES)
def test_the_data_folder_comes_before_the_cache(tmp_path: Path, source: str) -> None:
    data_dir, cache_dir = tmp_path / "data", tmp_path / "cache"
    for folder in (data_dir, cache_dir):
        folder.mkdir()
    assert find_archive(source, data_dir, cache_dir) is None
    (cache_dir / f"{source}.zip").touch()
    assert find_archive(source, data_dir, cache_dir) == cache_dir / f"{source}.zip"
    assert find_archive(source, None, cache_dir) == cache_dir / f"{source}.zip"
    (data_dir / f"{source}.zip").touch()
    assert find_archive(source, data_dir, cache_dir) == data_dir / f"{source}.zip"


def test_well_formed_ratings_under_the_wrong_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ml-100k means the published files: an archive that merely parses is not it."""
    monkeypatch.undo()
    pack(tmp_path, "ml-100k")
    with (
        pytest.raises(DataError, match=r"u\.data: 48 bytes where the published file has 1,979,173"),
        open_archive("ml-100k", data_dir=tmp_path, cache_dir=tmp_path),
    ):
        pass
