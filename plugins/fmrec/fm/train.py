"""The ``train`` command of the container: channels in, model out, metrics on the log."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fmrec.errors import ConfigurationError, DataError, FmrecError
from fmrec.fm import artifact, hyperparameters
from fmrec.fm.adam import Adam
from fmrec.fm.channels import Channel, read_config
from fmrec.fm.hyperparameters import DEFAULTS, WITHOUT_EFFECT, Hyperparameters
from fmrec.fm.joblog import JobLog
from fmrec.fm.metrics import score_for
from fmrec.fm.model import Model

LOWER_RATES = "Lower bias_lr, linear_lr and factors_lr, or scale the feature values."


def main(ml_root: Path, clock: Callable[[], float], stop: threading.Event) -> int:
    """Run a training job in ``ml_root`` and return its exit code.

    When ``stop`` is set the job saves what it has learnt so far and ends with 0. A failure is
    explained on the log and in ``output/failure``: ``ClientError`` when the request or the
    data is at fault, else ``AlgorithmError``.
    """
    log = JobLog(sys.stdout, clock)
    try:
        _job(ml_root, log, stop)
    except Exception as error:  # noqa: BLE001 - whatever it is, the job must say so
        client = isinstance(error, ConfigurationError | DataError)
        reason = f"{'ClientError' if client else 'AlgorithmError'}: {error}"
        if not isinstance(error, FmrecError):
            reason = f"AlgorithmError: {type(error).__name__}: {error}"
            log.line(traceback.format_exc())
        log.error(reason)
        failure = ml_root / "output" / "failure"
        failure.parent.mkdir(parents=True, exist_ok=True)
        failure.write_text(reason, encoding="utf-8")
        return 1
    return 0


def _job(ml_root: Path, log: JobLog, stop: threading.Event) -> None:
    started = log.clock()
    log.line("Docker entrypoint called with argument(s): train")
    log.line("Running default environment configuration script")
    hp = _configuration(ml_root, log)
    train, test = Channel(ml_root, "train", hp), Channel(ml_root, "test", hp)
    rows = train.read_all()
    # Test rows that cannot be scored should fail the job before it trains, not after.
    next(test.read(), None)
    try:
        trainer = Adam(hp, rows.features, rows.labels)
    except (MemoryError, ValueError) as error:
        raise ConfigurationError(
            f"num_factors {hp.num_factors} for {hp.feature_dim} columns does not fit into memory "
            f"({error}): lower num_factors, or take a larger instance"
        ) from error
    log.info(
        f"Solver adam, seed {hp.seed}, {len(rows.labels)} records in {len(train.files)} files "
        f"({train.bytes} bytes)"
    )
    ready = log.clock()
    log.metrics({"initialize.time": (ready - started) * 1000}, started)

    finished = _epochs(hp, trainer, len(rows.labels), log, stop)
    if finished is None:
        log.warning("Stopped before the first batch was trained: there is no model to save")
        return
    model = trainer.model()
    sums = np.array([model.w0, float(model.w.sum()), float(model.V.sum())])
    if not np.isfinite(sums).all():
        raise FmrecError(f"the last update diverged. {LOWER_RATES}")
    path = artifact.save(model, ml_root / "model", hp.configuration)
    log.info(f"Saved model to {path}")
    if not finished:
        log.warning("Stopped on request: the model holds what was trained so far")
    elif test.files:
        _test(model, test, log)
    else:
        log.info("Test data is not provided.")
    spent = {"setuptime": (ready - started) * 1000, "totaltime": (log.clock() - started) * 1000}
    log.metrics(spent, started)


def _configuration(ml_root: Path, log: JobLog) -> Hyperparameters:
    resources = read_config(ml_root, "resourceconfig")
    log.host = resources.get("current_host", log.host)
    provided = read_config(ml_root, "hyperparameters")
    log.info(f"Reading default configuration from fmrec.fm.hyperparameters: {dict(DEFAULTS)}")
    log.info(
        "Merging with provided configuration from "
        f"{ml_root}/input/config/hyperparameters.json: {provided}"
    )
    if len(resources.get("hosts", ())) > 1:
        raise ConfigurationError(
            f"this image trains on one instance, but the job has {len(resources['hosts'])}: "
            "set InstanceCount to 1"
        )
    hp = hyperparameters.parse(provided)
    log.info(f"Final configuration: {dict(hp.configuration)}")
    ignored = [name for name in WITHOUT_EFFECT if name in provided]
    if ignored:
        log.warning(f"Accepted but without effect in this image: {', '.join(ignored)}")
    return hp


def _epochs(
    hp: Hyperparameters, trainer: Adam, rows: int, log: JobLog, stop: threading.Event
) -> bool | None:
    """Train, and return whether all epochs were done; None when not even one batch was."""
    values: dict[str, float] = {}
    trained = False
    for epoch in range(hp.epochs):
        begun = log.clock()
        score = score_for(hp.predictor_type)
        first = 0
        while first < trainer.batches:
            if stop.is_set():
                return False if trained else None
            # Batch 0 is published, and every batch_metrics_publish_interval-th after it.
            last = min(first + hp.batch_metrics_publish_interval if first else 1, trainer.batches)
            score.add(*trainer.train(first, last))
            trained = True
            if (last - 1) % hp.batch_metrics_publish_interval == 0:
                log.quality(score.values(), f"epoch={epoch}, batch={last - 1} train")
            first = last
        values = score.values()
        if not np.isfinite(list(values.values())).all():
            raise FmrecError(f"training diverged in epoch {epoch}: {values}. {LOWER_RATES}")
        log.quality(values, f"epoch={epoch}, train")
        _log_progress(log, begun, epoch, hp.epochs, rows, trainer.batches)
    log.quality(values, "train")
    return True


def _log_progress(
    log: JobLog, begun: float, epoch: int, epochs: int, rows: int, batches: int
) -> None:
    seconds = log.clock() - begun
    log.metrics({"update.time": seconds * 1000}, begun)
    done = 100 * (epoch + 1) / epochs
    log.info(f"#progress_metric: host={log.host}, completed {done} % of epochs")
    log.metrics(
        {
            "Total Records Seen": rows * (epoch + 1),
            "Total Batches Seen": batches * (epoch + 1),
            "Max Records Seen Between Resets": rows,
            "Max Batches Seen Between Resets": batches,
            "Reset Count": epoch + 1,
            "Number of Records Since Last Reset": rows,
            "Number of Batches Since Last Reset": batches,
        },
        begun,
        {"epoch": epoch, "Meta": "training_data_iter"},
    )
    rate = rows / max(seconds, 1e-9)
    log.info(f"#throughput_metric: host={log.host}, train throughput={rate} records/second")


def _test(model: Model, channel: Channel, log: JobLog) -> None:
    score = score_for(model.predictor_type)
    for block in channel.read():
        score.add(model.raw(block.features), block.labels)
    log.test_score(score.values())
