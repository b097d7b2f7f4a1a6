"""All runs side by side: the table of each lane, old and damaged reports, and the page."""

from __future__ import annotations

import gc
import re
import weakref
from collections.abc import Mapping
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from fmrec.errors import EvaluationError
from fmrec.evaluation import history, history_page
from fmrec.evaluation.ageing import Aged, Ageing, explained
from fmrec.evaluation.history import NO_LANE, History

LANE = "rating-ml-100k-time"


def report(day: int, rmse: float, **parts: Any) -> dict[str, Any]:
    """What a report has of what the history reads."""
    made: dict[str, Any] = {
        "schema": 1,
        "run": {
            "as_of": f"1998-03-{day:02d}T00:00:00+00:00",
            "objective": "rating",
            "features": "ids",
            "use": "rating",
            "lane": LANE,
        },
        "baselines": {"user_item_bias": {"rmse": 0.95}, "champion": {"rmse": 0.93}},
        "verdict": {
            "metric": "rmse", "against": "user_item_bias", "better": "less", "candidate": rmse,
            "reference": 0.95, "difference": rmse - 0.95, "low": rmse - 0.97, "high": rmse - 0.94,
        },
        "comparisons": [
            {"use": "rating", "metric": "rmse", "against": "user_item_bias", "difference": 7},
            {"use": "ranking", "metric": "ndcg@10", "against": "champion", "difference": 8},
            {"use": "rating", "metric": "rmse", "against": "champion", "difference": -0.01,
             "low": -0.02, "high": 0.0},
        ],
        "gate": {"decision": "ask"},
        "cost": {"currency": "USD", "total": 0.002},
        "counts": {"events": 500},
    }  # fmt: skip
    return made | parts


def old(day: int, **parts: Any) -> dict[str, Any]:
    """A report from before there were lanes, gates and costs."""
    made = report(day, 0.94)
    del made["run"]["lane"], made["run"]["use"], made["run"]["features"]
    del made["comparisons"], made["gate"], made["cost"], made["verdict"]["better"]
    del made["baselines"]["champion"]
    return made | parts


def entry(sequence: int, run: str, kind: str = "promotion", replaces: str | None = None) -> Any:
    return {
        "sequence": sequence, "kind": kind, "lane": LANE, "run": run, "manifest": "m",
        "decision": None, "as_of": datetime(1998, 3, 1, tzinfo=UTC),
        "at": "2026-01-01T10:00:00+00:00", "replaces": replaces,
    }  # fmt: skip


def brought(
    reports: Mapping[str, Any],
    champions: Mapping[str, Any],
    unreadable: Mapping[str, str] | None = None,
) -> History:
    """The history of these reports; of what is unreadable, there is the reason alone."""

    def told(key: str) -> Any:
        if key in (unreadable or {}):
            raise EvaluationError((unreadable or {})[key])
        return reports[key]

    def changes(lane: str) -> Any:
        if isinstance(champions.get(lane), str):
            raise EvaluationError(champions[lane])
        return champions.get(lane, [])

    return history.of([*reports, *(unreadable or {})], told, changes)


def test_a_run_has_its_figures_and_is_compared_with_the_champion() -> None:
    found = brought({"a": report(8, 0.92)}, {LANE: [entry(1, "x")]})
    [lane] = found.lanes
    [row] = lane.rows
    assert (lane.name, row.run, row.as_of) == (LANE, "a", datetime(1998, 3, 8, tzinfo=UTC))
    assert (row.metric, row.better, row.rival) == ("rmse", "less", "user_item_bias")
    assert (row.model, row.baseline, row.champion) == (0.92, 0.95, 0.93)
    assert (row.against, row.difference, row.low, row.high) == ("champion", -0.01, -0.02, 0.0)
    assert row.over_baseline == pytest.approx((-0.05, -0.02))
    assert (row.decision, row.cost, row.currency, row.events) == ("ask", 0.002, "USD", 500)
    assert row.crowned is False


def test_without_a_champion_the_baseline_is_what_it_is_compared_with() -> None:
    made = report(8, 0.92, comparisons=[], baselines={"user_item_bias": {"rmse": 0.95}})
    [row] = brought({"a": made}, {}).lanes[0].rows
    assert (row.against, row.champion) == ("user_item_bias", None)
    assert row.difference == pytest.approx(-0.03)


def test_rows_are_in_the_order_of_their_moments_within_their_lane() -> None:
    other = report(2, 0.9)
    other["run"]["lane"] = "a-lane"
    reports = {"a": report(9, 0.9), "c": report(3, 0.9), "b": report(3, 0.8), "d": other}
    found = brought(reports, {})
    assert [lane.name for lane in found.lanes] == ["a-lane", LANE]
    assert [row.run for row in found.lanes[1].rows] == ["b", "c", "a"]


