"""``knn train``: a sample of the records, reduced and indexed. Nothing else is learnt."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import psutil

from fmrec.errors import DataError
from fmrec.fm.joblog import JobLog
from fmrec.local_aws.built_in import hyperparameters
from fmrec.local_aws.built_in.channels import Channel, Rows
from fmrec.local_aws.built_in.hyperparameters import KNN_DEFAULTS, Knn
from fmrec.local_aws.built_in.index_building import build
from fmrec.local_aws.built_in.knn_model import KnnModel, Preparation
from fmrec.local_aws.built_in.nearest_rows import Floats
from fmrec.local_aws.built_in.projection import Projection
from fmrec.local_aws.built_in.reservoir import Reservoir
from fmrec.local_aws.built_in.training import Job

SEED = 1


def fit(job: Job) -> None:
    """Index channel ``train``, write the artifact, and report on channel ``test``.

    Raises ConfigurationError and DataError for what cannot be indexed.
    """
    hp = job.configuration(hyperparameters.knn, KNN_DEFAULTS)
    log, size = job.log, hp.mini_batch_size
    train, test = (
        Channel(job.ml_root, name, hp.feature_dim, labelled=True) for name in ("train", "test")
    )
    train.first_batch(1)
    # Test rows that cannot be scored should fail the job before it trains, not after.
    next(test.batches(size), None)
    rng = np.random.default_rng(SEED)
    log.info(
        f"Using per-worker sample size = {hp.sample_size} (Available virtual memory = "
        f"{psutil.virtual_memory().available} bytes, GPU free memory = 0 bytes, number of workers "
        "= 1). If an out-of-memory error occurs, choose a larger instance type, use dimension "
        "reduction, decrease sample_size, and/or decrease mini_batch_size."
    )
    prepare = _preparation(hp)
    width = _width(hp)
    ready = log.clock()
    log.metrics({"initialize.time": (ready - job.started) * 1000}, job.started)
    sample = _sample(train, prepare, width, hp, rng, job)
    if sample is None:
        log.warning("Stopped before the first batch was read: there is no model to save")
        return
    vectors, labels = sample
    if hp.k > len(labels):
        raise DataError(
            f"k is {hp.k}, but the sample of channel 'train' holds {len(labels)} records: lower k, "
            "or give more records or a larger sample_size"
        )
    index = build(hp, vectors, rng, job.stop)
    model = KnnModel(index, labels, hp.k, hp.predictor_type, prepare)
    for name, content in model.dump().items():
        job.save(name, content)
    if job.stop.is_set():
        log.warning("Stopped on request: the model holds the records that were read so far")
    else:
        _test(model, test, hp, log)
    spent = {"setuptime": ready - job.started, "totaltime": log.clock() - job.started}
    log.metrics({name: seconds * 1000 for name, seconds in spent.items()}, job.started)


def _preparation(hp: Knn) -> Preparation:
    projection = None
    if hp.reduction != "none":
        projection = Projection(hp.reduction, SEED, hp.feature_dim, hp.reduction_target)
    return Preparation(hp.feature_dim, projection, hp.index_metric == "COSINE")


def _width(hp: Knn) -> int:
    """Return the number of columns in the index: as on AWS a multiple of faiss_index_pq_m."""
    width = hp.reduction_target or hp.feature_dim
    return math.ceil(width / hp.pq_m) * hp.pq_m if hp.pq_m else width


def _sample(
    train: Channel,
    prepare: Preparation,
    width: int,
    hp: Knn,
    rng: np.random.Generator,
    job: Job,
) -> Rows | None:
    """Return vectors and labels to index; None when a stop came before the first batch."""
    log = job.log
    begun, batches, reservoir = log.clock(), 0, Reservoir(hp.sample_size, rng)
    for rows in train.batches(hp.mini_batch_size):
        if job.stop.is_set():
            break
        reservoir.add(Rows(prepare(rows.features, width), rows.labels))
        batches += 1
    if not batches:
        return None
    vectors, labels = reservoir.rows()
    log.info("push reservoir to kv... 1 num_workers 0 rank")
    log.info(f"...done ({len(labels)})")
    log.info(
        f"pulled... worker 0 data {vectors.shape} labels {(len(labels), 1)} nans "
        f"{int(np.isnan(vectors).sum())}"
    )
    if not job.stop.is_set():
        log.epoch(begun, 1, 1, reservoir.seen, batches)
    return Rows(vectors, labels)


@dataclass
class _Score:
    """Sums over test rows."""

    rows: int = 0
    hits: int = 0
    squares: float = 0.0

    def add(self, predicted: Floats, labels: Floats) -> None:
        self.rows += len(labels)
        self.hits += int((predicted == labels).sum())
        self.squares += float(np.square(predicted.astype(np.float64) - labels).sum())


def _test(model: KnnModel, test: Channel, hp: Knn, log: JobLog) -> None:
    score = _Score()
    for rows in test.batches(hp.mini_batch_size):
        predicted = [answers.predicted for answers in model.answers(rows.features)]
        score.add(np.concatenate(predicted), rows.labels)
    if not score.rows:
        log.info("Test data is not provided.")
    elif hp.predictor_type == "classifier":
        log.test_score({"accuracy": score.hits / score.rows})
    else:
        log.test_score({"mse": score.squares / score.rows})
