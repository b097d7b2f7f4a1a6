"""What the DAGs make and wait for, as Airflow assets: DAGs chain by data, not by the clock.

Their URIs name no bucket: an asset must be known when a DAG is parsed. Where things lie stands in
the `extra` of each event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Asset, AssetAlias, get_current_context

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


def note(asset: Asset, extra: Mapping[str, Any]) -> None:
    """Say what the running task's update of its outlet `asset` consists of."""
    get_current_context()["outlet_events"][asset].extra = dict(extra)


def update(alias: AssetAlias, asset: Asset, extra: Mapping[str, Any]) -> None:
    """Update `asset` through the running task's outlet `alias`."""
    get_current_context()["outlet_events"][alias].add(asset, extra=dict(extra))
