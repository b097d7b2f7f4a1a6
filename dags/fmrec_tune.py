"""Search for better hyperparameters, which later retraining runs use.

**What it does.** Prepares the data as `fmrec_retrain` does, trains once with today's defaults, and
runs a SageMaker tuning job that starts from what the last five tunings of the same kind of model
found. When its best beats today's defaults on the validation events, it becomes the default of
every later run of that kind (objective, features, image, solver and source) whose Param
`hyperparameters_from` is `tuned` and that leaves the hyperparameters empty.

**When.** Every Sunday at 02:00 UTC, and whenever it is triggered. A run of a past day uses no
tuning that saw later ratings.

**What it leaves.** An entry in `s3://<bucket>/<prefix>/tunings/<kind>/`, which is only added to.

**When it fails.** As `fmrec_retrain`. Nothing is adopted by a run that failed.
"""

from __future__ import annotations

import os

from airflow.sdk import DAG, CronDataIntervalTimetable, Param

from fmrec import operators, settings
from fmrec.operators import house, tasks

with DAG(
    dag_id="fmrec_tune",
    dag_display_name="fmrec: tune",
    schedule=CronDataIntervalTimetable("0 2 * * 0", timezone="UTC"),
    max_active_runs=1,
    params={name: Param(**each) for name, each in settings.tuning_params(os.environ).items()},
    **house.dag(__doc__ or ""),
):
    run = tasks.plan()
    tables = tasks.ingest(run)
    parts = tasks.events(run, tables)
    channels = tasks.recordio(run, tables, parts)
    chosen = tasks.choose(
        run, tables, parts, channels, jobs={"tune": ["train", "tune"]}, releases=False
    )
    control = operators.TrainingOperator(
        task_id="train",
        doc_md="A training job with today's defaults, to compare with.",
        run=run,
        channels=channels,
    )
    tune = operators.TuningOperator(
        task_id="tune",
        doc_md="A SageMaker tuning job.",
        run=run,
        channels=channels,
    )
    chosen >> [control, tune, tasks.rehearse(run, channels, releases=False)]
    tasks.adopt(run, parts, control.output, tune.output)
