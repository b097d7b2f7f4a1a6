"""What all DAGs have in common: owner, retries, time limits, who is told when one fails."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from fmrec.operators import notices
from fmrec.operators.retries import LONGEST_DELAY, Retries
from fmrec.settings import TASK_HOURS, TUNING_HOURS, Operations

# The first day of MovieLens 100K: from here on there is something to backfill.
FIRST_DAY = datetime(1997, 9, 20, tzinfo=UTC)


def dag(doc: str) -> dict[str, Any]:
    """Arguments of every DAG; `doc` is the docstring of its file, the text in the UI."""
    operations = Operations.of(os.environ)
    first_retry = timedelta(seconds=operations.retry_seconds)
    return {
        "doc_md": doc,
        "description": doc.partition("\n")[0].rstrip("."),
        "start_date": FIRST_DAY,
        "catchup": False,
        # A person is waited for on top of the longest tuning and everything around it.
        "dagrun_timeout": timedelta(hours=operations.approval_hours + TUNING_HOURS + 12),
        "deadline": DeadlineAlert(
            # Not the logical date: a backfilled day would be late from the start. Nor when it was
            # queued: Airflow 3.3.2 cannot clear a run with such a deadline (HTTP 500).
            reference=DeadlineReference.AVERAGE_RUNTIME(max_runs=10, min_runs=1),
            interval=timedelta(hours=operations.alert_hours),
            callback=AsyncCallback(notices.late),
        ),
        "on_failure_callback": [notices.failed],
        "default_args": {
            "owner": "fmrec",
            "retries": 3,
            "retry_delay": first_retry,
            "retry_exponential_backoff": True,
            "max_retry_delay": LONGEST_DELAY,
            "retry_policy": Retries(first_retry),
            "execution_timeout": timedelta(hours=TASK_HOURS),
        },
        "tags": ["fmrec", "recommender", "sagemaker"],
    }
