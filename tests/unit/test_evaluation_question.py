"""What a person is shown who has to say whether a model becomes the champion."""

from __future__ import annotations

from fmrec.evaluation.question import question
from sample_reports import rating


def test_the_question_has_the_decision_its_reasons_and_its_figures() -> None:
    report = rating()
    text = question(report)
    assert text.startswith(f"**{report['gate']['headline']}.**")
    for reason in report["gate"]["reasons"]:
        assert f"- {reason}" in text
    asked = [each for each in report["comparisons"] if each["use"] == report["gate"]["use"]]
    table = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert len(table) == len(asked) > 0
    for line, each in zip(table, asked, strict=True):
        assert f"{each['candidate']:.4f} | {each['reference']:.4f}" in line
        assert f"{each['difference']:+.4f}" in line
        assert line.count("|") == 7
