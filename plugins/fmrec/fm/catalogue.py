"""Solver ``catalogue``: a ranking, as one Factorization Machine.

Trained are user and film factors on the squared loss over the whole catalogue, a user being the
films of the history; implicit alternating least squares may stand beside them in factors of its
own. Since <S_u, S_i> of joined factors is the sum of what each part says, the two are one FM of
num_factors + als_factors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fmrec.errors import ConfigurationError, DataError, FmrecError
from fmrec.fm import als
from fmrec.fm.catalogue_lists import Lists
from fmrec.fm.catalogue_sides import (
    Floats,
    Ratings,
    Sides,
    as_model,
    linear_of,
    ratings_of,
    sides_of,
    without_effect,
)
from fmrec.fm.catalogue_training import Trainer, start_factors
from fmrec.fm.features import Features
from fmrec.fm.hosts import pack, union, unpack
from fmrec.fm.job import Fitted, Job
from fmrec.fm.model import Model

# Seconds between two checkpoints: to write one takes longer than some epochs.
CHECKPOINT_EVERY = 2.0
# Multiplications of a matrix product below which threads wait for each other longer than they
# work. On two cores that others use too, ML-100K took six times as long with both.
WORTH_THREADS = 1 << 26
# Spread of an inner product of two start factors of the ALS part.
ALS_START = 0.1


def fit(job: Job) -> Fitted | None:
    """Train; None when a stop came before the first batch.

    Of several hosts the first one trains, on the rows of all, and gives its model to the others.
    Raises DataError without what says of the columns which are users and items, or for a model to
    go on from that does not fit; ConfigurationError for a classifier; FmrecError when training
    diverges.
    """
    features = _checked(job)
    ignored = without_effect(features)
    if ignored:
        job.log.info(f"Features without effect in solver catalogue: {', '.join(ignored)}")
    rows = union(job.train, job.hosts, replicated=job.replicated)
    ratings = ratings_of(rows, features)
    mine = _train(job, features, ratings) if job.hosts.rank == 0 else None
    if job.hosts.size == 1:
        return mine
    return _unpacked(job.hosts.all_gather(_packed(mine))[0])


def _checked(job: Job) -> Features:
    hp, own = job.hp, job.hp.catalogue
    if job.features is None:
        raise DataError(
            "solver catalogue needs the channel 'features', which says what of a row is the user "
            "and what the item: add it to the job, or set solver to adam"
        )
    if hp.predictor_type != "regressor":
        raise ConfigurationError(
            f"solver catalogue learns grades, but predictor_type is {hp.predictor_type!r}: set it "
            "to 'regressor'"
        )
    if job.start is not None and job.start.model.V.shape[1] != hp.num_factors + own.als_factors:
        raise DataError(
            f"the model to go on from has {job.start.model.V.shape[1]} factors, but num_factors + "
            f"als_factors is {hp.num_factors} + {own.als_factors}: set them as they were, or train "
            "anew without the channel 'model'"
        )
    return job.features


def _train(job: Job, features: Features, ratings: Ratings) -> Fitted | None:
    sides = sides_of(ratings, features)
    users, films = sides.targets.shape
    job.log.info(
        f"A catalogue of {films} items, {users} users, {sides.targets.nnz} of their pairs rated"
    )
    start = _Start.of(job, sides)
    if not _add_als(job, sides, start):
        return None
    k = job.hp.num_factors
    trainer = Trainer(job.hp, sides, start.w, start.V[:, :k])
    with _threads(job.hp.mini_batch_size * films * k):
        finished = _epochs(job, trainer, len(ratings.grade))
    if not trainer.steps:
        return None
    w, V = trainer.parameters()
    model = as_model(sides, w, np.hstack([V, start.V[:, k:]]))
    return Fitted(model, finished, Lists(model, sides, features).judge)


def _threads(multiplications: int) -> threadpool_limits:
    """Let a product of this size have the threads that are worth it."""
    return threadpool_limits(1 if multiplications < WORTH_THREADS else None, user_api="blas")


@dataclass(frozen=True, eq=False)
class _Start:
    """Linear weights (d,) and factors (d, num_factors + als_factors) before training."""

    w: Floats
    V: Floats

    @classmethod
    def of(cls, job: Job, sides: Sides) -> _Start:
        hp = job.hp
        d, k = hp.feature_dim, hp.num_factors + hp.catalogue.als_factors
        rng = np.random.default_rng(hp.seed)
        w, V = np.zeros(d, np.float32), np.zeros((d, k), np.float32)
        mine = sides.users.owners
        trained = [sides.shared, sides.of_items]
        if not sides.has_history:
            trained.append(mine[sides.users.trained])
        for columns in trained:
            shape = len(columns), hp.num_factors
            V[columns, : hp.num_factors] = start_factors(hp.factors, shape, rng)
        if job.start is not None:
            known = job.start.known & sides.used
            V[known] = job.start.model.V[known]
            if hp.linear.used:
                w[known] = linear_of(sides, job.start.model)[known]
            if sides.has_history:
                V[mine, : hp.num_factors] = 0
        return cls(w, V)


def _add_als(job: Job, sides: Sides, start: _Start) -> bool:
    """Put the ALS factors into ``start.V``; false when a stop came."""
    hp, own = job.hp, job.hp.catalogue
    if not own.als_factors:
        return True
    begun = job.log.clock()
    users, items = (party.owners[party.trained] for party in (sides.users, sides.items))
    part = start.V[:, hp.num_factors :]
    scale = math.sqrt(own.als_weight)
    # Of its own source: the draws of the other factors do not depend on how many these are.
    draw = np.random.default_rng([hp.seed, 0]).standard_normal((len(items), own.als_factors))
    V = draw * (ALS_START / math.sqrt(own.als_factors))
    known = part[items].any(axis=1)
    if scale:
        V[known] = part[items[known]] / scale
    # Its products are as small as one user's ratings, whatever the catalogue.
    with _threads(0):
        found = als.factorise(
            sides.targets,
            V,
            sweeps=own.als_sweeps,
            regularisation=own.als_regularisation,
            unobserved_weight=own.als_unobserved_weight,
            stopped=job.stop.is_set,
        )
    if found is None:
        return False
    # Only ids have ALS factors. Of a film's other columns its sum must not hear twice.
    part[:] = 0
    part[users], part[items] = (scale * each for each in found)
    seconds = job.log.clock() - begun
    job.log.info(f"Implicit ALS: {own.als_factors} factors, {own.als_sweeps} sweeps, {seconds} s")
    return True


def _epochs(job: Job, trainer: Trainer, records: int) -> bool:
    """Train, and return whether all epochs were done."""
    hp, log = job.hp, job.log
    state = job.checkpoints.load()
    if state is not None:
        trainer.restore(state)
    saved = log.clock()
    pairs = trainer.pairs
    while trainer.epoch < hp.epochs:
        begun = log.clock()
        order, rng = trainer.order()
        squared = 0.0
        for first in range(0, len(order), hp.mini_batch_size):
            if job.stop.is_set():
                return False
            squared += trainer.train(order[first : first + hp.mini_batch_size], rng)
            if not math.isfinite(squared):
                raise FmrecError(
                    f"training diverged in epoch {trainer.epoch}: the loss is no finite number. "
                    f"Lower factors_lr ({hp.factors.learning_rate:g}) or linear_lr "
                    f"({hp.linear.learning_rate:g})"
                )
        trainer.end_epoch(squared)
        log.quality(_values(squared / pairs), f"epoch={trainer.epoch - 1}, train")
        log.epoch(begun, trainer.epoch, hp.epochs, records, trainer.batches)
        if log.clock() - saved >= CHECKPOINT_EVERY and trainer.epoch < hp.epochs:
            job.checkpoints.save(trainer.state())
            saved = log.clock()
    log.quality(_values(trainer.squared / pairs), "train")
    return True


def _values(mse: float) -> dict[str, float]:
    return {"mse": mse, "rmse": math.sqrt(mse)}


def _packed(fitted: Fitted | None) -> bytes:
    if fitted is None:
        return b""
    model = fitted.model
    return pack({"w": model.w, "V": model.V, "finished": np.array(fitted.finished)})


def _unpacked(data: bytes) -> Fitted | None:
    if not data:
        return None
    stored = unpack(data)
    w, V = (stored[name].astype(np.float32, copy=False) for name in ("w", "V"))
    return Fitted(Model(0.0, w, V, "regressor"), bool(stored["finished"]))
