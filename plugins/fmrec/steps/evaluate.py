"""Compare the predictions with what happened, and with the baselines; write the report."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from botocore.exceptions import ClientError
from numpy.typing import NDArray

from fmrec import __version__, predictions, topn
from fmrec.evaluation import learning_curve, page, ranking, table
from fmrec.evaluation import report as reports
from fmrec.events.prepare import EXAMPLES
from fmrec.events.window import as_seconds
from fmrec.layout import Run, split_uri
from fmrec.steps.xcom import Xcom, design_of, events_of, model_of, without
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
    rated = {
        name: events_of(each, store) for name, each in parts["parts"].items() if name != EXAMPLES
    }
    lists = _Lists(this, tables, parts, training, rated, store)
    refused = tables["refused_by_check"]
    report = reports.build(
        run=_run_facts(this, tables, channels),
        train=rated["train"],
        test=rated["test"],
        scores=_scores(channels, transform, store),
        learning_curve=learning_curve.parse(_log_lines(logs, training["name"])),
        jobs=[
            {"kind": "training", **without(training, "artifact", "metrics")},
            {"kind": "batch transform", **without(transform, "output")},
        ],
        counts=without(parts["counts"], "negatives_missing")
        | {
            "validation": parts["parts"]["validation"]["rows"],
            "refused": sum(refused.values()),
            "erased": tables["erased"],
        },
        ranked=lists.ranked() if this.settings.objective == "ranking" else None,
        data_notes=tables["notes"],
        refused_by_check=refused,
        recommendations=lists.recommendations(),
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
        "rating_scale": [tables["origin"]["scale"][end] for end in ("low", "high")],
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


class _Lists:
    """Films that the model puts first, among those its users have not rated."""

    def __init__(
        self,
        run: Run,
        tables: Xcom,
        parts: Xcom,
        training: Xcom,
        rated: Mapping[str, pd.DataFrame],
        store: Store,
    ) -> None:
        self._rated, self._at = rated, as_seconds(run.as_of)
        self._design = design_of(run, tables, parts, store)
        self._model = model_of(training, store)
        self._items = store.get_table(tables["keys"]["items"]).to_pandas()

    def recommendations(self) -> Xcom:
        """Ten films for the user of the latest training event, none that the run saw rated."""
        events = self._rated["train"]
        known = events[events["user_id"].isin(self._design.space.trained_users)]
        user = int(known.sort_values("timestamp", kind="stable")["user_id"].iloc[-1])
        seen = self._seen(*self._rated)
        rows = topn.recommend(
            self._model, self._design, seen, self._items, user, _RECOMMENDED, at=self._at
        )
        return {"user_id": user, "items": rows}

    def ranked(self) -> ranking.Ranked:
        """The lists that the report judges."""
        users = ranking.judged_users(self._rated["train"], self._rated["test"])
        seen = self._seen("train", "validation")
        items, _ = topn.best(self._model, self._design, users, seen, ranking.LENGTH, at=self._at)
        return ranking.Ranked(users, items, seen)

    def _seen(self, *parts: str) -> pd.DataFrame:
        return pd.concat(
            [self._rated[part][["user_id", "item_id"]] for part in parts], ignore_index=True
        )


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
        "refused": tables["refused_by_check"],
        "erased": {"ratings": tables["erased"], "list": tables["erasure"]},
        "tables": tables["keys"],
        "recordio": channels["files"],
        "jobs": {"training": training, "transform": transform},
        "versions": {
            "fmrec": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _LIBRARIES},
        },
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
