"""What all DAGs have in common: owner, retries, time limits, who is told when something is wrong."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import (
    ExceptionRetryPolicy,
    RetryAction,
    RetryRule,
)

from fmrec import errors
from fmrec.settings import Operations

# The first day of MovieLens 100K: what may be backfilled.
FIRST_DAY = datetime(1997, 9, 20, tzinfo=UTC)


def dag(doc: str) -> dict[str, Any]:
    """Arguments of every DAG; `doc` is the docstring of its file, the text in the UI."""
    operations = Operations.of(os.environ)
    return {
        "doc_md": doc,
        "description": doc.partition("\n")[0].rstrip("."),
        "start_date": FIRST_DAY,
        "catchup": False,
        "max_consecutive_failed_dag_runs": 3,
        # Longer than a person is waited for.
        "dagrun_timeout": timedelta(hours=operations.approval_hours + 6),
        "default_args": default_args(operations),
        "tags": ["fmrec", "recommender", "sagemaker"],
    }


def default_args(operations: Operations) -> dict[str, Any]:
    """Arguments of every task."""
    return {
        "owner": "fmrec",
        "retries": 2,
        "retry_delay": timedelta(seconds=operations.retry_seconds),
        "retry_exponential_backoff": True,
        "retry_policy": ExceptionRetryPolicy(
            rules=[
                RetryRule(
                    exception=list(errors.PERMANENT),
                    action=RetryAction.FAIL,
                    reason="repeating it would fail in the same way",
                )
            ]
        ),
    }
