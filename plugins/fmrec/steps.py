"""One function for each task of the DAG: read keys, call pure code, write keys, sum up.

Each takes the run as the first task made it and what earlier tasks returned, and returns a small
mapping for XCom; tables go through S3. A step may be repeated: it writes the same bytes again.
"""

from __future__ import annotations

import logging
import math
import platform
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fmrec import __version__, predictions, ratings, recordio, topn
from fmrec import events as event
from fmrec.evaluation import learning_curve, page, table
from fmrec.evaluation import report as reports
from fmrec.fm import artifact
from fmrec.layout import Run, split_uri
from fmrec.settings import Deployment, RunSettings, parse_instant
from fmrec.store import Store

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

Xcom = dict[str, Any]

_LIBRARIES = ("apache-airflow", "apache-airflow-providers-amazon", "boto3", "numpy", "pandas")
_LOG_GROUP = "/aws/sagemaker/TrainingJobs"
_RECOMMENDED = 10


def plan(run_id: str, clock: datetime, params: Mapping[str, Any], deployment: Deployment) -> Xcom:
    """Fix the run: its moment (Param `as_of`, else `clock`), its choices, its keys."""
    settings = RunSettings.of(params)
    as_of = clock if settings.as_of is None else parse_instant(settings.as_of)
    run = Run.of(run_id, as_of, settings, deployment)
    log.info("Run %s sees ratings before %s", run.layout.run, run.as_of.isoformat())
    return run.to_xcom()


def ingest(run: Xcom, s3: S3Client, deployment: Deployment) -> Xcom:
    """Read the source and write its tables, once for all runs that read the same content."""
    this = Run.from_xcom(run)
    store = Store(s3, this.layout.bucket)
    data = ratings.load(
        this.settings.source,
        split=this.settings.split,
        data_dir=deployment.data_dir,
        cache_dir=deployment.cache_dir,
    )
    origin = asdict(data.origin)
    # The package's version: another version may read the same archive differently.
    name = f"{data.origin.source}-{data.origin.sha256[:16]}-{__version__}"
    keys = {
        "ratings": this.layout.source(name, f"ratings-{this.settings.split}"),
        "users": this.layout.source(name, "users"),
        "items": this.layout.source(name, "items"),
    }
    for kind, key in keys.items():
        if not store.exists(key):
            store.put_table(key, getattr(data, kind))
    log.info("%s: %s ratings", data.origin.sentence, f"{len(data.ratings):,}")
    return {"keys": keys, "origin": origin, "ratings": len(data.ratings)}


def events(run: Xcom, tables: Xcom, s3: S3Client) -> Xcom:
    """Cut at the run's moment, split, decide what happens to unknown ids, fix the columns."""
    this = Run.from_xcom(run)
    chosen, layout = this.settings, this.layout
    store = Store(s3, layout.bucket)
    seen = event.before(store.get_table(tables["keys"]["ratings"]), this.as_of)
    split = event.divide(
        seen,
        chosen.split,
        validation_fraction=chosen.validation_fraction,
        test_fraction=chosen.test_fraction,
    )
    space = event.FeatureSpace.from_events(split.train)
    tested = event.admit(split.test, space, chosen.unknown_ids)
    parts = {
        "train": event.arrange(split.train, order=chosen.order, seed=chosen.seed),
        "validation": split.validation,
        "test": tested.to_score,
        "set-aside": tested.set_aside,
    }
    summary = {
        name: {
            "key": layout.events(name),
            "rows": len(rows),
            "sha256": store.put_table(layout.events(name), rows),
            **_window(rows),
        }
        for name, rows in parts.items()
    }
    store.put(layout.id_map, space.to_bytes())
    log.info("Rows: %s", ", ".join(f"{name} {each['rows']:,}" for name, each in summary.items()))
    return {
        "parts": summary,
        "counts": {
            "ratings_seen": len(seen),
            "unknown_both": tested.counts["unknown_both"],
            "set_aside": len(tested.set_aside),
        },
        "id_map": {"key": layout.id_map, "sha256": space.sha256},
    }


def _window(rows: pd.DataFrame) -> dict[str, int | None]:
    """The first and the last timestamp of some events."""
    times = rows["timestamp"]
    empty = rows.empty
    return {
        "first": None if empty else int(times.min()),
        "last": None if empty else int(times.max()),
    }


