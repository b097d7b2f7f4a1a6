"""The tasks of `fmrec_rollback`; their docstrings are the texts in the UI."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import get_current_context, task

from fmrec.operators import assets, notices
from fmrec.operators.clients import aws_client
from fmrec.settings import Deployment

Xcom = dict[str, Any]


@task
def choose() -> Xcom:
    """Find the champion to go back to, and see that its model is still there."""
    from fmrec.steps import rollback as step

    context: Any = get_current_context()
    deployment = Deployment.of(os.environ)
    return step.choose(
        context["params"],
        aws_client("s3"),
        deployment,
        os.environ,
        dag_run=context["dag_run"].run_id,
    )


@task(outlets=[assets.NEW_CHAMPION])
def rollback(chosen: Xcom) -> Xcom:
    """Make it the champion again, in a new entry of the history."""
    from fmrec.steps import rollback as step

    context: Any = get_current_context()
    made = step.rollback(
        chosen,
        context["params"],
        aws_client("s3"),
        Deployment.of(os.environ),
        by=context["dag_run"].triggering_user_name,
        dag_run=context["dag_run"].run_id,
        now=datetime.now(UTC),
    )
    if not made["in_place"] or not assets.is_news(made["since"]):
        return made
    facts = {name: made[name] for name in ("lane", "run", "as_of")}
    assets.update(assets.NEW_CHAMPION, assets.CHAMPION, facts)
    instead = (
        f"{made['run']} is the champion of {made['lane']} again, instead of {made['instead']}."
    )
    notices.send("champion", instead, facts)
    return made
