"""An archive happens again by day; refused rows are listed and let in by command."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from fmrec import ratings as sources
from fmrec.cli import quarantine, replay, zone
from fmrec.cli.main import main
from fmrec.errors import ConfigurationError, DataError, FmrecError
from fmrec.ratings import landing
from fmrec.ratings.quarantine import quarantine as refusals
from fmrec.ratings.replay import agree, begin, current, due, land
from fmrec.ratings.tables import ITEMS, RATINGS, USERS, Chunk
from fmrec.store import Store

pytestmark = pytest.mark.slow

DAY_SECONDS = 86_400
START = 874_724_710  # 1997-09-20 03:05:10
TODAY = date(2026, 3, 10)
FIRST = date(2026, 2, 8)


def archive(rows: list[tuple[int, int, float, int]]) -> pa.Table:
    user, item, rating, timestamp = zip(*rows, strict=True)
    columns = [
        user,
        item,
        np.array(rating, np.float32),
        timestamp,
        [0] * len(rows),
        [0] * len(rows),
    ]
    arrays = [pa.array(c, each.type) for c, each in zip(columns, RATINGS, strict=True)]
    return pa.table(arrays, schema=RATINGS)


ROWS = [
    (2, 20, 4.0, START + 3 * DAY_SECONDS),
    (1, 10, 3.5, START),
    (1, 20, 1.0, START + DAY_SECONDS - 1),
    (3, 10, 0.5, START + 5),
    (1, 30, 5.0, START + 29 * DAY_SECONDS),
    (2, 10, 2.0, START + 40 * DAY_SECONDS),
]
RATED = archive(ROWS)
PEOPLE = pa.table(
    [[2, 1], [44, None], [None, "F"], ["writer", "x, y"], ["01234", None]], schema=USERS
)
FILMS = pa.table(
    [[10, 20], ['The "A", B', "Amélie"], [1995, None], [["Drama", "War"], []]], schema=ITEMS
)


@pytest.fixture
def store(client: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """A store that the commands work on, and an archive `made` that they read."""
    made = Store(client, "bbb")
    where = SimpleNamespace(prefix="p", data_dir=None, cache_dir=tmp_path)
    monkeypatch.setattr(zone, "open_store", lambda: (made, where))

    @contextmanager
    def opened(source: str, **_: Any) -> Iterator[Any]:
        assert source == "made"
        bad = refusals([("u.data", 7, "type", "rating 'x' is not a number", "")])
        chunks = [Chunk(RATED[:2], refusals([])), Chunk(RATED[2:], bad)]
        yield SimpleNamespace(
            ratings=lambda split: iter(chunks), users=lambda: PEOPLE, items=lambda: FILMS
        )

    monkeypatch.setattr(sources, "open_archive", opened)
    return made


def content(store: Store, until: date = date(2100, 1, 1)) -> list[landing.DayContent]:
    moment = datetime(until.year, until.month, until.day, tzinfo=UTC) + timedelta(days=1)
    return [landing.read(store, day) for day in landing.days(store, "p", moment)]


def landed_rows(store: Store) -> list[tuple[int, int, float, int]]:
    names = ("user_id", "item_id", "rating", "timestamp")
    return [
        tuple(row[name] for name in names)
        for day in content(store)
        for row in day.ratings.to_pylist()
    ]


def test_the_archive_happens_again_by_day_and_hour(store: Store) -> None:
    landed = replay.run("made", None, None, TODAY)
    shift = (FIRST - date(1997, 9, 20)).days * DAY_SECONDS
    expected = sorted([(*row[:3], row[3] + shift) for row in ROWS[:5]], key=lambda row: row[3])
    assert landed_rows(store) == expected
    assert landed == [FIRST, date(2026, 2, 9), date(2026, 2, 11), date(2026, 3, 9)]
    assert all(
        each.quarantine.num_rows == 0 and each.counts["files"] == 1 for each in content(store)
    )


def test_attributes_land_with_the_first_rating_of_each(store: Store) -> None:
    replay.run("made", None, None, TODAY)
    days = content(store)
    assert [each.users["user_id"].to_pylist() for each in days] == [[1], [], [2], []]
    assert [each.items["item_id"].to_pylist() for each in days] == [[10], [20], [], []]
    assert days[2].users.to_pylist() == [
        {"user_id": 2, "age": 44, "gender": None, "occupation": "writer", "zip_code": "01234"}
    ]
    assert days[0].items.to_pylist() == [
        {"item_id": 10, "title": 'The "A", B', "release_year": 1995, "genres": ["Drama", "War"]}
    ]


def test_called_again_it_lands_what_has_come_since_and_nothing_else(
    store: Store, client: Any
) -> None:
    replay.run("made", FIRST, date(2026, 2, 9), TODAY)
    before = {each.key: each.etag for each in store.objects("p/")}
    assert replay.run(None, None, None, TODAY) == [date(2026, 2, 11), date(2026, 3, 9)]
    assert replay.run(None, None, None, TODAY) == []
    assert replay.run("made", FIRST, date(2026, 4, 1), TODAY) == [date(2026, 3, 20)]
    after = {each.key: each.etag for each in store.objects("p/")}
    assert before.items() <= after.items()
    assert len(landed_rows(store)) == len(ROWS)
    client.delete_object(Bucket="bbb", Key=f"p/landing/dt={FIRST}/replay-made.csv")
    assert replay.run(None, None, None, TODAY) == [FIRST]
    assert {each.key: each.etag for each in store.objects("p/")} == after


def test_a_second_replay_of_something_else_is_an_error(store: Store) -> None:
    replay.run("made", FIRST, FIRST, TODAY)
    for source, first in (("ml-1m", None), (None, date(2026, 2, 9))):
        with pytest.raises(ConfigurationError, match="already replays made from 2026-02-08 on"):
            replay.run(source, first, None, TODAY)


def test_the_first_time_a_source_is_needed(store: Store) -> None:
    with pytest.raises(ConfigurationError, match=r"say which archive, e\.g\. --source ml-100k"):
        replay.run(None, None, None, TODAY)
    assert list(store.list("")) == []


def test_rows_of_the_archive_that_cannot_be_read_are_told(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    replay.run("made", None, None, TODAY)
    assert "1 rows of made cannot be read and were left out" in capsys.readouterr().out


def test_an_archive_without_ratings_is_an_error(store: Store) -> None:
    with pytest.raises(DataError, match="made holds no ratings"):
        begin(store, "p", "made", FIRST, [RATINGS.empty_table()])
    assert current(store, "p") is None
    agree(None, "made", FIRST)


@pytest.mark.data
def test_ml_100k_lands_whole_shifted_by_whole_days(
    store: Store, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with sources.open_archive("ml-100k", data_dir=data_dir, cache_dir=tmp_path) as opened:
        tables = [chunk.ratings for chunk in opened.ratings("time")]
        users, items = opened.users(), opened.items()
    found = begin(store, "p", "ml-100k", FIRST, tables)
    assert current(store, "p") == found
    shown = [due(each, found, date(2027, 1, 1)) for each in tables]
    assert sum(each.num_rows for each in shown) == 100_000
    land(store, "p", found, ratings=shown, users=users, items=items)
    days = content(store)
    names = ["user_id", "item_id", "rating", "timestamp"]
    back = pa.concat_tables([each.ratings for each in days]).select(names).to_pandas()
    back["timestamp"] -= found.shift_days * DAY_SECONDS
    original = pa.concat_tables(tables).select(names).to_pandas()
    assert Counter(back.itertuples(index=False)) == Counter(original.itertuples(index=False))
    assert sum(each.users.num_rows for each in days) == 943
    assert sum(each.quarantine.num_rows for each in days) == 0
    known = pa.concat_tables([each.items for each in days]).sort_by("item_id")
    assert known["title"].to_pylist() == items.sort_by("item_id")["title"].to_pylist()


BAD_DAY = (
    b"user_id,item_id,rating,timestamp,title\n"
    b'1,2,3,1773057600,"A, ""B"""\n'  # 2026-03-09 12:00
    b'1,2,3,1773057600,"A, ""B"""\n'
    b"1,3,3,1775736000,\n"  # a month ahead
    b"1,4,9,1773057600,\n"
    b"1,5,3,1773057600000,\n"
)
DAY = date(2026, 3, 9)


