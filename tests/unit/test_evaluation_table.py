"""The report as text for a terminal: the decision first, figures aligned, nothing too wide."""

from __future__ import annotations

import json
import re

import pytest

from fmrec.evaluation import report, table
from sample_reports import SAMPLES, generated, like, ranking, rating


def rows(text: str, title: str) -> list[str]:
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(f"{title} "))
    return lines[first : lines.index("", first)]


@pytest.mark.parametrize("name", SAMPLES)
def test_the_decision_stands_first_and_no_line_of_it_is_too_wide(name: str) -> None:
    content = SAMPLES[name]()
    content["data"]["notes"] = []
    lines = table.render(content).splitlines()
    assert lines[0] == content["gate"]["headline"]
    assert content["verdict"]["headline"] in lines
    unbroken = ("note: ", "source ", "run ", content["gate"]["headline"])
    assert all(len(line) <= 88 for line in lines if not line.startswith(unbroken))


def test_reasons_and_other_uses_are_told() -> None:
    text = " ".join(table.render(rating()).split())
    assert "- RMSE is 0.0038 lower than the champion's 0.9254; 95% interval" in text
    assert "For use as ranking: Would be refused: loses to popularity" in text


def test_figures_are_aligned_below_their_names() -> None:
    content = ranking()
    head, *body = rows(table.render(content), "lists")
    assert head.split() == [
        *("lists", "NDCG@10", "precision@10", "recall@10", "MAP@10", "coverage@10")
    ]
    assert [line[:18].strip() for line in body] == [
        *("model", "champion", "user + item bias", "popularity"),
        *("EASE", "implicit ALS", "item-kNN"),
    ]
    assert body[0][18:].split() == ["0.4943", "0.4107", "0.2495", "0.3580", "0.1812"]
    ends = [match.end() for match in re.finditer(r"\S+", head)][1:]
    for line in body:
        assert [match.end() + 18 for match in re.finditer(r"\S+", line[18:])] == ends


def test_scores_have_a_table_of_their_own_and_what_is_undefined_a_dash() -> None:
    text = table.render(like())
    head, *body = rows(text, "scores")
    assert head.split()[1:3] == ["cross-entropy", "accuracy"]
    assert body[0][18:].split()[2] == "-"
    assert "global mean" in [line[:18].strip() for line in body]
    assert "note: F1 is undefined: no test event is positive and none is predicted to be" in text
    assert "85 predictions outside 1..5 were clipped; unclipped, RMSE is 0.9220" in table.render(
        rating()
    )


def test_data_counts_and_source_are_told() -> None:
    text = table.render(generated())
    assert re.search(r"^  refused: range +4$", text, flags=re.M)
    assert re.search(r"^rows refused \(quarantine\) +7$", text, flags=re.M)
    assert "data: The landing day 1998-03-07 was empty." in text
    assert "source sample (generated ratings) · split time · objective rating" in text
    assert text.endswith("run scheduled__1998-03-08T00:00:00+00:00\n")


def test_recommendations_are_a_line_each() -> None:
    told = table.recommendations(ranking())
    assert told.startswith("Recommended to user 729")
    assert "   1  4.94  Contact (1997)" in told
    assert table.recommendations(ranking() | {"recommendations": None}) == ""


@pytest.mark.parametrize("name", SAMPLES)
def test_a_report_read_back_from_its_json_gives_the_same_table(name: str) -> None:
    content = SAMPLES[name]()
    assert table.render(json.loads(report.to_json(content))) == table.render(content)
