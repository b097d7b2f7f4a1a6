"""What SageMaker jobs cost on demand, by the price list that stands beside this module.

Batch transform costs what training costs. A list grows old: its date and source are told with
every figure that comes from it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

_SECONDS = 3600


def cost(jobs: Iterable[Mapping[str, Any]], region: str) -> dict[str, Any]:
    """What jobs cost in USD: billable hours x hourly price x instances.

    A job is a mapping with kind, name, instance_type, instances and billable_seconds (of one
    instance; None when unknown). The result is the `cost` of report.json: each job comes back with
    its hourly price and its amount, both None where the list has no price for it. As soon as one
    amount is unknown, so is the total, and `notes` say why. Storage, requests and logs are not in.
    """
    listed = _listed()
    hourly: Mapping[str, float] = listed["regions"].get(region, {})
    told = [_priced(job, hourly.get(job["instance_type"])) for job in jobs]
    amounts = [job["amount"] for job in told]
    return {
        "currency": listed["currency"],
        "total": None if None in amounts else math.fsum(amounts),
        "prices": {"date": listed["date"], "region": region, "source": listed["source"]},
        "jobs": told,
        "notes": list(_notes(told, region, listed)),
    }


def currency() -> str:
    """The currency of the list."""
    found: str = _listed()["currency"]
    return found


@cache
def _listed() -> Any:
    return json.loads(files("fmrec").joinpath("prices.json").read_text(encoding="utf-8"))


def _priced(job: Mapping[str, Any], hourly: float | None) -> dict[str, Any]:
    names = ("kind", "name", "instance_type", "instances", "billable_seconds")
    told = {name: job[name] for name in names}
    seconds = told["billable_seconds"]
    known = hourly is not None and seconds is not None
    amount = seconds / _SECONDS * hourly * told["instances"] if known else None
    return {**told, "hourly": hourly, "amount": amount}


def _notes(told: list[dict[str, Any]], region: str, listed: Any) -> Iterable[str]:
    unknown = sorted({job["instance_type"] for job in told if job["hourly"] is None})
    if unknown and region not in listed["regions"]:
        yield (
            f"Prices of region {region} are not known here, so the cost is not: the list has "
            f"{', '.join(listed['regions'])}. Add the region to fmrec/prices.json, from "
            "https://aws.amazon.com/sagemaker/ai/pricing/."
        )
    elif unknown:
        yield (
            f"The price of {', '.join(unknown)} in {region} is not known here, so the cost is not: "
            "add it to fmrec/prices.json, from https://aws.amazon.com/sagemaker/ai/pricing/."
        )
    for job in told:
        if job["billable_seconds"] is None:
            yield (
                f"It is not known how long the {job['kind']} job {job['name']} was billed, so its "
                "cost is not: DescribeTrainingJob or DescribeTransformJob may say it."
            )
