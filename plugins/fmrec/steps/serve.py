"""Serve a champion: an endpoint is made or updated, tested, and kept only when it is proven.

Each function may be repeated after a crash anywhere: what it goes by is what AWS says of the
endpoint, with the endpoint's own tags (`fmrec.endpoints`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fmrec import endpoints, jobs, ledger, prices
from fmrec.errors import (
    AlgorithmError,
    BusyError,
    ConfigurationError,
    EvaluationError,
    FmrecError,
    JobError,
)
from fmrec.layout import Layout
from fmrec.settings import Deployment, Serving
from fmrec.steps import smoke
from fmrec.steps.hosting import Config, Endpoint, Hosting, Sleep
from fmrec.steps.in_production import champion_of, lane_in_use
from fmrec.steps.leftovers import sweep
from fmrec.steps.published import Published
from fmrec.steps.xcom import Xcom
from fmrec.store import Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

log = logging.getLogger(__name__)

# What AWS says of an endpoint that would fail again, and of one that may do better later.
_OWN_FAULT = ("ping health check", "Failed to download model", "Failed to extract model")
_NO_ROOM = ("Unable to provision", "InsufficientInstanceCapacity")


def choose(
    values: Mapping[str, Any],
    events: Iterable[Mapping[str, Any]],
    s3: S3Client,
    deployment: Deployment,
    environ: Mapping[str, str],
) -> list[Xcom]:
    """Say whose champions are served, or whose endpoint goes: a mapping for each lane.

    It is the lane of Param `lane`, else those that `events` name, the `extra` of the asset events
    that started the run; without any the only lane, else that of the default settings. Raises
    ConfigurationError for a Param that is wrong and, where there is something to deploy, for a lane
    without a champion.
    """
    told = Serving.of(values)
    store, layout = Store(s3, deployment.bucket), _layout(deployment, "")
    named = dict.fromkeys(str(each["lane"]) for each in events if each.get("lane"))
    lanes = [told.lane] if told.lane else list(named)
    chosen = []
    for lane in lanes or [lane_in_use(store, layout, environ)]:
        each: Xcom = {"lane": lane, "endpoint": layout.endpoint(lane), "settings": asdict(told)}
        if told.action == "deploy":
            champion = champion_of(store, layout, lane)
            each |= {"run": champion.run, "artifact": champion.artifact}
            log.info("%s is to serve %s, the champion of %s", each["endpoint"], champion.run, lane)
        else:
            log.info("%s of lane %s is to go", each["endpoint"], lane)
        chosen.append(each)
    return chosen


def deploy(
    chosen: Xcom,
    sagemaker: SageMakerClient,
    s3: S3Client,
    deployment: Deployment,
    now: datetime,
    sleep: Sleep = time.sleep,
) -> Xcom:
    """Make the endpoint of a champion, or put the champion in service there, without a gap.

    The result says what is in service and what it costs an hour; it is yet to be proven. When AWS
    cannot, everything is as before. Raises EvaluationError for a champion that nothing vouches
    for, before anything is made; ConfigurationError, RefusedError, BusyError, JobError or
    AlgorithmError for what AWS says against it.
    """
    told, name, lane = Serving.of(chosen["settings"]), chosen["endpoint"], chosen["lane"]
    layout = _layout(deployment, chosen["run"])
    past = _past(chosen, layout, s3)
    smoke.sample(past, told.smoke_rows)  # that it is there: without, nothing could be proven
    here = _Here(Hosting(sagemaker, deployment.poll_seconds, sleep), layout, lane, s3, deployment)
    tags = endpoints.tags_of(layout, lane)
    image = jobs.image(past.run, deployment)
    artifact, role = chosen["artifact"], deployment.role_arn
    model = layout.served(lane, image, artifact, role)
    instances = told.endpoint_instance_type, told.endpoint_instances
    config = layout.served(lane, model, *map(str, instances))
    there = here.settled()
    if there is not None and there.status == "Failed":
        log.warning("Endpoint %s has failed (%s) and is made anew", name, there.reason)
        here.hosting.delete(name)
        there = here.settled()
    here.hosting.ensure(
        endpoints.model_request(model, image, artifact, role, tags),
        endpoints.config_request(config, model, *instances, tags),
    )
    expires = endpoints.expiry(told.ttl_hours, now)
    if there is None:
        done = "made"
        state = {endpoints.PROVEN: endpoints.NOTHING, endpoints.EXPIRES: expires}
        here.hosting.create(endpoints.endpoint_request(name, config, tags | state))
    else:
        # Before the update: the janitor must not take away what is being worked at.
        here.hosting.tag(there, {endpoints.EXPIRES: expires})
        done = "left as it is" if there.config == config else "updated"
        if there.config != config:
            here.hosting.update(name, config)
    found = here.settled()
    if found is None or (found.status, found.config) != ("InService", config):
        raise _failure(here, found, done, now)
    price = _hourly(*instances, deployment.region)
    log.info(
        "Endpoint %s was %s: it has %s on %d x %s, %s an hour, and stays until %s",
        name, done, chosen["run"], instances[1], instances[0],
        "at a price unknown" if price is None else f"{prices.currency()} {price:.3f}",
        "it is torn down" if expires == endpoints.NEVER else expires,
    )  # fmt: skip
    return {
        "endpoint": name,
        "lane": lane,
        "run": chosen["run"],
        "config": config,
        "done": done,
        "instance_type": instances[0],
        "instances": instances[1],
        "hourly_price": price,
        "expires": expires,
    }


def prove(
    chosen: Xcom,
    deployed: Xcom,
    sagemaker: SageMakerClient,
    runtime: SageMakerRuntimeClient,
    s3: S3Client,
    deployment: Deployment,
    now: datetime,
    sleep: Sleep = time.sleep,
) -> Xcom:
    """Ask the endpoint for scores that are known, and mark what is in service as proven.

    `deployed` is what `deploy` returned. Where the scores differ or there is no answer, what was
    proven before is put back in service without a gap, or else the endpoint is deleted. Raises
    EvaluationError, which says what was found and what serves now.
    """
    layout, name = _layout(deployment, chosen["run"]), chosen["endpoint"]
    asked = smoke.sample(_past(chosen, layout, s3), Serving.of(chosen["settings"]).smoke_rows)
    hosting = Hosting(sagemaker, deployment.poll_seconds, sleep)
    here = _Here(hosting, layout, chosen["lane"], s3, deployment)
    found = here.settled()
    if found is None or (found.status, found.config) != ("InService", deployed["config"]):
        state = (
            "is gone" if found is None else f"is {found.status} with {found.config or 'nothing'}"
        )
        raise EvaluationError(
            f"endpoint {name} {state}, and {deployed['config']} was to be tested: an earlier test "
            "has failed, or somebody else has changed it. Clear the task deploy to try again"
        )
    try:
        compared = smoke.compare(name, asked, runtime)
    except FmrecError as error:
        if found.proven == found.config:
            said = "It was proven before, and is left as it is"
        else:
            said = here.back_to_proven(now)
        raise EvaluationError(f"{error}. {said}") from error
    hosting.tag(found, {endpoints.PROVEN: found.config, endpoints.RUN: chosen["run"]})
    return {**deployed, **compared}


def settle(
    chosen: Xcom,
    sagemaker: SageMakerClient,
    s3: S3Client,
    deployment: Deployment,
    now: datetime,
    sleep: Sleep = time.sleep,
) -> Xcom:
    """Leave nothing behind but what is proven; on `teardown` nothing at all.

    It is for the end, however the tasks before have ended: what is in service and was not proven
    goes, and so do the configurations and models that nothing uses any more. Raises JobError when
    the endpoint cannot be brought back to what was proven.
    """
    layout, name = _layout(deployment, chosen.get("run", "")), chosen["endpoint"]
    hosting = Hosting(sagemaker, deployment.poll_seconds, sleep)
    here = _Here(hosting, layout, chosen["lane"], s3, deployment)
    there = here.settled()
    if there is not None and Serving.of(chosen["settings"]).action == "teardown":
        here.remove(there, now)
        said = f"Endpoint {name} was deleted"
    else:
        said = here.back_to_proven(now)
    removed = sweep(hosting, layout, name)
    log.info("%s", said)
    for each in removed:
        log.info("Deleted: %s", each)
    there = hosting.find(name)
    return {
        "endpoint": name,
        "status": "absent" if there is None else there.status,
        "config": None if there is None else there.config,
        "said": said,
        "removed": removed,
    }


class _Here:
    """The endpoint of one lane, and what may be done with it."""

    def __init__(
        self, hosting: Hosting, layout: Layout, lane: str, s3: S3Client, deployment: Deployment
    ) -> None:
        self.hosting = hosting
        self.name, self._layout = layout.endpoint(lane), layout
        self._store, self._region = Store(s3, deployment.bucket), deployment.region

    def settled(self) -> Endpoint | None:
        """The endpoint at rest, or None. Raises ConfigurationError when it is somebody else's."""
        found = self.hosting.settled(self.name)
        if found is not None and not found.belongs_to(self._layout):
            raise ConfigurationError(
                f"endpoint {self.name} exists and is not of this deployment: its tag "
                f"{endpoints.DEPLOYMENT} is {found.tags.get(endpoints.DEPLOYMENT)!r}, not "
                f"{endpoints.owner(self._layout)!r}. Delete it, or set that tag, if it is yours"
            )
        return found

    def back_to_proven(self, now: datetime) -> str:
        """Put in service what was proven last, where anything else is; say what serves now."""
        there = self.settled()
        if there is None:
            return f"There is no endpoint {self.name}"
        proven = there.proven
        if proven is None or there.status == "Failed":
            self.remove(there, now)
            return f"Endpoint {self.name} was deleted: there is nothing proven to go back to"
        since = "as before" if there.config == proven else "again"
        there = restore(self.hosting, there, proven)
        return f"Endpoint {self.name} serves {there.tags.get(endpoints.RUN)} {since}"

    def remove(self, there: Endpoint, now: datetime) -> None:
        """Delete the endpoint, and write down what it has cost."""
        remove(self.hosting, there, self._layout, self._store, self._region, now)