@pytest.fixture
def refused(store: Store) -> Store:
    store.put(f"p/landing/dt={DAY}/a.csv", BAD_DAY)
    line = b'{"user_id": 1, "item_id": 9, "event": "like", "timestamp": 1775736000}'
    store.put(f"p/landing/dt={DAY}/b.jsonl", line)
    store.put("p/landing/notes.txt", b"")
    return store


def listed(day: date | None, check: str | None) -> list[list[str]]:
    console = Console(width=400, record=True, file=io.StringIO())
    quarantine.show(day, check, console)
    lines = console.export_text().splitlines()[1:]
    return [line.split(maxsplit=3) for line in lines if line.strip()]


def test_refused_rows_are_listed(refused: Store) -> None:
    found = listed(None, None)
    assert [row[:3] for row in found[:-1]] == [
        [f"dt={DAY}/a.csv", "3", "duplicate"],
        [f"dt={DAY}/a.csv", "4", "clock"],
        [f"dt={DAY}/a.csv", "5", "range"],
        [f"dt={DAY}/a.csv", "6", "clock"],
        [f"dt={DAY}/b.jsonl", "1", "clock"],
        ["notes.txt", "all", "file"],
    ]
    assert found[-1] == ["6", "refused"]
    assert [row[1] for row in listed(DAY, "clock")[:-1]] == ["4", "6", "1"]
    assert listed(date(2026, 3, 8), None) == []
    with pytest.raises(ConfigurationError, match="--check stars: the checks are columns, type"):
        listed(None, "stars")


