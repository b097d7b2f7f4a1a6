"""Delete what is left over: endpoints whose time is up, what nothing uses, files of old runs.

**What it does.** Deletes the endpoints of this deployment whose hours are over or that were never
proven, with what was made for them; endpoint configurations and models of this deployment that are
older than a day and that no endpoint, job or run uses; and the files of runs that are older than
`retention_days`. The last `keep_champions` champions of each lane and whatever an endpoint serves
keep their files. Nothing goes that is not proven to be of this bucket and prefix. Reports,
histories, sources and the landing zone stay.

It also puts right what runs leave that are marked failed or out of time: an endpoint that has had
something unproven in service for three hours goes back to what was proven, and jobs that ended with
nobody waiting for them come into the ledger.

**When.** Every day at 05:00 UTC, and whenever it is triggered. With Param `dry_run` it only says
what would go.

**What it leaves.** A table in its log, and the same counts as its result: how many endpoints,
configurations, models, runs, files and bytes went, and how many jobs came into the ledger.
FMREC_NOTIFY_URL is told of endpoints that were deleted or went back.

**When it fails.** What cannot be deleted does not keep the rest from it; in the end the task fails
and lists what was left, and why. The next run tries again.
"""

from __future__ import annotations

import os

from airflow.sdk import DAG, CronTriggerTimetable, Param

from fmrec import settings
from fmrec.operators import house, janitor

# FMREC_DRY_RUN is meant for runs that train: with it, nothing would ever be cleaned up.
environ = {name: value for name, value in os.environ.items() if name != "FMREC_DRY_RUN"}

with DAG(
    dag_id="fmrec_janitor",
    dag_display_name="fmrec: janitor",
    schedule=CronTriggerTimetable("0 5 * * *", timezone="UTC"),
    max_active_runs=1,
    params={
        name: Param(**each) for name, each in settings.form(settings.Cleaning, environ).items()
    },
    **house.dag(__doc__ or ""),
):
    janitor.clean()
