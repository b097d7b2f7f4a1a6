"""The published run that a command is about."""

from __future__ import annotations

from fmrec.errors import ConfigurationError
from fmrec.layout import Layout
from fmrec.settings import Deployment
from fmrec.steps import published
from fmrec.steps.published import Published
from fmrec.store import Store

LATEST = "latest"


def find(store: Store, deployment: Deployment, run: str) -> Published:
    """The run of this key; for "latest" that of the latest moment, of these the last to finish.

    Raises ConfigurationError when it is not published.
    """
    layout = Layout(store.bucket, deployment.prefix, "")
    where = f"s3://{store.bucket}/{layout.published}"
    keys = list(published.names(layout, store))
    if not keys:
        raise ConfigurationError(f"no run is published in {where}: trigger fmrec_retrain first")
    if run == LATEST:
        as_of = max(keys).partition("-")[0]
        latest = [Published.of(layout.of(key), store) for key in keys if key.startswith(as_of)]
        return max(latest, key=lambda each: str(each.manifest["finished"]))
    if run not in keys:
        known = ", ".join(sorted(keys, reverse=True)[:5])
        raise ConfigurationError(
            f"run {run!r} is not published in {where}: name one that is, such as {known}, or "
            f"{LATEST}"
        )
    return Published.of(layout.of(run), store)
