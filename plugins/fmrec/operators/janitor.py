"""The task of `fmrec_janitor`; its docstring is the text in the UI."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from functools import partial
from typing import Any

from airflow.sdk import get_current_context, task

from fmrec.operators import notices
from fmrec.operators.clients import aws_client
from fmrec.settings import Deployment, Operations


@task
def clean() -> dict[str, Any]:
    """Delete endpoints whose time is up, what nothing uses, and the files of old runs."""
    from fmrec.steps import janitor as step

    return step.clean(
        get_current_context()["params"],
        aws_client("sagemaker"),
        aws_client("s3"),
        Deployment.of(os.environ),
        datetime.now(UTC),
        approval_hours=Operations.of(os.environ).approval_hours,
        tell=partial(notices.send, "endpoint"),
    )
