"""Compare the predictions with what happened, and with the baselines; write the report."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from botocore.exceptions import ClientError
from numpy.typing import NDArray

from fmrec import __version__, films, predictions, prices
from fmrec.errors import ConfigurationError, EvaluationError
from fmrec.evaluation import learning_curve, page, peers, ranking, table
from fmrec.evaluation import report as reports
from fmrec.evaluation.listed import Lists
from fmrec.evaluation.question import question
from fmrec.events.prepare import EXAMPLES
from fmrec.layout import Run, split_uri
from fmrec.release import gate
from fmrec.settings import RunSettings
from fmrec.steps.champion import champion_of
from fmrec.steps.lists import Recommender, seen_in
from fmrec.steps.published import MANIFEST_SCHEMA
from fmrec.steps.xcom import Xcom, design_of, events_of, model_of, without
from fmrec.store import Store

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

_LIBRARIES = ("apache-airflow", "apache-airflow-providers-amazon", "boto3", "numpy", "pandas")
_LOG_GROUP = "/aws/sagemaker/TrainingJobs"


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
    region: str,
) -> Xcom:
    """Set the predictions beside what happened and beside the baselines; write the report."""
    this = Run.from_xcom(run)
    store = Store(s3, this.layout.bucket)
    rated = {
        name: events_of(each, store) for name, each in parts["parts"].items() if name != EXAMPLES
    }
    model = Recommender(model_of(training, store), design_of(this, tables, parts, store), this)
    people, items = (store.get_table(tables["keys"][what]) for what in ("users", "items"))
    seen = seen_in(rated, "train", "validation")
    lists, notes = _lists(this.settings, model, rated, seen)
    allowed = _allowed(this.settings, model, items)
    if allowed is not None and not allowed.any():
        notes.append(f"No film meets only={this.settings.only}, so nothing is recommended.")
    refused = tables["refused_by_check"]
    jobs = _jobs(training, transform)
    judged = reports.build(
        run=_run_facts(this, tables, channels, training),
        train=rated["train"],
        test=rated["test"],
        scores=_scores(channels, transform, store),
        lists=lists,
        champion=champion_of(this, rated, None if lists is None else lists.users, seen, store),
        learning_curve=learning_curve.parse(_log_lines(logs, training["name"])),
        jobs=jobs,
        people=people,
        films=items,
        cost=_cost(this.settings, jobs, region),
        counts=without(parts["counts"], "negatives_missing")
        | {
            "validation": parts["parts"]["validation"]["rows"],
            "refused": sum(refused.values()),
            "erased": tables["erased"],
        },
        notes=notes,
        data_notes=tables["notes"],
        refused_by_check=refused,
        recommendations=model.recommendations(rated, items.to_pandas(), allowed),
    )
    report = reports.decided(judged, gate.decide(judged, _policy(this.settings)))
    texts = {"report.json": reports.to_json(report), "report.html": page.render(report)}
    files = {name: this.layout.report(name) for name in (*texts, "manifest.json")}
    # A repeated evaluation may follow a repeated job, whose name and duration differ.
    sums = {
        name: store.put(files[name], text.encode(), replace=True) for name, text in texts.items()
    }
    manifest = _manifest(this, tables, parts, channels, training, transform) | {
        "cost": report["cost"],
        "report": sums,
    }
    store.put(files["manifest.json"], reports.to_json(manifest).encode(), replace=True)
    log.info("\n%s", table.render(report))
    return {
        "files": files,
        "metrics": report["metrics"],
        "verdict": report["verdict"],
        "gate": report["gate"],
        "question": question(report),
        "cost": (report["cost"] or {}).get("total"),
        "artifact": training["artifact"],
        "compared_with": (report["champion"] or {}).get("run"),
    }


def _jobs(training: Xcom, transform: Xcom) -> list[Xcom]:
    """The jobs of the run, as the report lists them."""
    told = ("name", "status", "seconds", "billable_seconds")
    tuning = training.get("tuning")
    if tuning is None:
        fitted = {"kind": "training"} | {name: training[name] for name in told}
    else:
        # All of its trials were paid for. How long it took is less: some ran at once.
        seconds = tuning["billable_seconds"]
        fitted = {"kind": f"tuning, {len(tuning['jobs'])} trials", "name": tuning["name"],
                  "status": training["status"], "seconds": seconds,
                  "billable_seconds": seconds}  # fmt: skip
    return [fitted, {"kind": "batch transform", **without(transform, "output")}]


def _hyperparameters(run: Run, training: Xcom) -> dict[str, str]:
    """What the model was trained with: a tuning has found some of it."""
    found: dict[str, str] = training.get("hyperparameters", {})
    return run.hyperparameters() | found


def _run_facts(run: Run, tables: Xcom, channels: Xcom, training: Xcom) -> Xcom:
    """What the report says of the run itself."""
    return {
        **asdict(run.settings),
        **_hyperparameters(run, training),
        "use": run.settings.promoted_for,
        "lane": run.lane,
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


def _lists(
    settings: RunSettings, model: Recommender, rated: Mapping[str, pd.DataFrame], seen: pd.DataFrame
) -> tuple[Lists | None, list[str]]:
    """The lists that are judged; without anybody to judge them by, none and a note, if they may."""
    try:
        users = ranking.judged_users(rated["train"], rated["test"])
    except EvaluationError as error:
        if settings.promoted_for == "ranking":
            raise
        return None, [f"Lists are not judged: {error}"]
    others, notes = {}, []
    for name in {"none": (), "all": peers.NAMES}.get(settings.peers, (settings.peers,)):
        log.info("Fitting the peer %s", name)
        try:
            others[name] = peers.lists(
                name, rated["train"], users, seen, ranking.DEPTH, settings.seed
            )
        except ConfigurationError as error:
            # The jobs are paid for: a row that nobody rests on must not cost the report.
            notes.append(f"The peer {name} is left out: {error}.")
    return Lists(users, seen, model.lists(users, seen), others), notes


def _allowed(
    settings: RunSettings, model: Recommender, items: pa.Table
) -> NDArray[np.bool_] | None:
    """Which films of the model's catalogue may be recommended; None for all."""
    return None if settings.only is None else films.allowed(settings.only, items, model.catalogue)


def _policy(settings: RunSettings) -> gate.Policy:
    return gate.Policy(
        tolerance=settings.gate_tolerance,
        ask_from=settings.gate_ask_from,
        baselines=settings.gate_baselines,
    )


def _cost(settings: RunSettings, jobs: Sequence[Mapping[str, Any]], region: str) -> Xcom:
    """What the jobs cost by the list; a transform is billed for all the time it runs."""
    return prices.cost(
        [
            {
                "kind": job["kind"],
                "name": job["name"],
                "instance_type": (
                    settings.transform_instance_type or settings.instance_type
                    if job["kind"] == "batch transform"
                    else settings.instance_type
                ),
                "instances": 1,
                "billable_seconds": job.get("billable_seconds", job["seconds"]),
            }
            for job in jobs
        ],
        region,
    )


def _manifest(
    run: Run, tables: Xcom, parts: Xcom, channels: Xcom, training: Xcom, transform: Xcom
) -> Xcom:
    """Everything needed to say what this run was made of."""
    return {
        "schema": MANIFEST_SCHEMA,
        "run_id": run.run_id,
        "run": run.layout.run,
        "as_of": run.as_of.isoformat(),
        "source": tables["origin"],
        "parameters": asdict(run.settings),
        "hyperparameters": _hyperparameters(run, training),
        "tuned": run.tuned,
        "data": parts["data"],
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