def test_who_has_been_champion_is_marked_and_changes_keep_their_order() -> None:
    reports = {name: report(day, 0.9) for day, name in enumerate("abc", start=1)}
    changes = [entry(1, "a"), entry(2, "c", replaces="a"), entry(3, "a", "rollback", "c")]
    [lane] = brought(reports, {LANE: changes}).lanes
    assert [row.crowned for row in lane.rows] == [True, False, True]
    assert [(each.kind, each.run, each.replaces) for each in lane.changes] == [
        ("promotion", "a", None), ("promotion", "c", "a"), ("rollback", "a", "c")
    ]  # fmt: skip
    assert lane.changes[0].at == datetime(2026, 1, 1, 10, tzinfo=UTC)


def test_old_reports_have_blanks() -> None:
    [lane] = brought({"a": old(1)}, {}).lanes
    [row] = lane.rows
    assert lane.name == NO_LANE
    assert (row.features, row.champion, row.decision, row.crowned, row.cost) == (None,) * 5
    assert (row.model, row.better, row.against) == (0.94, "less", "user_item_bias")
    assert lane.cost is None


def test_no_cost_is_a_sum_over_what_happened_to_be_known() -> None:
    reports = {"a": report(1, 0.9), "b": report(2, 0.9)}
    [lane] = brought(reports, {}).lanes
    assert lane.cost == pytest.approx(0.004)
    reports["b"]["cost"] = {"currency": "USD", "total": None}
    [lane] = brought(reports, {}).lanes
    assert lane.cost is None


BARE: dict[str, Any] = {"as_of": "1998-03-01T00:00:00+00:00", "objective": "rating"}


def verdict(**parts: Any) -> dict[str, Any]:
    made = report(1, 0.9)
    return made | {"verdict": made["verdict"] | parts}


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        ([], "its report.json has no run"),
        ({}, "its report.json has no run"),
        ({"run": BARE}, "has no verdict"),
        (report(1, 0.9, verdict={}), "does not say metric"),
        (report(1, 0.9, run={"objective": "rating"}), "does not say as_of"),
        (report(1, 0.9, run=BARE | {"as_of": "yesterday"}), "'yesterday' is not"),
        (report(1, 0.9, run=BARE | {"as_of": "1998-03-01"}), "with a time zone"),
        (report(1, 0.9, run=BARE | {"as_of": 8}), "as_of is 8, not a text"),
        (report(1, 0.9, run=BARE | {"features": ["ids"]}), "features is ['ids'], not a text"),
        (report(1, 0.9, run=BARE | {"lane": 7}), "lane is 7, not a text"),
        (report(1, 0.9, run=BARE | {"use": {}}), "use is {}, not a text"),
        (report(1, 0.9, comparisons={"a": 1}), "comparisons is {'a': 1}, not a list"),
        (report(1, 0.9, comparisons=[{}]), "does not say use"),
        (report(1, 0.9, comparisons=[3]), "comparisons is 3, not a part"),
        (report(1, 0.9, cost=[1]), "cost is [1], not a part"),
        (report(1, 0.9, cost={"total": "x"}), "total is 'x', not a finite number"),
        (report(1, 0.9, cost={"total": 1, "currency": 2}), "currency is 2, not a text"),
        (report(1, 0.9, baselines=["a"]), "baselines is ['a'], not a part"),
        (report(1, 0.9, baselines={"champion": 0.9}), "champion is 0.9, not a part"),
        (report(1, 0.9, baselines={"champion": {"rmse": "0.9"}}), "rmse is '0.9', not a finite"),
        (report(1, 0.9, counts=[]), "counts is [], not a part"),
        (report(1, 0.9, counts={"events": 0.5}), "events is 0.5, not a count"),
        (report(1, 0.9, gate="promote"), "gate is 'promote', not a part"),
        (report(1, 0.9, gate={"decision": 1}), "decision is 1, not a text"),
        (verdict(candidate="0.9"), "candidate is '0.9', not a finite number"),
        (verdict(reference=True), "reference is True, not a finite number"),
        (verdict(low="a"), "low is 'a', not a finite number"),
        (verdict(high=[0.1]), "high is [0.1], not a finite number"),
        (verdict(candidate=float("nan")), "candidate is nan, not a finite number"),
        (verdict(candidate=float("-inf")), "candidate is -inf, not a finite number"),
        (verdict(candidate=10**400), "not a finite number"),
        (verdict(better="fewer"), "better is 'fewer', not less or more"),
        (verdict(better=["less"]), "better is ['less'], not less or more"),
    ],
)
def test_a_damaged_report_is_named_and_the_others_stay(damaged: Any, reason: str) -> None:
    found = brought({"bad": damaged, "good": report(1, 0.9)}, {}, {"torn": "is not JSON"})
    assert [row.run for row in found.lanes[0].rows] == ["good"]
    assert set(found.damaged) == {"bad", "torn"}
    assert reason in found.damaged["bad"]


def test_a_damaged_history_of_champions_is_named_and_the_runs_stay() -> None:
    found = brought({"a": report(1, 0.9)}, {LANE: "it has a gap."})
    assert [row.crowned for row in found.lanes[0].rows] == [None]
    assert found.damaged == {f"the champions of {LANE}": "it has a gap"}


