"""Decide how a run goes on, before anything is paid for."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, cast

from fmrec.errors import DataError, StoreError
from fmrec.layout import Run, split_uri
from fmrec.release import champions, tunings
from fmrec.settings import Deployment
from fmrec.steps import budget, published
from fmrec.steps.estimate import estimate
from fmrec.steps.published import Published
from fmrec.steps.xcom import Xcom
from fmrec.store import Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

Decision = Literal["train", "tune", "rehearse", "skip"]


def choose(
    run: Xcom,
    *,
    tables: Xcom,
    parts: Xcom,
    channels: Xcom,
    s3: S3Client,
    deployment: Deployment,
    scheduled: bool,
    releases: bool,
    now: datetime,
) -> Decision:
    """Say what the run does next.

    `scheduled` says whether Airflow's schedule has started the run, and not a person or a
    backfill: only then it is skipped where nothing is new. `releases` says whether the run
    publishes a model; else it looks for hyperparameters. Raises BudgetError when the run would go
    beyond what is left of the month's budget, or nobody can say whether it would.
    """
    this = Run.from_xcom(run)
    store = Store(s3, this.layout.bucket)
    if this.settings.dry_run:
        return "rehearse"
    if scheduled:
        known = _known_to(this, parts["data"]["fingerprint"], store, releases=releases)
        if known is not None:
            last = datetime.fromtimestamp(parts["data"]["last"], UTC)
            log.info(
                "Nothing is new: %s; of these, %s ratings are before %s, the last of %s, and %s "
                "has seen the same. No job is started, and nothing changes.",
                tables["origin"]["sentence"],
                f"{parts['data']['ratings']:,}",
                this.as_of.isoformat(),
                last.isoformat(),
                known,
            )
            return "skip"
    # One that is repeated after its end finds its jobs, and pays for nothing.
    if deployment.monthly_budget is not None and not _is_over(this, store, releases=releases):
        costs = estimate(this, channels, store, deployment.region, releases=releases)
        budget.check(this, costs, deployment.monthly_budget, store, now)
    return cast(Decision, this.settings.mode)


def _is_over(run: Run, store: Store, *, releases: bool) -> bool:
    """Whether a run has ended before, and what it paid for is still there."""
    if releases:
        if not store.exists(run.layout.published_report("manifest.json")):
            return False
        model = Published.of(run.layout, store).artifact
        return store.exists(split_uri(model)[1])
    history = tunings.history(store, run.layout, run.kind)
    return any(entry.run == run.layout.run for entry in history)


def _known_to(run: Run, fingerprint: str, store: Store, *, releases: bool) -> str | None:
    """Who has seen the same data already, in words; None when nobody has."""
    own = run.layout.run
    if not releases:
        history = tunings.history(store, run.layout, run.kind)
        for entry in tunings.latest(history, run.as_of):
            if entry.run != own:
                same = entry.data == fingerprint
                return f"tuning job {entry.job} of {entry.as_of.isoformat()}" if same else None
        return None
    lane = champions.history(store, run.layout, run.lane)
    champion = champions.reference(lane, own, run.as_of)
    if champion is not None and _has_seen(_manifest_of(run, champion.run, store), run, fingerprint):
        return f"the champion {champion.run} of {champion.as_of.isoformat()}"
    last = _last_alike(run, store)
    if last is not None and _has_seen(last.manifest, run, fingerprint):
        return f"run {last.run.layout.run}, which was told the same,"
    return None


def _has_seen(manifest: Xcom, run: Run, fingerprint: str) -> bool:
    """Whether a published run has seen this data, and used the tuning that `run` would use."""
    tuned = [(each or {}).get("job") for each in (manifest.get("tuned"), run.tuned)]
    known: bool = manifest.get("data", {}).get("fingerprint") == fingerprint
    return known and tuned[0] == tuned[1]


def _manifest_of(run: Run, name: str, store: Store) -> Xcom:
    try:
        return Published.of(run.layout.of(name), store).manifest
    except (DataError, StoreError) as error:
        log.warning("It is not known what data %s has seen: %s", name, error)
        return {}


def _last_alike(run: Run, store: Store) -> Published | None:
    """The latest other run that was told the same, and saw no later ratings."""
    for each in published.latest(run.layout, store):
        other = each.run.layout.run != run.layout.run and each.run.as_of <= run.as_of
        if other and each.run.settings == run.settings:
            return each
    return None
