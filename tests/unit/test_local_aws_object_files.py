from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fmrec.errors import ConfigurationError
from fmrec.local_aws.s3.object_files import Attributes, Deletion, ObjectFiles, StoredBucket
from fmrec.local_aws.state.database import Database

WHEN = Attributes(etag="e", modified=1.5, metadata={"content-type": "text/plain"})


@pytest.fixture
def files(tmp_path):
    database = Database(tmp_path / "index.sqlite3", power_safe=True)
    files = ObjectFiles(tmp_path / "s3", database)
    files.create_bucket(StoredBucket("bucket", "us-east-1", 1.0))
    yield files
    database.close()


def put(files: ObjectFiles, key: str, content: bytes):
    filled = files.incoming()
    filled.write_bytes(content)
    return files.keep("bucket", key, filled, WHEN)


def read(files: ObjectFiles, key: str) -> bytes | None:
    found = files.find("bucket", key)
    return None if found is None else found.path.read_bytes()


def test_a_plain_key_is_a_plain_file(files, tmp_path):
    stored = put(files, "a/b.txt", b"content")
    assert stored.path == tmp_path / "s3/bucket/a/b.txt"
    assert files.find("bucket", "a/b.txt") == stored
    assert stored.size == 7


def test_a_reader_keeps_a_replaced_content_until_it_lets_go(files):
    old = put(files, "key", b"old").path
    files.hold(old)
    files.hold(old)
    put(files, "key", b"new")
    assert old.read_bytes() == b"old"
    files.release(old)
    assert old.read_bytes() == b"old"
    files.release(old)
    assert not old.exists()
    assert read(files, "key") == b"new"


def test_a_reader_keeps_a_deleted_content_until_it_lets_go(files, tmp_path):
    old = put(files, "folder/key", b"old").path
    files.hold(old)
    files.record("bucket", "folder/key", [])
    assert files.find("bucket", "folder/key") is None
    assert old.read_bytes() == b"old"
    files.release(old)
    assert list((tmp_path / "s3/bucket").iterdir()) == []


def test_a_reader_that_lets_go_of_the_current_content_takes_nothing(files):
    current = put(files, "key", b"current").path
    files.hold(current)
    files.release(current)
    assert read(files, "key") == b"current"


def test_a_replacement_that_was_not_finished_leaves_the_old(files, tmp_path):
    put(files, "key", b"old")
    files.incoming().write_bytes(b"half of the n")
    unnamed = tmp_path / "s3/bucket/~"
    unnamed.mkdir()
    (unnamed / "in-place-but-not-in-the-index").write_bytes(b"new")
    files.sweep()
    assert read(files, "key") == b"old"
    left = [path for path in (tmp_path / "s3").rglob("*") if path.is_file()]
    assert left == [tmp_path / "s3/bucket/key"]


keys = st.text(alphabet=st.sampled_from("ab/~.\\ ä\t%"), min_size=1, max_size=6) | st.sampled_from(
    ["x" * 300, "d/" * 40 + "e", "..", "a/../b"]
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(keys, st.one_of(st.none(), st.binary(max_size=5))), max_size=12))
def test_any_keys_in_any_order_behave_like_a_dictionary(files, tmp_path, changes):
    expected: dict[str, bytes] = {}
    for item in files.under("bucket", ""):
        files.record("bucket", item.key, [])
    for key, content in changes:
        if content is None:
            files.record("bucket", key, [])
            expected.pop(key, None)
        else:
            put(files, key, content)
            expected[key] = content
    assert {item.key: item.path.read_bytes() for item in files.under("bucket", "")} == expected
    on_disk = [path for path in (tmp_path / "s3/bucket").rglob("*") if path.is_file()]
    assert len(on_disk) == len(expected)
    assert all(path.resolve().is_relative_to(tmp_path / "s3/bucket") for path in on_disk)
    in_order = [item.key for item in files.under("bucket", "")]
    assert in_order == sorted(expected, key=str.encode)
    below = [item.key for item in files.under("bucket", "a")]
    assert below == [key for key in in_order if key.startswith("a")]


def placed(files: ObjectFiles, content: bytes, version: str):
    filled = files.incoming()
    filled.write_bytes(content)
    return files.place("bucket", "key", filled, replace(WHEN, version=version))


def test_the_index_knows_versions_and_no_others_stay(files, tmp_path):
    one, two = placed(files, b"1", "v1"), placed(files, b"2", "v2")
    marker = Deletion("v3", 2.5)
    files.record("bucket", "key", [one, two])
    assert files.find("bucket", "key") == two
    files.record("bucket", "key", [one, two, marker])
    assert files.find("bucket", "key") is None
    assert files.under("bucket", "") == []
    assert files.former("bucket") == {"key": [one, two, marker]}
    assert files.versions("bucket", "key") == [one, two, marker]
    files.sweep()
    assert (one.path.read_bytes(), two.path.read_bytes()) == (b"1", b"2")
    files.record("bucket", "key", [two])
    assert not one.path.exists()
    assert files.versions("bucket", "key") == [two]
    put(files, "key", b"3")
    assert not two.path.exists()
    assert read(files, "key") == b"3"


def test_prefixes_with_a_nul(files):
    for key in ("a\0b", "a\0c", "a"):
        put(files, key, b"x")
    assert [item.key for item in files.under("bucket", "a\0")] == ["a\0b", "a\0c"]


def test_a_state_folder_of_another_version_is_refused(tmp_path):
    path = tmp_path / "index.sqlite3"
    database = Database(path, power_safe=False)
    database.create("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(ConfigurationError, match="layout 99"):
        Database(path, power_safe=False)