def test_rows_are_let_in_by_place(refused: Store) -> None:
    key = quarantine.let_in(DAY, f"a.csv:3,dt={DAY}/b.jsonl:1", None, TODAY)
    assert key.startswith(f"p/landing/dt={TODAY}/readmitted-")
    assert refused.get(key).decode().splitlines() == [
        "user_id,item_id,timestamp,rating,event,title,admitted",
        '1,2,1773057600,3,,"A, ""B""",true',
        "1,9,1775736000,,like,,true",
    ]
    [_, today] = content(refused)
    assert today.quarantine.num_rows == 0
    assert today.ratings["item_id"].to_pylist() == [2, 9]


def test_rows_are_let_in_by_check_but_for_those_that_nobody_can_overrule(
    refused: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    key = quarantine.let_in(DAY, None, "clock", TODAY)
    assert len(refused.get(key).splitlines()) == 3
    assert "1 more cannot be let in as they are" in capsys.readouterr().out


def test_rows_are_let_in_once(refused: Store) -> None:
    first = quarantine.let_in(DAY, None, "duplicate", TODAY)
    before = list(refused.list("p/"))
    assert quarantine.let_in(DAY, None, "duplicate", date(2026, 4, 1)) == first
    assert quarantine.let_in(DAY, "a.csv:3", None, TODAY) == first
    assert list(refused.list("p/")) == before


@pytest.mark.parametrize(
    ("rows", "check", "words"),
    [
        ("a.csv:5", None, r"a\.csv:5: rating 9 is not on the scale.*Correct the row"),
        ("a.csv:6", None, r"a\.csv:6: timestamp 1773057600000 looks like milliseconds.*Correct"),
        ("a.csv:2", None, r"a\.csv:2 is not in the quarantine of 2026-03-09; `python -m fmrec"),
        ("a.csv", None, r"--rows: 'a\.csv' is not FILE:ROW"),
        (None, "range", r"--check range\. Only rows refused by the checks clock and duplicate"),
    ],
)
def test_other_rows_are_not_let_in(
    refused: Store, rows: str | None, check: str | None, words: str
) -> None:
    before = list(refused.list("p/"))
    with pytest.raises(ConfigurationError, match=words):
        quarantine.let_in(DAY, rows, check, TODAY)
    assert list(refused.list("p/")) == before


def test_a_day_without_files_has_nothing_to_let_in(store: Store) -> None:
    with pytest.raises(ConfigurationError, match="nothing landed on 2026-03-09"):
        quarantine.let_in(DAY, None, "clock", TODAY)


def test_without_any_aws_the_commands_say_what_to_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("FMREC_STATE_DIR", str(tmp_path))
    for command in (
        ["replay", "--source", "sample"],
        ["quarantine"],
        ["readmit", "--day", "2026-03-09", "--check", "clock"],
    ):
        assert main(command) == 1
        assert "start the local one with `make up`" in capsys.readouterr().err


def test_an_aws_that_does_not_answer_is_named() -> None:
    with pytest.raises(FmrecError, match=r"no local AWS answers at http://127\.0\.0\.1:9"):
        zone.open_store()


def test_the_connection_names_the_aws_when_the_environment_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    connection = {"conn_type": "aws", "extra": {"endpoint_url": "http://127.0.0.1:11"}}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    with pytest.raises(FmrecError, match=r"no local AWS answers at http://127\.0\.0\.1:11"):
        zone.open_store()
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://")
    with pytest.raises(ConfigurationError, match="AIRFLOW_CONN_AWS_DEFAULT is not JSON"):
        zone.open_store()


@pytest.mark.parametrize("word", ["yesterday", "2026-02-30", "8 March"])
def test_a_day_is_written_in_one_way(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["replay", "--until", word])
    assert f"{word!r} is not a day like 2026-03-08" in capsys.readouterr().err
