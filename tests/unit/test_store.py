"""Objects are written once, checked when read, and missing ones are named."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fmrec.errors import ConflictError, StoreError
from fmrec.store import Store


def test_what_is_put_is_got(store: Store) -> None:
    digest = store.put("k", b"bytes")
    assert store.get("k") == b"bytes"
    assert digest == "277089d91c0bdf4f2e6862ba7e4a07605119431f5d13f726dd352b06f1b206a9"


def test_the_same_bytes_may_be_put_again_and_others_may_not(store: Store) -> None:
    store.put("k", b"one")
    store.put("k", b"one")
    with pytest.raises(ConflictError, match=r"s3://bbb/k already holds something else.* new run"):
        store.put("k", b"two")
    assert store.get("k") == b"one"
    store.put("k", b"two", replace=True)
    assert store.get("k") == b"two"


def test_a_foreign_object_is_not_overwritten(store: Store, client: Any) -> None:
    client.put_object(Bucket="bbb", Key="k", Body=b"theirs")
    with pytest.raises(ConflictError, match="already holds something else"):
        store.put("k", b"ours")


def test_a_missing_object_is_named_with_what_to_do(store: Store) -> None:
    with pytest.raises(StoreError, match=r"s3://bbb/a/b does not exist: .* Clear that task"):
        store.get("a/b")
    assert not store.exists("a/b")


def test_an_altered_object_is_refused(store: Store, client: Any) -> None:
    store.put("k", b"true")
    metadata = client.head_object(Bucket="bbb", Key="k")["Metadata"]
    client.put_object(Bucket="bbb", Key="k", Body=b"false", Metadata=metadata)
    with pytest.raises(StoreError, match="s3://bbb/k was altered after it was written"):
        store.get("k")


def test_an_object_without_our_checksum_is_read(store: Store, client: Any) -> None:
    client.put_object(Bucket="bbb", Key="job.out", Body=b"{}")
    assert store.get("job.out") == b"{}"


def test_tables_come_back_as_they_were(store: Store) -> None:
    table = pa.table({"user_id": [3, 1], "genres": [["a", "b"], []], "title": ["é", None]})
    store.put_table("t.parquet", table)
    back = store.get_table("t.parquet")
    assert back.equals(table)


def test_an_equal_table_may_be_put_again_whoever_wrote_it(store: Store, client: Any) -> None:
    """Another version of pandas or Arrow writes other bytes for the same table."""
    table = pa.table({"user_id": [3, 1], "rating": [float("nan"), 1.0]})
    first = store.put_table("t.parquet", table)
    other = io.BytesIO()
    pq.write_table(table, other, compression="gzip")
    client.put_object(Bucket="bbb", Key="t.parquet", Body=other.getvalue())
    second = store.put_table("t.parquet", table)
    assert second == hashlib.sha256(store.get("t.parquet")).hexdigest() != first
    with pytest.raises(ConflictError, match=r"t.parquet already holds something else"):
        store.put_table("t.parquet", table.slice(1))


def test_a_link_opens_without_keys(store: Store) -> None:
    store.put("k.html", b"<p>")
    link = store.link("k.html", seconds=60)
    assert "k.html" in link
    assert "Signature" in link


def test_listing_goes_beyond_one_page(store: Store, client: Any) -> None:
    for number in range(1002):
        client.put_object(Bucket="bbb", Key=f"p/{number:04d}", Body=b"")
    client.put_object(Bucket="bbb", Key="q", Body=b"")
    assert list(store.list("p/")) == [f"p/{number:04d}" for number in range(1002)]
