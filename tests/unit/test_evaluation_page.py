"""The page: whole by itself, readable by everybody, and true to the report it is made from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import escape
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest

from fmrec.evaluation import page, plot_lists, plot_slices, plots, report
from fmrec.evaluation.page_tables import figure
from sample_reports import SAMPLES, first, generated, like, problem, ranking, rating

VOID = {"meta", "link", "br", "img", "input", "hr"}
OPTIONAL = {
    "champion": None,
    "lists": None,
    "slices": [],
    "changes": None,
    "peers": {},
    "comparisons": [],
    "recommendations": None,
    "learning_curve": [],
    "calibration": [],
    "residuals": [],
    "jobs": [],
    "notes": [],
    "cost": None,
}


class Checker(HTMLParser):
    """Collects text, attributes and tables, and fails on tags that do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.inside: dict[str, list[str]] = {}

    def handle_starttag(self, tag, attrs) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self.open.append((tag, attributes))
        if tag == "table":
            self.tables.append([])
            assert "scroll" in self.classes() or attributes.get("class") == "tight"
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data) -> None:
        names = [tag for tag, _ in self.open]
        if not names or names[-1] == "style":
            return
        self.text.append(data)
        for tag in {*names, *self.classes()}:
            self.inside.setdefault(tag, []).append(data)
        if {"td", "th"} & set(names) and "unseen" not in self.classes():
            self.tables[-1][-1][-1] += data.strip("\xa0↓↑")

    def classes(self) -> set[str]:
        return {name for _, each in self.open for name in (each.get("class") or "").split()}

    def told(self, where: str = "html") -> str:
        return " ".join(" ".join(self.inside.get(where, [])).split())

    def table(self, corner: str) -> list[list[str]]:
        """The table that has this in the first cell of its last row of heads."""
        return next(
            rows for rows in self.tables if any(row and row[0] == corner for row in rows[:2])
        )


