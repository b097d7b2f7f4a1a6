"""The ``train`` command of the container: channels in, model out, metrics on the log."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fmrec.errors import FmrecError
from fmrec.fm import artifact, checkpoints, failure, features, hosts, hyperparameters, warm_start
from fmrec.fm.channels import Channel, extra_folder, read_config, sizes
from fmrec.fm.checkpoints import Folder
from fmrec.fm.features import Features
from fmrec.fm.hyperparameters import DEFAULTS, WITHOUT_EFFECT, Hyperparameters, Solver
from fmrec.fm.job import Fitted, Hosts, Job
from fmrec.fm.joblog import JobLog
from fmrec.fm.metrics import score_for
from fmrec.fm.model import Matrix, Model

# Each module has ``fit(job)``. One job needs one of them, and imports take their time.
SOLVERS: Mapping[Solver, str] = {
    "adam": "fmrec.fm.adam_training",
    "mcmc": "fmrec.fm.mcmc",
    "catalogue": "fmrec.fm.catalogue",
}
# Test rows completed at a time: a history may have thousands of entries.
COMPLETED_ROWS = 4096


def main(
    ml_root: Path,
    clock: Callable[[], float],
    stop: threading.Event,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Run a training job in ``ml_root`` and return its exit code.

    When ``stop`` is set the job saves what it has learnt so far and ends with 0. A failure is
    explained on the log and in ``output/failure``, as the built-in does: ``AlgorithmError: ``
    and what is wrong with the request or the data, or what went wrong here.
    """
    log = JobLog(sys.stdout, clock)
    try:
        _job(ml_root, log, stop, environ)
    except Exception as error:  # noqa: BLE001 - whatever it is, the job must say so
        failure.report(error, ml_root, log)
        return 1
    return 0


def _job(ml_root: Path, log: JobLog, stop: threading.Event, environ: Mapping[str, str]) -> None:
    started = log.clock()
    log.line("Docker entrypoint called with argument(s): train")
    log.line("Running default environment configuration script")
    resources = read_config(ml_root, "resourceconfig")
    log.host = resources.get("current_host", log.host)
    hp = _configuration(ml_root, log)
    met = hosts.join(resources, environ, stop)
    if met is None:
        _nothing_trained(log)
        return
    with met:
        _train(ml_root, hp, met, log, stop, started)


def _configuration(ml_root: Path, log: JobLog) -> Hyperparameters:
    provided = read_config(ml_root, "hyperparameters")
    log.info(f"Reading default configuration from fmrec.fm.hyperparameters: {dict(DEFAULTS)}")
    log.info(
        "Merging with provided configuration from "
        f"{ml_root}/input/config/hyperparameters.json: {provided}"
    )
    hp = hyperparameters.parse(provided)
    log.info(f"Final configuration: {dict(hp.configuration)}")
    ignored = [name for name in WITHOUT_EFFECT[hp.solver] if name in provided]
    if ignored:
        log.warning(f"Accepted but without effect in this image: {', '.join(ignored)}")
    return hp


def _train(
    ml_root: Path,
    hp: Hyperparameters,
    met: Hosts,
    log: JobLog,
    stop: threading.Event,
    started: float,
) -> None:
    train, test = Channel(ml_root, "train", hp), Channel(ml_root, "test", hp)
    job = _read(ml_root, hp, train, met, log, stop)
    # Test rows that cannot be scored should fail the job before it trains, not after.
    next(test.read(), None)
    log.info(
        f"Solver {hp.solver}, seed {hp.seed}, {len(job.train.labels)} records in "
        f"{len(train.files)} files ({train.bytes} bytes)"
    )
    if met.size > 1:
        log.info(f"Host {met.rank} (counted from 0) of {met.size}")
    ready = log.clock()
    log.metrics({"initialize.time": (ready - started) * 1000}, started)

    # Only the solver holds the rows, so that it can let go of them.
    job, handed = replace(job, train=job.train.none()), [job]
    fitted: Fitted | None = importlib.import_module(SOLVERS[hp.solver]).fit(handed.pop())
    if fitted is None:
        _nothing_trained(log)
        return
    # SageMaker puts the hosts' model folders together: one of them is enough.
    if met.rank == 0:
        _save(fitted.model, job, ml_root / "model")
    if fitted.finished:
        _test(fitted, test, job)
    else:
        log.warning("Stopped on request: the model holds what was trained so far")
    spent = {"setuptime": (ready - started) * 1000, "totaltime": (log.clock() - started) * 1000}
    log.metrics(spent, started)


def _nothing_trained(log: JobLog) -> None:
    log.warning("Stopped before the first batch was trained: there is no model to save")


def _read(
    ml_root: Path,
    hp: Hyperparameters,
    train: Channel,
    met: Hosts,
    log: JobLog,
    stop: threading.Event,
) -> Job:
    extra = {name: extra_folder(ml_root, name) for name in ("features", "model")}
    columns = features.load(extra["features"], hp.feature_dim)
    start = warm_start.load(extra["model"], hp, columns, log)
    rows = train.read_all()
    files = {name: sizes(path) for name, path in extra.items()}
    own = checkpoints.fingerprint(hp.configuration, files, rows)
    # A state is of all hosts: that of one is no use when another has other data.
    mark = hashlib.sha256(b"".join(met.all_gather(own))).digest()
    kept = Folder(ml_root / "checkpoints", mark, met.rank, log)
    return Job(hp, rows, columns, start, met, kept, log, stop, train.replicated)


def _save(model: Model, job: Job, folder: Path) -> None:
    sums = np.array([model.w0, float(model.w.sum()), float(model.V.sum())])
    if not np.isfinite(sums).all():
        raise FmrecError(
            f"solver {job.hp.solver} ended with parameters that are no finite numbers: "
            "scale labels and feature values"
        )
    path = artifact.save(model, folder, job.hp.configuration)
    if job.features is not None:
        # A later job that goes on from this model finds its columns by these names.
        (folder / features.COLUMNS).write_bytes(features.dump(job.features))
    job.log.info(f"Saved model to {path}")


def _test(fitted: Fitted, channel: Channel, job: Job) -> None:
    """Score the test rows, each host its own; the first host reports on all of them."""
    model = fitted.model
    score = score_for(model.predictor_type)
    if job.hosts.rank == 0 or not channel.replicated:
        for block in channel.read():
            score.add(_raw(model, block.features, job.features), block.labels)
    given = job.hosts.all_gather(score.sums().tobytes())
    for rank, sums in enumerate(given):
        if rank != job.hosts.rank:
            score.merge(np.frombuffer(sums))
    if not score.sums()[0]:
        job.log.info("Test data is not provided.")
        return
    values = score.values()
    if any(job.hosts.all_gather(b"\1" if fitted.judge else b"")):
        rows = hosts.union(channel.read_all(), job.hosts, replicated=channel.replicated)
        values |= fitted.judge(rows) if fitted.judge else {}
    if job.hosts.rank == 0:
        job.log.test_score(values)


def _raw(model: Model, X: Matrix, columns: Features | None) -> npt.NDArray[np.float64]:
    if columns is None:
        return model.raw(X)
    parts = range(0, X.shape[0], COMPLETED_ROWS)
    return np.concatenate(
        [model.raw(columns.complete(X[first : first + COMPLETED_ROWS])) for first in parts]
    )