def restore(hosting: Hosting, there: Endpoint, proven: str) -> Endpoint:
    """See that an endpoint at rest serves its configuration `proven`, or put that in service again.

    Raises JobError when it cannot be brought back.
    """
    found: Endpoint | None = there
    if there.config != proven:
        log.warning("Endpoint %s goes back from %s to %s", there.name, there.config, proven)
        hosting.update(there.name, proven)
        found = hosting.settled(there.name)
    if found is None or (found.status, found.config) != ("InService", proven):
        state = "is gone" if found is None else f"is {found.status} with {found.config}"
        reason = f" ({found.reason})" if found and found.reason else ""
        raise JobError(
            f"endpoint {there.name} could not go back to {proven}, which is proven: it "
            f"{state}{reason}. Trigger fmrec_serve with action teardown, then with deploy"
        )
    return found


def remove(
    hosting: Hosting, there: Endpoint, layout: Layout, store: Store, region: str, now: datetime
) -> None:
    """Delete an endpoint, and write down what it has cost: by its last configuration."""
    config = hosting.config(there.config) if there.config else None
    hosting.delete(there.name)
    if there.status != "Failed" and config is not None and config.instance_type is not None:
        # Before it is waited for: whoever goes on after a kill in the wait finds no endpoint.
        _bill(there, config, layout, store, region, now)
    hosting.settled(there.name)


