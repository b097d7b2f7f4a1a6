"""moto's S3 in this process, with the disk under control; over HTTP it is tested elsewhere."""

from __future__ import annotations

import gc
import sqlite3

import pytest
from moto.s3.models import FakeDeleteMarker, FakeKey, FakeMultipart, s3_backends

from fmrec.local_aws.s3.durable_s3 import DurableS3
from fmrec.local_aws.s3.object_files import ObjectFiles
from fmrec.local_aws.state.database import Database

ACCOUNT = "123456789012"


@pytest.fixture
def files(tmp_path):
    database = Database(tmp_path / "s3.sqlite3", power_safe=False)
    yield ObjectFiles(tmp_path / "s3", database)
    s3_backends.reset()
    database.close()


@pytest.fixture
def moto():
    return s3_backends[ACCOUNT]["aws"]


@pytest.fixture
def storage(files, moto, monkeypatch):
    # The server stops moto from listing its objects; moto needs the list to end other tests' ones.
    for model in (FakeKey, FakeMultipart, FakeDeleteMarker):
        monkeypatch.setattr(model, "instances_tracked", [])
    storage = DurableS3(ACCOUNT, files)
    storage.restore()
    storage.settled(lambda: moto.create_bucket("bucket", "us-east-1"))
    yield storage
    # moto warns of objects that it did not end itself, and here it does not know them.
    for each in gc.get_objects():
        if type(each) is FakeKey:  # isinstance asks proxies what they stand for
            each.dispose()


def put(storage, moto, key: str, content: bytes) -> None:
    storage.settled(lambda: moto.put_object("bucket", key, content) and None)


def test_a_full_disk_leaves_what_was_there(storage, files, moto, monkeypatch):
    put(storage, moto, "key", b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "place", full)
        for key in ("key", "another"):
            with pytest.raises(OSError, match="No space"):
                put(storage, moto, key, b"new")
    assert moto.get_object("bucket", "key").value == b"old"
    assert moto.get_object("bucket", "another") is None
    assert [item.key for item in storage.under("bucket", "")] == ["key"]
    put(storage, moto, "key", b"newer")
    assert storage.find("bucket", "key").path.read_bytes() == b"newer"


def test_an_index_that_refuses_leaves_every_version(storage, files, moto, monkeypatch):
    moto.put_bucket_versioning("bucket", "Enabled")
    for content in (b"1", b"2"):
        put(storage, moto, "key", content)
    storage.settled(lambda: moto.delete_object("bucket", "key") and None)
    before = [item.version_id for item in moto.get_bucket("bucket").keys.getlist("key")]

    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(files, "record", full)
        with pytest.raises(OSError, match="disk is full"):
            put(storage, moto, "key", b"3")
    kept = moto.get_bucket("bucket").keys.getlist("key")
    assert [item.version_id for item in kept] == before
    assert [item.value for item in kept[:2]] == [b"1", b"2"]
    put(storage, moto, "key", b"4")
    assert storage.find("bucket", "key").path.read_bytes() == b"4"


def test_a_part_that_finds_no_room_is_not_there(storage, files, moto, monkeypatch):
    upload = moto.create_multipart_upload("bucket", "key", {}, "STANDARD", {}, None, None, None)
    storage.settled(lambda: moto.upload_part("bucket", upload.id, 1, b"one") and None)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("fmrec.local_aws.s3.unfinished_uploads.flush", full)
        with pytest.raises(OSError, match="No space"):
            storage.settled(lambda: moto.upload_part("bucket", upload.id, 2, b"two") and None)
    assert [part.name for part in moto.list_parts("bucket", upload.id)] == [1]
    assert list((files.folder / ".incoming").iterdir()) == []


def test_a_reader_in_mid_request_is_not_disturbed(storage, moto):
    put(storage, moto, "key", b"old")
    held = moto.get_object("bucket", "key")
    path = storage.find("bucket", "key").path
    put(storage, moto, "key", b"new")
    assert held.value == b"old"
    assert path.exists()
    del held
    assert not path.exists()
    assert moto.get_object("bucket", "key").value == b"new"


def test_removing_a_delete_marker_brings_the_object_back_to_the_disk(storage, moto):
    moto.put_bucket_versioning("bucket", "Enabled")
    put(storage, moto, "key", b"content")
    storage.settled(lambda: moto.delete_object("bucket", "key") and None)
    assert storage.find("bucket", "key") is None
    marker = moto.get_bucket("bucket").keys["key"].version_id
    storage.settled(lambda: moto.delete_object("bucket", "key", version_id=marker) and None)
    assert storage.find("bucket", "key").path.read_bytes() == b"content"


def test_what_a_job_puts_is_seen_by_clients_and_replaced_whole(storage, moto, tmp_path):
    source = tmp_path / "model.json"
    for content in (b'{"a": 1}', b'{"b": 2}'):
        source.write_bytes(content)
        storage.put("bucket", "out/model.json", source, 1700000000.25)
        key = moto.get_object("bucket", "out/model.json")
        assert key.value == content
        assert key.metadata["Content-Type"] == "application/json"
        assert source.exists()
    with pytest.raises(FileNotFoundError, match="no-such-bucket"):
        storage.put("no-such-bucket", "k", source, 1.0)
    assert not any((tmp_path / "s3/.incoming").iterdir())
