"""Write the requests that a run would send, and what they would cost; send none."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fmrec import jobs, tuning
from fmrec.layout import Run
from fmrec.release import tunings
from fmrec.settings import Deployment
from fmrec.steps.estimate import estimate
from fmrec.steps.xcom import Xcom
from fmrec.store import Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

# What else the operators ask of SageMaker about what such a request has made.
_ASKED_AFTER = {
    "CreateTrainingJob": ("DescribeTrainingJob", "StopTrainingJob"),
    "CreateHyperParameterTuningJob": (
        "DescribeHyperParameterTuningJob",
        "DescribeTrainingJob",
        "ListTrainingJobsForHyperParameterTuningJob",
        "StopHyperParameterTuningJob",
    ),
    "CreateModel": ("DescribeModel",),
    "CreateTransformJob": ("DescribeTransformJob", "StopTransformJob"),
}


def rehearse(
    run: Xcom, channels: Xcom, s3: S3Client, deployment: Deployment, *, releases: bool
) -> Xcom:
    """Write every request that would be sent to SageMaker, in its order, an estimate, and rights.

    `releases` says whether the run scores and publishes a model. Names are those of first
    attempts. Nothing but S3 is asked. The result has the URIs of the files, links that let whoever
    has them read these for an hour, and what the run is expected to cost and may cost at most, None
    where a price is not known.
    """
    this = Run.from_xcom(run)
    layout = this.layout
    store = Store(s3, layout.bucket)
    costs = estimate(this, channels, store, deployment.region, releases=releases)
    requests = _requests(this, channels, store, deployment, releases=releases)
    files = {f"{operation}.json": request for operation, request in requests.items()}
    files["estimate.json"] = costs
    files["actions.json"] = _actions(requests, deployment)
    for name, content in files.items():
        text = json.dumps(content, indent=2) + "\n"
        # What is known of past runs, and so the estimate, may change until it is asked again.
        store.put(layout.requests(name), text.encode(), replace=True)
    log.info("%s\n%s", ", ".join(requests), _table(costs))
    return {
        "run": layout.run,
        "files": [layout.uri(layout.requests(name)) for name in files],
        "estimate": costs["expected"],
        "at_most": costs["at_most"],
        "currency": costs["currency"],
        "links": {name: store.link(layout.requests(name), seconds=3_600) for name in files},
    }


def _requests(
    run: Run, channels: Xcom, store: Store, deployment: Deployment, *, releases: bool
) -> dict[str, Mapping[str, Any]]:
    """The requests by their operation."""
    made: dict[str, Mapping[str, Any]] = {}
    trained = run.layout.job("train", 1)
    if run.settings.mode == "train" or not releases:
        made["CreateTrainingJob"] = jobs.training_request(run, deployment, channels, 1)
    if run.settings.mode == "tune":
        parents = tunings.parents(tunings.history(store, run.layout, run.kind), run)
        request = tuning.tuning_request(run, deployment, channels, 1, parents)
        made["CreateHyperParameterTuningJob"] = request
        # SageMaker names a tuning's training jobs so; which is the best only they can show.
        trained = f"{run.layout.tuning_job(1)}-001-0123abcd"
    if releases:
        artifact = f"{run.layout.uri(run.layout.models)}/{trained}/output/model.tar.gz"
        model = jobs.model_request(run, deployment, {"artifact": artifact}, 1)
        made["CreateModel"] = model
        named = {"name": model["ModelName"]}
        made["CreateTransformJob"] = jobs.transform_request(run, channels, named, 1)
    return made


def _actions(requests: Mapping[str, Any], deployment: Deployment) -> dict[str, Any]:
    """What the credentials of the connection must be allowed, besides reading and writing S3."""
    asked = {
        *requests,
        *(action for operation in requests for action in _ASKED_AFTER[operation]),
        "AddTags",
    }
    return {
        "sagemaker": sorted(f"sagemaker:{action}" for action in asked),
        "logs": ["logs:DescribeLogStreams", "logs:FilterLogEvents", "logs:GetLogEvents"],
        "iam": {"iam:PassRole": deployment.role_arn},
    }


def _table(costs: Xcom) -> str:
    """The estimate as people read it."""
    currency = costs["currency"]
    lines = [f"{'':<18}{'jobs':>5}{'seconds each':>14}{currency:>12}{'at most':>12}"]
    lines += [
        f"{each['kind']:<18}{each['jobs']:>5}{each['seconds']:>14,.0f}"
        f"{_amount(each['expected']):>12}{_amount(each['at_most']):>12}  {each['basis']}"
        for each in costs["jobs"]
    ]
    total = f"{_amount(costs['expected']):>12}{_amount(costs['at_most']):>12}"
    lines.append(f"{'in all':<37}{total}  by prices of {costs['prices']['date']}")
    return "\n".join([*lines, *costs["notes"]])


def _amount(amount: float | None) -> str:
    return "unknown" if amount is None else f"{amount:,.4f}"