def _bill(
    there: Endpoint, config: Config, layout: Layout, store: Store, region: str, now: datetime
) -> None:
    """An entry for each calendar month in which it was there: a budget is one of a month."""
    for since, until in ledger.months(there.created, now):
        entry = {
            "job": f"{there.name}-{since:%Y%m%dT%H%M%SZ}",
            "kind": "endpoint",
            "run": there.tags.get(endpoints.RUN, ""),
            "instance_type": config.instance_type,
            "instances": config.instances,
            "billable_seconds": round((until - since).total_seconds()),
            "status": "Deleted",
            "since": since,
        }
        ledger.record(store, layout, region, entry, until)


def _failure(here: _Here, found: Endpoint | None, done: str, now: datetime) -> FmrecError:
    """The error of a deployment that did not come to its end, after what was before is back."""
    reason = "it was deleted meanwhile" if found is None else found.reason or found.status
    kind: type[FmrecError] = JobError
    if any(each in reason for each in _OWN_FAULT):
        kind = AlgorithmError
    elif any(each in reason for each in _NO_ROOM):
        kind = BusyError
    said = here.back_to_proven(now)
    return kind(
        f"endpoint {here.name} could not be {done}: {reason}. Its log is in CloudWatch, group "
        f"/aws/sagemaker/Endpoints/{here.name}. {said}"
    )


def _past(chosen: Xcom, layout: Layout, s3: S3Client) -> Published:
    """The champion's run. Raises EvaluationError when its scores are of another model."""
    past = Published.of(layout, Store(s3, layout.bucket))
    if past.artifact != chosen["artifact"]:
        raise EvaluationError(
            f"the champion {layout.run} was trained again since it was promoted: its test events "
            f"were scored by {past.artifact}, and {chosen['artifact']} was judged. Promote another "
            "run, or appoint this one again (`python -m fmrec champion`)"
        )
    return past


def _hourly(instance_type: str, instances: int, region: str) -> float | None:
    """What the instances cost an hour, None when the list has no price."""
    job = {"kind": "endpoint", "name": "", "instance_type": instance_type}
    hour = job | {"instances": instances, "billable_seconds": 3600}
    total: float | None = prices.cost([hour], region)["total"]
    return total


def _layout(deployment: Deployment, run: str) -> Layout:
    return Layout(deployment.bucket, deployment.prefix, run)
