"""Tell people: in the log always, and a webhook where one is named (FMREC_NOTIFY_URL).

The body is JSON whose `text` is a sentence, as chat services take it, beside the facts.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from typing import Any

from fmrec.settings import Operations

log = logging.getLogger(__name__)

_SECONDS = 10


def failed(context: Mapping[str, Any]) -> None:
    """Say which run has failed, and why as far as Airflow knows; a callback of a DAG.

    It is no BaseNotifier: in `airflow dags test` that fails itself, and hides the run's own error.
    """
    # Of a run without tasks Airflow tells no more than these.
    dag_id, run_id = context["dag"].dag_id, context["run_id"]
    reason = context.get("reason") or "see its tasks"
    send(
        "failed",
        f"Run {run_id} of {dag_id} has failed ({reason}).",
        {"dag_id": dag_id, "run_id": run_id},
    )


async def late(context: Mapping[str, Any]) -> None:
    """Say that a run takes longer than it should; the callback of a deadline alert."""
    dag_run = context["dag_run"]
    facts = {name: dag_run[name] for name in ("dag_id", "dag_run_id") if name in dag_run}
    hours = Operations.of(os.environ).alert_hours
    name = f"Run {facts.get('dag_run_id')} of {facts.get('dag_id')}"
    text = f"{name} takes {hours} hours more than usual."
    await asyncio.to_thread(send, "late", text, facts)


def send(event: str, text: str, facts: Mapping[str, Any]) -> None:
    """Log a notice, and post it to the webhook. A webhook that is down costs the run nothing."""
    log.warning("%s", text)
    url = Operations.of(os.environ).notify_url
    if url is None:
        return
    import httpx

    try:
        answer = httpx.post(url, json={"text": text, "event": event, **facts}, timeout=_SECONDS)
        answer.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # The URL itself may hold a secret.
        log.warning("FMREC_NOTIFY_URL was not told: %s", type(error).__name__)
