"""Serve a champion from a SageMaker endpoint that is tested before it counts.

**What it does.** Makes the endpoint of a lane, or updates it without a gap, so that it has the
lane's champion; sends it test events of the champion and compares the scores with those of the
champion's batch transform. Where they differ, or there is no answer, the model that was in service
before serves again, or the endpoint is deleted if there was none, and the run fails. The name of an
endpoint never changes: `fmrec-<lane>-<digest of bucket, prefix and lane>`.

**When.** Whenever a lane gets a new champion, once this DAG is unpaused: an endpoint costs money by
the hour, so it starts paused. Runs by hand take the champion of Param `lane`; action `teardown`
deletes the endpoint and all that was made for it. Each deployment gives the endpoint `ttl_hours`,
after which `fmrec_janitor` deletes it.

**What it leaves.** The endpoint, with one configuration and one model; its tags say which run it
serves and until when. What it has cost is written down when it is deleted.

**When it fails.** The error says what AWS or the test said, and what serves now. The task `settle`
comes after the others whatever became of them, and goes back to what was proven if they have not.
In a run that is marked failed or is out of time no task comes: there `fmrec_janitor` goes back.
"""

from __future__ import annotations

import os

from airflow.sdk import DAG, Param, task_group

from fmrec import settings
from fmrec.operators import assets, house, serving

# Of what lane, and whether it ends: a run of its own says that, and no variable for all of them.
environ = {
    name: value for name, value in os.environ.items() if name not in {"FMREC_LANE", "FMREC_ACTION"}
}

with DAG(
    dag_id="fmrec_serve",
    dag_display_name="fmrec: serve",
    schedule=[assets.CHAMPION],
    is_paused_upon_creation=True,
    max_active_runs=1,  # two would undo each other's work
    params={name: Param(**each) for name, each in settings.form(settings.Serving, environ).items()},
    **house.dag(__doc__ or ""),
):

    @task_group
    def lane(chosen: dict[str, object]) -> None:
        """One lane's endpoint."""
        deployed = serving.deploy(chosen=chosen)
        proven = serving.smoke(chosen=chosen, deployed=deployed)
        proven >> serving.settle(chosen=chosen) >> serving.announce(chosen=chosen, proven=proven)

    lane.expand(chosen=serving.choose())
