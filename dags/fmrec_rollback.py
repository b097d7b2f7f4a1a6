"""Put the champion before the one in place back, or any earlier one.

**What it does.** Finds the champion that the one in place has replaced, sees that its model and its
columns are still there, and makes it the champion again. Triggered again, it goes back one further;
a run that is cleared goes back no further, and changes nothing.

**When.** By hand alone: *Trigger*, with nothing filled in, takes the only lane, or that of the
default settings.

**What it leaves.** One entry more in `s3://<bucket>/<prefix>/champions/<lane>/`, with who triggered
it and the reason; nothing is removed there. Recommendations and the endpoint follow by themselves.
Later runs are compared with this champion; the model that was taken back does not return unless a
person says so.

**When it fails.** Where there is no earlier champion, where its files are gone, and where another
model has become the champion in the meantime. Then nothing is changed.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from fmrec import settings
from fmrec.operators import house, rollback

with DAG(
    dag_id="fmrec_rollback",
    dag_display_name="fmrec: roll back",
    schedule=None,
    max_active_runs=1,
    # No variable may name a run: one click must mean the same everywhere.
    params={name: Param(**each) for name, each in settings.form(settings.Rollback, {}).items()},
    **house.dag(__doc__ or ""),
):
    rollback.rollback(rollback.choose())
