"""Where archives are looked for, and what is refused."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from fmrec.errors import ConfigurationError, DataError
from fmrec.ratings import find_archive, load
from fmrec.ratings.archive import Archive, digest


def test_an_unknown_source_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'ml-1b' is not known: .*ml-100k, sample"):
        load("ml-1b", split="time", data_dir=None, cache_dir=tmp_path)
    with pytest.raises(ConfigurationError, match="'ml-1b' is not known"):
        find_archive("ml-1b", None, tmp_path)


def test_the_data_folder_comes_before_the_cache(tmp_path: Path) -> None:
    data_dir, cache_dir = tmp_path / "data", tmp_path / "cache"
    for folder in (data_dir, cache_dir):
        folder.mkdir()
    assert find_archive("ml-100k", data_dir, cache_dir) is None
    (cache_dir / "ml-100k.zip").touch()
    assert find_archive("ml-100k", data_dir, cache_dir) == cache_dir / "ml-100k.zip"
    assert find_archive("ml-100k", None, cache_dir) == cache_dir / "ml-100k.zip"
    (data_dir / "ml-100k.zip").touch()
    assert find_archive("ml-100k", data_dir, cache_dir) == data_dir / "ml-100k.zip"


def packed(path: Path, **files: bytes) -> Archive:
    with zipfile.ZipFile(path, "w") as made:
        for name, data in files.items():
            made.writestr(f"x/{name}", data)
    return Archive(path, "x", "Get a fresh one.")


def test_members_are_compared_with_what_they_must_be(tmp_path: Path) -> None:
    sums = {
        "a": (3, hashlib.sha256(b"abc").hexdigest()),
        "b": (2, hashlib.sha256(b"de").hexdigest()),
    }
    packed(tmp_path / "same.zip", a=b"abc", b=b"de", other=b"?").verify(sums)
    with pytest.raises(DataError, match=r"x/b: 1 bytes where the published file has 2.*fresh one"):
        packed(tmp_path / "short.zip", a=b"abc", b=b"d").verify(sums)
    with pytest.raises(DataError, match=r"x/b: not the published file: sha256 is .*fresh one"):
        packed(tmp_path / "other.zip", a=b"abc", b=b"dE").verify(sums)
    with pytest.raises(DataError, match=r"x/b: this member is missing.*fresh one"):
        packed(tmp_path / "less.zip", a=b"abc").verify(sums)


def test_well_formed_ratings_under_the_wrong_name_are_refused(tmp_path: Path) -> None:
    """ml-100k means the published files: an archive that merely parses is not it."""
    with zipfile.ZipFile(tmp_path / "ml-100k.zip", "w") as made:
        made.writestr("ml-100k/u.data", b"1\t1\t5\t881250949\n")
    with pytest.raises(
        DataError, match=r"u\.data: 16 bytes where the published file has 1,979,173"
    ):
        load("ml-100k", split="time", data_dir=tmp_path, cache_dir=tmp_path)


def test_a_digest_is_what_the_tools_say(tmp_path: Path) -> None:
    """`printf abc | md5sum` and `| sha256sum` (RFC 1321, FIPS 180-2)."""
    (tmp_path / "abc").write_bytes(b"abc")
    found = digest(tmp_path / "abc")
    assert found.bytes == 3
    assert found.md5 == "900150983cd24fb0d6963f7d28e17f72"
    assert found.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
