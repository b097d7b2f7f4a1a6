"""The tasks of `fmrec_serve`; their docstrings are the texts in the UI."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import TriggerRule, get_current_context, task

from fmrec.operators import assets
from fmrec.operators.clients import aws_client
from fmrec.settings import Deployment

Xcom = dict[str, Any]

# How the instances of a mapped task are called in the UI.
_LANE = "{{ task.op_kwargs['chosen']['lane'] }}"


@task
def choose() -> list[Xcom]:
    """Say which lanes' champions are served, or whose endpoint goes."""
    from fmrec.steps import serve as step

    context: Any = get_current_context()
    events = context["triggering_asset_events"].get(assets.CHAMPION, ())
    return step.choose(
        context["params"],
        [each.extra for each in events],
        aws_client("s3"),
        Deployment.of(os.environ),
        os.environ,
    )


@task(map_index_template=_LANE)
def deploy(chosen: Xcom) -> Xcom:
    """Make the endpoint, or update it without a gap; skipped when it is to be torn down."""
    from airflow.sdk.exceptions import AirflowSkipException

    from fmrec.steps import serve as step

    if chosen["settings"]["action"] != "deploy":
        raise AirflowSkipException(f"{chosen['endpoint']} is to be torn down")
    return step.deploy(
        chosen,
        aws_client("sagemaker"),
        aws_client("s3"),
        Deployment.of(os.environ),
        datetime.now(UTC),
    )


@task(map_index_template=_LANE)
def smoke(chosen: Xcom, deployed: Xcom) -> Xcom:
    """Ask the endpoint for scores that are known; without them what was before serves again."""
    from fmrec.steps import serve as step

    return step.prove(
        chosen,
        deployed,
        aws_client("sagemaker"),
        aws_client("sagemaker-runtime"),
        aws_client("s3"),
        Deployment.of(os.environ),
        datetime.now(UTC),
    )


# Not an Airflow teardown: of a teardown's failure and of its upstream's, only one fails the run.
@task(map_index_template=_LANE, trigger_rule=TriggerRule.ALL_DONE)
def settle(chosen: Xcom) -> Xcom:
    """Leave nothing but what is proven, however the tasks before ended; tear down if asked to."""
    from fmrec.steps import serve as step

    return step.settle(
        chosen,
        aws_client("sagemaker"),
        aws_client("s3"),
        Deployment.of(os.environ),
        datetime.now(UTC),
    )


# It waits for all before it: one that is skipped early would hide that `settle` fails.
@task(
    map_index_template=_LANE,
    outlets=[assets.ENDPOINT],
    trigger_rule=TriggerRule.NONE_FAILED,
)
def announce(chosen: Xcom, proven: Xcom | None) -> None:
    """Tell whoever waits for the endpoint what it serves, and until when; skipped without one."""
    from airflow.sdk.exceptions import AirflowSkipException

    if proven is None:
        raise AirflowSkipException(f"{chosen['endpoint']} was torn down")
    assets.note(assets.ENDPOINT, proven)
