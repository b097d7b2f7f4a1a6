"""Solver ``adam``: the epochs of a job, with the built-in container's log lines."""

from __future__ import annotations

import hashlib

import numpy as np

from fmrec.errors import ConfigurationError, DataError, FmrecError
from fmrec.fm import batches
from fmrec.fm.adam import Adam
from fmrec.fm.hosts import agreed, pack, unpack
from fmrec.fm.job import Arrays, Fitted, Job
from fmrec.fm.metrics import Score, score_for

LOWER_RATES = "Lower bias_lr, linear_lr and factors_lr, or scale the feature values."
# Between two states kept, unless keeping one takes long: then twenty times as long.
SAVE_SECONDS, SAVE_SHARE = 2.0, 20.0


def fit(job: Job) -> Fitted | None:
    """Train; None when a stop came before the first batch.

    Raises ConfigurationError when the model does not fit into memory or into the one to go on
    from, FmrecError when training diverges.
    """
    hp = job.hp
    _check_start(job)
    X = job.train.features
    if job.features is not None:
        X = job.features.complete(X)
    rows = X.shape[0]
    plan = batches.share(rows, hp.mini_batch_size, replicated=job.replicated, hosts=job.hosts)
    if not plan.count:
        raise DataError("channel 'train' holds no records on any host: check its S3 prefix")
    try:
        trainer = Adam(hp, X, job.train.labels, start=job.start, plan=plan, hosts=job.hosts)
    except (MemoryError, ValueError) as error:
        raise ConfigurationError(
            f"num_factors {hp.num_factors} for {hp.feature_dim} columns does not fit into memory "
            f"({error}): lower num_factors, or take a larger instance"
        ) from error
    finished = _Epochs(job, trainer).run()
    if finished is None:
        return None
    _compare(trainer, job)
    model = trainer.model()
    sums = np.array([model.w0, float(model.w.sum()), float(model.V.sum())])
    if not np.isfinite(sums).all():
        raise FmrecError(f"the last update diverged. {LOWER_RATES}")
    return Fitted(model, finished)


def _check_start(job: Job) -> None:
    if job.start is None:
        return
    factors = job.start.model.V.shape[1]
    if factors != job.hp.num_factors:
        raise ConfigurationError(
            f"channel 'model' holds a model of {factors} factors, but num_factors is "
            f"{job.hp.num_factors}: solver adam goes on with as many as there were"
        )


def _compare(trainer: Adam, job: Job) -> None:
    """Say whether all hosts hold the same parameters, as they do on machines of one kind."""
    if job.hosts.size == 1:
        return
    state = trainer.state()
    own = hashlib.sha256(b"".join(state[name].tobytes() for name in ("w0", "w", "V"))).digest()
    if len(set(job.hosts.all_gather(own))) == 1:
        job.log.info("All hosts hold the same parameters")
    else:
        job.log.warning(
            "The hosts hold parameters that differ: are they of different kinds? The model is "
            "that of the first host"
        )


class _Epochs:
    """Where a run stands: ``epoch`` and ``batch`` are the next to be trained.

    ``score`` counts the rows of the epoch so far; at its start, those of the epoch before.
    """

    def __init__(self, job: Job, trainer: Adam) -> None:
        self._job, self._trainer = job, trainer
        self._score = score_for(job.hp.predictor_type)
        self._epoch = self._batch = 0
        self._save_at = job.log.clock() + SAVE_SECONDS
        state = self._last_state()
        if state is not None:
            trainer.restore(state)
            self._epoch, self._batch = int(state["epoch"]), int(state["batch"])
            self._score.merge(state["sums"].astype(np.float64))
            job.log.info(f"{self._epoch} epochs and {self._batch} batches are done already")

    def run(self) -> bool | None:
        """Train, and return whether all epochs were done; None when not even one batch was."""
        job = self._job
        while self._epoch < job.hp.epochs:
            if not self._one_epoch():
                return False if self._trainer.steps else None
        self._log_quality(self._score, "train")
        return True

    def _one_epoch(self) -> bool:
        """Train the rest of an epoch; False when a stop came first."""
        job, trainer = self._job, self._trainer
        begun, first = job.log.clock(), self._batch
        interval = job.hp.batch_metrics_publish_interval
        if not first:
            self._score = score_for(job.hp.predictor_type)
        while self._batch < trainer.batches:
            if agreed(job.stop, job.hosts):
                if trainer.steps:
                    self._save()
                return False
            # Batch 0 is published, and every batch_metrics_publish_interval-th after it.
            last = min(self._batch + interval if self._batch else 1, trainer.batches)
            self._score.add(*trainer.train(self._batch, last))
            self._batch = last
            if (last - 1) % interval == 0:
                self._log_quality(self._score, f"epoch={self._epoch}, batch={last - 1} train")
        self._end_epoch(begun, first)
        return True

    def _end_epoch(self, begun: float, first: int) -> None:
        job = self._job
        values = self._score.values()
        if self._score.sums()[0] and not np.isfinite(list(values.values())).all():
            raise FmrecError(f"training diverged in epoch {self._epoch}: {values}. {LOWER_RATES}")
        self._log_quality(self._score, f"epoch={self._epoch}, train")
        batches = self._trainer.batches
        job.log.epoch(
            begun,
            self._epoch + 1,
            job.hp.epochs,
            self._trainer.rows,
            batches,
            share=1 - first / batches,
        )
        self._epoch, self._batch = self._epoch + 1, 0
        if job.log.clock() >= self._save_at or self._epoch == job.hp.epochs:
            self._save()

    def _log_quality(self, score: Score, where: str) -> None:
        # With more hosts than rows in a batch a host may have nothing to report.
        if score.sums()[0]:
            self._job.log.quality(score.values(), where)

    def _save(self) -> None:
        """Keep the state. All hosts have the same: the first one keeps it."""
        job = self._job
        begun = job.log.clock()
        if job.hosts.rank == 0:
            place = {"epoch": np.array(self._epoch), "batch": np.array(self._batch)}
            job.checkpoints.save({**self._trainer.state(), **place, "sums": self._score.sums()})
        ended = job.log.clock()
        self._save_at = ended + max(SAVE_SECONDS, SAVE_SHARE * (ended - begun))

    def _last_state(self) -> Arrays | None:
        """Return the state that the first host kept; None when there is none."""
        hosts = self._job.hosts
        state = self._job.checkpoints.load() if hosts.rank == 0 else None
        if hosts.size == 1:
            return state
        given = hosts.all_gather(b"" if state is None else pack(state))[0]
        if not given:
            return None
        return unpack(given) if hosts.rank else state
