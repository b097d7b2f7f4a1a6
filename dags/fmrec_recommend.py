"""Make lists of films for all users, with the model that is the champion.

**What it does.** Takes the champion of a lane and lists for each user that it knows the best films
that the user has not rated, as of the moment that the champion describes. What its run saw rated
counts, also what it did not learn from.

**When.** Whenever a lane gets a new champion, by promotion or by rollback. By hand for any lane,
with longer lists, or with only some films. What is finished for the same champion and Params is
found, and nothing is made again.

**What it leaves.** `s3://<bucket>/<prefix>/recommendations/<lane>/<run>/top<n>-<hash>/` with the
same rows twice, as Parquet and as JSON lines (`user_id`, `rank`, `item_id`, `title`, `score`), and,
written last, `manifest.json` with counts and checksums. `latest.json` in the lane's folder says
which lists were made last; it never goes back to an earlier champion.

**When it fails.** Where the lane has no champion, where the champion's files are gone, and where
the filter allows no film. `latest.json` then leads to the lists before.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from fmrec import settings
from fmrec.operators import assets, house, recommending

with DAG(
    dag_id="fmrec_recommend",
    dag_display_name="fmrec: recommend",
    schedule=[assets.CHAMPION],
    max_active_runs=1,  # two at once would make the same lists
    # No variable: those of the same names are meant for the lists that a run's report shows.
    params={name: Param(**each) for name, each in settings.form(settings.Recommending, {}).items()},
    **house.dag(__doc__ or ""),
):
    recommending.recommend.expand(lane=recommending.lanes())
