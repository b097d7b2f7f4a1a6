"""What tunings have found: only ever added to, and never used by a run of an earlier day."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from fmrec.errors import ConflictError, DataError, StoreError
from fmrec.layout import Layout, Run
from fmrec.release import tunings
from fmrec.release.histories import to_json
from fmrec.release.tunings import Tuning, history, in_force, latest, parents, record
from fmrec.settings import Deployment, RunSettings
from fmrec.store import Store

LAYOUT = Layout("bbb", "movies", "any")
DEPLOYMENT = Deployment(bucket="bbb", prefix="movies", role_arn="arn")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def day(number: int) -> datetime:
    return datetime(1998, 3, number, tzinfo=UTC)


def run(number: int = 30, **params: Any) -> Run:
    settings = RunSettings.of({"mode": "tune", "source": "sample"} | params)
    return Run.of("r", day(number), settings, DEPLOYMENT)


KIND = run().kind
KEY = f"movies/tunings/{KIND}/{{:08d}}.json"


def tuning(name: str, as_of: int, *, adopted: bool = True, **more: Any) -> Tuning:
    made = Tuning(
        sequence=0,
        kind=KIND,
        run=name,
        as_of=day(as_of),
        job=f"fmrec-{name}-1",
        trials=12,
        adopted=adopted,
        why="adopted: better",
        hyperparameters=run().hyperparameters() | {"epochs": "33"},
        searched=["epochs", "factors_lr", "factors_wd"],
        objective={"name": "test:rmse", "value": 0.9},
        control=0.95,
        data="f" * 64,
        at=NOW,
    )
    return replace(made, **more)


def test_entries_are_numbered_objects_that_are_read_in_their_order(store: Store) -> None:
    assert history(store, LAYOUT, KIND) == []
    first = record(store, LAYOUT, tuning("a", 1))
    second = record(store, LAYOUT, tuning("b", 8, adopted=False, control=None))
    assert [first.sequence, second.sequence] == [1, 2]
    assert history(store, LAYOUT, KIND) == [first, second]
    stored = json.loads(store.get(KEY.format(2)))
    assert stored["schema"] == 1
    assert stored["as_of"] == "1998-03-08T00:00:00+00:00"
    assert (stored["run"], stored["adopted"], stored["control"]) == ("b", False, None)
    assert list(store.list("movies/")) == [KEY.format(1), KEY.format(2)]


def test_a_run_keeps_its_entry(store: Store) -> None:
    first = record(store, LAYOUT, tuning("a", 1))
    record(store, LAYOUT, tuning("b", 8))
    assert record(store, LAYOUT, tuning("a", 1, adopted=False, job="fmrec-a-2")) == first
    assert len(history(store, LAYOUT, KIND)) == 2


def test_of_two_at_once_both_are_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    look, met = tunings.history, []

    def slow(*arguments: Any) -> list[Tuning]:
        found = look(*arguments)
        if not met:
            met.append(True)
            record(store, LAYOUT, tuning("quick", 2))
        return found

    monkeypatch.setattr(tunings, "history", slow)
    assert record(store, LAYOUT, tuning("slow", 1)).sequence == 2
    assert [each.run for each in history(store, LAYOUT, KIND)] == ["quick", "slow"]


def test_what_does_not_belong_there_is_named(store: Store, client: Any) -> None:
    entry = record(store, LAYOUT, tuning("a", 1))
    store.put(f"movies/tunings/{KIND}/", b"")
    assert history(store, LAYOUT, KIND) == [entry]
    of_others = [
        replace(entry, sequence=3),
        replace(entry, sequence=2, kind="other"),
        replace(entry, sequence=2, hyperparameters={"epochs": 3}),  # type: ignore[dict-item]
    ]
    for wrong in (b"[]", b"{", *(to_json(each) for each in of_others)):
        store.put(KEY.format(2), wrong, replace=True)
        with pytest.raises(DataError, match=r"00000002.json is no entry .* from a backup"):
            history(store, LAYOUT, KIND)
    store.delete(KEY.format(2))
    store.put(KEY.format(3), to_json(replace(entry, sequence=3)))
    with pytest.raises(DataError, match=r"00000002.json is missing, and there is"):
        history(store, LAYOUT, KIND)
    client.put_object(Bucket="bbb", Key=KEY.format(1), Body=b"x", Metadata={"fmrec-sha256": "y"})
    with pytest.raises(StoreError, match="was altered"):
        history(store, LAYOUT, KIND)


def test_a_number_that_is_never_free_is_no_endless_loop(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise ConflictError("taken")

    monkeypatch.setattr(store, "put", refuse)
    with pytest.raises(ConflictError, match="taken"):
        record(store, LAYOUT, tuning("a", 1))


def past(*entries: Tuning) -> list[Tuning]:
    return [replace(each, sequence=n) for n, each in enumerate(entries, start=1)]


def test_the_newest_adopted_that_saw_no_later_ratings_is_in_force() -> None:
    entries = past(
        tuning("a", 1), tuning("b", 8), tuning("c", 15, adopted=False), tuning("backfilled", 5)
    )
    assert in_force([], day(9)) is None
    told = {number: in_force(entries, day(number)) for number in (1, 4, 7, 8, 20)}
    assert {number: each and each.run for number, each in told.items()} == {
        1: "a", 4: "a", 7: "backfilled", 8: "b", 20: "b"
    }  # fmt: skip
    before = datetime(1998, 2, 28, tzinfo=UTC)
    assert in_force(entries, before) is None
    assert [each.run for each in latest(entries, day(9))] == ["b", "backfilled", "a"]


def test_of_one_day_the_later_entry_is_in_force() -> None:
    found = in_force(past(tuning("a", 1), tuning("b", 1)), day(1))
    assert found is not None
    assert found.run == "b"


def test_the_latest_five_are_parents_adopted_or_not() -> None:
    entries = past(*(tuning(f"t{n}", n, adopted=n % 2 == 0) for n in range(1, 9)))
    assert parents(entries, run(6)) == [f"fmrec-t{n}-1" for n in (6, 5, 4, 3, 2)]
    assert parents(entries, run(6, tuning_warm_start=False)) == []
    assert parents([], run()) == []


def test_parents_are_what_sagemaker_takes() -> None:
    entries = past(*(tuning(f"t{n}", n) for n in range(1, 4)))
    # One that had a hyperparameter more, such as by an earlier version, is passed over.
    more = {**run().hyperparameters(), "eps": "1"}
    odd = past(*entries, tuning("odd", 4, hyperparameters=more))
    assert parents(odd, run()) == ["fmrec-t3-1", "fmrec-t2-1", "fmrec-t1-1"]
    # 500 training jobs in all.
    many = past(*(tuning(f"t{n}", n, trials=200) for n in range(1, 4)))
    assert parents(many, run()) == ["fmrec-t3-1", "fmrec-t2-1"]
    assert parents(many, run(tuning_jobs=100, tuning_parallel=10)) == ["fmrec-t3-1", "fmrec-t2-1"]
    assert parents(past(*many, tuning("t9", 9, trials=20)), run()) == ["fmrec-t9-1", "fmrec-t3-1",
                                                                       "fmrec-t2-1"]  # fmt: skip


def test_few_changes_of_what_is_not_searched_are_allowed() -> None:
    """Ten: for each parent two for the data, two for another value, one for a range before."""
    entries = past(*(tuning(f"t{n}", n) for n in range(1, 6)))
    assert len(parents(entries, run())) == 5
    # num_factors differs: 4 for each.
    assert len(parents(entries, run(num_factors=8))) == 2
    # Of what was searched, two are not now: 4 for each.
    assert len(parents(entries, run(tuning_ranges="epochs=40..88 log"))) == 2
    values = {"num_factors": 8, "mini_batch_size": 300, "bias_lr": 0.1, "bias_wd": 0.1}
    assert len(parents(entries, run(**values))) == 1
    assert parents(entries, run(**values, linear_wd=0.5)) == []
