"""Laws of the events: nothing lost, nothing twice, nothing out of its time."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from random import Random

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from events_oracle import DAY, OF_PRESET, ids_facts
from fmrec.errors import DataError, FormatError
from fmrec.events.facts import Facts, History
from fmrec.events.policy import POLICIES, admit
from fmrec.events.prepare import Choices
from fmrec.events.space import FeatureSpace
from fmrec.ratings import SPLITS
from fmrec.ratings.tables import ITEMS, USERS
from prepare_oracle import Row, Slow, chosen, cut, latest, made, same_facts, slow, table, visible

START = 10_000 * DAY
NAN = float("nan")

few = st.integers(1, 4), st.integers(1, 9)
wide = st.sampled_from([1, 3, 2**24 + 1, 2**62]), st.sampled_from([1, 2, 2**40, 2**62 - 1, 2**62])
stars = st.sampled_from([0.5, 1.0, 3.0, 3.5, 4.0, 4.5, 5.0, 5.0, NAN])
times = st.builds(
    lambda day, second: START + day * DAY + second,
    st.integers(0, 4),
    st.sampled_from([0, 0, 1, 2, 3_599, 3_600, 50_000, DAY - 1]),
)


def rated(ids: tuple[st.SearchStrategy[int], st.SearchStrategy[int]]) -> st.SearchStrategy[Row]:
    return st.builds(
        lambda user, item, rating, time, late, fold: Row(
            user, item, rating, time, late and (time // DAY + late) * DAY, fold
        ),
        *ids,
        stars,
        times,
        st.sampled_from([0, 0, 0, 1, 4]),
        st.sampled_from([1, 1, 2]),
    )


ratings = st.sampled_from([few, few, wide]).flatmap(
    lambda ids: st.lists(rated(ids), min_size=20, max_size=50)
)
clocks = st.sampled_from([*[START + 9 * DAY] * 4, START + 4 * DAY, START + 3 * DAY + 1])
cuts = st.lists(st.integers(0, 100), min_size=1, max_size=4)
choices = st.builds(
    chosen,
    as_of=clocks,
    split=st.sampled_from([*SPLITS[:4], *SPLITS[:3]]),
    validation_fraction=st.sampled_from([0.0, 0.2, 0.25]),
    test_fraction=st.sampled_from([0.2, 0.25, 0.5]),
    leave_last=st.sampled_from([1, 1, 2]),
    user_least=st.sampled_from([1, 1, 1, 2, 3]),
    item_least=st.sampled_from([1, 1, 1, 2, 3]),
    order=st.sampled_from(["shuffled", "file"]),
    seed=st.integers(0, 2**31 - 1),
    history_length=st.sampled_from([0, 1, 2, 50]),
    negatives=st.sampled_from([0, 0, 1, 3]),
    negative_exponent=st.sampled_from([0.0, 0.75]),
    visits=st.booleans(),
)


def refused(expected: Slow, made_of: Choices) -> bool:
    needed = ["train", "test", *(["examples"] if made_of.negatives else [])]
    if made_of.split in ("time", "random") and made_of.validation_fraction:
        needed.append("validation")
    return any(not expected.events[name] for name in needed)


@settings(deadline=None, max_examples=60)
@given(ratings | st.lists(rated(few), max_size=6), choices, cuts)
def test_prepare_makes_what_the_slow_one_makes(
    rows: list[Row], made_of: Choices, at: list[int]
) -> None:
    expected = slow(rows, made_of)
    if refused(expected, made_of):
        with pytest.raises(DataError):
            made(cut(rows, at), made_of)
        return
    found = made(cut(rows, at), made_of)
    assert found.events == expected.events
    same_facts(found.facts, expected.facts)
    assert found.prepared.counts == expected.counts
    assert found.prepared.rows == {name: len(each) for name, each in expected.events.items()}


@settings(deadline=None, max_examples=20)
@given(ratings, choices, cuts, st.lists(st.tuples(rated(few), st.integers(0, 40))))
def test_neither_later_ratings_nor_cuts_into_tables_change_a_byte(
    rows: list[Row], made_of: Choices, at: list[int], later: list[tuple[Row, int]]
) -> None:
    assume(not refused(slow(rows, made_of), made_of))
    more = list(rows)
    for row, place in later:
        unseen = (
            row._replace(timestamp=made_of.as_of + row.timestamp - START)
            if place % 2
            else row._replace(arrived=made_of.as_of + 1 + row.timestamp - START)
        )
        more.insert(place, unseen)
    assert made(cut(more, at), made_of).same_as(made([table(rows)], made_of))


@settings(deadline=None, max_examples=25)
@given(ratings, choices)
def test_no_event_is_lost_or_there_twice_and_training_never_looks_ahead(
    rows: list[Row], made_of: Choices
) -> None:
    try:
        found = made([table(rows)], made_of)
    except DataError:
        assume(False)
    seen = latest(visible(rows, made_of.as_of)).values()
    parts = {name: found.events[name] for name in ("train", "validation", "test", "filtered")}
    assert Counter(event[:4] for part in parts.values() for event in part) == Counter(
        row[:4] for row in seen if not np.isnan(row.rating)
    )
    learnt = [*parts["train"], *parts["filtered"]]
    if made_of.split == "time":
        earlier = [event.timestamp for event in learnt]
        for name in ("validation", "test"):
            later = [event.timestamp for event in parts[name]]
            assert not later or max(earlier) < min(later)
            earlier += later
    if made_of.split == "leave-last-k":
        for left in ("validation", "test"):
            for user, count in Counter(event.user for event in parts[left]).items():
                assert count == made_of.leave_last
                before = [event.timestamp for event in learnt if event.user == user]
                mine = [event.timestamp for event in parts[left] if event.user == user]
                assert max(before) <= min(mine)
    trained = {event[:2] for event in parts["train"]}
    for side, least in ((0, made_of.user_least), (1, made_of.item_least)):
        assert all(n >= least for n in Counter(pair[side] for pair in trained).values())
    facts = found.facts
    for user, history in zip(facts.users.tolist(), rows_of(facts.rated), strict=True):
        assert {(user, int(facts.items[item])) for item in history} <= trained
    for item, history in zip(facts.items.tolist(), rows_of(facts.raters), strict=True):
        assert {(int(facts.users[user]), item) for user in history} <= trained


def rows_of(history: History) -> list[list[int]]:
    return [part.tolist() for part in np.split(history.indices, history.indptr[1:-1])]


@settings(deadline=None, max_examples=20)
@given(ratings, choices, st.integers(1, 4))
def test_sampled_items_are_in_the_examples_alone_and_unknown_to_their_user(
    rows: list[Row], made_of: Choices, ratio: int
) -> None:
    with_them = chosen(**vars(made_of) | {"negatives": ratio})
    try:
        found = made([table(rows)], with_them)
    except DataError:
        assume(False)
    without = made([table(rows)], chosen(**vars(made_of) | {"negatives": 0}))
    sampled_for = {"examples", "watched"}
    assert {name: each for name, each in found.events.items() if name not in sampled_for} == (
        without.events
    )
    counts = [name for name in vars(found.facts) if name.endswith("_trained")]
    counted = {name: getattr(found.facts, name) for name in counts}
    same_facts(found.facts, replace(without.facts, **counted))
    examples, train = found.events["examples"], found.events["train"]
    likes = [event for event in examples if event.label == 1]
    sampled = [event for event in examples if event.label == 0]
    assert len(likes) + len(sampled) == len(examples)
    rows_of_user = Counter(event.user for event in examples)
    assert [rows_of_user[user] for user in found.facts.users.tolist()] == (
        found.facts.users_trained.tolist()
    )
    assert Counter(event[:5] for event in likes) == Counter(
        event[:5] for event in train if event.rating >= 4
    )
    missing = found.prepared.counts["negatives_missing"]
    assert len(sampled) + missing == ratio * len(likes)
    pairs, known = {event[:2] for event in train}, {event.item for event in train}
    of_likes = {(event.user, event.timestamp, event.previous) for event in likes}
    for event in sampled:
        assert event[:2] not in pairs
        assert event.item in known
        assert event.rating is None
        assert (event.user, event.timestamp, event.previous) in of_likes
    later = {event[:2] for event in found.events["validation"]}
    users = {user for user, _ in pairs}
    watched = [event for event in found.events["watched"] if event.label == 1]
    assert Counter(event[:5] for event in watched) == Counter(
        event[:5]
        for event in found.events["validation"]
        if event.rating >= 4 and event.user in users and event.item in known
    )
    for event in found.events["watched"]:
        assert event.label == 1 or event[:2] not in pairs | later
        assert event.item in known


@settings(deadline=None, max_examples=15)
@given(ratings, choices, st.randoms(use_true_random=False))
def test_without_ties_the_shuffled_order_does_not_depend_on_the_source(
    rows: list[Row], made_of: Choices, random: Random
) -> None:
    apart = [row._replace(timestamp=row.timestamp // DAY * DAY + at) for at, row in enumerate(rows)]
    shuffled = chosen(**vars(made_of) | {"order": "shuffled"})
    try:
        found = made([table(apart)], shuffled)
    except DataError:
        assume(False)
    random.shuffle(apart)
    assert made([table(apart)], shuffled).same_as(found)


@settings(deadline=None, max_examples=15)
@given(ratings, clocks, clocks, st.sampled_from(sorted(OF_PRESET)), choices)
def test_the_columns_of_a_later_clock_begin_with_those_of_an_earlier(
    rows: list[Row], one: int, other: int, preset: str, made_of: Choices
) -> None:
    users = pa.Table.from_pylist(
        [{"user_id": each, "age": 20 + each, "gender": "FM"[each % 2]} for each in (1, 2, 3, 7)],
        schema=USERS,
    )
    items = pa.Table.from_pylist(
        [{"item_id": each, "genres": ["Drama", f"G{each}"]} for each in (1, 2, 3)], schema=ITEMS
    )
    names = []
    for as_of in sorted({one, other, START + 9 * DAY}):
        changes = {"as_of": as_of, "user_least": 1, "item_least": 1, "history_length": 2}
        changes |= {"visits": True}
        try:
            facts = made([table(rows)], chosen(**vars(made_of) | changes)).facts
        except DataError:
            continue
        names.append(FeatureSpace.from_facts(facts, users, items, preset=preset).names())
    assume(len(names) > 1)
    for earlier, later in pairwise(names):
        assert later[: len(earlier)] == earlier
        assert len(set(later)) == len(later)


@settings(deadline=None, max_examples=40)
@given(ratings, st.integers(0, 3), st.integers(0), st.integers(1, 255))
def test_facts_survive_their_file_and_damage_is_noticed(
    rows: list[Row], length: int, place: int, flip: int
) -> None:
    facts = slow(rows, chosen(split="u1", as_of=START + 9 * DAY, history_length=length)).facts
    data = facts.to_bytes()
    again = Facts.from_bytes(data)
    same_facts(again, facts)
    assert again.to_bytes() == data
    damaged = bytearray(data)
    damaged[place % len(data)] ^= flip
    # A zip archive has bytes that say nothing, such as the date of a member.
    with suppress(FormatError):
        same_facts(Facts.from_bytes(bytes(damaged)), facts)
    with pytest.raises(FormatError):
        Facts.from_bytes(data[: place % len(data)])


@given(
    st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), max_size=30),
    st.sets(st.integers(1, 8), min_size=1),
    st.sets(st.integers(1, 8), min_size=1),
    st.sampled_from(POLICIES),
)
def test_no_policy_loses_an_event(
    pairs: list[tuple[int, int]], users: set[int], items: set[int], policy: str
) -> None:
    nobody = USERS.empty_table(), ITEMS.empty_table()
    space = FeatureSpace.from_facts(ids_facts(users, items), *nobody, preset="ids")
    events = pd.DataFrame(pairs, columns=["user_id", "item_id"], dtype="int64")
    events["place"] = np.arange(len(pairs))
    kinds = Counter(
        {(True, True): "known", (False, True): "unknown_user", (True, False): "unknown_item"}.get(
            (user in users, item in items), "unknown_both"
        )
        for user, item in pairs
    )
    if policy == "fail" and kinds["known"] < len(pairs):
        with pytest.raises(DataError):
            admit(events, space, policy)
        return
    found = admit(events, space, policy)
    scored, aside = found.to_score["place"].tolist(), found.set_aside["place"].tolist()
    assert sorted(scored + aside) == list(range(len(pairs)))
    assert scored == sorted(scored)
    assert aside == sorted(aside)
    assert len(scored) == (kinds["known"] if policy == "exclude" else len(pairs))
    assert found.counts == {
        **{name: kinds[name] for name in ("unknown_user", "unknown_item", "unknown_both", "known")},
        "events": len(pairs),
        "scored": len(scored),
        "set_aside": len(aside),
    }
    unknown = {name: count for name, count in kinds.items() if name != "known"}
    if policy == "exclude":
        assert Counter(found.set_aside["reason"]) == unknown
