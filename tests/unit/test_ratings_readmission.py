"""Letting refused rows in again, whatever stands in their values."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto import mock_aws

from fmrec.errors import ConfigurationError
from fmrec.ratings.landing import LandingDay, days, read
from fmrec.ratings.readmission import readmit
from fmrec.store import Store

DAY = date(1998, 3, 8)
TODAY = date(1998, 3, 20)
NOON = 889_358_400  # 1998-03-08T12:00:00Z
AHEAD = NOON + 30 * 86_400


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty bucket."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client: Any = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="bucket")
        yield Store(client, "bucket")


def landed(store: Store, name: str, data: bytes) -> LandingDay:
    store.put(f"p/landing/dt={DAY}/{name}", data)
    [day] = days(store, "p", datetime(1998, 3, 10, tzinfo=UTC))
    return day


def parquet(items: list[int], times: list[int], **columns: pa.Array) -> bytes:
    size = len(items)
    table = pa.table(
        {
            "user_id": [1] * size,
            "item_id": items,
            "rating": [3.0] * size,
            "timestamp": pa.array(times, pa.timestamp("s", "Foo/Bar")),
            **columns,
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def let_in(store: Store) -> tuple[pa.Table, pa.Table]:
    """Ratings and items of the day in which the rows landed again; none is refused."""
    [content] = [
        read(store, each)
        for each in days(store, "p", datetime(1998, 3, 22, tzinfo=UTC))
        if each.day == TODAY
    ]
    assert content.quarantine.num_rows == 0
    return content.ratings, content.items


def test_genres_that_are_not_known_are_left_out(store: Store) -> None:
    genres = pa.array([["a", None], [None], None, []], pa.list_(pa.string()))
    day = landed(store, "a.parquet", parquet([2, 3, 4, 5], [AHEAD] * 4, genres=genres))
    done = readmit(store, "p", day, today=TODAY, check="clock")
    assert (done.rows, done.left) == (4, 0)
    ratings, items = let_in(store)
    assert ratings["item_id"].to_pylist() == [2, 3, 4, 5]
    assert ratings["timestamp"].to_pylist() == [AHEAD] * 4
    known = dict(zip(items["item_id"].to_pylist(), items["genres"].to_pylist(), strict=True))
    assert known[2] == ["a"]


def test_a_very_long_field_of_csv_is_let_in(store: Store) -> None:
    title = "x" * 140_000
    data = f"user_id,item_id,rating,timestamp,title\n1,2,3,{AHEAD},{title}\n".encode()
    day = landed(store, "a.csv", data)
    assert readmit(store, "p", day, today=TODAY, check="clock").rows == 1
    assert let_in(store)[1]["title"].to_pylist() == [title]


@pytest.mark.parametrize("title", ["A\nB", "A\n\nB", f"A\n1,9,3,{NOON},B,true\nC"])
def test_a_title_of_two_lines_keeps_no_other_row_out(store: Store, title: str) -> None:
    titles = pa.array(["one", title, "three", "four"])
    times = [AHEAD, AHEAD, AHEAD, 10]
    day = landed(store, "a.parquet", parquet([2, 3, 4, 5], times, title=titles))
    done = readmit(store, "p", day, today=TODAY, check="clock")
    assert (done.rows, done.left) == (2, 2)
    ratings, items = let_in(store)
    assert ratings["item_id"].to_pylist() == [2, 4]
    assert items["title"].to_pylist() == ["one", "three"]
    with pytest.raises(ConfigurationError, match=r"a\.parquet:2: "):
        readmit(store, "p", day, today=TODAY, places=[(f"dt={DAY}/a.parquet", 2)])
