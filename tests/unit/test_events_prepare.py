"""What becomes of ratings: which of them count, in which files they end, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fmrec.errors import ConfigurationError, DataError
from fmrec.events import intake
from fmrec.events.intake import take_in
from fmrec.events.prepare import EVENTS, LABEL, prepare
from fmrec.ratings.tables import RATINGS
from prepare_oracle import Made, Row, chosen, cut, made, table, word

DAY = 86_400
START = 10_000 * DAY
NAN = float("nan")
U1 = {"split": "u1", "order": "file"}
TESTED = Row(999, 999, 3.0, START, 0, 2)


def kept(*rows: Row, as_of: int = START + 100 * DAY) -> tuple[list[float], dict[str, int]]:
    """The ratings that are trained on, and the counts; one more is the test part."""
    found = made([table([*rows, TESTED])], chosen(as_of=as_of, **U1))
    return [event.rating for event in found.events["train"]], found.prepared.counts


def of_pair(rating: float, timestamp: int, arrived: int = 0) -> Row:
    return Row(1, 1, rating, START + timestamp, arrived and START + arrived, 1)


OTHER = Row(1, 2, 2.5, START, 0, 1)


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        (of_pair(1, 5), of_pair(2, 6), 2),
        (of_pair(1, 6), of_pair(2, 5), 1),
        (of_pair(1, 6, DAY), of_pair(2, 5, 3 * DAY), 1),
        (of_pair(1, 5, 2 * DAY), of_pair(2, 5, DAY), 1),
        (of_pair(1, 5, DAY), of_pair(2, 5, 2 * DAY), 2),
        (of_pair(1, 5, DAY), of_pair(2, 5), 1),
        (of_pair(1, 5), of_pair(2, 5), 2),
        (of_pair(NAN, 5), of_pair(2, 6), 2),
    ],
)
def test_the_latest_rating_of_a_pair_counts_then_the_last_to_arrive_then_the_last(
    first: Row, second: Row, winner: float
) -> None:
    ratings, counts = kept(first, OTHER, second)
    assert sorted(ratings) == sorted([2.5, winner])
    assert counts == {"superseded": 1, "withdrawn": 0, "ratings_seen": 3, "filtered": 0}


def test_a_withdrawn_rating_counts_nowhere_but_its_ids_keep_their_columns() -> None:
    rows = [of_pair(1, 5), OTHER, of_pair(NAN, 6), Row(7, 8, NAN, START + 3 * DAY, 0, 1)]
    ratings, counts = kept(*rows)
    assert ratings == [2.5]
    assert counts == {"superseded": 1, "withdrawn": 2, "ratings_seen": 2, "filtered": 0}
    facts = made([table([*rows, TESTED])], chosen(**U1)).facts
    assert facts.users.tolist() == [1, 7, 999]
    assert facts.users_trained.tolist() == [1, 0, 0]
    assert facts.items.tolist() == [1, 2, 8, 999]
    assert facts.days.tolist() == [10_000, 10_003]


def test_a_correction_counts_from_the_moment_it_arrives() -> None:
    rows = of_pair(1, 5), OTHER, of_pair(4, 6, 2 * DAY)
    before, after = (kept(*rows, as_of=START + 2 * DAY - 1), kept(*rows, as_of=START + 2 * DAY))
    assert before == ([1, 2.5], {"superseded": 0, "withdrawn": 0, "ratings_seen": 3, "filtered": 0})
    assert after[0] == [2.5, 4]


def test_facts_say_from_which_clock_on_ids_and_days_are_seen() -> None:
    rows = [of_pair(1, 5, 3 * DAY), Row(1, 2, 2.5, START + DAY, 0, 1), TESTED]
    facts = made([table(rows)], chosen(**U1)).facts
    assert facts.users_known.tolist() == [START + DAY + 1, START + 1]
    assert facts.items_known.tolist() == [START + 3 * DAY, START + DAY + 1, START + 1]
    assert facts.days_known.tolist() == [START + 1, START + DAY + 1]


def many(count: int, seed: int = 1) -> list[Row]:
    """Ratings of as many pairs, in the order of time."""
    generator = np.random.default_rng(seed)
    pairs = generator.choice(200 * 400, count, replace=False)
    stars = generator.integers(1, 6, count)
    return [
        Row(pair // 400 + 1, pair % 400 + 1, float(rating), START + 7 * at, 0, 1 + (at % 5 == 4))
        for at, (pair, rating) in enumerate(zip(pairs.tolist(), stars.tolist(), strict=True))
    ]


@pytest.fixture(scope="module")
def large() -> Made:
    """Examples are 1.2 rows for each of 24,000 training events."""
    choices = chosen(split="random", negatives=2, shard_rows=2_500, history_length=3)
    return made([table(many(40_000))], choices)


def test_files_are_a_power_of_two_in_number_and_about_as_large_as_each_other(large: Made) -> None:
    numbers = {name: len(files) for name, files in large.files.items()}
    assert numbers == {
        "train": 16, "validation": 4, "test": 4, "filtered": 0, "examples": 16, "watched": 4
    }  # fmt: skip
    for name, files in large.files.items():
        rows = [each.num_rows for each in files]
        assert sum(rows) == large.prepared.rows[name]
        # Five standard deviations of a share drawn at random.
        assert all(abs(n - np.mean(rows)) < 5 * np.sqrt(np.mean(rows)) for n in rows)


def test_shuffled_rows_ascend_by_their_word_through_all_files(large: Made) -> None:
    for name in ("train", "validation", "test"):
        words = [word(1, event.user, event.item, 0) for event in large.events[name]]
        assert words == sorted(words)
        assert len(set(words)) == len(words)


def test_a_sampled_row_does_not_stand_beside_its_like(large: Made) -> None:
    rows = large.events["examples"]
    # Every time is that of one like and its two sampled items.
    near = sum(one.timestamp == other.timestamp for one, other in pairwise(rows))
    assert near < 10


@pytest.mark.parametrize(("count", "files"), [(100, 1), (2_000, 2), (4_000, 4), (20_000, 4)])
def test_few_rows_are_in_few_files(count: int, files: int) -> None:
    rows = [row._replace(fold=1) for row in many(count)]
    found = made([table([*rows, TESTED])], chosen(split="u1", shard_rows=100_000))
    assert [len(found.files[name]) for name in ("train", "validation", "test")] == [files, 0, 1]


def test_rows_in_file_order_are_those_of_the_source_one_after_another() -> None:
    rows = many(6_000)
    found = made(cut(rows, [10, 3_000]), chosen(shard_rows=500, **U1))
    for name, fold in (("train", 1), ("test", 2)):
        assert [event[:4] for event in found.events[name]] == [
            row[:4] for row in rows if row.fold == fold
        ]


def test_the_seed_decides_the_shuffled_order_and_nothing_else() -> None:
    rows = many(500)
    one, again, other = (
        made([table(rows)], chosen(split="u1", seed=seed, history_length=2)) for seed in (1, 1, 2)
    )
    assert one.same_as(again)
    assert one.facts.to_bytes() == other.facts.to_bytes()
    for name in ("train", "test"):
        assert one.events[name] != other.events[name]
        assert sorted(one.events[name]) == sorted(other.events[name])


def test_tables_are_events_and_examples_have_labels(large: Made) -> None:
    for name, files in large.files.items():
        schema = EVENTS.append(LABEL) if name in {"examples", "watched"} else EVENTS
        assert all(each.schema == schema and each.num_rows for each in files)


def test_files_may_be_read_in_any_order_and_at_once(tmp_path: Path, large: Made) -> None:
    choices = chosen(split="random", negatives=2, shard_rows=2_500, history_length=3)
    prepared = prepare([table(many(40_000))], choices, tmp_path / "work")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda read: read(), prepared.shards("train")[::-1]))
    assert found[::-1] == large.files["train"]


def test_a_part_that_was_not_made_has_no_files(tmp_path: Path) -> None:
    prepared = prepare([table(many(50))], chosen(split="u1"), tmp_path / "work")
    assert prepared.shards("examples") == []
    assert prepared.shards("validation") == []
    assert prepared.rows == {"train": 40, "validation": 0, "test": 10, "filtered": 0}


def test_nothing_depends_on_how_rows_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = many(300)
    choices = chosen(split="leave-last-k", negatives=1, history_length=2, item_least=2)
    whole = made([table(rows)], choices)
    monkeypatch.setattr(intake, "_BATCH_ROWS", 7)
    assert made(cut(rows, [0, 0, 13, 14, 200, 300]), choices).same_as(whole)


def test_times_to_the_end_of_what_checks_let_through_are_kept() -> None:
    rows = [Row(1, 1, 3.0, 4_102_444_799, 4_102_444_800, 1), TESTED]
    found = made([table(rows)], chosen(as_of=4_102_444_801, **U1))
    assert found.events["train"] == [(1, 1, 3.0, 4_102_444_799, 0, None)]


def refused(rows: list[Row], **changes: object) -> str:
    with pytest.raises((ConfigurationError, DataError)) as caught:
        made([table(rows)], chosen(**changes))
    return str(caught.value)


def test_no_ratings_at_all_is_said_so() -> None:
    assert "there are no ratings at all" in refused([])
    with pytest.raises(DataError, match="there are no ratings at all"):
        made([], chosen())


def test_a_clock_before_all_ratings_says_what_there_is_and_what_to_set() -> None:
    rows = [of_pair(3, 0), of_pair(3, 200)]
    assert refused(rows, as_of=START) == (
        "No rating lies before as_of 1997-05-19T00:00:00+00:00 (timestamp 864000000) and had "
        "arrived by then: the 2 ratings lie between 1997-05-19T00:00:00+00:00 (timestamp "
        "864000000) and 1997-05-19T00:03:20+00:00 (timestamp 864000200). Set as_of to a later "
        "moment, or choose a source that reaches further back."
    )


def test_what_has_not_arrived_is_not_there() -> None:
    assert "No rating lies before as_of" in refused([of_pair(3, 0, DAY)], as_of=START + DAY - 1)


def test_a_source_of_withdrawals_is_refused() -> None:
    rows = [of_pair(3, 0), of_pair(NAN, 1), Row(2, 2, NAN, START)]
    assert "every rating before as_of" in refused(rows)
    assert "the 3 ratings lie between" in refused(rows)


@pytest.mark.parametrize(
    ("times", "missing"),
    [
        ([5], "validation and test"),
        ([5] * 100, "validation and test"),
        ([1] * 60 + [2] * 40, "test"),
        ([1] * 80 + [2] * 20, "validation"),
    ],
)
def test_a_window_too_small_says_which_part_and_what_there_is(
    times: list[int], missing: str
) -> None:
    rows = [Row(user, 1, 3.0, START + time) for user, time in enumerate(times, 1)]
    text = refused(rows)
    assert f"split 'time' leaves no rating for {missing}: the {len(times)} ratings lie" in text
    assert "Set as_of to a later moment" in text


def test_shares_that_round_to_nothing_for_everybody_are_refused() -> None:
    rows = [Row(user, item, 3.0, START) for user in range(1, 9) for item in (1, 2)]
    text = refused(rows, split="random", validation_fraction=0.2, test_fraction=0.4)
    assert "split 'random' leaves no rating for validation: the 16 ratings lie" in text


@pytest.mark.parametrize(("fold", "missing"), [(1, "test"), (2, "train")])
def test_a_fold_that_the_window_emptied_is_an_error(fold: int, missing: str) -> None:
    rows = [Row(user, 1, 3.0, START, 0, fold) for user in (1, 2)]
    assert f"split 'ua' leaves no rating for {missing}: the 2 rat" in refused(rows, split="ua")


def test_one_rating_is_too_few_in_every_order() -> None:
    """In file order keys are the places, spread over all words: with one row there is one."""
    for order in ("shuffled", "file"):
        text = refused([of_pair(3, 0)], split="leave-last-k", order=order)
        assert "split 'leave-last-k' leaves no rating for test" in text


def test_thinning_that_leaves_nothing_says_how_many_it_took() -> None:
    text = refused([*many(50), TESTED], split="u1", user_least=40)
    assert "leaves no rating for train" in text
    assert ", 40 were filtered. " in text


def test_ratings_without_folds_are_not_divided_by_them() -> None:
    rows = [*many(50), of_pair(3, 0)._replace(fold=0)]
    for least in (1, 2):
        text = refused(rows, split="u2", user_least=least)
        assert text.startswith("split 'u2' needs ratings that come divided into files")


@pytest.mark.parametrize("split", ["time", "random"])
def test_fractions_that_do_not_fit_are_refused(split: str) -> None:
    text = refused(many(50), split=split, validation_fraction=0.5, test_fraction=0.5)
    assert text.startswith("validation_fraction 0.5 and test_fraction 0.5 do not fit")


def test_an_unknown_split_or_order_is_refused() -> None:
    assert refused(many(50), split="u6").startswith("split 'u6' is not known: choose one of time")
    assert refused(many(50), order="sorted").startswith("order 'sorted' is not known: choose one")


def test_negatives_without_likes_are_refused() -> None:
    rows = [row._replace(rating=3.5) for row in many(50)]
    text = refused(rows, split="u1", negatives=2)
    assert text.startswith("no training event has 4 stars or more: objective ranking learns")
    assert "no item can be drawn" not in text


def test_a_source_that_breaks_off_is_heard(tmp_path: Path) -> None:
    def broken() -> Iterator[pa.Table]:
        yield table(many(50))
        raise DataError("ratings.csv, row 51: broken off")

    with pytest.raises(DataError, match="row 51: broken off"):
        prepare(broken(), chosen(), tmp_path / "work")


def test_more_ratings_than_places_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_MOST_ROWS", 50)
    assert take_in([table(many(50))], START * 2, tmp_path / "fits").rows == 50
    with pytest.raises(DataError, match="more than 50 ratings"):
        take_in([table(many(50)), table(many(1))], START * 2, tmp_path / "more")


def test_tables_without_rows_are_no_rows(tmp_path: Path) -> None:
    empty = RATINGS.empty_table()
    found = take_in([empty, table(many(3)), empty], START * 2, tmp_path)
    assert found.rows == found.events == 3
