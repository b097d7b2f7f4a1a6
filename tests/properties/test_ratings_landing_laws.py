"""Laws of landing: nothing lost, nothing twice, nothing depends on how a file is read."""

from __future__ import annotations

import io
import json
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fmrec.ratings import event_files
from fmrec.ratings.event_rows import interpret
from fmrec.ratings.landing import DayContent, LandingDay, read
from fmrec.store import Store, Stored

DAY = date(1998, 3, 8)
NOON = 889_358_400
NAMES = ("user_id", "item_id", "rating", "timestamp", "title")
Row = dict[str, str]


class Folder(Store):
    """A landing day in memory."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.bucket = "bbb"
        self.files = files

    def get(self, key: str, *, etag: str | None = None) -> bytes:
        return self.files[key]

    def day(self) -> LandingDay:
        found = tuple(Stored(key, len(self.files[key]), "e") for key in sorted(self.files))
        return LandingDay(DAY, "", found)


good = st.fixed_dictionaries(
    {
        "user_id": st.integers(1, 3).map(str) | st.integers(1, 2**63 - 1).map(str),
        "item_id": st.integers(1, 3).map(str),
        "rating": st.sampled_from(["0.5", "3", "3.0", "5"]),
        "timestamp": st.sampled_from([str(NOON), str(NOON + 1), "1998-03-08T12:00:00Z"]),
        "title": st.sampled_from(["", "A", "A, B", 'the "B"', "Amélie", "a;b\tc"]),
    }
)
spoilt = st.one_of(
    st.tuples(
        st.just("user_id"), st.sampled_from(["0", "-1", "", "x", "1.5", str(2**63), "\uff11"])
    ),
    st.tuples(st.just("rating"), st.sampled_from(["0", "5.5", "", "inf", "3,5", "3.25"])),
    st.tuples(st.just("timestamp"), st.sampled_from(["", "5", str(NOON * 1000), "1998-03-08"])),
)
row = st.tuples(good, st.none() | spoilt).map(lambda pair: (pair[0], pair[1]))
rows = st.lists(row, max_size=12)
kinds = st.sampled_from(event_files.KINDS)


def spoil(given_row: Row, fault: tuple[str, str] | None) -> Row:
    return given_row if fault is None else given_row | {fault[0]: fault[1]}


def csv_line(values: Row) -> str:
    fields = [values[name] for name in NAMES]
    return ",".join(
        '"' + field.replace('"', '""') + '"' if set(field) & {",", '"'} else field
        for field in fields
    )


def written(kind: str, content: list[Row]) -> bytes:
    if kind == "csv":
        return "\n".join([",".join(NAMES), *map(csv_line, content)]).encode()
    if kind == "jsonl":
        return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in content).encode()
    buffer = io.BytesIO()
    columns = {name: pa.array([each[name] for each in content], pa.string()) for name in NAMES}
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def landed(files: list[tuple[str, list[Any]]]) -> tuple[DayContent, dict[tuple[str, int], Any]]:
    """A day with these files, and each of its rows by file and number."""
    stored, placed = {}, {}
    for number, (kind, content) in enumerate(files):
        name = f"{number:02d}.{kind}"
        stored[name] = written(kind, [spoil(*each) for each in content])
        for position, each in enumerate(content):
            placed[f"dt={DAY}/{name}", position + (2 if kind == "csv" else 1)] = each
    folder = Folder(stored)
    return read(folder, folder.day()), placed


def said(values: Row) -> tuple[int, int, float, int]:
    iso = not values["timestamp"].isdigit()
    moment = NOON if iso else int(values["timestamp"])
    return int(values["user_id"]), int(values["item_id"]), float(values["rating"]), moment


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(kinds, rows), max_size=3))
def test_each_row_is_a_rating_or_is_refused_once_with_its_place(
    files: list[tuple[str, list[Any]]],
) -> None:
    content, placed = landed(files)
    expected, refused, seen = [], {}, set()
    for place, (values, fault) in placed.items():
        if fault is not None:
            refused[place] = True
        elif said(values) in seen:
            refused[place] = False
        else:
            seen.add(said(values))
            expected.append(said(values))
    names = ("user_id", "item_id", "rating", "timestamp")
    assert [tuple(each[n] for n in names) for each in content.ratings.to_pylist()] == expected
    told = content.quarantine.to_pylist()
    assert [(each["file"], each["row"]) for each in told] == sorted(refused)
    for each in told:
        assert (each["check"] != "duplicate") is refused[each["file"], each["row"]]
        assert each["reason"]
    assert content.counts["rows"] == len(placed) == len(expected) + len(told)
    assert content.counts["refused"] == len(told)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["csv", "jsonl"]),
    rows,
    st.lists(
        st.sampled_from([b"", b"\r", b"x,y", b'"', b"{", b"caf\xe9", b"1,2,3,4,5"]), max_size=3
    ),
    st.integers(1, 200),
    st.randoms(use_true_random=False),
)
def test_what_is_read_does_not_depend_on_the_size_of_a_block(
    kind: str, content: list[Any], noise: list[bytes], size: int, random: Any
) -> None:
    header, *lines = written(kind, [spoil(*each) for each in content]).split(b"\n")
    for line in noise:
        lines.insert(random.randint(0, len(lines)), line)
    data = b"\n".join([header, *lines])

    def everything(block_bytes: int) -> tuple[list[Any], list[Any]]:
        found, refused = [], []
        for block in event_files.blocks(kind, data, block_bytes):
            refused.extend(block.refused)
            table, faults = interpret(block.table)
            for position, (number, values) in enumerate(
                zip(block.rows.tolist(), table.to_pylist(), strict=True)
            ):
                if position in faults:
                    refused.append((number, *faults[position]))
                else:
                    told = {name: v for name, v in values.items() if v is not None}
                    found.append((number, told))
        return found, sorted(refused)

    whole = everything(1 << 20)
    assert everything(size) == whole
    assert everything(1) == whole
    empty = sum(not line.strip() if kind == "jsonl" else line in {b"", b"\r"} for line in lines)
    first = 0 if kind == "csv" else not header.strip()
    rows_there = len(lines) + (kind == "jsonl") - empty - first
    assert len(whole[0]) + len(whole[1]) == rows_there
