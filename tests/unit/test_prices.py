"""What jobs cost, and what is said when that is not known."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

from fmrec.prices import cost


def job(**told: Any) -> dict[str, Any]:
    return {
        "kind": "training",
        "name": "fmrec-train-1",
        "instance_type": "ml.m5.large",
        "instances": 1,
        "billable_seconds": 90,
    } | told


def test_an_amount_is_billable_hours_by_price_by_instances() -> None:
    found = cost(
        [
            job(),
            job(kind="batch transform", instance_type="ml.m5.xlarge", billable_seconds=3600),
            job(instance_type="ml.g5.2xlarge", instances=3, billable_seconds=1800),
        ],
        "us-east-1",
    )
    # 90 / 3600 * 0.115; 0.23; 0.5 * 1.515 * 3
    amounts = [0.002875, 0.23, 2.2725]
    assert [each["amount"] for each in found["jobs"]] == pytest.approx(amounts)
    assert [each["hourly"] for each in found["jobs"]] == [0.115, 0.23, 1.515]
    assert found["total"] == pytest.approx(2.505375)
    assert found["currency"] == "USD"
    assert found["notes"] == []
    assert found["prices"]["region"] == "us-east-1"
    assert found["jobs"][1]["kind"] == "batch transform"


def test_what_is_not_priced_leaves_no_total_over_the_rest() -> None:
    found = cost([job(), job(instance_type="ml.q9.large"), job(instance_type="ml.q9.large")],
                 "us-east-1")  # fmt: skip
    assert found["jobs"][0]["amount"] == pytest.approx(0.002875)
    assert found["jobs"][1]["hourly"] is found["jobs"][1]["amount"] is None
    assert found["total"] is None
    assert found["notes"] == [
        "The price of ml.q9.large in us-east-1 is not known here, so the cost is not: add it to "
        "fmrec/prices.json, from https://aws.amazon.com/sagemaker/ai/pricing/."
    ]


def test_a_region_without_prices_is_named_with_those_that_have_some() -> None:
    found = cost([job()], "eu-west-3")
    assert found["total"] is None
    assert found["jobs"][0]["hourly"] is None
    [note] = found["notes"]
    assert note.startswith("Prices of region eu-west-3 are not known here")
    assert "the list has us-east-1" in note


def test_an_unknown_duration_is_an_unknown_cost() -> None:
    found = cost([job(), job(name="fmrec-score-1", billable_seconds=None)], "us-east-1")
    assert found["jobs"][1]["hourly"] == 0.115
    assert found["jobs"][1]["amount"] is None
    assert found["total"] is None
    [note] = found["notes"]
    assert "fmrec-score-1" in note


def test_no_job_costs_nothing_in_any_region() -> None:
    for region in ("us-east-1", "eu-west-3"):
        found = cost([], region)
        assert found["total"] == 0
        assert found["notes"] == []


def test_the_list_is_dated_sourced_and_holds_prices_alone() -> None:
    listed = json.loads(files("fmrec").joinpath("prices.json").read_text())
    assert cost([], "us-east-1")["prices"]["date"] == listed["date"]
    assert listed["source"]
    for prices in listed["regions"].values():
        assert all(name.startswith("ml.") and price > 0 for name, price in prices.items())
