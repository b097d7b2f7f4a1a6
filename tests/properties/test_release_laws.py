"""Laws of the gate and of the history of champions, whatever the figures and the order."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmrec.errors import ConflictError
from fmrec.layout import Layout
from fmrec.release.champions import (
    Champion,
    NotPromotedError,
    before,
    current,
    history,
    promote,
    reference,
)
from fmrec.release.gate import Policy, decide

ORDER = ["keep", "ask", "promote"]
LAYOUT, LANE = Layout("bbb", "movies", "any"), "ranking-ml-100k-time"
START = datetime(1998, 3, 1, tzinfo=UTC)

shares = st.floats(0, 1)
# Whole thousandths, so that adding and turning them over is exact enough to be compared.
thousandths = st.integers(-50, 50)


@st.composite
def rows(draw: st.DrawFn, against: str) -> dict[str, Any]:
    low, middle, high = sorted(draw(st.tuples(thousandths, thousandths, thousandths)))
    return {
        "use": "ranking",
        "metric": "ndcg@10",
        "against": against,
        "better": "more",
        "candidate": 0.5 + middle / 1000,
        "reference": 0.5,
        "difference": middle / 1000,
        "low": low / 1000,
        "high": high / 1000,
        "probability": draw(shares),
        "users": 459,
    }


def report(*comparisons: dict[str, Any], later: bool = False) -> dict[str, Any]:
    past = {"run": "past", "as_of": "1998-03-07T00:00:00+00:00"}
    newest = past | ({"as_of": "1998-03-09T00:00:00+00:00"} if later else {})
    known = any(each["against"] == "champion" for each in comparisons)
    return {
        "run": {"use": "ranking", "as_of": "1998-03-08T00:00:00+00:00"},
        "comparisons": list(comparisons),
        "champion": past | {"problem": None, "newest": newest} if known else None,
    }


policies = st.builds(
    Policy,
    tolerance=st.integers(0, 99).map(lambda each: each / 1000),
    ask_from=shares,
    baselines=st.sampled_from(["refuse", "report"]),
)
reports = st.one_of(
    st.builds(report, rows("popularity")),
    st.builds(report, rows("popularity"), rows("champion"), later=st.booleans()),
)


def rank(report: dict[str, Any], policy: Policy) -> int:
    return ORDER.index(decide(report, policy)["decision"])


def shifted(row: dict[str, Any], by: int) -> dict[str, Any]:
    """The same comparison of a candidate that is better by so many thousandths."""
    moved = {name: round(row[name] + by / 1000, 3) for name in ("difference", "low", "high")}
    return row | moved | {"probability": min(1.0, row["probability"] + by / 100)}


@given(reports, policies, st.integers(0, 30))
def test_a_better_candidate_is_never_treated_worse(found, policy, by) -> None:
    better = found | {"comparisons": [shifted(row, by) for row in found["comparisons"]]}
    assert rank(better, policy) >= rank(found, policy)


@given(reports, policies, st.integers(0, 50), shares)
def test_a_more_careful_policy_never_promotes_more(found, policy, less, more) -> None:
    careful = Policy(
        tolerance=max(0.0, policy.tolerance - less / 1000),
        ask_from=max(policy.ask_from, more),
        baselines="refuse",
    )
    assert rank(found, careful) <= rank(found, policy)


@given(reports, policies)
def test_losses_are_judged_as_the_gains_they_are(found, policy) -> None:
    turned = found | {
        "comparisons": [
            row
            | {
                "better": "less",
                "candidate": 1 - row["candidate"],
                "difference": -row["difference"],
                "low": -row["high"],
                "high": -row["low"],
            }
            for row in found["comparisons"]
        ]
    }
    # The reference is .5 either way, and so is what a tolerance is a share of.
    ours, theirs = decide(found, policy), decide(turned, policy)
    assert (ours["decision"], ours["headline"]) == (theirs["decision"], theirs["headline"])


@given(reports, policies)
def test_a_promoted_model_has_shown_that_it_deserves_it(found, policy) -> None:
    if decide(found, policy)["decision"] != "promote":
        return
    by_rival = {row["against"]: row for row in found["comparisons"]}
    if policy.baselines == "refuse" or "champion" not in by_rival:
        assert by_rival["popularity"]["low"] > 0
        assert by_rival["popularity"]["difference"] > 0
    if "champion" in by_rival:
        assert by_rival["champion"]["low"] > -policy.tolerance * 0.5
        assert found["champion"]["newest"]["as_of"] <= found["run"]["as_of"]


@given(reports, policies, st.randoms())
def test_neither_order_nor_other_uses_nor_json_change_the_decision(found, policy, random) -> None:
    alone = decide(found, policy)
    others = [
        row | {"use": "rating", "metric": "rmse", "better": "less", "against": rival}
        for row in found["comparisons"]
        for rival in ["user_item_bias" if row["against"] == "popularity" else "champion"]
    ]
    more = [*found["comparisons"], *others, found["comparisons"][0] | {"against": "ease"}]
    random.shuffle(more)
    crowded = decide(json.loads(json.dumps(found | {"comparisons": more})), policy)
    assert [each["use"] for each in crowded["others"]] == ["rating"]
    assert crowded | {"others": []} == alone


@given(reports, policies)
def test_every_decision_has_its_reasons_in_words(found, policy) -> None:
    gate = decide(found, policy)
    assert len(gate["reasons"]) >= 2
    for text in [gate["headline"], *gate["reasons"]]:
        assert text == text.strip()
        assert text[0].isupper()
        assert not {"None", "nan"} & set(text.replace(",", " ").split())
    assert all(reason.endswith(".") for reason in gate["reasons"])


class Memory:
    """As much of a store as the history asks for."""

    bucket = "bbb"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put(self, key: str, data: bytes) -> None:
        if self.objects.setdefault(key, data) != data:
            raise ConflictError(key)

    def get(self, key: str) -> bytes:
        return self.objects[key]

    def list(self, prefix: str) -> Iterable[str]:
        return sorted(key for key in self.objects if key.startswith(prefix))


@given(st.lists(st.integers(0, 6), max_size=8), st.data())
def test_a_history_only_grows_and_never_goes_back_in_time(days, data) -> None:
    store: Any = Memory()
    kept: list[Champion] = []
    compared: dict[str, tuple[datetime, Champion | None, Champion | None]] = {}
    for number, day in enumerate(days):
        run, as_of = f"run {number}", START + timedelta(days=day)
        against, newest = reference(kept, run, as_of), before(kept, run)
        with_whom = data.draw(st.sampled_from([against.run if against else None, "nobody"]))
        written = dict(store.objects)
        told = {"run": run, "as_of": as_of, "manifest": "m", "artifact": "s3://b/a"}
        told |= {"decision": None, "at": START + timedelta(days=10)}
        try:
            promote(store, LAYOUT, LANE, compared_with=with_whom, **told)
        except ConflictError:
            assert with_whom == "nobody" or (newest is not None and newest.as_of > as_of)
            assert store.objects == written
        else:
            assert with_whom != "nobody"
            assert written.items() < store.objects.items()
            compared[run] = (as_of, against, newest)
        now = history(store, LAYOUT, LANE)
        assert now[: len(kept)] == kept
        kept = now
        # Whoever is repeated is compared as before, and is not written again.
        for past, (moment, *whom) in compared.items():
            assert [reference(kept, past, moment), before(kept, past)] == whom
            again = told | {"run": past, "as_of": moment, "compared_with": "nobody"}
            if past == kept[-1].run:
                assert promote(store, LAYOUT, LANE, **again) == kept[-1]
            else:
                with pytest.raises(NotPromotedError):
                    promote(store, LAYOUT, LANE, **again)
        assert history(store, LAYOUT, LANE) == kept
    moments = [each.as_of for each in kept]
    assert moments == sorted(moments)
    assert [each.sequence for each in kept] == list(range(1, len(kept) + 1))


@pytest.mark.parametrize("rolled_back_to", [0, 1])
def test_the_champion_in_place_is_the_reference_of_whatever_describes_no_earlier_moment(
    rolled_back_to,
) -> None:
    entries: list[Champion] = []
    for number, day in enumerate([1, 4, 9]):
        entries.append(
            Champion(number + 1, "promotion", LANE, f"run {number}", START + timedelta(days=day),
                     "m", "s3://b/a", None, START, entries[-1].run if entries else None)
        )  # fmt: skip
    target = entries[rolled_back_to]
    back = Champion(4, "rollback", LANE, target.run, target.as_of, "m", "a", None, START, "run 2")
    for past in (entries, [*entries, back]):
        assert reference(past, "new", past[-1].as_of) == past[-1] == current(past)
