"""What zips are read, and which are refused with words."""

from __future__ import annotations

import hashlib
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import pytest

from fmrec.errors import DataError
from fmrec.ratings.archive import Archive, digest


def packed(path: Path, **files: bytes) -> Archive:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(f"x/{name}", data)
    return Archive(path, "x", "Get a fresh one.")


def altered(path: Path, field: int, fmt: str, value: int) -> None:
    """Write a field of the first member into the central directory (APPNOTE 4.3.12)."""
    data = bytearray(path.read_bytes())
    struct.pack_into(fmt, data, data.index(b"PK\x01\x02") + field, value)
    path.write_bytes(data)


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


def test_a_digest_is_what_the_tools_say(tmp_path: Path) -> None:
    """`printf abc | md5sum` and `| sha256sum` (RFC 1321, FIPS 180-2)."""
    (tmp_path / "abc").write_bytes(b"abc")
    found = digest(tmp_path / "abc")
    assert found.bytes == 3
    assert found.md5 == "900150983cd24fb0d6963f7d28e17f72"
    assert found.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_member_is_read_in_pieces_as_a_whole(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    with packed(tmp_path / "x.zip", a=content) as archive, archive.open("a") as stream:
        pieces = iter(lambda: stream.read(999), b"")
        assert b"".join(pieces) == content


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "x/../../evil", "..", "C:\\x", "x\\..\\..\\y", "\\\\host\\share"]
)
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "made.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("x/a", b"abc")
        made.writestr(name, b"evil")
    with pytest.raises(DataError, match=r"made\.zip: the name .* leads out of.*Get a fresh one"):
        Archive(path, "x", "Get a fresh one.")


def test_a_name_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "made.zip"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's own
        with zipfile.ZipFile(path, "w") as made:
            made.writestr("x/a", b"one")
            made.writestr("x/a", b"two")
    with pytest.raises(DataError, match=r"'x/a' is in the archive twice"):
        Archive(path, "x", "Get a fresh one.")


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "made.zip"
    packed(path, a=b"abc")
    altered(path, 8, "<H", 1)
    with pytest.raises(DataError, match="'x/a' is encrypted"):
        Archive(path, "x", "Get a fresh one.")


def test_a_member_that_declares_too_much_is_a_bomb(tmp_path: Path) -> None:
    path = tmp_path / "made.zip"
    packed(path, a=b"\0" * 1_000_000)
    altered(path, 24, "<I", 300 * 2**20)
    with pytest.raises(DataError, match=r"declares 314,572,800 bytes, packed into .* zip bomb"):
        Archive(path, "x", "Get a fresh one.")


def test_a_member_that_is_too_large_to_be_read_whole_is_a_bomb(tmp_path: Path) -> None:
    path = tmp_path / "made.zip"
    packed(path, a=b"\n" * 1_000_000)
    altered(path, 24, "<I", 64 * 2**20 + 1)
    with Archive(path, "x", "Get a fresh one.") as archive:
        with pytest.raises(DataError, match=r"x/a: .* declares 67,108,865 bytes.* zip bomb.*fresh"):
            archive.read("a")
        with archive.open("a") as stream:  # what is read in pieces may be large
            assert stream.read(10) == b"\n" * 10


@pytest.mark.parametrize(
    ("declared", "summed", "what"),
    [
        (1_000, 1_000, "Bad CRC-32"),
        (1_000, 1_001, "it yields more than the 1,000 bytes"),
        (2_000_000, 1_000_000, "it yields less than the 2,000,000 bytes"),
    ],
)
def test_a_member_that_yields_other_than_it_declares_is_damaged(
    tmp_path: Path, declared: int, summed: int, what: str
) -> None:
    """zipfile alone would cut the first off at 1,000 bytes and be content."""
    path = tmp_path / "made.zip"
    packed(path, a=b"\0" * 1_000_000)
    altered(path, 24, "<I", declared)
    altered(path, 16, "<I", zlib.crc32(bytes(summed)))
    with Archive(path, "x", "Get a fresh one.") as archive:
        with pytest.raises(DataError, match=f"x/a: this member is damaged .{what}"):
            archive.read("a")
        with (
            archive.open("a") as stream,
            pytest.raises(DataError, match=f"x/a: this member is damaged .{what}"),
        ):
            while stream.read(700):
                pass


def test_an_unknown_compression_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "made.zip"
    packed(path, a=b"abc")
    altered(path, 10, "<H", 97)
    with pytest.raises(DataError, match="x/a: this member is damaged"):
        Archive(path, "x", "Get a fresh one.").read("a")


@pytest.mark.parametrize("kept", [0, 10, -40])
def test_an_archive_cut_short_is_an_error(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "made.zip"
    packed(path, a=b"abc" * 1000)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"made\.zip: not a whole zip archive.*Get a fresh one"):
        Archive(path, "x", "Get a fresh one.")


def test_every_altered_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "made.zip"
    packed(path, a=b"abc" * 20)
    whole = path.read_bytes()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 0xFF
        path.write_bytes(data)
        try:
            with Archive(path, "x", "Get a fresh one.") as archive:
                assert archive.read("a") == b"abc" * 20
        except DataError as error:
            assert str(error).endswith("Get a fresh one.")


def test_a_missing_archive_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.zip: cannot be opened"):
        Archive(tmp_path / "none.zip", "small", "Get a fresh one.")
