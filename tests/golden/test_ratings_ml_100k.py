"""The real files: the counts that GroupLens publishes in the README of ml-100k.zip."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from fmrec.errors import DataError
from fmrec.ratings import Scale, open_archive

pytestmark = pytest.mark.data


def ratings_of(folder: Path, split: str, cache_dir: Path) -> pd.DataFrame:
    """The ratings of a split; the files hold no bad row."""
    with open_archive("ml-100k", data_dir=folder, cache_dir=cache_dir) as archive:
        chunks = list(archive.ratings(split, block_bytes=300_000))
    assert sum(chunk.quarantine.num_rows for chunk in chunks) == 0
    frame: pd.DataFrame = pa.concat_tables(chunk.ratings for chunk in chunks).to_pandas()
    return frame


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
    ratings = ratings_of(data_dir, split, tmp_path)
    assert ratings["fold"].tolist() == [1] * base + [2] * test
    if split in ("ua", "ub"):
        assert (ratings[base:].groupby("user_id").size() == 10).all()
    whole = ratings_of(data_dir, "time", tmp_path)
    assert not whole.duplicated(["user_id", "item_id"]).any()
    by_pair = [
        frame.sort_values(["user_id", "item_id"], ignore_index=True).drop(columns="fold")
        for frame in (ratings, whole)
    ]
    pd.testing.assert_frame_equal(*by_pair)


def test_u_data_is_read_whole(data_dir: Path, tmp_path: Path) -> None:
    ratings = ratings_of(data_dir, "time", tmp_path)
    with open_archive("ml-100k", data_dir=data_dir, cache_dir=tmp_path) as archive:
        users, items, origin = archive.users(), archive.items(), archive.origin
    assert len(ratings) == 100_000
    assert sorted(set(ratings["user_id"])) == sorted(users["user_id"].to_pylist())
    assert sorted(set(ratings["item_id"])) == sorted(items["item_id"].to_pylist())
    assert (users.num_rows, items.num_rows) == (943, 1682)
    assert (ratings["timestamp"].min(), ratings["timestamp"].max()) == (874_724_710, 893_286_638)
    assert ratings.iloc[0].tolist() == [196, 242, 3.0, 881250949, 0, 0]
    assert ratings.groupby("user_id").size().min() == 20
    assert items.slice(0, 1).to_pylist() == [
        {
            "item_id": 1,
            "title": "Toy Story (1995)",
            "release_year": 1995,
            "genres": ["Animation", "Children's", "Comedy"],
        }
    ]
    assert items["release_year"].null_count == 1  # the film called `unknown`
    assert list(users.slice(0, 1).to_pylist()[0].values()) == [1, 24, "M", "technician", "85711"]
    assert origin.verified
    assert not origin.generated
    assert origin.scale == Scale(1, 5, 1)
    assert origin.location == str(data_dir / "ml-100k.zip")
    assert origin.bytes == (data_dir / "ml-100k.zip").stat().st_size


def packed_again(data_dir: Path, folder: Path, alter: Callable[[str, bytes], bytes]) -> None:
    with (
        zipfile.ZipFile(data_dir / "ml-100k.zip") as old,
        zipfile.ZipFile(folder / "ml-100k.zip", "w") as new,
    ):
        for name in old.namelist():
            new.writestr(name, alter(name, old.read(name)))


def test_a_packed_again_archive_is_the_same_data(data_dir: Path, tmp_path: Path) -> None:
    packed_again(data_dir, tmp_path, lambda _, content: content)
    assert ratings_of(tmp_path, "u1", tmp_path).equals(ratings_of(data_dir, "u1", tmp_path))
    with (
        open_archive("ml-100k", data_dir=tmp_path, cache_dir=tmp_path) as again,
        open_archive("ml-100k", data_dir=data_dir, cache_dir=tmp_path) as first,
    ):
        assert again.origin.sha256 != first.origin.sha256
        assert again.origin.verified


def test_one_altered_rating_is_noticed(data_dir: Path, tmp_path: Path) -> None:
    packed_again(
        data_dir,
        tmp_path,
        lambda name, content: (
            content.replace(b"\t5\t", b"\t4\t", 1) if name.endswith("u2.base") else content
        ),
    )
    with pytest.raises(DataError, match=r"ml-100k/u2\.base: not the published file: sha256 is"):
        ratings_of(tmp_path, "u1", tmp_path)


@pytest.mark.parametrize("kept", [0, 100, 1_000_000, 4_000_000])
def test_a_truncated_archive_is_noticed(data_dir: Path, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "ml-100k.zip"
    shutil.copy(data_dir / "ml-100k.zip", path)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"ml-100k\.zip: not a whole zip archive .*downloads it"):
        ratings_of(tmp_path, "u1", tmp_path)