def test_reports_are_read_one_by_one_and_not_kept() -> None:
    class Report(dict[str, Any]):
        pass

    kept: list[weakref.ref[Report]] = []

    def told(key: str) -> Report:
        gc.collect()
        assert all(each() is None for each in kept[:-1])
        made = Report(report(int(key), 0.9))
        kept.append(weakref.ref(made))
        return made

    found = history.of((str(day) for day in range(1, 5)), told, lambda _: [])
    assert len(found.lanes[0].rows) == len(kept) == 4


def aged(fresh: float = 0.8) -> Ageing:
    def row(age: int, loss: float, low: float | None, high: float | None) -> Aged:
        return Aged(age=age, mean_age=age + 0.5, models=age, days=31, ratings=12_345, users=210,
                    value=fresh + loss, fresh=fresh, loss=loss, low=low, high=high,
                    known_users=0.5, known_items=0.9)  # fmt: skip

    return Ageing(
        lane=LANE, metric="rmse", better="less", told={"split": "time", "test_fraction": 0.05},
        runs=60, rows=[row(1, 0, None, None), row(7, 0.008, 0.004, 0.012)], days=31,
        first=date(1998, 3, 10), last=date(1998, 4, 12), ratings=12_345, users=210,
        over="all ratings", rerated=3, lag=1.0, advice="Retrain <every> day.",
        notes=["A note: `fmrec <x>`."],
    )  # fmt: skip


def test_what_the_ages_are_judged_by_is_told() -> None:
    text = "\n".join(explained(aged()))
    for said in ("12,345 ratings of 210 users on 31 days, 1998-03-10 to 1998-04-12",
                 "The 60 runs were told split=time, test_fraction=0.05",
                 "3 ratings were left out", "RMSE over all ratings",
                 "A note: `fmrec <x>`."):  # fmt: skip
        assert said in text


VOID = {"meta", "br"}


class Checker(HTMLParser):
    """Fails on tags that do not nest; keeps tags and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


def test_the_page_shows_every_run_and_loads_nothing() -> None:
    reports = {f"run-{day}": report(day, 0.9 + day / 1000) for day in range(1, 8)} | {"o": old(2)}
    changes = [entry(1, "run-1"), entry(2, "run-4", replaces="run-1")]
    found = brought(reports, {LANE: changes}, {"torn": "its report.json is not JSON"})
    page = history_page.render(found, aged())
    checker = parsed(page)
    text = " ".join(" ".join(checker.text).split())
    for day in range(1, 8):
        assert f"run-{day}" in text
        assert f"{0.9 + day / 1000:.4f}" in text
    for said in ("8 runs in 2 lanes", "torn", "Runs whose reports name no lane", "0.0020 USD",
                 "promotion run-4", "in place of run-1", "+1.00%", "+0.50% to +1.50%",
                 "Cost over time", "RMSE over time", "became the champion"):  # fmt: skip
        assert said in text, said
    assert "Retrain &lt;every&gt; day." in page
    assert "A note: <code>fmrec &lt;x&gt;</code>." in page
    assert not re.search(r"<(?:script|link|img|iframe)|https?://(?!www\.w3\.org)|url\((?!#)", page)
    assert history_page.render(found, aged()) == page
    drawings = re.findall(r"<svg.*?</svg>", page, flags=re.S)
    assert len(drawings) == 3  # the old report says nothing of its cost
    for each in drawings:
        ElementTree.fromstring(each)  # noqa: S314 - drawn here


def test_the_page_escapes_what_reports_say() -> None:
    made = report(1, 0.9, gate={"decision": "<b>promote</b>"})
    made["run"]["lane"] = made["run"]["features"] = "<i>&"
    other = report(2, 0.9)
    other["run"]["lane"] = "<i>&"
    page = history_page.render(brought({"<u>": made, "b": other}, {}, {"<s>": "<em>"}), None)
    parsed(page)
    assert not re.search(r"<(?:b|i|u|s|em)>", page)


def test_a_page_without_figures_draws_nothing() -> None:
    made = report(1, 0.9, cost=None)
    made["verdict"] |= {"candidate": None, "reference": None, "low": None, "high": None}
    page = history_page.render(brought({"a": made}, {}), None)
    assert "<svg" not in page
    assert "1 run" in page
    assert "How often to retrain" not in page


def test_metrics_of_one_lane_are_not_drawn_together() -> None:
    lists = old(2)
    lists["verdict"] |= {"metric": "ndcg@10", "against": "popularity", "better": "more"}
    page = history_page.render(brought({"a": old(1), "b": lists}, {}), None)
    assert "RMSE over time" in page
    assert "NDCG@10 over time" in page


def test_where_the_freshest_figure_is_zero_no_share_is_shown() -> None:
    page = history_page.render(brought({"a": report(1, 0.9)}, {}), aged(0.0))
    text = " ".join(" ".join(parsed(page).text).split())
    assert "0.0080" in text
    assert "nan" not in text
    assert "inf" not in re.sub("information|infinity", "", text)
    cells = re.search(r"7 days</th>(.*?)</tr>", page)
    assert cells is not None
    assert re.findall("<td>(.*?)</td>", cells[1])[:4] == ["0.0080", "0.0000", "", ""]
