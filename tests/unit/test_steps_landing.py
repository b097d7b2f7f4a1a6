"""The steps over a landing zone: what is bad is kept, and no earlier day is rewritten."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pandas as pd
import pytest
from moto import mock_aws

from fmrec.errors import DataError
from fmrec.layout import Run
from fmrec.settings import Deployment
from fmrec.steps import source_tables
from fmrec.steps.events import events
from fmrec.steps.ingest import ingest
from fmrec.steps.plan import plan
from fmrec.steps.recordio import recordio
from fmrec.store import Store

pytestmark = pytest.mark.slow

FIRST = datetime(2026, 11, 1, tzinfo=UTC)


class Zone:
    """A bucket with a landing zone, and runs over it."""

    def __init__(self, s3: Any, cache: Path) -> None:
        self.s3, self.store = s3, Store(s3, "fmrec")
        self.deployment = Deployment(bucket="fmrec", role_arn="arn", cache_dir=cache)

    def land(self, day: int, lines: list[str], name: str = "ratings.csv") -> None:
        folder = f"fmrec/landing/dt={FIRST + timedelta(days=day):%Y-%m-%d}"
        text = "\n".join(["user_id,item_id,rating,timestamp", *lines])
        self.s3.put_object(Bucket="fmrec", Key=f"{folder}/{name}", Body=text.encode())

    def run(self, day: int, **params: Any) -> dict[str, Any]:
        """A run whose clock is the midnight after `day`."""
        told = {"source": "landing"} | params
        x: dict[str, Any] = {"run": plan(f"r{day}", after(day), told, self.deployment, self.s3)}
        x["tables"] = ingest(x["run"], self.s3, self.deployment)
        x["parts"] = events(x["run"], x["tables"], self.s3)
        x["channels"] = recordio(x["run"], x["tables"], x["parts"], self.s3)
        return x

    def accept(self, x: dict[str, Any]) -> None:
        """What publication leaves for the next run."""
        run = Run.from_xcom(x["run"])
        manifest = {"parameters": {"source": run.settings.source, "base": run.settings.base}}
        self.store.put(run.layout.published_report("manifest.json"), json.dumps(manifest).encode())

    def events(self, x: dict[str, Any]) -> pd.DataFrame:
        files = [
            file
            for name, part in x["parts"]["parts"].items()
            if name != "examples"
            for file in part["files"]
        ]
        return pd.concat([self.store.get_table(each["key"]).to_pandas() for each in files])

    def quarantine(self, x: dict[str, Any]) -> pd.DataFrame:
        indexes = json.loads(self.store.get(x["tables"]["keys"]["sources"]))["indexes"]
        tables = [self.store.get_table(each["quarantine"]).to_pandas() for each in indexes]
        return pd.concat(tables, ignore_index=True)

    def objects(self, prefix: str) -> dict[str, bytes]:
        return {key: self.store.get(key) for key in self.store.list(prefix)}


def after(day: int) -> datetime:
    return FIRST + timedelta(days=day + 1)


def ratings(day: int, rows: int, seed: int = 0) -> list[str]:
    """Lines of ratings given on a day, no user and item twice."""
    rng = np.random.default_rng([seed, day])
    pairs = rng.choice(400 * 200, rows, replace=False)
    start = int((FIRST + timedelta(days=day)).timestamp())
    times = start + rng.integers(0, 86_400, rows)
    stars = rng.integers(2, 11, rows) / 2
    return [
        f"{pair // 200 + 1},{pair % 200 + 1},{star:g},{time}"
        for pair, star, time in zip(pairs, stars, times, strict=True)
    ]


@pytest.fixture
def zone(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="fmrec")
        yield Zone(s3, cache)


def test_a_day_with_one_percent_bad_rows(zone: Zone) -> None:
    lines = ratings(0, 10_000)
    bad = ["x,1,3,1793500000", "1,1,9,1793500000", "1,1,3", "0,1,3,1793500000", "1;1;3;1"] * 20
    spoilt = dict(zip(range(50, 10_000, 100), bad, strict=True))
    zone.land(0, [spoilt.get(row, line) for row, line in enumerate(lines)])
    x = zone.run(0)
    refused = zone.quarantine(x)
    assert refused["row"].tolist() == [row + 2 for row in spoilt]  # a header, and from 1
    assert refused["text"].tolist() == list(spoilt.values())
    assert refused["reason"].str.len().min() > 10
    assert sum(x["tables"]["refused_by_check"].values()) == 100
    wanted = sorted(line for row, line in enumerate(lines) if row not in spoilt)
    found = zone.events(x)
    given = zip(
        found["user_id"], found["item_id"], found["rating"], found["timestamp"], strict=True
    )
    assert sorted(f"{user},{item},{star:g},{time}" for user, item, star, time in given) == wanted


def test_later_days_and_late_ratings_leave_an_earlier_day_as_it_was(zone: Zone) -> None:
    zone.land(0, ratings(0, 3_000))
    zone.land(1, ratings(1, 3_000))
    first = zone.run(1, features="history")
    run = f"fmrec/runs/{first['run']['layout']['run']}/"
    before = zone.objects(run)
    # Late: given before the first run's clock, landed after it.
    zone.land(2, ratings(0, 3_000, seed=1) + ratings(2, 3_000))
    second = zone.run(2, features="history")
    assert zone.run(1, features="history") == first
    assert zone.objects(run) == before
    names = [
        zone.store.get_table(each["parts"]["columns"]["key"])["name"].to_pylist()
        for each in (first, second)
    ]
    assert names[1][: len(names[0])] == names[0]
    assert len(names[1]) >= len(names[0])
    assert second["parts"]["counts"]["superseded"] > 0


def test_the_latest_rating_wins_and_can_be_withdrawn(zone: Zone) -> None:
    start = int(FIRST.timestamp())
    zone.land(0, [*ratings(0, 2_000), f"901,1,1,{start}", f"902,1,1,{start}"])
    zone.land(1, [*ratings(1, 2_000), f"901,1,5,{start + 90_000}"])
    folder = f"fmrec/landing/dt={FIRST + timedelta(days=1):%Y-%m-%d}"
    gone = f"user_id,item_id,event,timestamp\n902,1,unrate,{start + 90_000}\n"
    zone.s3.put_object(Bucket="fmrec", Key=f"{folder}/unrated.csv", Body=gone.encode())
    x = zone.run(1)
    found = zone.events(x)
    assert found[found["user_id"] == 901]["rating"].tolist() == [5.0]
    assert found[found["user_id"] == 902].empty
    assert x["parts"]["counts"]["withdrawn"] == 1


def test_erased_users_leave_no_trace_in_a_new_run(zone: Zone) -> None:
    zone.land(0, ratings(0, 4_000))
    erased = sorted({int(line.split(",")[0]) for line in ratings(0, 4_000)})[:3]
    listed = "\n".join(str(user) for user in erased)
    zone.s3.put_object(Bucket="fmrec", Key="fmrec/erasure/users.csv", Body=listed.encode())
    x = zone.run(0, features="full")
    count = sum(int(line.split(",")[0]) in erased for line in ratings(0, 4_000))
    assert x["tables"]["erased"] == count > 0
    assert not zone.events(x)["user_id"].isin(erased).any()
    names = zone.store.get_table(x["parts"]["columns"]["key"])["name"].to_pylist()
    assert not {f"user:{user}" for user in erased} & set(names)
    visits = [name for name in names if name.startswith("visit:")]
    assert visits
    assert not [name for name in visits if int(name[6:].split("@")[0]) in erased]
    [index] = json.loads(zone.store.get(x["tables"]["keys"]["sources"]))["indexes"]
    for part in index["ratings"]:
        assert not np.isin(zone.store.get_table(part["key"])["user_id"].to_numpy(), erased).any()


def test_an_archive_with_landed_days_on_top(zone: Zone) -> None:
    zone.land(0, [f"900001,1,5,{int(FIRST.timestamp())}", f"900001,2,4.5,{int(FIRST.timestamp())}"])
    alone = zone.run(0, source="sample", split="time")
    both = zone.run(0, base="sample", split="time")
    assert both["tables"]["ratings"] == alone["tables"]["ratings"] + 2
    assert both["tables"]["origin"]["generated"] is True
    assert "landing: 2 ratings of 1 days" in both["tables"]["origin"]["sentence"]
    assert both["tables"]["origin"]["scale"]["low"] == 0.5
    found = zone.events(both)
    assert sorted(found[found["user_id"] == 900_001]["rating"]) == [4.5, 5.0]


def test_a_day_far_larger_than_usual_fails_until_it_is_let_in(zone: Zone) -> None:
    for day in range(4):
        zone.land(day, ratings(day, 100))
    x = zone.run(3)
    zone.accept(x)
    zone.land(4, ratings(4, 10_000))
    with pytest.raises(DataError, match=r"100\.0 times the median.*max_day_ratio"):
        zone.run(4)
    let_in = zone.run(4, max_day_ratio=200)
    zone.accept(let_in)
    # What was accepted once is not judged again.
    zone.land(5, ratings(5, 100))
    assert zone.run(5)["tables"]["notes"] == []


def test_an_empty_day_is_said(zone: Zone) -> None:
    zone.land(0, ratings(0, 2_000))
    zone.land(1, [])
    assert any("2026-11-02 is empty" in note for note in zone.run(1)["tables"]["notes"])


def test_a_day_of_which_too_much_is_bad_fails(zone: Zone) -> None:
    zone.land(0, [*ratings(0, 900), *["rubbish"] * 100])
    with pytest.raises(DataError, match=r"100 of 1,000 rows were refused.*max_refused"):
        zone.run(0)
    assert zone.run(0, max_refused=0.2)["tables"]["ratings"] == 900


def test_a_half_written_parquet_is_told_and_kept_out(zone: Zone) -> None:
    zone.land(0, ratings(0, 2_000))
    key = f"fmrec/landing/dt={FIRST:%Y-%m-%d}/half.parquet"
    zone.s3.put_object(Bucket="fmrec", Key=key, Body=b"PAR1\x15\x04\x15\x10")
    with pytest.raises(DataError, match=r"1 of 2 files were refused"):
        zone.run(0)
    x = zone.run(0, max_refused=0.5)
    assert zone.quarantine(x)["row"].tolist() == [0]


def test_no_landing_day_is_an_error(zone: Zone) -> None:
    with pytest.raises(DataError, match="no landing day is over"):
        zone.run(0)


def test_a_zone_that_fell_silent_and_what_is_not_read_are_said(zone: Zone) -> None:
    for day in range(2):
        zone.land(day, ratings(day, 1_000))
    for key in ("landing/dt=2026-11-5/r.csv", "landing/r.csv", "landing/dt=2026-11-01/r.CSV"):
        zone.s3.put_object(Bucket="fmrec", Key=f"fmrec/{key}", Body=b"user_id\n1\n")
    notes = " ".join(zone.run(9)["tables"]["notes"])
    assert "Nothing has landed since 2026-11-02: 8 day(s)" in notes
    assert "dt=2026-11-5/r.csv is not read" in notes
    assert " r.csv is not read" in notes
    assert "Landing day 2026-11-01: 1 objects" in notes


def test_a_hopeless_archive_is_given_up_before_it_fills_the_memory(
    zone: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_tables, "MOST_REFUSED", 100)
    zone.land(0, ["rubbish"] * 101)
    with pytest.raises(DataError, match=r"more than 100 rows were refused, the first in row 2"):
        zone.run(0)
