"""Solver ``mcmc``: a Bayesian Factorization Machine, the mean of what several chains draw.

Several short chains, one at a time on each core, say more than one long chain of the same cost. The
mean of S drawn models is one model again: w0 and w are means, and with V = [V_1 ... V_S] / sqrt(S)
the pairs of a row sum to the mean of theirs. So what is exported is an ordinary artifact.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fmrec.errors import ConfigurationError, DataError, FmrecError
from fmrec.fm.blocks import Design, design
from fmrec.fm.chain import Chain
from fmrec.fm.hosts import agreed, pack, union, unpack
from fmrec.fm.hyperparameters import Mcmc
from fmrec.fm.job import Arrays, Fitted, Job
from fmrec.fm.metrics import score_for
from fmrec.fm.model import Model

Floats = npt.NDArray[np.float32]

# Phi(x) is nearest to 1 / (1 + exp(-1.702 x)) (Camilli, Journal of Educational Statistics 19(3),
# 1994); less than that for the spread of what was drawn.
PROBIT_TO_LOGIT = 1.3
SCORED_ROWS = 1 << 18
# Between two states kept, unless keeping one takes long: then twenty times as long.
SAVE_SECONDS, SAVE_SHARE = 2.0, 20.0


# A model that was drawn, in the columns that are present: w0, w (p,) and V (k, p).
Sample = Arrays


def fit(job: Job) -> Fitted | None:
    """Sample; None when a stop came before the first iteration was done.

    Raises ConfigurationError for hyperparameters that do not fit each other or the model to go on
    from, DataError for rows that do not fit the channel ``features``, FmrecError for divergence.
    """
    _check(job)
    rows = union(job.train, job.hosts, replicated=job.replicated)
    if not len(rows.labels):
        raise DataError("channel 'train' holds no records on any host: check its S3 prefix")
    made, labels = design(rows.features, job.features), rows.labels
    # The design says it all: the rows themselves would double what the chains stand on.
    job = replace(job, train=rows.none())
    del rows
    _check_memory(job, made)
    return _Chains(job, made, labels).run()


def picks(settings: Mcmc) -> dict[tuple[int, int], int]:
    """Return which of the draws are exported: (iteration, chain) to place, evenly spread."""
    each = settings.iterations - settings.burn_in
    draws = settings.chains * each
    count = min(settings.samples, draws)
    at = [(2 * place + 1) * draws // (2 * count) for place in range(count)]
    return {(settings.burn_in + draw % each, draw // each): place for place, draw in enumerate(at)}


def _check(job: Job) -> None:
    settings, k = job.hp.mcmc, job.hp.num_factors
    if settings.burn_in >= settings.iterations:
        raise ConfigurationError(
            f"burn_in {settings.burn_in} leaves none of {settings.iterations} iterations: lower it"
        )
    if job.start is not None and job.start.model.V.shape[1] % k:
        raise ConfigurationError(
            f"channel 'model' holds a model of {job.start.model.V.shape[1]} factors, which is no "
            f"multiple of num_factors {k}: set num_factors as it was"
        )


def _check_memory(job: Job, made: Design) -> None:
    """Refuse what this machine cannot hold: it would be killed long after it was asked for."""
    settings, k, p = job.hp.mcmc, job.hp.num_factors, len(made.present)
    here = -(-settings.chains // job.hosts.size)
    needed = here * (24 * made.rows + 24 * k * p) + 8 * settings.samples * k * p
    if needed > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        raise ConfigurationError(
            f"{here} chains of {k} factors and {settings.samples} samples, for {made.rows} rows "
            f"and {p} columns, need {needed / 2**30:.0f} GiB, more than there is: lower chains, "
            "samples or num_factors, or take a larger instance"
        )


class _Chains:
    """All chains of a job; this host has those whose number is its rank modulo the hosts."""

    def __init__(self, job: Job, made: Design, y: Floats) -> None:
        self._job, self._design, self._y = job, made, y
        hp = job.hp
        # As labels of a probit are latent, what it says is scaled to be read by a sigmoid.
        self._scale = PROBIT_TO_LOGIT if hp.predictor_type == "binary_classifier" else 1.0
        self._numbers = range(job.hosts.rank, hp.mcmc.chains, job.hosts.size)
        group = np.zeros(len(made.present), np.int64)
        if job.features is not None:
            group = job.features.feature[made.present].astype(np.int64)
        self._chains = [
            Chain(
                made,
                y,
                group,
                num_factors=hp.num_factors,
                classifies=hp.predictor_type == "binary_classifier",
                rng=np.random.default_rng([hp.seed, number]),
            )
            for number in self._numbers
        ]
        self._kept: dict[int, Sample] = {}
        self._picked = picks(hp.mcmc)
        self._done = 0
        self._save_at = job.log.clock() + SAVE_SECONDS

    def run(self) -> Fitted | None:
        """Do all iterations that are left."""
        job = self._job
        self._begin()
        with ThreadPoolExecutor(_threads(), thread_name_prefix="chain") as pool:
            while self._done < job.hp.mcmc.iterations:
                if agreed(job.stop, job.hosts):
                    break
                begun = job.log.clock()
                list(pool.map(Chain.sweep, self._chains))
                for number, chain in zip(self._numbers, self._chains, strict=True):
                    if (self._done, number) in self._picked:
                        self._kept[self._picked[self._done, number]] = _sample(chain)
                self._done += 1
                self._log(begun)
                if self._due():
                    self._save()
        if not self._done:
            return None
        self._save()
        return Fitted(self._model(), self._done == job.hp.mcmc.iterations)

    def _begin(self) -> None:
        """Take up the state of an interrupted job, else the model to go on from, if any."""
        job = self._job
        state = job.checkpoints.load()
        done = 0 if state is None else int(state["done"])
        # A host that was lost with its disk has none: then all begin anew, and all have to ask.
        same = set(job.hosts.all_gather(b"%d" % done)) == {b"%d" % done}
        if state is not None and same:
            self._restore(state)
            job.log.info(f"{done} iterations are done already")
        elif job.start is not None:
            k, present = job.hp.num_factors, self._design.present
            model, known = job.start.model, job.start.known[present]
            drawn = model.V.shape[1] // k
            for number, chain in zip(self._numbers, self._chains, strict=True):
                at = slice(number % drawn * k, (number % drawn + 1) * k)
                # As `_model` exports it, the other way round.
                V = (drawn / self._scale) ** 0.5 * model.V[present, at].T
                chain.begin(
                    model.w0 / self._scale,
                    np.where(known, model.w[present] / self._scale, chain.w),
                    np.where(known, V, chain.V),
                )

    def _log(self, begun: float) -> None:
        """Report on what was drawn last, over the rows of all chains of this host."""
        job, iteration = self._job, self._done - 1
        if not self._chains:  # more hosts than chains
            return
        score = score_for(job.hp.predictor_type)
        for chain in self._chains:
            # In parts: what the metrics compute on the way should not add to the peak of memory.
            for first in range(0, len(self._y), SCORED_ROWS):
                part = slice(first, first + SCORED_ROWS)
                score.add(chain.raw(part) * self._scale, self._y[part])
        values = score.values()
        if not np.isfinite(list(values.values())).all():
            raise FmrecError(
                f"sampling diverged in iteration {iteration}: {values}. Scale labels and values."
            )
        job.log.quality(values, f"epoch={iteration}, train")
        done = 100 * (iteration + 1) / job.hp.mcmc.iterations
        job.log.info(f"#progress_metric: host={job.log.host}, completed {done} % of epochs")
        seconds = max(job.log.clock() - begun, 1e-9)
        rate = len(self._y) * len(self._chains) / seconds
        job.log.info(
            f"#throughput_metric: host={job.log.host}, train throughput={rate} records/second"
        )
        if self._done == job.hp.mcmc.iterations:
            job.log.quality(values, "train")

    def _due(self) -> bool:
        """Whether it is time to keep the state; all hosts do so after the same iteration."""
        hosts = self._job.hosts
        due = self._job.log.clock() >= self._save_at
        return hosts.all_gather(b"\1" if due else b"\0")[0] == b"\1"

    def _save(self) -> None:
        job, begun = self._job, self._job.log.clock()
        state = {"done": np.array(self._done)}
        chains = dict(zip(self._numbers, map(Chain.state, self._chains), strict=True))
        parts: dict[str, dict[int, Arrays]] = {"chain": {**chains}, "sample": self._kept}
        for kind, numbered in parts.items():
            for number, arrays in numbered.items():
                state |= {f"{kind}.{name}.{number}": each for name, each in arrays.items()}
        job.checkpoints.save(state)
        ended = job.log.clock()
        self._save_at = ended + max(SAVE_SECONDS, SAVE_SHARE * (ended - begun))

    def _restore(self, state: Arrays) -> None:
        parts: dict[str, dict[str, Any]] = {"chain": {}, "sample": {}}
        for full, array in state.items():
            kind, _, name = full.partition(".")
            if name:
                parts[kind][name] = array
        self._done = int(state["done"])
        for number, arrays in _by_number(parts["chain"]).items():
            self._chains[self._numbers.index(number)].restore(arrays)
        self._kept = dict(_by_number(parts["sample"]))

    def _model(self) -> Model:
        """Return the mean of what was kept; of what was drawn last, if a stop came before."""
        job, present = self._job, self._design.present
        kept = self._kept
        if self._done <= min(iteration for iteration, _ in self._picked):
            kept = {n: _sample(chain) for n, chain in zip(self._numbers, self._chains, strict=True)}
        own = {f"{name}.{n}": each for n, sample in kept.items() for name, each in sample.items()}
        given: dict[str, Any] = {}
        for part in job.hosts.all_gather(pack(own)):
            given |= unpack(part)
        samples = list(_by_number(given).values())
        count = len(samples)
        scale = self._scale
        w = np.zeros(job.hp.feature_dim, np.float32)
        V = np.zeros((job.hp.feature_dim, count * job.hp.num_factors), np.float32)
        w[present] = scale * np.mean([each["w"] for each in samples], axis=0, dtype=np.float64)
        V[present] = (scale / count) ** 0.5 * np.concatenate([each["V"] for each in samples]).T
        w0 = scale * float(np.mean([each["w0"] for each in samples]))
        return Model(w0, w, V, job.hp.predictor_type)


def _threads() -> int:
    """Chains at a time: as many as the numeric libraries may use, else one for each core."""
    given = os.environ.get("NUMBA_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else os.cpu_count() or 1


def _sample(chain: Chain) -> Sample:
    w0 = np.array(chain.w0)
    return {"w0": w0, "w": chain.w.astype(np.float32), "V": chain.V.astype(np.float32)}


def _by_number(arrays: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Sort out arrays called ``<name>.<number>``, by number."""
    found: dict[int, dict[str, Any]] = {}
    for full, array in arrays.items():
        name, _, number = full.rpartition(".")
        found.setdefault(int(number), {})[name] = array
    return {number: found[number] for number in sorted(found)}
