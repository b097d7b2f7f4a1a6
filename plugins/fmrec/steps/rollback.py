"""Go back to an earlier champion because a person says so."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fmrec.errors import ConfigurationError, FmrecError
from fmrec.layout import Layout
from fmrec.release import champions
from fmrec.settings import Deployment, Rollback
from fmrec.steps.in_production import InProduction, lane_in_use
from fmrec.steps.xcom import Xcom
from fmrec.store import Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)


def choose(
    values: Mapping[str, Any],
    s3: S3Client,
    deployment: Deployment,
    environ: Mapping[str, str],
    *,
    dag_run: str,
) -> Xcom:
    """Which run to go back to; `values` are the Params (`fmrec.settings.Rollback`).

    It is fixed before anything is written, so that a repeated `rollback` goes back no further; and
    what the Airflow run `dag_run` has done already is what it chooses when it is cleared. `after`
    is the number of the last entry of the history. Nothing is changed here. Raises
    ConfigurationError when there is no such champion, and when it cannot be in production any more.
    """
    told = Rollback.of(values)
    store = Store(s3, deployment.bucket)
    layout = Layout(deployment.bucket, deployment.prefix, "")
    done = _done(dag_run, told.lane, store, layout)
    if done is not None:
        log.info("This run went back to %s already, in lane %s", done.run, done.lane)
        instead, after = done.replaces, done.sequence - 1
        return {"lane": done.lane, "run": done.run, "instead": instead, "after": after}
    lane = told.lane or _lane_of(told.run, store, layout) or lane_in_use(store, layout, environ)
    history = champions.history(store, layout, lane)
    current = champions.current(history)
    if current is None:
        known = ", ".join(champions.lanes(store, layout)) or "none"
        raise ConfigurationError(
            f"lane {lane!r} has no champion to go back from; those that have one: {known}. Nothing "
            "was changed; name another with Param lane"
        )
    target = _target(history, current, told.run)
    try:
        InProduction.of(target, layout, store)
    except FmrecError as error:
        raise ConfigurationError(
            f"run {target.run} cannot be in production any more, so {current.run} stays the "
            f"champion of {lane}; name another with Param run. {error}"
        ) from None
    log.info("From %s back to %s, in lane %s", current.run, target.run, lane)
    return {"lane": lane, "run": target.run, "instead": current.run, "after": current.sequence}


def _done(
    dag_run: str, lane: str | None, store: Store, layout: Layout
) -> champions.Champion | None:
    """What an Airflow run has written, in its lane or any; None where it has written nothing."""
    for each in champions.lanes(store, layout) if lane is None else [lane]:
        done = champions.appointed_by(champions.history(store, layout, each), dag_run)
        if done is not None:
            return done
    return None


def _lane_of(run: str | None, store: Store, layout: Layout) -> str | None:
    """The lane in which a run was the champion; None for no run."""
    if run is None:
        return None
    for lane in champions.lanes(store, layout):
        if any(each.run == run for each in champions.history(store, layout, lane)):
            return lane
    raise ConfigurationError(
        f"run {run!r} has never been the champion of any lane. Nothing was changed; "
        "`python -m fmrec champion` lists those that have, and its --appoint takes others"
    )


def _target(
    history: list[champions.Champion], current: champions.Champion, run: str | None
) -> champions.Champion:
    """The entry of the champion to go back to."""
    if run is None:
        found = champions.before(history, current.run)
        if found is None:
            raise ConfigurationError(
                f"lane {current.lane!r} has no champion before {current.run}. Nothing was changed; "
                "to go back to one that came later, name it with Param run"
            )
        return found
    if run == current.run:
        raise ConfigurationError(
            f"run {run} is the champion of {current.lane}. Nothing was changed; name another with "
            "Param run, or leave it empty for the one before"
        )
    for entry in reversed(history):
        if entry.run == run:
            return entry
    known = ", ".join(sorted({each.run for each in history} - {current.run}, reverse=True)[:5])
    raise ConfigurationError(
        f"run {run!r} has never been the champion of {current.lane}; those that have: "
        f"{known or 'no other'}. Nothing was changed"
    )


def rollback(
    chosen: Xcom,
    values: Mapping[str, Any],
    s3: S3Client,
    deployment: Deployment,
    *,
    by: str | None,
    dag_run: str,
    now: datetime,
) -> Xcom:
    """Make the chosen run the champion, and keep by whom and why; `chosen` is what choose returned.

    Repeated by the same Airflow run `dag_run`, it changes nothing, and returns the same; but for
    `in_place`, which says whether it is the champion still. Raises ConflictError when another
    champion came in between.
    """
    store = Store(s3, deployment.bucket)
    layout = Layout(deployment.bucket, deployment.prefix, "")
    lane, run = chosen["lane"], chosen["run"]
    past = champions.history(store, layout, lane)
    entry = next(each for each in reversed(past) if each.run == run)
    made = champions.appoint(
        store,
        layout,
        lane,
        run=run,
        as_of=entry.as_of,
        manifest=entry.manifest,
        artifact=entry.artifact,
        at=now,
        by=by,
        reason=Rollback.of(values).reason,
        after=chosen["after"],
        dag_run=dag_run,
    )
    in_place = made.sequence >= len(past)
    if in_place:
        log.info("%s is the champion of %s, in place of %s", made.run, lane, chosen["instead"])
    else:
        log.info("Nothing is changed: %s was put back, and %s came since", made.run, past[-1].run)
    return {
        "lane": lane,
        "run": run,
        "as_of": made.as_of.isoformat(),
        "since": made.at.isoformat(),
        "sequence": made.sequence,
        "instead": chosen["instead"],
        "in_place": in_place,
    }
