"""Metrics and exposure of lists against established libraries, and laws for every input."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import auc as area
from sklearn.metrics import ndcg_score

from fmrec.evaluation import exposure, list_metrics, ranking
from fmrec.evaluation.ranking import DEPTH, NO_ITEM

Lists = tuple[np.ndarray, np.ndarray]

GRADUAL = (list_metrics.ndcg, list_metrics.average_precision, list_metrics.reciprocal_rank)
COUNTING = (list_metrics.precision, list_metrics.recall, list_metrics.hit_rate)
ALL = (*GRADUAL, *COUNTING)

LAW = settings(deadline=None, max_examples=50)

closely = partial(pytest.approx, rel=1e-12, abs=1e-12)


@st.composite
def judged(draw: st.DrawFn, places: int = 15) -> Lists:
    """Hits of a few lists, and how many items are relevant: at least one, no fewer than hits."""
    n, m = draw(st.integers(1, places)), draw(st.integers(1, 5))
    hits = draw(arrays(bool, (m, n)))
    unlisted = draw(arrays(np.int64, m, elements=st.integers(0, 8)))
    return hits, np.maximum(hits.sum(axis=1) + unlisted, 1)


def trec_eval(wanted: list[set[str]], listed: list[list[str]], k: int) -> dict[str, list[float]]:
    """The measures of trec_eval, each for all users; lists best first, relevant or not."""
    pytrec_eval = pytest.importorskip("pytrec_eval", reason="no wheel for Linux on ARM")
    query = {f"user{n}": dict.fromkeys(items, 1) for n, items in enumerate(wanted)}
    run = {
        f"user{n}": {item: float(-place) for place, item in enumerate(items)}
        for n, items in enumerate(listed)
    }
    # It has no reciprocal rank with a cutoff, so the lists themselves are cut.
    cut = {user: {i: score for i, score in row.items() if score > -k} for user, row in run.items()}
    names = {f"{name}.{k}" for name in ("P", "recall", "ndcg_cut", "map_cut", "success")}
    made = pytrec_eval.RelevanceEvaluator(query, names).evaluate(run)
    first = pytrec_eval.RelevanceEvaluator(query, {"recip_rank"}).evaluate(cut)
    return {
        "precision": [made[user][f"P_{k}"] for user in query],
        "recall": [made[user][f"recall_{k}"] for user in query],
        "ndcg": [made[user][f"ndcg_cut_{k}"] for user in query],
        # Its map_cut divides by all relevant items, ours by those that can be reached.
        "average_precision": [
            made[user][f"map_cut_{k}"] * len(items) / min(k, len(items))
            for user, items in query.items()
        ],
        "reciprocal_rank": [first[user]["recip_rank"] for user in query],
        "hit_rate": [made[user][f"success_{k}"] for user in query],
    }


@LAW
@given(judged(), st.data())
def test_every_metric_is_that_of_trec_eval(lists: Lists, data: st.DataObject) -> None:
    hits, relevant = lists
    k = data.draw(st.integers(1, hits.shape[1]))
    listed = [[f"listed{place}" for place in range(hits.shape[1])] for _ in hits]
    wanted = [
        {f"listed{place}" for place in np.flatnonzero(row)}
        | {f"unlisted{n}" for n in range(total - row.sum())}
        for row, total in zip(hits, relevant.tolist(), strict=True)
    ]
    for name, values in trec_eval(wanted, listed, k).items():
        assert getattr(list_metrics, name)(hits, relevant, k) == closely(values), name


@LAW
@given(st.integers(0, 2**32 - 1))
def test_figures_of_events_and_lists_are_those_of_trec_eval(seed: int) -> None:
    rng = np.random.default_rng(seed)
    test = pd.DataFrame(
        {
            "user_id": rng.integers(1, 6, 120),
            "item_id": rng.integers(1, 90, 120),
            "rating": rng.integers(1, 6, 120).astype(np.float32),
        }
    ).drop_duplicates(["user_id", "item_id"])
    liked = test[test["rating"] >= 4].groupby("user_id")["item_id"]
    users = np.array(sorted(liked.groups), dtype=np.int64)
    items = np.full((users.size, DEPTH), NO_ITEM)
    for row in items:
        length = rng.integers(1, DEPTH + 1)
        row[:length] = rng.permutation(np.arange(1, 100))[:length]
    wanted = [set(liked.get_group(user).astype(str)) for user in users.tolist()]
    listed = [[str(item) for item in row if item != NO_ITEM] for row in items.tolist()]
    found = ranking.hits(users, items, test)
    made, curves = ranking.per_user(found), ranking.curves(found)
    ours = {"average_precision": "map", "reciprocal_rank": "mrr"}
    for name, values in trec_eval(wanted, listed, 10).items():
        assert made[f"{ours.get(name, name)}@10"] == closely(values), name
    for place, k in enumerate(ranking.CUTOFFS):
        expected = trec_eval(wanted, listed, k)
        for name in ("precision", "recall"):
            assert curves[name][place] == closely(np.mean(expected[name])), (name, k)


@LAW
@given(judged(), st.data())
def test_ndcg_is_that_of_scikit_learn(lists: Lists, data: st.DataObject) -> None:
    hits, relevant = lists
    k = data.draw(st.integers(1, hits.shape[1]))
    made = list_metrics.ndcg(hits, relevant, k)
    for row, total in enumerate(relevant.tolist()):
        # What was not listed comes after all that was.
        truth = np.append(hits[row], np.ones(total - hits[row].sum() + 1))
        truth[-1] = 0
        assert made[row] == closely(ndcg_score([truth], [-np.arange(truth.size)], k=k))


@LAW
@given(judged(), st.data())
def test_lists_are_judged_one_by_one_and_in_their_bounds(lists: Lists, data: st.DataObject) -> None:
    hits, relevant = lists
    k = data.draw(st.integers(1, hits.shape[1]))
    order = np.array(data.draw(st.permutations(range(len(relevant)))))
    for metric in ALL:
        made = metric(hits, relevant, k)
        assert made.dtype == np.float64
        assert (made >= 0).all()
        assert (made <= 1).all()
        assert metric(hits[order], relevant[order], k).tolist() == made[order].tolist()
        assert metric(hits[:1], relevant[:1], k).tolist() == made[:1].tolist()


@LAW
@given(judged(), st.data())
def test_a_hit_that_moves_up_never_lowers_a_metric(lists: Lists, data: st.DataObject) -> None:
    hits, relevant = lists
    k = data.draw(st.integers(1, hits.shape[1]))
    first, second = sorted(data.draw(st.tuples(*[st.integers(0, hits.shape[1] - 1)] * 2)))
    better = hits.copy()
    # A hit at the later place changes places with what stands at the earlier one.
    better[:, first] |= hits[:, second]
    better[:, second] &= hits[:, first]
    for metric in ALL:
        assert (metric(better, relevant, k) >= metric(hits, relevant, k) - 1e-15).all()
    moved = (better != hits).any(axis=1)
    if second < k and moved.any():
        for metric in (list_metrics.ndcg, list_metrics.average_precision):
            assert (metric(better, relevant, k) > metric(hits, relevant, k))[moved].all()


@LAW
@given(judged(), st.integers(1, 5), st.data())
def test_what_stands_below_the_cutoff_changes_nothing(
    lists: Lists, more: int, data: st.DataObject
) -> None:
    hits, relevant = lists
    n = hits.shape[1]
    k = data.draw(st.integers(1, n))
    longer = np.hstack([hits, np.zeros((len(hits), more), bool)])
    for metric in ALL:
        expected = metric(hits, relevant, k).tolist()
        assert metric(longer, relevant, k).tolist() == expected
        assert metric(hits[:, :k], relevant, k).tolist() == expected
    # Misses that fill an empty end change no metric but the one that divides by the cutoff.
    for metric in (list_metrics.recall, list_metrics.reciprocal_rank, list_metrics.hit_rate):
        assert metric(longer, relevant, n + more).tolist() == metric(hits, relevant, n).tolist()


@LAW
@given(judged())
def test_curves_of_recall_and_hit_rate_never_fall(lists: Lists) -> None:
    hits, relevant = lists
    cutoffs = range(1, hits.shape[1] + 1)
    for metric in (list_metrics.recall, list_metrics.hit_rate, list_metrics.reciprocal_rank):
        curve = np.array([metric(hits, relevant, k) for k in cutoffs])
        assert (np.diff(curve, axis=0) >= 0).all()
    found = np.array([k * list_metrics.precision(hits, relevant, k) for k in cutoffs])
    assert found == closely(
        np.array([relevant * list_metrics.recall(hits, relevant, k) for k in cutoffs])
    )


@LAW
@given(judged(), st.data())
def test_a_metric_is_one_for_the_best_list_and_for_no_other(
    lists: Lists, data: st.DataObject
) -> None:
    hits, relevant = lists
    k = data.draw(st.integers(1, hits.shape[1]))
    best = np.array(
        [row[: min(k, total)].all() for row, total in zip(hits, relevant.tolist(), strict=True)]
    )
    for metric in (list_metrics.ndcg, list_metrics.average_precision):
        assert ((metric(hits, relevant, k) == 1) == best).all()


def counts(least: int = 0) -> st.SearchStrategy[np.ndarray]:
    sizes = st.integers(2, 30)
    return sizes.flatmap(
        lambda c: arrays(np.int64, c, elements=st.integers(least, 40)).filter(np.any)
    )


@LAW
@given(counts())
def test_gini_is_that_of_the_lorenz_curve_of_scikit_learn(listed: np.ndarray) -> None:
    size = listed.size
    lorenz = np.append(0, np.sort(listed).cumsum()) / listed.sum()
    below = area(np.linspace(0, 1, size + 1), lorenz)
    # 1 - 2 area reaches (c - 1) / c at most; the figure here reaches 1.
    assert exposure.gini(listed) == closely((1 - 2 * below) * size / (size - 1))


@LAW
@given(counts())
def test_gini_is_half_the_relative_mean_difference_of_two_items(listed: np.ndarray) -> None:
    pairs = listed.size * (listed.size - 1)
    difference = np.abs(listed[:, None] - listed[None]).sum() / pairs
    assert exposure.gini(listed) == closely(difference / listed.mean() / 2)


@LAW
@given(counts(), st.integers(2, 9), st.data())
def test_laws_of_coverage_and_gini(listed: np.ndarray, times: int, data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(listed.size))))
    for figure in (exposure.coverage, exposure.gini):
        assert 0 <= figure(listed) <= 1
        assert figure(listed[order]) == figure(listed)
        assert figure(times * listed) == closely(figure(listed))
    assert (exposure.gini(listed) == 0) == (listed.min() == listed.max())
    assert (exposure.gini(listed) == 1) == (np.count_nonzero(listed) == 1)
    # A place that goes from an item to one with at least two fewer makes the shares more even.
    rich, poor = int(listed.argmax()), int(listed.argmin())
    if listed[rich] - listed[poor] >= 2:
        shared = listed.copy()
        shared[[rich, poor]] += [-1, 1]
        assert exposure.gini(shared) < exposure.gini(listed)


def by_pairs(items: np.ndarray, train: pd.DataFrame, of: Callable[[int], float]) -> float:
    """The mean of a figure of each item over all filled places, one by one."""
    return float(np.mean([of(item) for item in items.ravel().tolist() if item != NO_ITEM]))


@LAW
@given(st.integers(0, 2**32 - 1))
def test_exposure_is_that_of_going_through_all_places(seed: int) -> None:
    rng = np.random.default_rng(seed)
    user, item = np.nonzero(rng.random((rng.integers(1, 8), 25)) < rng.uniform(0.1, 0.9))
    train = pd.DataFrame({"user_id": 2 * user + 1, "item_id": 3 * item + 2})
    catalogue = sorted(set(train["item_id"]))
    if not catalogue:
        return
    items = np.full((rng.integers(1, 6), DEPTH), NO_ITEM)
    for row in items:
        length = min(rng.integers(1, DEPTH + 1), len(catalogue))
        row[:length] = rng.permutation(catalogue)[:length]
    made = exposure.exposure(items, train)
    first = items[:, :10]
    raters = train.groupby("item_id")["user_id"].nunique()
    users = train["user_id"].nunique()
    assert made["coverage@10"] == closely(len(set(first.ravel()) - {NO_ITEM}) / len(catalogue))
    assert made["novelty@10"] == closely(
        by_pairs(first, train, lambda each: -np.log2(raters[each] / users))
    )
    assert made["popularity@10"] == closely(by_pairs(first, train, lambda each: raters[each]))
    if len(catalogue) > 1:
        listed = np.array([np.count_nonzero(first == each) for each in catalogue])
        lorenz = np.append(0, np.sort(listed).cumsum()) / listed.sum()
        below = area(np.linspace(0, 1, listed.size + 1), lorenz)
        assert made["gini@10"] == closely((1 - 2 * below) * listed.size / (listed.size - 1))
    assert -1e-12 <= made["novelty@10"] <= np.log2(users) + 1e-12
    # Neither the order of the users nor that within the first ten places matters.
    mixed = items[rng.permutation(len(items))]
    mixed[:, :10] = np.take(mixed[:, :10], rng.permutation(10), axis=1)
    again = exposure.exposure(mixed, train.sample(frac=1, random_state=seed % 1000))
    assert again == {name: closely(value, nan_ok=True) for name, value in made.items()}


@LAW
@given(st.integers(0, 2**32 - 1), st.integers(1, 80))
def test_popular_lists_are_those_of_sorting_for_each_user(seed: int, films: int) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 400))
    frame = pd.DataFrame(
        {
            "user_id": rng.integers(1, 9, size),
            "item_id": rng.integers(1, films + 1, size),
            "rating": rng.integers(1, 6, size).astype(np.float32),
        }
    )
    users = np.unique(rng.integers(1, 12, 6))
    lists = ranking.Popularity.of(frame).lists(users, frame)
    likes = (frame["rating"] >= 4).groupby(frame["item_id"]).sum()
    for user, made in zip(users.tolist(), lists.tolist(), strict=True):
        mine = set(frame.loc[frame["user_id"] == user, "item_id"])
        best = sorted(set(likes.index) - mine, key=lambda film: (-likes[film], film))[:DEPTH]
        assert made == best + [NO_ITEM] * (DEPTH - len(best))


@LAW
@given(st.integers(0, 2**32 - 1))
def test_no_order_of_events_or_users_changes_the_hits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    test = pd.DataFrame(
        {
            "user_id": rng.integers(1, 5, 40),
            "item_id": rng.integers(1, 70, 40),
            "rating": np.float32(5),
        }
    )
    users = np.unique(test["user_id"].to_numpy())
    items = np.array([rng.permutation(np.arange(1, 80))[:DEPTH] for _ in users])
    found = ranking.hits(users, items, test)
    order = rng.permutation(users.size)
    mixed = ranking.hits(users[order], items[order], test.sample(frac=1, random_state=seed % 1000))
    assert np.array_equal(mixed.users, found.users[order])
    assert np.array_equal(mixed.places, found.places[order])
    assert np.array_equal(mixed.relevant, found.relevant[order])