def checked(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    return checker


def shown(content: dict[str, Any]) -> Checker:
    return checked(page.render(content))


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    """Pages with their plots as they are; a fixture of the module comes before `outlines`."""
    return {make.__name__: page.render(make()) for make in (rating, ranking)}


@pytest.fixture(autouse=True)
def outlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots as empty outlines with their labels: drawing takes its time."""

    def outline(draw: object, label: str, *_: object, **__: object) -> str:
        return f'<svg role="img" aria-label="{escape(label)}"></svg>'

    for module in (plots, plot_lists, plot_slices):
        monkeypatch.setattr(module, "svg", outline)


def assert_whole(html: str) -> None:
    checker = checked(html)
    names = {tag for tag, _ in checker.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "audio"}
    for _, attributes in checker.tags:
        for attribute, value in attributes.items():
            assert not attribute.startswith("on"), attribute
            if attribute in {"src", "srcset", "href", "xlink:href", "action", "data"}:
                assert (value or "").startswith("#")
            if not attribute.startswith("xmlns") and attribute != "aria-label":
                assert not re.search(r"https?:|//", value or "")
    style = html[html.index("<style>") : html.index("</style>")]
    assert not re.search(r"@import|@font-face|https?:|url\(", style)
    assert not re.search(r"url\((?!#)", html)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_page_is_whole_by_itself(name: str) -> None:
    assert_whole(page.render(SAMPLES[name]()))


@pytest.mark.parametrize("name", ["rating", "ranking"])
def test_plots_in_the_page_ask_for_nothing_either(drawn: dict[str, str], name: str) -> None:
    assert_whole(drawn[name])
    checker = checked(drawn[name])
    ids = [attributes["id"] for _, attributes in checker.tags if attributes.get("id")]
    assert len(set(ids)) == len(ids) > 20
    _, mode = next(colours(drawn[name]))
    assert set(re.findall(r"var\(--([\w-]+)\)", drawn[name])) <= set(mode)
    assert "+0.0065 (\N{MINUS SIGN}0.0013 to +0.0143)" in drawn["ranking"]


@pytest.mark.parametrize("name", SAMPLES)
def test_the_headline_is_the_decision_and_its_reasons_stand_before_everything_else(name) -> None:
    content = SAMPLES[name]()
    html = page.render(content)
    checker = checked(html)
    assert content["gate"]["headline"] in checker.told("h1")
    [(_, attributes)] = [each for each in checker.tags if each[0] == "h1"]
    assert attributes["class"] == content["gate"]["decision"]
    for reason in content["gate"]["reasons"]:
        assert " ".join(reason.split()) in checker.told("reasons")
    assert html.index("<h1") < html.index('class="reasons"') < html.index('class="card')
    assert content["verdict"]["headline"] in checker.told("h2")
    assert " ".join(content["verdict"]["sentence"].split()) in checker.told("p")


def test_the_decision_for_another_use_is_a_notice_before_any_figure() -> None:
    html = page.render(rating())
    notice = html.index('<section class="notice keep"')
    assert html.index("<h1") < notice < html.index("<svg") < html.index("<table")
    told = checked(html).told("notice")
    assert "For ranking films" in told
    assert "Would be refused: loses to popularity" in told
    assert "NDCG@10 is 0.1077 lower than the 0.2606 of popularity" in told
    assert "notice" not in {attributes.get("class") for _, attributes in shown(ranking()).tags}


def test_a_report_from_before_the_gate_has_the_verdict_as_its_headline() -> None:
    content = ranking()
    for name in ("gate", "peers", "comparisons", "champion", "lists", "slices", "changes", "cost"):
        del content[name]
    checker = shown(content)
    assert checker.told("h1") == content["verdict"]["headline"]
    assert "champion yet" not in checker.told()
    # The verdict alone still has an interval.
    assert "Difference in NDCG@10" in str([a["aria-label"] for t, a in checker.tags if t == "svg"])


@pytest.mark.parametrize("name", OPTIONAL)
@pytest.mark.parametrize("make", [rating, ranking], ids=lambda make: make.__name__)
def test_a_page_can_do_without(make, name: str) -> None:
    content = make() | {name: OPTIONAL[name]}
    assert content["gate"]["headline"] in shown(content).told("h1")


def test_model_champion_baselines_and_peers_stand_beside_each_other() -> None:
    content = ranking()
    table = shown(content).table("predictor")
    assert table[1] == [
        *("predictor", "NDCG", "precision", "recall", "MAP", "MRR", "hit rate", "AUC"),
        *("coverage", "Gini", "novelty", "popularity"),
    ]
    named = {row[0]: row[1:] for row in table[2:]}
    assert list(named) == [
        *("model", "champion", "user + item bias", "popularity"),
        *("EASE", "implicit ALS", "item-kNN"),
    ]
    assert named["model"][:2] == ["0.4943", "0.4107"]
    assert named["model"][6:] == ["0.6859", "0.1812", "0.9312", "2.1103", "214.6"]
    # What a predictor has no figure for stays empty; what is undefined is named.
    assert named["EASE"][6] == ""
    content["metrics"]["auc"] = None
    assert shown(content).table("predictor")[2][7] == "n/a"


def test_a_model_on_ratings_has_a_table_of_predictions_and_one_of_lists() -> None:
    content = rating()
    checker = shown(content)
    heads = [rows for rows in checker.tables if any("predictor" in row for row in rows[:2])]
    predictions, lists = heads[:2]
    assert predictions[0] == ["predictor", "RMSE", "MAE", "calibration error"]
    assert [row[0] for row in predictions[1:]] == [
        *("model", "champion", "user + item bias", "global mean"),
    ]
    assert lists[1][:2] == ["predictor", "NDCG"]
    assert "popularity" in [row[0] for row in lists[2:]]
    assert "85 predictions outside 1..5 were clipped; unclipped, RMSE is 0.9220" in checker.told()


def best(html: str) -> list[str]:
    return re.findall(r'<td class="best">([^<]*)</td>', html)


def test_the_best_figure_of_a_column_is_marked_where_there_is_a_better_and_a_worse() -> None:
    content = like()
    content["champion"] = None
    html = page.render(content)
    # Cross-entropy is the better the less; F1 of the model is undefined; a constant is calibrated.
    scores = ["0.5801", "0.7011", "0.7702", "0.7420"]
    lists = ["0.2606", "0.2226", "0.1148", "0.1493", "0.4302", "0.7105"]
    assert best(html) == scores + lists


def test_figures_over_other_events_are_not_marked_as_the_best() -> None:
    content = rating()
    content["baselines"]["champion"]["mae"] = 0.5
    assert "0.5000" not in best(page.render(content))
    content["champion"] |= {"left_out_events": 0, "left_out_users": 0}
    assert "0.5000" in best(page.render(content))


@pytest.mark.parametrize("name", SAMPLES)
def test_tables_can_be_read_aloud(name: str) -> None:
    checker = shown(SAMPLES[name]())
    for tag, attributes in checker.tags:
        if tag == "th":
            assert attributes["scope"] in {"col", "row", "colgroup"}
        if "scroll" in (attributes.get("class") or "").split():
            assert attributes["tabindex"] == "0"
            assert attributes["aria-label"]
    for rows in checker.tables:
        assert len({len(row) for row in rows if "relevance" not in row}) == 1
    levels = [int(tag[1]) for tag, _ in checker.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


@pytest.mark.parametrize(
    ("name", "number"),
    [
        # Forest, calibration, residuals, learning curve; precision and recall, coverage; slices.
        ("rating", 4 + 2 + 5 + 2),
        ("ranking", 1 + 1 + 2 + 2 + 1),
        ("first", 4),
        ("like", 3 + 2),
        ("generated", 3),
        ("bare", 1),
    ],
)
def test_every_plot_is_there_and_says_in_words_what_it_is(name: str, number: int) -> None:
    checker = shown(SAMPLES[name]())
    svgs = [attributes for tag, attributes in checker.tags if tag == "svg"]
    assert len(svgs) == number
    assert all(each["role"] == "img" for each in svgs)
    labels = [each["aria-label"] for each in svgs]
    assert len(set(labels)) == len(labels)
    ids = [attributes["id"] for _, attributes in checker.tags if attributes.get("id")]
    assert len(set(ids)) == len(ids)


def test_the_figures_of_the_plots_are_in_tables_too() -> None:
    content = rating()
    checker = shown(content)
    differences = checker.table("against")
    assert [row[:2] for row in differences[1:4]] == [
        *(["champion", "rating"], ["user + item bias", "rating"], ["global mean", "rating"]),
    ]
    minus = "\N{MINUS SIGN}"
    assert differences[1][3:] == [
        *("0.9216", "0.9254", f"{minus}0.0038", f"{minus}0.0059 to {minus}0.0017"),
        *("100.0%", "451", "better"),
    ]
    curves = checker.table("precision / recall at")
    assert curves[0][1:] == ["1", "2", "3", "5", "10", "20", "50"]
    precision, recall = (content["lists"]["curves"]["model"][n][0] for n in ("precision", "recall"))
    assert curves[1][:2] == ["model", f"{precision:.3f} / {recall:.3f}"]
    assert checker.table("channel")[-1] == ["test", "finished", "0.9217"]
    assert len(checker.table("events")) == 11
    assert [row[0] for row in checker.table("rating")[1:]] == ["1", "2", "3", "4", "5"]
    slices = checker.table("slice")
    assert len(slices) == 1 + len(content["slices"])
    assert "Documentary (small)" in [row[0] for row in slices]


def test_slices_say_where_the_model_loses() -> None:
    told = shown(rating()).told()
    assert (
        "By RMSE the model is better than user + item bias beyond chance in 32 of 33 slices that "
        "are large enough to judge, worse in 1: Horror (genre)."
    ) in told
    assert "worse in 10: 1 to 20 ratings (user activity)" in told
    assert "and 4 more." in told
    content = rating()
    for row in content["slices"]:
        row["low"] = None
    assert "beyond chance in" not in shown(content).told()


def test_what_changes_for_users_is_told_in_films_and_shares() -> None:
    checker = shown(ranking())
    assert "Of 456 users, 31 get the same ten films as from the champion, and 2 get none" in (
        checker.told()
    )
    assert "61% of the films in either list are in both" in checker.told()
    assert checker.table("Films in more lists")[1] == ["Contact (1997)", "151", "210"]
    assert checker.table("Films in fewer lists")[1] == ["Air Force One (1997)", "80", "12"]


def test_the_champion_is_named_with_what_was_left_out_for_it() -> None:
    told = shown(rating()).told()
    assert "The champion is run 19980301T000000Z-77aa01bc (rating on ids)" in told
    assert "with ratings before 1998-03-01." in told
    assert "trained on 212 test events and 5 users of this test part: they are left out" in told
    assert "In place now" not in told
    later = shown(ranking()).told()
    assert "with ratings before 1998-03-01 12:30." in later
    assert "In place now is 19980315T000000Z-1f2e3d4c, with ratings before 1998-03-15." in later
    assert "left out" not in later
    assert "There is no champion yet" in shown(first()).told()
    content = ranking()
    content["champion"] |= {"run": None, "as_of": None, "objective": None, "features": None}
    assert "No champion was in place at the moment of this run." in shown(content).told()


def test_a_champion_that_cannot_be_asked_is_told_once_and_not_overlooked() -> None:
    content = problem()
    assert shown(content).told().count("its model is gone") == 1
    content["gate"]["reasons"] = ["Something else."]
    checker = shown(content)
    assert "No comparison with the champion: the champion 19980301" in checker.told("notice")


def test_cost_names_its_price_list_and_what_is_unknown() -> None:
    checker = shown(ranking())
    told = checker.told()
    assert checker.told("sum") == "0.0033 USD"
    assert "list prices of us-east-1 on 2026-08-20" in told
    assert "where the local AWS ran them, what the same seconds would have cost" in told
    costs = next(rows for rows in checker.tables if "per hour" in rows[0])
    assert costs[1] == ["training", "ml.m5.large", "84 s", "0.115", "0.0027 USD"]
    unknown = shown(first())
    assert unknown.told("sum") == "unknown"
    assert "The price of ml.x9.large is not known here." in unknown.told()
    content = ranking()
    content["cost"]["jobs"][0] |= {"instances": 3, "billable_seconds": None, "amount": 1234.5}
    costs = next(rows for rows in shown(content).tables if "per hour" in rows[0])
    assert costs[1] == [
        "training",
        "3 \N{MULTIPLICATION SIGN} ml.m5.large",
        "unknown",
        "0.115",
        "1,234.50 USD",
    ]


def test_data_health_jobs_counts_and_parameters_are_there() -> None:
    content = generated() | {"jobs": ranking()["jobs"]}
    told = shown(content).told()
    for text in (
        "The ratings were generated: these figures say nothing about real viewers.",
        "The landing day 1998-03-07 was empty.",
        "range 4",
        "<id> 2",
        "rows refused (quarantine) 7",
        "users unknown to training 0",
        "ratings are generated",
        "features profile",
        "hyperparameters.factors_lr 0.002",
        "gate: ask from 0.8",
        "fmrec-train-19980308T000000Z-853f0c24-1 Completed 83.7",
        "Completed n/a",
        "There are no lists: no test user likes anything.",
    ):
        assert text in told, text
    quiet = shown(ranking()).told()
    assert "Nothing unusual in the data that came in. No row was refused." in quiet
    assert "ratings are real" in quiet


def test_markup_from_outside_is_shown_not_obeyed() -> None:
    evil = "<script>alert('x')</script><b title=\"y\">&amp;$x$"

    def poisoned(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: poisoned(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [poisoned(each, key) for each in value]
        # The rest are words of the schema, which decide how a value is shown.
        free = (
            *("run_id", "source", "source_note", "split", "features", "lane", "headline", "name"),
            *("sentence", "reasons", "notes", "title", "slice", "by", "status", "kind", "run"),
            *("region", "date", "instance_type", "currency", "as_of", "watched", "problem"),
        )
        return evil if isinstance(value, str) and key in free else value

    for make in (rating, ranking, problem):
        content = poisoned(make())
        content["data"] = {"notes": [evil], "refused_by_check": {evil: 1}}
        content["counts"][evil] = 1
        content["run"][evil] = evil
        checker = shown(content)
        assert not {"script", "b"} & {tag for tag, _ in checker.tags}
        assert "".join(checker.text).count(evil) > 40


@pytest.mark.parametrize("name", SAMPLES)
def test_a_report_read_back_from_its_json_gives_the_same_page(name: str) -> None:
    content = SAMPLES[name]()
    assert page.render(json.loads(report.to_json(content))) == page.render(content)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12346, "0.1235"), (None, "n/a"), (214.56, "214.6"), (-12345.6, "-12,345.6"), (0, "0.0000")],
)
def test_figures_have_as_many_decimals_as_say_something(value, text: str) -> None:
    assert figure(value) == text


def colours(html: str) -> Iterator[tuple[str, dict[str, str]]]:
    style = html[html.index("<style>") : html.index("</style>")]
    light, dark = re.findall(r":root \{(.*?)\}", style, flags=re.S)
    for name, block in (("light", light), ("dark", dark)):
        yield name, dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))


def luminance(colour: str) -> float:
    """Relative luminance: WCAG 2.2, definition of that name."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_measured_as_the_standard_does() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=1e-3)


def test_every_text_stands_out_in_both_modes() -> None:
    modes = dict(colours(page.render(first())))
    assert set(modes["light"]) == set(modes["dark"])
    for name, mode in modes.items():
        texts = ("ink", "ink-soft", "accent", "second", "third", "good", "bad", "even")
        pairs = [(text, ground) for text in texts for ground in ("page", "card")]
        for text, ground in [*pairs, ("notice-ink", "notice"), ("alarm-ink", "alarm")]:
            ratio = contrast(mode[text], mode[ground])
            assert ratio >= 4.5, f"{text} on {ground} in {name} mode: {ratio:.2f}"
