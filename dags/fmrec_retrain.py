"""Rebuild the movie recommender from all ratings up to one moment.

**What it does.** Reads the ratings of an archive, of the landing zone or of both, keeps those
before `as_of` and of each user and film the latest, splits them, writes them as
RecordIO-protobuf, trains SageMaker Factorization Machines (one training job, or a tuning job whose
best one goes on), scores the test events with a batch transform, and publishes a report that
compares the model with baselines and with the champion on the same rows. A model that is shown to
be better becomes the champion of its lane (use, source and split). Where the gate is in doubt, task
`approve` waits for a person, except in a backfill. A model that was overtaken by another run's
meanwhile is not promoted, and the last task says so.

**When.** Every day at midnight UTC, for the day that just ended; a scheduled run skips the jobs
when no rating is new since the champion's data. `as_of` is the end of the data interval, so
`airflow backfill create` rebuilds the model of any past day from what was known then. A manual run
takes the last midnight before its logical date, or the present moment when it has none; the Param
`as_of` overrides all of that.

**What it leaves.** `s3://<bucket>/<prefix>/reports/<as_of>-<run>/` with `report.html`,
`report.json` and, written last, `manifest.json`. Everything else of the run is below
`<prefix>/runs/<as_of>-<run>/`.

**When it fails.** Each error names the file, row or parameter and what to do. A task that is
retried or cleared goes on with its SageMaker job when there is one that runs or has completed, and
starts another when it failed or was stopped; one that is cleared or marked while its job runs stops
it.
"""

from __future__ import annotations

import os

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, TriggerRule

from fmrec import operators, settings
from fmrec.operators import house, tasks

with DAG(
    dag_id="fmrec_retrain",
    dag_display_name="fmrec: retrain",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    max_active_runs=2,  # runs share no file they write; of two promoted at once one is turned away
    params={name: Param(**each) for name, each in settings.params(os.environ).items()},
    **house.dag(__doc__ or ""),
):
    run = tasks.plan()
    tables = tasks.ingest(run)
    parts = tasks.events(run, tables)
    channels = tasks.recordio(run, tables, parts)
    chosen = tasks.choose(run, tables, parts, channels, jobs={"train": ["train"], "tune": ["tune"]})
    train = operators.TrainingOperator(
        task_id="train",
        doc_md="A SageMaker training job of Factorization Machines.",
        run=run,
        channels=channels,
    )
    tune = operators.TuningOperator(
        task_id="tune",
        doc_md="A SageMaker tuning job; its best training job goes on.",
        run=run,
        channels=channels,
    )
    chosen >> [train, tune, tasks.rehearse(run, channels)]
    model = operators.ModelOperator(
        task_id="model",
        doc_md="The trained artifact, registered as a SageMaker model.",
        run=run,
        training=[train.output, tune.output],
        trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
    )
    chosen >> model  # a run that goes on to neither job has nothing to register
    score = operators.TransformOperator(
        task_id="score",
        doc_md="A SageMaker batch transform of the test events.",
        run=run,
        channels=channels,
        model=model.output,
    )
    report = tasks.evaluate(run, tables, parts, channels, model.output, score.output)
    published = tasks.publish(run, report)
    approval = operators.ApprovalOperator(
        task_id="approve",
        doc_md="Ask a person, where the gate is in doubt; a backfill does not.",
        report=report,
    )
    published >> approval
    tasks.release(run, report, published, approval.output)
