"""Rows of MovieLens 100K for bayesian_hyperparameters.py: made by the pipeline's own code."""

from __future__ import annotations

import functools
import io
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import sparse

from fmrec.events.design import Design
from fmrec.events.encoders import PRESETS
from fmrec.events.objectives import labels
from fmrec.events.prepare import Choices, prepare
from fmrec.events.space import FeatureSpace
from fmrec.fm import hyperparameters, mcmc
from fmrec.fm.channels import Rows
from fmrec.fm.features import Features
from fmrec.fm.job import Arrays, Job
from fmrec.fm.joblog import JobLog
from fmrec.fm.model import Model
from fmrec.steps.xcom import features_of
from ranking_catalogue import CLOCK, Alone, inner, tables

HISTORY = 10_000
# The mean of all draws has thousands of factors.
FACTORS_AT_A_TIME = 64
PREDICTORS = {"rating": "regressor", "like": "binary_classifier"}
WITHOUT_VISIT = "full without visit"
# What a visit adds shows when all else stays. No run can choose this.
PRESETS[WITHOUT_VISIT] = tuple(name for name in PRESETS["full"] if name != "visit")

Settings = Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Split:
    """Events to train on and held out, and their rows.

    `compact` are rows to train on, as solver mcmc gets them; `held_compact` the held-out ones,
    which `features` completes to the rows that are scored.
    """

    train: pd.DataFrame
    held: pd.DataFrame
    features: Features
    compact: sparse.csr_matrix
    held_compact: sparse.csr_matrix
    design: Design

    @functools.cached_property
    def whole(self) -> sparse.csr_matrix:
        """Held-out rows as the batch transform gets them."""
        return self.design.encode(self.held)

    @functools.cached_property
    def _completing(self) -> tuple[sparse.csr_matrix, ...]:
        """I + R, its squares and those of the held-out rows."""
        identity = sparse.identity(self.features.dimension, np.float32, format="csr")
        rest = self.features.complete(identity)
        if abs(self.held_compact @ rest - self.whole).max() > 1e-6:
            raise SystemExit("completed rows are not those that encode makes")
        return rest, rest.multiply(rest).tocsr(), self.held_compact.multiply(self.held_compact)

    def raw(self, w0: float, w: np.ndarray, V: np.ndarray) -> np.ndarray:
        """Return what a model says of the held-out rows, without writing out their histories.

        X = A (I + R). No two rows of I + R that stand in one row of A have a column in common, so
        the squares of X are the squares of both.
        """
        rest, squares, squared = self._completing
        total = w0 + self.held_compact @ (rest @ w)
        for first in range(0, V.shape[1], FACTORS_AT_A_TIME):
            part = V[:, first : first + FACTORS_AT_A_TIME].astype(np.float64)
            sums = self.held_compact @ (rest @ part)
            norms = squared @ (squares @ np.square(part).sum(axis=1))
            total += (np.square(sums).sum(axis=1) - norms) / 2
        return total


def split_of(ratings: pa.Table, preset: str) -> Split:
    """Return fold 1 to train on and fold 2 held out."""
    _, users, items = tables("u1")
    choices = Choices(
        as_of=CLOCK,
        split="u1",
        validation_fraction=0.0,
        test_fraction=0.1,
        leave_last=1,
        user_least=1,
        item_least=1,
        order="shuffled",
        seed=1,
        history_length=HISTORY if "rated" in PRESETS[preset] else 0,
        negatives=0,
        negative_exponent=0.0,
        shard_rows=ratings.num_rows,
        visits="visit" in PRESETS[preset],
    )
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare([ratings], choices, Path(folder, "work"))
        train, held = (
            pa.concat_tables(shard() for shard in prepared.shards(part)).to_pandas()
            for part in ("train", "test")
        )
    design = Design(
        FeatureSpace.from_facts(prepared.facts, users, items, preset=preset),
        prepared.facts,
        users,
        items,
        history_length=HISTORY,
        graded=False,
        leave_own_out=False,
    )
    return Split(
        train, held, features_of(design), design.compact(train), design.compact(held), design
    )


def inner_splits(preset: str, draws: int) -> dict[str, Split]:
    """Return training files with a part held out: u1.base as u1 itself is, ua.base as ua is."""
    return {
        f"{fold}.base, draw {draw + 1}": split_of(inner(fold, draw), preset)
        for draw in range(draws)
        for fold in ("u1", "ua")
    }


class _Memory:
    """The state of a job, kept here instead of on a disk."""

    def __init__(self, state: Arrays | None = None) -> None:
        self.state = state

    def save(self, state: Arrays) -> None:
        """Keep this state in place of the one before."""
        self.state = state

    def load(self) -> Arrays | None:
        """Return the state that was kept last."""
        return self.state


def fitted(
    split: Split, objective: str, settings: Settings, seed: int, *samples: int
) -> tuple[Model, list[Model]]:
    """Run the training job; return the mean of all draws, and what as many samples export.

    The jobs that export take up the state in which the first has ended, with the draws they would
    have kept, and have nothing left to do.
    """
    every = settings["chains"] * (settings["iterations"] - settings["burn_in"])
    memory = _Memory()
    whole = _run(split, objective, {**settings, "samples": every}, seed, memory)
    exported = []
    for count in samples:
        told = {**settings, "samples": count}
        given = hyperparameters.parse(_told(split, objective, told, seed)).mcmc
        places = {
            chain * (given.iterations - given.burn_in) + iteration - given.burn_in: place
            for (iteration, chain), place in mcmc.picks(given).items()
        }
        state: dict[str, np.ndarray] = {}
        for name, array in (memory.state or {}).items():
            kind, _, number = name.rpartition(".")
            if not name.startswith("sample."):
                state[name] = array
            elif int(number) in places:
                state[f"{kind}.{places[int(number)]}"] = array
        exported.append(_run(split, objective, told, seed, _Memory(state)))
    return whole, exported


def _run(split: Split, objective: str, settings: Settings, seed: int, memory: _Memory) -> Model:
    job = Job(
        hyperparameters.parse(_told(split, objective, settings, seed)),
        Rows(split.compact, labels(split.train, objective)),
        split.features,
        None,
        Alone(),
        memory,
        JobLog(io.StringIO(), time.time),
        threading.Event(),
    )
    found = mcmc.fit(job)
    assert found is not None  # noqa: S101 - nobody stops it
    return found.model


def _told(split: Split, objective: str, settings: Settings, seed: int) -> dict[str, object]:
    return {
        "feature_dim": split.features.dimension,
        "predictor_type": PREDICTORS[objective],
        "solver": "mcmc",
        "_seed": seed,
        **settings,
    }
