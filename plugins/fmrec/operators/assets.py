"""What the DAGs make and wait for, as Airflow assets: DAGs chain by data, not by the clock.

Their URIs name no bucket: an asset must be known when a DAG is parsed. Where things lie stands in
the `extra` of each event.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airflow.sdk import Asset, AssetAlias, get_current_context

log = logging.getLogger(__name__)

RATINGS = Asset(name="fmrec_ratings", uri="x-fmrec://ratings", group="fmrec")
CHANNELS = Asset(name="fmrec_channels", uri="x-fmrec://channels", group="fmrec")
MODEL = Asset(name="fmrec_model", uri="x-fmrec://model", group="fmrec")
REPORT = Asset(name="fmrec_report", uri="x-fmrec://report", group="fmrec")
HYPERPARAMETERS = Asset(
    name="fmrec_hyperparameters", uri="x-fmrec://hyperparameters", group="fmrec"
)
CHAMPION = Asset(name="fmrec_champion", uri="x-fmrec://champion", group="fmrec")
RECOMMENDATIONS = Asset(
    name="fmrec_recommendations", uri="x-fmrec://recommendations", group="fmrec"
)
ENDPOINT = Asset(name="fmrec_endpoint", uri="x-fmrec://endpoint", group="fmrec")

# A task's outlet is updated whenever the task succeeds; through an alias, only when it says so.
NEW_CHAMPION = AssetAlias(name="fmrec_new_champion", group="fmrec")
NEW_HYPERPARAMETERS = AssetAlias(name="fmrec_new_hyperparameters", group="fmrec")


def is_news(since: str) -> bool:
    """Whether a model has become the champion in the running task's DAG run.

    `since` is when it has. A run that is cleared long after finds what it did: nobody is to act on
    that again. A clear begins the run anew, a retry or a person's answer does not.
    """
    dag_run: Any = get_current_context()["dag_run"]
    news: bool = datetime.fromisoformat(since) >= dag_run.start_date.replace(microsecond=0)
    if not news:
        log.info(
            "It has been the champion since %s, before this run was begun (again): no asset event "
            "and no notice. Trigger the DAGs that follow a champion by hand if they missed it.",
            since,
        )
    return news


def note(asset: Asset, extra: Mapping[str, Any]) -> None:
    """Say what the running task's update of its outlet `asset` consists of."""
    get_current_context()["outlet_events"][asset].extra = dict(extra)


def update(alias: AssetAlias, asset: Asset, extra: Mapping[str, Any]) -> None:
    """Update `asset` through the running task's outlet `alias`."""
    get_current_context()["outlet_events"][alias].add(asset, extra=dict(extra))
