"""``kmeans train``: the web-scale K-Means of the built-in container.

K = k x extra_center_factor centers are taken from the first batch and moved to the averages of the
rows that come closest, batch by batch; in the end Lloyd's algorithm reduces the K centers, weighted
by their rows, to k. Source: SageMaker Developer Guide, "How K-Means Clustering Works".
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fmrec.errors import ConfigurationError, DataError
from fmrec.fm.joblog import JobLog
from fmrec.local_aws.built_in import hyperparameters
from fmrec.local_aws.built_in.channels import Channel
from fmrec.local_aws.built_in.hyperparameters import KMEANS_DEFAULTS, KMeans
from fmrec.local_aws.built_in.kmeans_model import MEMBER, KMeansModel
from fmrec.local_aws.built_in.lloyd import Array, Lloyd, lloyd, nearest, start
from fmrec.local_aws.built_in.single import single
from fmrec.local_aws.built_in.training import Job

SEED = 1
# What 'auto' comes to, as real logs have it.
AUTO_FACTOR, AUTO_TRIALS = 10, 10

Floats = npt.NDArray[np.float32]


class Centers:
    """K centers that follow the rows; the weight of a row halves with every ``half_life`` rows.

    A center is the weighted average of the rows assigned to it, and stays where it began until
    there is one.
    """

    def __init__(self, centers: Array, half_life: int) -> None:
        self.centers = centers
        self._half_life = half_life
        self._sums = np.zeros_like(centers)
        self._weights = np.zeros(len(centers))

    def update(self, X: Floats) -> None:
        """Assign rows ``(n, d)`` to the closest centers, then move those."""
        rows, k = len(X), len(self.centers)
        closest, _ = nearest(X, self.centers)
        if self._half_life:
            decay = 0.5 ** (rows / self._half_life)
            self._sums *= decay
            self._weights *= decay
        counts = np.bincount(closest, minlength=k)
        self._weights += counts
        members = sparse.csr_array((np.ones(rows), (closest, np.arange(rows))), (k, rows))
        self._sums += members @ X.astype(np.float64)
        moved = counts > 0
        self.centers[moved] = self._sums[moved] / self._weights[moved, None]

    def weighted(self, least: int) -> tuple[Array, Array]:
        """Return the centers that have rows and their weights; at least ``least`` centers."""
        used = self._weights > 0
        if used.sum() >= least:
            return self.centers[used], self._weights[used]
        # So few distinct rows that centers coincide: those without rows weigh next to nothing.
        return self.centers, np.maximum(self._weights, self._weights.max() * 1e-12)


def fit(job: Job) -> None:
    """Train on channel ``train``, write the artifact, and report on channel ``test``.

    Raises ConfigurationError and DataError for what cannot be trained on.
    """
    hp = job.configuration(hyperparameters.kmeans, KMEANS_DEFAULTS)
    log, size = job.log, hp.mini_batch_size
    train, test = (
        Channel(job.ml_root, name, hp.feature_dim, labelled=False) for name in ("train", "test")
    )
    first = train.first_batch(size).features
    # Test rows that cannot be used should fail the job before it trains, not after.
    next(test.batches(size), None)
    factor = _factor(hp, len(first), log)
    rng = np.random.default_rng(SEED)
    points = first.astype(np.float64)
    begin = start(points, np.ones(len(points)), hp.k * factor, hp.init_method, rng)
    centers = Centers(begin, hp.half_life_time_size)
    ready = log.clock()
    log.metrics({"initialize.time": (ready - job.started) * 1000}, job.started)
    if not _iterate(centers, train, hp, job):
        log.warning("Stopped before the first batch was trained: there is no model to save")
        return
    model = KMeansModel(single(_reduced(centers, hp, factor, rng, job)))
    job.save(MEMBER, model.dump())
    if job.stop.is_set():
        log.warning("Stopped on request: the model holds what was trained so far")
    else:
        _test(model, test, hp, log)
    spent = {"setuptime": ready - job.started, "totaltime": log.clock() - job.started}
    log.metrics({name: seconds * 1000 for name, seconds in spent.items()}, job.started)


def _factor(hp: KMeans, rows: int, log: JobLog) -> int:
    """Return extra_center_factor; ``rows`` are those of the first batch."""
    if rows < hp.mini_batch_size:
        log.warning(
            f"Batch size {hp.mini_batch_size} is bigger than the first batch data. Effective batch "
            f"size used to initialize is {rows}"
        )
    if hp.k > rows:
        raise DataError(
            f"k is {hp.k}, but the first batch of channel 'train' holds {rows} records: lower k, "
            f"or give more records (mini_batch_size is {hp.mini_batch_size})"
        )
    if not hp.extra_center_factor:
        factor = min(AUTO_FACTOR, rows // hp.k)
        log.info(f"'extra_center_factor' was set to 'auto', evaluated to {factor}.")
        return factor
    if hp.k * hp.extra_center_factor > rows:
        raise ConfigurationError(
            f"k x extra_center_factor is {hp.k * hp.extra_center_factor}, but the first batch, "
            f"which the centers are taken from, holds {rows} records: lower extra_center_factor, "
            f"or give more records (mini_batch_size is {hp.mini_batch_size})"
        )
    return hp.extra_center_factor


def _iterate(centers: Centers, train: Channel, hp: KMeans, job: Job) -> bool:
    """Go through the data ``epochs`` times; False when a stop came before the first batch."""
    done = False
    for epoch in range(hp.epochs):
        begun, records, batches = job.log.clock(), 0, 0
        for rows in train.batches(hp.mini_batch_size):
            if job.stop.is_set():
                return done
            centers.update(rows.features)
            done, records, batches = True, records + len(rows.features), batches + 1
        job.log.info(f"processed a total of {records} examples")
        job.log.epoch(begun, epoch + 1, hp.epochs, records, batches)
    return done


def _reduced(
    centers: Centers, hp: KMeans, factor: int, rng: np.random.Generator, job: Job
) -> Array:
    """Return k centers, of several attempts those with the least loss."""
    log = job.log
    if factor == 1:
        log.info("No shrinking is required as extra_center_factor is 1.")
        return centers.centers
    log.info(f"shrinking {hp.k * factor} centers into {hp.k}")
    points, weights = centers.weighted(hp.k)
    how = Lloyd(hp.lloyd_init_method, hp.lloyd_max_iter, hp.lloyd_tol)
    best, least = points[:0], float("inf")
    for attempt in range(hp.lloyd_trials or AUTO_TRIALS):
        found, loss = lloyd(points, weights, hp.k, how, rng, job.stop)
        log.info(f"local kmeans attempt #{attempt}. Current mean square distance {loss:f}")
        if not len(best) or loss < least:
            best, least = found, loss
        if job.stop.is_set():
            break
    log.info(f"finished shrinking process. Mean Square Distance = {least:g}")
    # As in the container's log this is the loss of the reduction: of the weighted centers, not of
    # the rows, which lie further away.
    log.quality(_of_metrics(hp, least, float(weights.sum())), "train")
    return best


def _test(model: KMeansModel, test: Channel, hp: KMeans, log: JobLog) -> None:
    total, rows = 0.0, 0
    for batch in test.batches(hp.mini_batch_size):
        total += float(model.squared_distances(batch.features).sum())
        rows += len(batch.features)
    if rows:
        log.test_score(_of_metrics(hp, total / rows, rows))
    else:
        log.info("Test data is not provided.")


def _of_metrics(hp: KMeans, msd: float, weight: float) -> dict[str, float]:
    """Return the metrics that eval_metrics asks for: mean squared distance and its sum."""
    values = {"msd": msd, "ssd": msd * weight}
    return {name: values[name] for name in hp.eval_metrics}
