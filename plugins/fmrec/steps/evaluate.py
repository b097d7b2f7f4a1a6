"""Compare the predictions with what happened, and with the baselines; write the report."""

from __future__ import annotations

import logging
import platform
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from botocore.exceptions import ClientError
from numpy.typing import NDArray

from fmrec import __version__, predictions, topn
from fmrec.evaluation import learning_curve, page, table
from fmrec.evaluation import report as reports
from fmrec.fm import artifact
from fmrec.layout import Run, split_uri
from fmrec.steps.xcom import Xcom, feature_space
from fmrec.store import Store

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

_LIBRARIES = ("apache-airflow", "apache-airflow-providers-amazon", "boto3", "numpy", "pandas")
_LOG_GROUP = "/aws/sagemaker/TrainingJobs"
_RECOMMENDED = 10


def evaluate(
    run: Xcom,
    *,
    tables: Xcom,
    parts: Xcom,
    channels: Xcom,
    training: Xcom,
    transform: Xcom,
    s3: S3Client,
    logs: CloudWatchLogsClient,
) -> Xcom:
    """Set the predictions beside what happened and beside the baselines; write the report."""
    this = Run.from_xcom(run)
    store = Store(s3, this.layout.bucket)
    rated = {name: store.get_table(each["key"]) for name, each in parts["parts"].items()}
    report = reports.build(
        run=_run_facts(this, tables, channels),
        train=rated["train"],
        test=rated["test"],
        scores=_scores(channels, transform, store),
        learning_curve=learning_curve.parse(_log_lines(logs, training["name"])),
        jobs=[
            {"kind": "training", **_without(training, "artifact", "metrics")},
            {"kind": "batch transform", **_without(transform, "output")},
        ],
        counts=parts["counts"] | {"validation": parts["parts"]["validation"]["rows"]},
        recommendations=_recommendations(rated, tables, parts, training, store),
    )
    texts = {"report.json": reports.to_json(report), "report.html": page.render(report)}
    files = {name: this.layout.report(name) for name in (*texts, "manifest.json")}
    # A repeated evaluation may follow a repeated job, whose name and duration differ.
    sums = {
        name: store.put(files[name], text.encode(), replace=True) for name, text in texts.items()
    }
    manifest = _manifest(this, tables, parts, channels, training, transform) | {"report": sums}
    store.put(files["manifest.json"], reports.to_json(manifest).encode(), replace=True)
    log.info("\n%s", table.render(report))
    return {"files": files, "metrics": report["metrics"], "verdict": report["verdict"]}


def _without(values: Xcom, *names: str) -> Xcom:
    return {name: value for name, value in values.items() if name not in names}


def _run_facts(run: Run, tables: Xcom, channels: Xcom) -> Xcom:
    """What the report says of the run itself."""
    return {
        **asdict(run.settings),
        **run.settings.hyperparameters(),
        "run_id": run.run_id,
        "run": run.layout.run,
        "as_of": run.as_of.isoformat(),
        "source_note": tables["origin"]["sentence"],
        "generated": tables["origin"]["generated"],
        "watched": channels["watched"],
        "feature_dim": channels["feature_dim"],
        "fmrec": __version__,
    }


def _scores(channels: Xcom, transform: Xcom, store: Store) -> NDArray[np.float64]:
    """The transform job's predictions, in the order of the test events."""
    _, prefix = split_uri(transform["output"])
    rows = {each["key"].rpartition("/")[2]: each["rows"] for each in channels["files"]["test"]}
    outputs = {key.removeprefix(prefix): store.get(key) for key in store.list(prefix)}
    return predictions.align(rows, outputs)


def _log_lines(logs: CloudWatchLogsClient, job: str) -> Iterator[str]:
    """The lines of a training job's log, oldest first; none when it cannot be read.

    The log only draws the learning curve: a missing permission must not cost the report.
    """
    pages = logs.get_paginator("filter_log_events")
    try:
        for answer in pages.paginate(logGroupName=_LOG_GROUP, logStreamNamePrefix=f"{job}/"):
            for entry in answer["events"]:
                yield entry["message"]
    except ClientError as error:
        log.warning("No learning curve: the log of %s cannot be read (%s)", job, error)


def _recommendations(
    rated: Mapping[str, pd.DataFrame], tables: Xcom, parts: Xcom, training: Xcom, store: Store
) -> Xcom:
    """Ten films for the user of the latest training event, none that the run saw a rating of."""
    space = feature_space(parts, store)
    _, key = split_uri(training["artifact"])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, artifact.ARCHIVE)
        file.write_bytes(store.get(key))
        model = artifact.load(file)
    items = store.get_table(tables["keys"]["items"])
    user = int(rated["train"].sort_values("timestamp", kind="stable")["user_id"].iloc[-1])
    seen = pd.concat([each[["user_id", "item_id"]] for each in rated.values()])
    rows = topn.recommend(model, space, seen, items, user, _RECOMMENDED)
    return {"user_id": user, "items": rows}


def _manifest(
    run: Run, tables: Xcom, parts: Xcom, channels: Xcom, training: Xcom, transform: Xcom
) -> Xcom:
    """Everything needed to say what this run was made of."""
    return {
        "schema": 1,
        "run_id": run.run_id,
        "run": run.layout.run,
        "as_of": run.as_of.isoformat(),
        "source": tables["origin"],
        "parameters": asdict(run.settings),
        "hyperparameters": run.settings.hyperparameters(),
        "seeds": {"run": run.settings.seed, "source": tables["origin"]["seed"]},
        "id_map": parts["id_map"],
        "events": parts["parts"],
        "counts": parts["counts"],
        "recordio": channels["files"],
        "jobs": {"training": training, "transform": transform},
        "versions": {
            "fmrec": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _LIBRARIES},
        },
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
