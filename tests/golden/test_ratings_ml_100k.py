"""The real files: the counts that GroupLens publishes in the README of ml-100k.zip."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from fmrec.errors import DataError
from fmrec.ratings import load

pytestmark = pytest.mark.data


@pytest.mark.parametrize(
    ("split", "base", "test"),
    [
        *[(f"u{i}", 80_000, 20_000) for i in range(1, 6)],
        ("ua", 90_570, 9_430),
        ("ub", 90_570, 9_430),
    ],
)
def test_the_fold_files_have_the_published_counts(
    data_dir: Path, tmp_path: Path, split: str, base: int, test: int
) -> None:
    ratings = load("ml-100k", split=split, data_dir=data_dir, cache_dir=tmp_path).ratings
    assert ratings["fold"].tolist() == ["base"] * base + ["test"] * test
    if split in ("ua", "ub"):
        assert (ratings[base:].groupby("user_id").size() == 10).all()
    whole = load("ml-100k", split="time", data_dir=data_dir, cache_dir=tmp_path).ratings
    by_pair = [
        frame.sort_values(["user_id", "item_id"], ignore_index=True).drop(columns="fold")
        for frame in (ratings, whole)
    ]
    pd.testing.assert_frame_equal(*by_pair)


def test_u_data_is_read_whole(data_dir: Path, tmp_path: Path) -> None:
    data = load("ml-100k", split="time", data_dir=data_dir, cache_dir=tmp_path)
    ratings = data.ratings
    assert len(ratings) == 100_000
    assert ratings["user_id"].nunique() == len(data.users) == 943
    assert ratings["item_id"].nunique() == len(data.items) == 1682
    assert (ratings["timestamp"].min(), ratings["timestamp"].max()) == (874_724_710, 893_286_638)
    assert ratings.iloc[0].tolist() == [196, 242, 3.0, 881250949, ""]
    assert ratings.groupby("user_id").size().min() == 20
    assert data.items.loc[0, "title"] == "Toy Story (1995)"
    assert data.items.loc[0, "genres"] == ["Animation", "Children's", "Comedy"]
    assert data.users.loc[0].tolist() == [1, 24, "M", "technician", "85711"]
    assert not data.origin.generated
    assert data.origin.location == str(data_dir / "ml-100k.zip")
    assert data.origin.bytes == (data_dir / "ml-100k.zip").stat().st_size


def test_a_packed_again_archive_is_the_same_data(data_dir: Path, tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(data_dir / "ml-100k.zip") as old,
        zipfile.ZipFile(tmp_path / "ml-100k.zip", "w") as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    again = load("ml-100k", split="u1", data_dir=tmp_path, cache_dir=tmp_path)
    first = load("ml-100k", split="u1", data_dir=data_dir, cache_dir=tmp_path)
    assert again.ratings.equals(first.ratings)
    assert again.origin.sha256 != first.origin.sha256


def test_one_altered_rating_is_noticed(data_dir: Path, tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(data_dir / "ml-100k.zip") as old,
        zipfile.ZipFile(tmp_path / "ml-100k.zip", "w") as new,
    ):
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("u2.base"):
                content = content.replace(b"\t5\t", b"\t4\t", 1)
            new.writestr(name, content)
    with pytest.raises(DataError, match=r"ml-100k/u2\.base: not the published file: sha256 is"):
        load("ml-100k", split="u1", data_dir=tmp_path, cache_dir=tmp_path)


@pytest.mark.parametrize("kept", [0, 100, 1_000_000, 4_000_000])
def test_a_truncated_archive_is_noticed(data_dir: Path, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "ml-100k.zip"
    shutil.copy(data_dir / "ml-100k.zip", path)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"ml-100k\.zip: not a whole zip archive .*downloads it"):
        load("ml-100k", split="u1", data_dir=tmp_path, cache_dir=tmp_path)
