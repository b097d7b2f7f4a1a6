"""A landing day is read whole: every row is a rating or stands in quarantine with its reason."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import boto3
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto import mock_aws

from fmrec.errors import StoreError
from fmrec.ratings.landing import DayContent, days, read, strays
from fmrec.ratings.tables import ITEMS, QUARANTINE, RATINGS, USERS
from fmrec.store import Store

DAY = date(1998, 3, 8)
END = 889_401_600  # 1998-03-09 00:00 UTC
NOON = END - 43_200
LATER = datetime(1998, 3, 20, tzinfo=UTC)
HEADER = b"user_id,item_id,rating,timestamp\n"


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client(
            "s3", region_name="us-east-1", endpoint_url="https://s3.us-east-1.amazonaws.com"
        )


@pytest.fixture
def store(client: Any, request: pytest.FixtureRequest) -> Store:
    """A bucket for each test."""
    name = f"bucket-{hashlib.sha256(request.node.name.encode()).hexdigest()[:16]}"
    client.create_bucket(Bucket=name)
    return Store(client, name)


def landed(store: Store, **files: bytes) -> DayContent:
    """What a day with these files brings; `a_csv` is the file a.csv."""
    for name, data in files.items():
        store.put(f"p/landing/dt={DAY}/{name.replace('_', '.')}", data)
    [day] = days(store, "p", LATER)
    return read(store, day)


def rows(content: DayContent) -> list[tuple[Any, ...]]:
    names = ("user_id", "item_id", "rating", "timestamp")
    return [tuple(row[name] for name in names) for row in content.ratings.to_pylist()]


def refused(content: DayContent) -> list[tuple[str, int, str, str]]:
    return [
        (row["file"].partition("/")[2], row["row"], row["check"], row["reason"])
        for row in content.quarantine.to_pylist()
    ]


def parquet(table: pa.Table | pd.DataFrame) -> bytes:
    made = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table)
    buffer = io.BytesIO()
    pq.write_table(made, buffer)
    return buffer.getvalue()


def test_csv_jsonl_and_parquet_say_the_same(store: Store) -> None:
    content = landed(
        store,
        a_csv=b"user_id,item_id,rating,event,timestamp\r\n"
        b"1,10,3.5,,889358400\r\n"
        b"2,10,,like,1998-03-08T12:00:00Z\r\n"
        b"3,10,,dislike,1998-03-08 13:00:00.9+01:00\r\n"
        b"4,10,,unrate,889358400\r\n"
        b"5,10,4,rate,889358400\r\n",
        b_jsonl=b'{"user_id": 1, "item_id": 11, "rating": 3.5, "timestamp": 889358400}\n'
        b'{"user_id": 2, "item_id": 11, "event": "like", "timestamp": "1998-03-08T12:00:00Z"}\n'
        b'{"user_id": "3", "item_id": 11.0, "event": "dislike", "timestamp": 889358400}\n',
        c_parquet=parquet(
            pa.table(
                {
                    "timestamp": pa.array([NOON * 1000 + 999, None], pa.timestamp("ms", "UTC")),
                    "rating": pa.array([3.5, 1.0], pa.float64()),
                    "item_id": pa.array([12, 12], pa.uint64()),
                    "user_id": pa.array(["1", "2"]).dictionary_encode(),
                }
            )
        ),
    )
    found = rows(content)
    assert [row for row in found if not math.isnan(row[2])] == [
        (1, 10, 3.5, NOON),
        (2, 10, 5.0, NOON),
        (3, 10, 1.0, NOON),
        (5, 10, 4.0, NOON),
        (1, 11, 3.5, NOON),
        (2, 11, 5.0, NOON),
        (3, 11, 1.0, NOON),
        (1, 12, 3.5, NOON),
    ]
    assert [row[0] for row in found if math.isnan(row[2])] == [4]
    assert refused(content) == [("c.parquet", 2, "type", "timestamp is missing")]
    assert content.ratings.schema == RATINGS
    assert content.quarantine.schema == QUARANTINE
    assert set(content.ratings["arrived"].to_pylist()) == {END}
    assert set(content.ratings["fold"].to_pylist()) == {0}
    assert content.counts == {
        "rows": 10,
        "refused": 1,
        "files": 3,
        "files_refused": 0,
        "strays": 0,
    }


def test_attributes_are_kept_and_the_latest_word_counts(store: Store) -> None:
    content = landed(
        store,
        a_csv=b"user_id,item_id,rating,timestamp,age,gender,title,genres,release_year,zip_code\n"
        b'1,7,3,889358500,34,,"Good, ""Bad"", Ugly",Drama|War,1966,07001\n'
        b"1,8,3,889358400,33,F,,,,\n"
        b"2,8,3,889358400,,,,,,\n",
        b_jsonl='{"user_id": 2, "item_id": 8, "rating": 4, "timestamp": 889358400, '
        '"title": "Amélie", "genres": ["Comedy"]}\n'.encode(),
    )
    assert content.users.schema == USERS
    assert content.users.to_pylist() == [
        {"user_id": 1, "age": 34, "gender": "F", "occupation": None, "zip_code": "07001"}
    ]
    assert content.items.schema == ITEMS
    title = 'Good, "Bad", Ugly'
    assert content.items.to_pylist() == [
        {"item_id": 7, "title": title, "release_year": 1966, "genres": ["Drama", "War"]},
        {"item_id": 8, "title": "Amélie", "release_year": None, "genres": ["Comedy"]},
    ]


BAD_LINES = {
    b"x,1,3,889358400": ("type", "user_id 'x' is not a whole number from 1"),
    b"1.0,1,3,889358400": ("type", "user_id '1.0' is not a whole number from 1"),
    b"0x1F,1,3,889358400": ("type", "user_id '0x1F' is not a whole number from 1"),
    b"9223372036854775808,1,3,889358400": ("type", "is not a whole number from 1"),
    b",1,3,889358400": ("type", "user_id is missing"),
    b"0,1,3,889358400": ("id", "user_id 0 is not a whole number from 1"),
    b"1,-4,3,889358400": ("id", "item_id -4 is not a whole number from 1"),
    b"1,1,,889358400": ("type", "rating is missing"),
    b"1,1,five,889358400": ("type", "rating 'five' is not a number"),
    b"1,1,nan,889358400": ("type", "rating 'nan' is not a number"),
    b"1,1,1e999,889358400": ("type", "rating '1e999' is not a number"),
    b"1,1,6,889358400": ("range", "rating 6 is not on the scale 0.5 to 5 in steps of 0.5"),
    b"1,1,-1,889358400": ("range", "rating -1 is not on the scale"),
    b"1,1,3.3,889358400": ("range", "rating 3.3 is not on the scale"),
    b"1,1,3.50000001,889358400": ("range", "rating 3.50000001 is not on the scale"),
    b"1,1,3,": ("type", "timestamp is missing"),
    b"1,1,3,noon": ("type", "timestamp 'noon' is neither UTC seconds nor ISO 8601"),
    b"1,1,3,1998-03-08T12:00:00": ("type", "has no time zone: write 1998-03-08T12:30:00Z"),
    b"1,1,3,1998-02-30T12:00:00Z": ("type", "is neither UTC seconds nor ISO 8601"),
    b"1,1,3,889358400000": ("clock", "looks like milliseconds"),
    b"1,1,3,0": ("clock", "is not a time between 1990 and 2100"),
    b"1,1,3,889488000": ("clock", "is ahead of the clock: a time before 1998-03-10T00:00:00Z"),
    b"1,1,3": ("columns", "3 column(s) where 4 are expected"),
    b"1,1,3,889358400,9": ("columns", "5 column(s) where 4 are expected"),
    b"1;1;3;889358400": ("columns", "1 column(s) where 4 are expected, but it is separated by ';'"),
    b"1\t1\t3\t889358400": ("columns", "but it is separated by '\\t'"),
    b'1,1,"3,889358400': ("columns", "a quote is not closed on its line"),
    b'1,1,"3"4,889358400': ("columns", "stands inside of a quoted field"),
    b"1,1,\xe9,889358400": ("type", "byte 0xe9 is not UTF-8 text (Latin-1?)"),
    b"1,1,3\r,889358400": ("columns", "a carriage return stands inside of the row"),
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_row_of_csv_is_refused_alone(store: Store, line: bytes) -> None:
    good = b"1,2,3,889358400\n"
    content = landed(store, a_csv=HEADER + good + line + b"\n1,3,5,889358400\n")
    assert rows(content) == [(1, 2, 3.0, NOON), (1, 3, 5.0, NOON)]
    check, words = BAD_LINES[line]
    [(file, row, failed, reason)] = refused(content)
    assert (file, row, failed) == ("a.csv", 3, check)
    assert words in reason
    assert content.quarantine["text"].to_pylist() == [line.decode(errors="backslashreplace")]


BAD_OBJECTS = {
    b"nonsense": ("columns", "the line is not one JSON object"),
    b"[1, 2]": ("columns", "the line is not one JSON object"),
    b"[" * 100_000: ("columns", "the line is not one JSON object"),
    b'{"user_id": 1, "item_id": 2, "rating": NaN, "timestamp": 889358400}': ("columns", "not one"),
    b'{"user_id": 1}{"user_id": 1}': ("columns", "the line is not one JSON object"),
    b'{"user_id": 1, "ratng": 3}': ("columns", "unknown column 'ratng'; the known columns are"),
    b'{"user_id": 1, "user_id": 2}': ("columns", "'user_id' is there twice"),
    b'{"item_id": 2, "rating": 3, "timestamp": 889358400}': ("type", "user_id is missing"),
    b'{"user_id": [1], "item_id": 2}': ("type", "user_id is not text or a number"),
    b'{"user_id": true, "item_id": 2, "rating": 3, "timestamp": 889358400}': ("type", "'true'"),
    b'{"user_id": 1.5, "item_id": 2, "rating": 3, "timestamp": 889358400}': ("type", "'1.5'"),
    b'{"item_id": 2, "title": "\\ud800"}': ("type", "title is not text or a number"),
    b'{"item_id": 2, "genres": [1]}': ("type", "genres is not text or a list of text"),
    b'{"item_id": 2, "title": "caf\xe9"}': ("type", "byte 0xe9 is not UTF-8 text"),
    b'{"user_id": 1, "item_id": 2, "event": "click", "timestamp": 889358400}': (
        "type",
        "event 'click' is not one of rate, like, dislike, unrate",
    ),
    b'{"user_id": 1, "item_id": 2, "event": "like", "rating": 3, "timestamp": 889358400}': (
        "type",
        "event 'like' and a rating: give one of the two",
    ),
}


@pytest.mark.parametrize("line", BAD_OBJECTS, ids=lambda line: line[:30].decode("latin-1"))
def test_a_bad_line_of_json_is_refused_alone(store: Store, line: bytes) -> None:
    good = b'{"user_id": 1, "item_id": 2, "rating": 3, "timestamp": 889358400}\n'
    content = landed(store, a_jsonl=good + line + b"\n" + good.replace(b": 2", b": 3"))
    assert rows(content) == [(1, 2, 3.0, NOON), (1, 3, 3.0, NOON)]
    check, words = BAD_OBJECTS[line]
    [(file, row, failed, reason)] = refused(content)
    assert (file, row, failed) == ("a.jsonl", 2, check)
    assert words in reason
    assert len(content.quarantine["text"][0].as_py()) <= 200


PLAIN = {"user_id": [1], "item_id": [2], "rating": [3.0], "timestamp": [NOON]}
WHOLE = parquet(pa.table(PLAIN))
BAD_FILES = {
    "a.csv": [
        (b"", "file", "the file has no header"),
        (b"user_id,item_id,ratng,timestamp\n1,2,3,4\n", "columns", "unknown column 'ratng'"),
        (b"user_id;item_id;rating;timestamp\n", "columns", "the separator must be a comma"),
        (b"user_id,item_id,rating,rating,timestamp\n", "columns", "'rating' is there twice"),
        (b"user_id,item_id,rating\n1,2,3\n", "columns", "the column 'timestamp' is missing"),
        (b"user_id,item_id,timestamp\n", "columns", "neither a column 'rating' nor a column"),
        ("user_id,item_id".encode("utf-16"), "file", "the header is not UTF-8 text"),
    ],
    "a.parquet": [
        (b"", "file", "not a whole Parquet file"),
        (b"user_id,item_id", "file", "not a whole Parquet file"),
        (WHOLE[:-20], "file", "not a whole Parquet file"),
        (WHOLE[: len(WHOLE) // 2], "file", "not a whole Parquet file"),
        (WHOLE[:4] + b"\x00" * 200 + WHOLE[-8:], "file", "not a whole Parquet file"),
        (WHOLE.replace(b"rating", b"rat\xffng"), "file", "not a whole Parquet file"),
        (parquet(pa.table(PLAIN | {"score": [1]})), "columns", "unknown column 'score'"),
        (
            parquet(pa.table(PLAIN | {"timestamp": pa.array([NOON], pa.timestamp("s"))})),
            "type",
            "the column 'timestamp' has no time zone",
        ),
        (
            parquet(pa.table(PLAIN | {"rating": [{"stars": 3}]})),
            "type",
            "the column 'rating' has the type struct<stars: int64>, which it cannot have",
        ),
    ],
}


@pytest.mark.parametrize(
    ("name", "data", "check", "words"),
    [(name, *case) for name, cases in BAD_FILES.items() for case in cases],
)
def test_a_file_that_cannot_be_read_is_kept_out_whole_and_the_others_are_read(
    store: Store, name: str, data: bytes, check: str, words: str
) -> None:
    files = {name.replace(".", "_"): data, "z_csv": HEADER + b"1,2,3,889358400\n"}
    content = landed(store, **files)
    assert rows(content) == [(1, 2, 3.0, NOON)]
    [(file, row, failed, reason)] = refused(content)
    assert (file, row, failed) == (name, 0, check)
    assert words in reason
    assert "Arrow" not in reason
    assert content.counts["files_refused"] == 1
    assert content.counts["rows"] == 1


def test_rows_of_parquet_are_refused_one_by_one(store: Store) -> None:
    frame = pd.DataFrame(
        {
            "user_id": [1.0, np.nan, 1.5, 2.0],
            "item_id": [2, 2, 2, 0],
            "rating": [3.0, 3.0, 3.0, 3.0],
            "timestamp": NOON,
        }
    )
    content = landed(store, a_parquet=parquet(frame))
    assert rows(content) == [(1, 2, 3.0, NOON)]
    assert [(row, check) for _, row, check, _ in refused(content)] == [
        (2, "type"),
        (3, "type"),
        (4, "id"),
    ]
    text = json.loads(content.quarantine["text"][2].as_py())
    assert text == {"user_id": 2.0, "item_id": 0, "rating": 3.0, "timestamp": NOON}


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("zone", ["UTC", "Foo/Bar", "+01:00"])
@pytest.mark.parametrize("encoded", [False, True])
def test_times_of_parquet_that_python_cannot_hold_are_refused_alone(
    store: Store, unit: str, zone: str, encoded: bool
) -> None:
    per_second = {"s": 1, "ms": 10**3, "us": 10**6}[unit]
    far = 2**62 if unit != "s" else 2**52  # Parquet keeps seconds as milliseconds
    ticks = [NOON * per_second, far, -far, -1, None]
    times = pa.array(ticks, pa.timestamp(unit, zone))
    table = pa.table(
        {
            "user_id": [1, 2, 3, 4, 5],
            "item_id": [2] * 5,
            "rating": [3.0] * 5,
            "timestamp": times.dictionary_encode() if encoded else times,
        }
    )
    content = landed(store, a_parquet=parquet(table))
    assert rows(content) == [(1, 2, 3.0, NOON)]
    assert [(row, check) for _, row, check, _ in refused(content)] == [
        (2, "clock"),
        (3, "clock"),
        (4, "clock"),
        (5, "type"),
    ]
    told = [json.loads(text)["timestamp"] for text in content.quarantine["text"].to_pylist()]
    assert told == [far // per_second, -far // per_second, -1, None]


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("last", [b"", b"\n", b"\n\n\n"])
def test_a_mark_at_the_start_and_empty_lines_are_no_rows(
    store: Store, bom: bytes, last: bytes
) -> None:
    line = b'{"user_id": 1, "item_id": 2, "rating": 3, "timestamp": 889358400}'
    content = landed(
        store,
        a_csv=bom + HEADER + b"\n1,2,3.5,889358400\n\nx,2,3,889358400" + last,
        b_jsonl=bom + b"\n" + line + last,
    )
    assert [row[:3] for row in rows(content)] == [(1, 2, 3.5), (1, 2, 3.0)]
    assert [(file, row) for file, row, *_ in refused(content)] == [("a.csv", 5)]
    assert content.quarantine["text"].to_pylist() == ["x,2,3,889358400"]


def test_a_row_that_repeats_an_earlier_one_is_refused_and_says_which(store: Store) -> None:
    content = landed(
        store,
        a_csv=HEADER + b"1,2,3,889358400\n1,2,4,889358400\n1,2,3,889358401\n1,2,3,889358400\n",
        b_csv=b"user_id,item_id,event,rating,timestamp\n"
        b"1,2,,3,1998-03-08T12:00:00Z\n7,7,unrate,,889358400\n7,7,unrate,,889358400\n",
    )
    assert refused(content) == [
        ("a.csv", 5, "duplicate", "it says the same as row 2"),
        ("b.csv", 2, "duplicate", f"it says the same as dt={DAY}/a.csv, row 2"),
        ("b.csv", 4, "duplicate", "it says the same as row 3"),
    ]
    assert content.quarantine["text"][1].as_py() == "1,2,,3,1998-03-08T12:00:00Z"
    assert content.ratings.num_rows == 4


def test_what_a_person_admitted_passes_the_checks_of_judgement_alone(store: Store) -> None:
    content = landed(
        store,
        a_csv=b"user_id,item_id,rating,timestamp,admitted\n"
        b"1,2,3,889358400,\n1,2,3,889358400,true\n1,3,3,989358400,true\n1,4,3,989358400,false\n"
        b"1,5,9,889358400,true\n1,6,3,889358400000,true\n1,7,3,889358400,maybe\n",
    )
    assert [row[1] for row in rows(content)] == [2, 2, 3]
    assert [(row, check) for _, row, check, _ in refused(content)] == [
        (5, "clock"),
        (6, "range"),
        (7, "clock"),
        (8, "type"),
    ]


def test_a_day_is_seen_when_it_is_over(store: Store) -> None:
    for day in ("1998-03-07", "1998-03-09", "1998-03-08"):
        store.put(f"p/landing/dt={day}/a.csv", HEADER)
    seen = [
        [each.day.day for each in days(store, "p", datetime(1998, 3, *at, tzinfo=UTC))]
        for at in ((7, 23, 59), (8, 0), (8, 23, 59), (9, 0), (20, 0))
    ]
    assert seen == [[], [7], [7], [7, 8], [7, 8, 9]]
    assert days(store, "other", LATER) == []


def test_the_last_day_of_the_calendar_is_never_over(store: Store) -> None:
    for day in ("9999-12-30", "9999-12-31"):
        store.put(f"p/landing/dt={day}/a.csv", HEADER)
    assert days(store, "p", LATER) == []
    found = days(store, "p", datetime(9999, 12, 31, 23, 59, tzinfo=UTC))
    assert [each.day for each in found] == [date(9999, 12, 30)]


def test_the_identity_of_a_day_follows_its_files_alone(store: Store, client: Any) -> None:
    def identity() -> str:
        return days(store, "p", LATER)[0].identity

    key = f"p/landing/dt={DAY}/a.csv"
    store.put(key, HEADER)
    first = identity()
    store.put("p/landing/dt=1998-03-09/a.csv", HEADER)
    assert identity() == first
    client.put_object(Bucket=store.bucket, Key=key, Body=HEADER + b"1,1,1,889358400\n")
    second = identity()
    store.put(f"p/landing/dt={DAY}/b.csv", HEADER)
    assert len({first, second, identity()}) == 3


def test_an_object_that_changed_after_it_was_listed_is_an_error(store: Store, client: Any) -> None:
    key = f"p/landing/dt={DAY}/a.csv"
    store.put(key, HEADER)
    [day] = days(store, "p", LATER)
    client.put_object(Bucket=store.bucket, Key=key, Body=HEADER + b"1,1,1,889358400\n")
    with pytest.raises(StoreError, match=r"a\.csv was replaced while it was being read"):
        read(store, day)


def test_objects_that_are_no_events_are_told_not_passed_over(store: Store) -> None:
    for name in ("", "_SUCCESS", "a.csv.gz", "sub/b.csv"):
        store.put(f"p/landing/dt={DAY}/{name}", HEADER)
    for name in ("dt=1998-02-30/a.csv", "1998-03-08/a.csv", "a.csv", "replay.json", ""):
        store.put(f"p/landing/{name}", HEADER)
    [day] = days(store, "p", LATER)
    content = read(store, day)
    assert [(file, row, check) for file, row, check, _ in refused(content)] == [
        ("", 0, "file"),
        ("_SUCCESS", 0, "file"),
        ("a.csv.gz", 0, "file"),
    ]
    assert content.counts == {"rows": 0, "refused": 0, "files": 1, "files_refused": 0, "strays": 3}
    outside = strays(store, "p").to_pylist()
    assert [row["file"] for row in outside] == ["1998-03-08/a.csv", "a.csv", "dt=1998-02-30/a.csv"]


def test_of_ten_thousand_rows_the_hundred_bad_ones_are_refused_with_reasons(store: Store) -> None:
    random = np.random.default_rng(7)
    lines = [
        f"{random.integers(1, 900)},{item},{random.integers(1, 11) / 2:g},{NOON + item % 3600}"
        for item in range(1, 10_001)
    ]
    spoilt = [line for line in BAD_LINES if b"\r" not in line]
    bad = sorted(random.choice(10_000, 100, replace=False).tolist())
    data = [line.encode() for line in lines]
    expected = {}
    for number, place in enumerate(bad):
        data[place] = spoilt[number % len(spoilt)]
        expected[place + 2] = BAD_LINES[data[place]]
    content = landed(store, a_csv=HEADER + b"\n".join(data) + b"\n")
    found = {row: (check, reason) for _, row, check, reason in refused(content)}
    assert found.keys() == expected.keys()
    for row, (check, words) in expected.items():
        assert found[row][0] == check
        assert words in found[row][1]
    kept = [line for place, line in enumerate(lines) if place not in set(bad)]
    assert [f"{u},{i},{r:g},{t}" for u, i, r, t in rows(content)] == kept
    assert content.counts["rows"] == 10_000
    assert content.counts["refused"] == 100
