"""The history of the champions: only ever added to, in order, by one at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from fmrec.errors import ConflictError, DataError, StoreError
from fmrec.layout import Layout
from fmrec.release import histories
from fmrec.release.champions import (
    Champion,
    NotPromotedError,
    appoint,
    before,
    current,
    history,
    lanes,
    promote,
    reference,
)
from fmrec.release.histories import to_json
from fmrec.store import Store

pytestmark = pytest.mark.slow

LAYOUT = Layout("bbb", "movies", "any")
LANE = "rating-ml-100k-time"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = f"movies/champions/{LANE}/{{:08d}}.json"


def day(number: int) -> datetime:
    return datetime(1998, 3, number, tzinfo=UTC)


def crown(store: Store, run: str, as_of: int, over: str | None, **more: Any) -> Champion:
    """Promote `run`, which describes that day of March, over the champion it was compared with."""
    given = {
        "run": run,
        "as_of": day(as_of),
        "manifest": f"movies/reports/{run}/manifest.json",
        "artifact": f"s3://bbb/{run}/model.tar.gz",
        "decision": {"decision": "promote"},
        "compared_with": over,
        "at": NOW,
    }
    return promote(store, LAYOUT, LANE, **(given | more))


def past(*entries: tuple[str, int] | tuple[str, int, str]) -> list[Champion]:
    """A history of (run, day of March), which are promotions unless they say "rollback"."""
    made: list[Champion] = []
    for run, as_of, *kind in entries:
        made.append(
            Champion(
                sequence=len(made) + 1,
                kind=kind[0] if kind else "promotion",
                lane=LANE,
                run=run,
                as_of=day(as_of),
                manifest="m",
                artifact="s3://b/a",
                decision=None,
                at=NOW,
                replaces=made[-1].run if made else None,
            )
        )
    return made


def runs(entries: list[Champion]) -> list[str]:
    return [each.run for each in entries]


# Writing and reading.


def test_a_lane_without_champions_has_an_empty_history(store: Store) -> None:
    assert history(store, LAYOUT, LANE) == []
    assert current([]) is None
    assert before([], "any") is None
    assert reference([], "any", day(1)) is None


def test_promotions_are_numbered_objects_that_are_read_in_their_order(store: Store) -> None:
    first = crown(store, "a", 1, None)
    second = crown(store, "b", 5, "a", at=NOW + timedelta(hours=1))
    assert history(store, LAYOUT, LANE) == [first, second]
    assert current([first, second]) == second
    assert json.loads(store.get(KEY.format(2))) == {
        "schema": 1,
        "sequence": 2,
        "kind": "promotion",
        "lane": LANE,
        "run": "b",
        "as_of": "1998-03-05T00:00:00+00:00",
        "manifest": "movies/reports/b/manifest.json",
        "artifact": "s3://bbb/b/model.tar.gz",
        "decision": {"decision": "promote"},
        "at": "2026-03-01T13:00:00+00:00",
        "replaces": "a",
        "by": "gate",
        "reason": None,
        "dag_run": None,
    }
    assert list(store.list("movies/")) == [KEY.format(1), KEY.format(2)]


def test_lanes_do_not_know_of_each_other(store: Store) -> None:
    crown(store, "a", 5, None)
    other = promote(
        store, LAYOUT, "ranking-ml-100k-time",
        run="b", as_of=day(1), manifest="m", artifact="s3://b/a", decision=None,
        compared_with=None, at=NOW,
    )  # fmt: skip
    assert other.sequence == 1
    assert runs(history(store, LAYOUT, LANE)) == ["a"]


def test_moments_are_kept_in_utc_to_the_second(store: Store) -> None:
    there = datetime(2026, 3, 1, 14, 30, 5, 999, tzinfo=timezone(timedelta(hours=2)))
    entry = crown(store, "a", 1, None, at=there)
    assert entry.at == datetime(2026, 3, 1, 12, 30, 5, tzinfo=UTC)
    assert json.loads(store.get(KEY.format(1)))["at"] == "2026-03-01T12:30:05+00:00"
    assert history(store, LAYOUT, LANE) == [entry]


def test_the_champion_in_place_keeps_its_entry_and_nothing_is_written(store: Store) -> None:
    first = crown(store, "a", 1, None)
    # The clock has gone on, and its report would be compared with another champion by now.
    assert crown(store, "a", 1, "z", at=NOW + timedelta(days=1), decision=None) == first
    assert history(store, LAYOUT, LANE) == [first]


def test_a_run_that_was_overtaken_since_its_promotion_does_not_come_back(store: Store) -> None:
    crown(store, "a", 1, None)
    crown(store, "b", 5, "a")
    with pytest.raises(NotPromotedError, match=r"promoted before, and is not .* any more: b is"):
        crown(store, "a", 1, "b")
    assert runs(history(store, LAYOUT, LANE)) == ["a", "b"]


def test_who_decided_is_kept(store: Store) -> None:
    gate = crown(store, "a", 1, None)
    asked = crown(store, "b", 5, "a", decision={"decision": "ask"}, approved_by="Ann")
    given = {"as_of": day(1), "manifest": "m", "artifact": "s3://b/a", "at": NOW}
    back = appoint(store, LAYOUT, LANE, run="a", by="Bob", reason="b was wrong", **given)
    nameless = appoint(store, LAYOUT, LANE, run="c", **given)
    found = history(store, LAYOUT, LANE)
    assert found == [gate, asked, back, nameless]
    assert [each.by for each in found] == ["gate", "Ann", "Bob", None]
    assert [each.kind for each in found] == ["promotion", "promotion", "rollback", "promotion"]
    assert [each.reason for each in found] == [None, None, "b was wrong", None]


def test_entries_from_before_it_was_noted_who_decided_are_read(store: Store) -> None:
    crown(store, "a", 1, None)
    crown(store, "b", 5, "a", decision=None)
    for number in (1, 2):
        content = json.loads(store.get(KEY.format(number)))
        del content["by"], content["reason"], content["dag_run"]
        store.put(KEY.format(number), json.dumps(content).encode(), replace=True)
    found = history(store, LAYOUT, LANE)
    assert [(each.by, each.reason) for each in found] == [("gate", None), (None, None)]


def test_what_was_decided_after_another_look_is_not_changed_by_who_looked_before(
    store: Store,
) -> None:
    given = {"as_of": day(1), "manifest": "m", "artifact": "s3://b/a", "at": NOW}
    crown(store, "a", 1, None)
    crown(store, "b", 5, "a")
    with pytest.raises(ConflictError, match=r"entry 1 of the history was the last.* 2 now"):
        appoint(store, LAYOUT, LANE, run="a", after=1, **given)
    assert runs(history(store, LAYOUT, LANE)) == ["a", "b"]
    back = appoint(store, LAYOUT, LANE, run="a", after=2, **given)
    # Repeated, it is the champion in place.
    assert appoint(store, LAYOUT, LANE, run="a", after=2, **given) == back


def test_the_champion_in_place_that_was_trained_again_is_appointed_with_its_new_model(
    store: Store,
) -> None:
    given = {"as_of": day(5), "manifest": "m", "at": NOW}
    crown(store, "a", 1, None)
    crown(store, "b", 5, "a", artifact="s3://b/old")
    again = appoint(store, LAYOUT, LANE, run="b", artifact="s3://b/new", by="Ann", **given)
    assert (again.kind, again.run, again.artifact) == ("promotion", "b", "s3://b/new")
    assert (again.sequence, again.replaces) == (3, "b")
    assert appoint(store, LAYOUT, LANE, run="b", artifact="s3://b/new", **given) == again
    past = history(store, LAYOUT, LANE)
    assert runs(past) == ["a", "b", "b"]
    # Others meet the new model; the run itself is still compared with the one before it.
    assert reference(past, "c", day(6)) == again
    assert reference(past, "b", day(5)) == before(past, "b") == past[0]


def test_lanes_are_those_that_have_had_a_champion(store: Store) -> None:
    assert lanes(store, LAYOUT) == []
    crown(store, "a", 1, None)
    given = {"as_of": day(1), "manifest": "m", "artifact": "s3://b/a", "at": NOW}
    appoint(store, LAYOUT, "like-ml-100k-time", run="x", **given)
    assert lanes(store, LAYOUT) == ["like-ml-100k-time", LANE]


# Refusals.


def test_no_model_displaces_one_of_a_later_moment(store: Store) -> None:
    crown(store, "fresh", 9, None)
    text = (
        f"past does not become the champion of {LANE}: it describes 1998-03-08.* the champion "
        "fresh the later moment 1998-03-09"
    )
    with pytest.raises(ConflictError, match=text):
        crown(store, "past", 8, "fresh")
    assert runs(history(store, LAYOUT, LANE)) == ["fresh"]
    assert crown(store, "same day", 9, "fresh").replaces == "fresh"


@pytest.mark.parametrize(
    ("compared_with", "text"),
    [("x", "compares it with x, and a is in place now"), (None, "compares it with no champion")],
)
def test_a_model_compared_with_another_champion_is_refused(
    store: Store, compared_with: str | None, text: str
) -> None:
    crown(store, "a", 1, None)
    with pytest.raises(ConflictError, match=f"{text}.*run evaluate again"):
        crown(store, "b", 5, compared_with)
    assert runs(history(store, LAYOUT, LANE)) == ["a"]


def test_a_comparison_with_a_champion_that_never_was_is_refused(store: Store) -> None:
    with pytest.raises(ConflictError, match="with x, and no champion is in place"):
        crown(store, "b", 5, "x")


# Two at once.


class Meanwhile(Store):
    """A store in which something happens just before the first object is written."""

    def __init__(self, client: Any, happens: Callable[[], object]) -> None:
        super().__init__(client, "bbb")
        self._happens: Callable[[], object] | None = happens

    def put(self, key: str, data: bytes, *, replace: bool = False) -> str:
        happens, self._happens = self._happens, None
        if happens is not None:
            happens()
        return super().put(key, data, replace=replace)


def test_of_two_that_promote_at_once_one_is_refused(client: Any, store: Store) -> None:
    crown(store, "a", 1, None)
    slow = Meanwhile(client, lambda: crown(store, "b", 5, "a"))
    with pytest.raises(ConflictError, match="compares it with a, and b is in place now"):
        crown(slow, "c", 6, "a")
    assert runs(history(store, LAYOUT, LANE)) == ["a", "b"]


def test_the_older_of_two_that_promote_at_once_is_refused_as_such(
    client: Any, store: Store
) -> None:
    crown(store, "a", 1, None)
    slow = Meanwhile(client, lambda: crown(store, "b", 6, "a"))
    with pytest.raises(ConflictError, match="the champion b the later moment"):
        crown(slow, "c", 5, "a")


def test_a_run_that_promotes_itself_twice_at_once_has_one_entry(client: Any, store: Store) -> None:
    slow = Meanwhile(client, lambda: crown(store, "a", 1, None))
    assert crown(slow, "a", 1, None, at=NOW + timedelta(seconds=9)).at == NOW
    assert runs(history(store, LAYOUT, LANE)) == ["a"]


def test_a_number_that_is_taken_by_what_cannot_be_read_is_no_endless_wait(client: Any) -> None:
    def foreign() -> None:
        client.put_object(Bucket="bbb", Key=KEY.format(1), Body=b"{}")

    with pytest.raises(DataError, match=r"00000001.json is no entry.*'schema'"):
        crown(Meanwhile(client, foreign), "a", 1, None)


def test_a_number_that_is_taken_and_free_again_is_no_endless_wait(client: Any) -> None:
    class Blinking(Store):
        def put(self, key: str, data: bytes, *, replace: bool = False) -> str:
            raise ConflictError(f"s3://bbb/{key} already holds something else")

    with pytest.raises(ConflictError, match="already holds something else"):
        crown(Blinking(client, "bbb"), "a", 1, None)


# Damage.


@pytest.fixture
def three(store: Store) -> Store:
    crown(store, "a", 1, None)
    crown(store, "b", 5, "a")
    crown(store, "c", 9, "b")
    return store


def test_a_gap_is_an_error_that_names_what_is_missing(three: Store) -> None:
    three.delete(KEY.format(2))
    with pytest.raises(DataError, match=r"00000002.json is missing, and there is .*00000003.json"):
        history(three, LAYOUT, LANE)
    with pytest.raises(DataError, match="is missing"):
        crown(three, "d", 10, "c")


def test_an_object_that_does_not_belong_there_is_an_error_that_names_it(three: Store) -> None:
    three.put(f"movies/champions/{LANE}/notes.txt", b"x")
    with pytest.raises(DataError, match=r"00000004.json is missing, and there is .*notes.txt"):
        history(three, LAYOUT, LANE)


def test_an_altered_entry_is_an_error(three: Store, client: Any) -> None:
    metadata = client.head_object(Bucket="bbb", Key=KEY.format(2))["Metadata"]
    client.put_object(Bucket="bbb", Key=KEY.format(2), Body=b"{}", Metadata=metadata)
    with pytest.raises(StoreError, match=r"00000002.json was altered"):
        history(three, LAYOUT, LANE)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"schema": 2}, "schema is 2, not 1"),
        ({"sequence": 3}, "sequence is 3, not 2"),
        ({"lane": "other"}, "lane is 'other'"),
        ({"replaces": "z"}, "replaces is 'z', not 'a'"),
        ({"kind": "coup"}, "kind is 'coup'"),
        ({"run": ""}, "run is ''"),
        ({"manifest": None}, "manifest is None"),
        ({"artifact": ""}, "artifact is ''"),
        ({"as_of": "1998-03-05"}, "no time zone"),
        ({"at": "today"}, "Invalid isoformat"),
        ({"at": 7}, "TypeError"),
        ({"by": 7}, "by is 7"),
        ({"reason": ["x"]}, r"reason is \['x'\]"),
    ],
)
def test_a_damaged_entry_is_an_error_that_names_it(three: Store, change, text) -> None:
    content = json.loads(three.get(KEY.format(2))) | change
    three.put(KEY.format(2), json.dumps(content).encode(), replace=True)
    with pytest.raises(DataError, match=f"00000002.json is no entry .*{text}"):
        history(three, LAYOUT, LANE)


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"null", b'{"schema": 1}'])
def test_bytes_that_are_no_entry_are_an_error_that_names_them(three: Store, data: bytes) -> None:
    three.put(KEY.format(2), data, replace=True)
    with pytest.raises(DataError, match=r"00000002\.json is no entry"):
        history(three, LAYOUT, LANE)


# Whom a run is compared with.


def test_a_new_run_is_compared_with_the_champion_in_place() -> None:
    entries = past(("a", 1), ("b", 5))
    assert reference(entries, "new", day(8)) == entries[1]
    assert reference(entries, "new", day(5)) == entries[1]
    assert before(entries, "new") == entries[1]


def test_a_run_of_a_past_day_is_compared_with_the_champion_of_that_day() -> None:
    entries = past(("a", 1), ("b", 5), ("c", 10))
    assert reference(entries, "new", day(7)) == entries[1]
    assert before(entries, "new") == entries[2]
    assert reference(past(("b", 5)), "new", day(4)) is None


def test_a_finished_run_that_is_repeated_is_compared_as_it_was() -> None:
    entries = past(("a", 1), ("b", 5), ("c", 10))
    assert reference(entries, "b", day(5)) == entries[0]
    assert before(entries, "b") == entries[0]
    assert reference(entries, "a", day(1)) is None
    assert before(entries, "a") is None


def test_a_rollback_takes_what_came_after_out_of_force() -> None:
    entries = past(("a", 1), ("b", 5), ("c", 10), ("a", 1, "rollback"))
    assert current(entries) == entries[3]
    for as_of in (3, 7, 12):
        assert reference(entries, "new", day(as_of)) == entries[3]
    # The runs that lost their place are compared as they were.
    assert reference(entries, "c", day(10)) == entries[1]
    assert before(entries, "c") == entries[1]


def test_a_champion_after_a_rollback_may_describe_an_earlier_moment(store: Store) -> None:
    crown(store, "a", 1, None)
    crown(store, "b", 5, "a")
    back = Champion(3, "rollback", LANE, "a", day(1), "m", "s3://b/a", None, NOW, "b")
    store.put(KEY.format(3), to_json(back))
    with pytest.raises(NotPromotedError, match="promoted before"):
        crown(store, "b", 5, "a")
    assert crown(store, "a", 1, "b") == back
    assert crown(store, "c", 3, "a").sequence == 4
    found = history(store, LAYOUT, LANE)
    assert [each.kind for each in found] == ["promotion", "promotion", "rollback", "promotion"]
    assert [each.run for each in found] == ["a", "b", "a", "c"]
    assert reference(found, "new", day(9)) == found[3]
    assert reference(found, "new", day(2)) == found[2]


def test_a_rollback_that_goes_forward_again_takes_the_place_of_the_last() -> None:
    entries = past(("a", 1), ("b", 5), ("a", 1, "rollback"), ("c", 3), ("b", 5, "rollback"))
    assert reference(entries, "new", day(9)) == entries[4]
    # c was taken out of force, so a day between c and b meets a.
    assert reference(entries, "new", day(4)) == entries[2]


def test_the_schema_is_the_one_that_is_written() -> None:
    assert json.loads(to_json(past(("a", 1))[0]))["schema"] == histories.SCHEMA == 1


def test_a_moment_that_is_yet_to_come_locks_nobody_out(store: Store) -> None:
    with pytest.raises(NotPromotedError, match=r"yet to come.*as_of"):
        crown(store, "a", 5, None, at=day(4))
    assert history(store, LAYOUT, LANE) == []
    assert crown(store, "a", 5, None, at=day(5)).sequence == 1


def test_a_folder_made_in_a_console_is_no_entry(store: Store, client: Any) -> None:
    client.put_object(Bucket="bbb", Key=LAYOUT.champions(LANE), Body=b"")
    crown(store, "a", 5, None)
    assert runs(history(store, LAYOUT, LANE)) == ["a"]