def recordio_files(run: Xcom, parts: Xcom, s3: S3Client) -> Xcom:
    """Write each part's design matrix as RecordIO files: the channels, and what is to be scored."""
    this = Run.from_xcom(run)
    store = Store(s3, this.layout.bucket)
    space = _feature_space(parts, store)
    files: dict[str, list[dict[str, Any]]] = {}
    for name in ("train", "validation", "test"):
        rows = store.get_table(parts["parts"][name]["key"])
        if rows.empty:
            continue
        files[name] = []
        for number, chunk in enumerate(_chunks(rows)):
            key = this.layout.channel_part(name, number)
            labels = event.labels(chunk, this.settings.objective)
            data = recordio.encode(space.encode(chunk), labels)
            digest = store.put(key, data)
            files[name].append(
                {"key": key, "rows": len(chunk), "bytes": len(data), "sha256": digest}
            )
        log.info("%s: %d files, %s rows", name, len(files[name]), f"{len(rows):,}")
    # The channel `test` is what the job reports on while it trains: the validation events where
    # the split has them, so that the events the model is judged by stay unseen until the end.
    watched = "validation" if "validation" in files else "test"
    uris = {name: this.layout.uri(this.layout.channel(name)) for name in files}
    return {
        "feature_dim": space.dimension,
        "training": {"train": uris["train"], "test": uris[watched]},
        "watched": watched,
        "score": uris["test"],
        "files": files,
    }


def _chunks(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Rows for one file each: about four files, none tiny and none beyond a million rows."""
    size = min(max(math.ceil(len(rows) / 4), 10_000), 1_000_000)
    for start in range(0, len(rows), size):
        yield rows.iloc[start : start + size]


def _feature_space(parts: Xcom, store: Store) -> event.FeatureSpace:
    id_map = parts["id_map"]
    return event.FeatureSpace.from_bytes(store.get(id_map["key"]), sha256=id_map["sha256"])


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
    train, test = (
        _labelled(store.get_table(parts["parts"][name]["key"]), this.settings.objective)
        for name in ("train", "test")
    )
    report = reports.build(
        run=_run_facts(this, tables, channels),
        train=train,
        test=test,
        scores=_scores(channels, transform, store),
        learning_curve=learning_curve.parse(_log_lines(logs, training["name"])),
        jobs=[
            {"kind": "training", **_without(training, "artifact", "metrics")},
            {"kind": "batch transform", **_without(transform, "output")},
        ],
        counts=parts["counts"] | {"validation": parts["parts"]["validation"]["rows"]},
        recommendations=_recommendations(train, tables, parts, training, store),
    )
    manifest = _manifest(this, tables, parts, channels, training, transform)
    texts = {
        "report.json": reports.to_json(report),
        "report.html": page.render(report),
        "manifest.json": reports.to_json(manifest),
    }
    # A repeated evaluation may follow a repeated job, whose name and duration differ.
    files = {name: this.layout.report(name) for name in texts}
    for name, text in texts.items():
        store.put(files[name], text.encode(), replace=True)
    log.info("\n%s", table.render(report))
    return {"files": files, "metrics": report["metrics"], "verdict": report["verdict"]}


def publish(run: Xcom, report: Xcom, s3: S3Client) -> Xcom:
    """Copy the report to where reports are listed; the manifest is last and means finished."""
    this = Run.from_xcom(run)
    store = Store(s3, this.layout.bucket)
    published = {name: this.layout.published_report(name) for name in report["files"]}
    for name in sorted(published, key=lambda name: name == "manifest.json"):
        store.put(published[name], store.get(report["files"][name]), replace=True)
    log.info("Report: %s", this.layout.uri(published["report.html"]))
    return {"bucket": store.bucket, "run": this.layout.run, "files": published}


def _labelled(rows: pd.DataFrame, objective: str) -> pd.DataFrame:
    return rows.assign(label=event.labels(rows, objective))


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


def _scores(channels: Xcom, transform: Xcom, store: Store) -> Any:
    """The transform job's predictions, in the order of the test events."""
    _, prefix = split_uri(transform["output"])
    rows = {each["key"].rpartition("/")[2]: each["rows"] for each in channels["files"]["test"]}
    outputs = {key.removeprefix(prefix): store.get(key) for key in store.list(prefix)}
    return predictions.align(rows, outputs)


def _log_lines(logs: CloudWatchLogsClient, job: str) -> Iterator[str]:
    """The lines of a training job's log, oldest first; none when the log is gone."""
    pages = logs.get_paginator("filter_log_events")
    try:
        for answer in pages.paginate(logGroupName=_LOG_GROUP, logStreamNamePrefix=f"{job}/"):
            for entry in answer["events"]:
                yield entry["message"]
    except logs.exceptions.ResourceNotFoundException:
        log.warning("Training job %s left no log: the report has no learning curve", job)


def _recommendations(
    train: pd.DataFrame, tables: Xcom, parts: Xcom, training: Xcom, store: Store
) -> Xcom:
    """Ten films for the user of the latest training event."""
    space = _feature_space(parts, store)
    _, key = split_uri(training["artifact"])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, artifact.ARCHIVE)
        file.write_bytes(store.get(key))
        model = artifact.load(file)
    items = store.get_table(tables["keys"]["items"])
    user = int(train.sort_values("timestamp", kind="stable")["user_id"].iloc[-1])
    rows = topn.recommend(model, space, train, items, user, _RECOMMENDED)
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
