"""The schema of report.json: strict where it promises, and in step with the code and the docs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fmrec.evaluation import report
from fmrec.evaluation.wording import BASELINES, METRICS, PEERS
from sample_reports import SAMPLES, assert_valid, ranking, rating, schema

DOCS = Path(__file__).resolve().parents[2] / "docs" / "report.md"


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(schema())
    assert schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema()["properties"]["schema"] == {"const": report.SCHEMA}


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_keeps_it(name: str) -> None:
    assert_valid(SAMPLES[name]())


def test_it_knows_the_names_that_the_code_knows() -> None:
    given = schema()["$defs"]
    assert set(given["metric"]["enum"]) == {*METRICS, "rmse_unclipped"}
    assert set(given["rival"]["enum"]) == {*BASELINES, *PEERS}
    fields = schema()["properties"]
    assert set(fields["baselines"]["propertyNames"]["enum"]) == set(BASELINES)
    assert set(fields["peers"]["propertyNames"]["enum"]) == set(PEERS)


def test_every_field_is_promised_and_told_of_in_the_docs() -> None:
    assert set(schema()["required"]) == set(schema()["properties"])
    text = DOCS.read_text()
    for name in schema()["properties"]:
        assert f"`{name}`" in text or f"`{name}." in text, name


@pytest.mark.parametrize("name", sorted(rating()))
def test_a_report_without_a_field_breaks_it(name: str) -> None:
    content = rating()
    del content[name]
    with pytest.raises(AssertionError, match=f"'{name}' is a required property"):
        assert_valid(content)


def broken(*path: Any, to: Any) -> dict[str, Any]:
    content = ranking()
    place: Any = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return content


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (broken("extra", to=1), r"\$: Additional properties .*extra"),
        (broken("gate", "why", to="so"), r"\$\.gate: Additional properties .*why"),
        (broken("gate", "decision", to="maybe"), r"\$\.gate\.decision: 'maybe' is not one of"),
        (broken("gate", "reasons", to=[]), r"\$\.gate\.reasons: \[\] should be non-empty"),
        (broken("gate", "policy", "ask_from", to=80), r"ask_from: 80 is greater than"),
        (broken("gate", "others", to=[{"use": "like"}]), r"others\[0\]: 'decision' is a required"),
        (broken("comparisons", 0, "note", to=1), r"comparisons\[0\]: Additional properties"),
        (broken("comparisons", 0, "against", to="luck"), r"against: 'luck' is not one of"),
        (broken("comparisons", 0, "probability", to=1.2), r"probability: 1\.2 is greater than"),
        (broken("comparisons", 0, "low", to="low"), r"low: 'low' is not of type 'number', 'null'"),
        (broken("metrics", "luck", to=1), r"\$\.metrics: 'luck' is not one of"),
        (broken("metrics", to={}), r"\$\.metrics: \{\} should be non-empty"),
        (broken("peers", "champion", to={}), r"\$\.peers: 'champion' is not one of"),
        (broken("schema", to=2), r"\$\.schema: 1 was expected"),
        (broken("run", "generated", to="no"), r"generated: 'no' is not of type 'boolean'"),
        (broken("run", "as_of", to="yesterday"), r"as_of: 'yesterday' does not match"),
        (broken("counts", "events", to=-1), r"events: -1 is less than"),
        (broken("slices", 0, "small", to=None), r"small: None is not of type 'boolean'"),
        (broken("champion", "problem", to=""), r"problem: '' should be non-empty"),
        (broken("changes", "jaccard", "mean", to=1.5), r"mean: 1\.5 is greater than"),
        (broken("lists", "curves", "model", "recall", to=[2]), r"recall\[0\]: 2 is greater than"),
        (broken("cost", "total", to=-1), r"total: -1 is less than"),
    ],
)
def test_what_is_not_promised_breaks_it_and_is_named(content: dict[str, Any], told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        assert_valid(content)


def test_what_the_run_counts_or_adds_is_free() -> None:
    content = ranking()
    content["run"]["anything"] = {"deep": [1]}
    content["counts"]["anything"] = 3
    content["jobs"][0]["anything"] = "x"
    assert_valid(content)
