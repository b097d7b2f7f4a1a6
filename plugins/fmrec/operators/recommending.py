"""The tasks of `fmrec_recommend`; their docstrings are the texts in the UI."""

from __future__ import annotations

import os
from typing import Any

from airflow.sdk import get_current_context, task

from fmrec.operators import assets
from fmrec.operators.clients import aws_client
from fmrec.settings import Deployment

Xcom = dict[str, Any]


@task
def lanes() -> list[str]:
    """Which lanes have a new champion; in a run by hand, whose champion was asked for."""
    from fmrec.steps import recommend as step

    context: Any = get_current_context()
    events = context["triggering_asset_events"].get(assets.CHAMPION, ())
    return step.lanes(
        context["params"],
        [each.extra for each in events],
        aws_client("s3"),
        Deployment.of(os.environ),
        os.environ,
    )


@task(
    # Airflow takes no text from the docstring of a mapped task.
    doc_md="The best unseen films of all users that the champion of a lane knows, as files.",
    outlets=[assets.RECOMMENDATIONS],
    map_index_template="{{ task.op_kwargs['lane'] }}",
)
def recommend(lane: str) -> Xcom:
    """List films, and tell who waits for lists."""
    from fmrec.steps import recommend as step

    context: Any = get_current_context()
    made = step.recommend(lane, context["params"], aws_client("s3"), Deployment.of(os.environ))
    told = ("lane", "run", "as_of", "users", "rows", "uri")
    assets.note(assets.RECOMMENDATIONS, {name: made[name] for name in told})
    return made
