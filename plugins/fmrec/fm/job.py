"""What a training job hands to a solver, and what it gets back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fmrec.fm.channels import Rows
from fmrec.fm.features import Features
from fmrec.fm.hyperparameters import Hyperparameters
from fmrec.fm.joblog import JobLog
from fmrec.fm.model import Model

Arrays = Mapping[str, npt.NDArray[np.generic]]


class Hosts(Protocol):
    """The instances of the job: see `fmrec.fm.hosts`."""

    @property
    def rank(self) -> int:
        """The place of this host among them."""

    @property
    def size(self) -> int:
        """How many there are."""

    def all_gather(self, data: bytes) -> list[bytes]:
        """Give ``data`` to every host; return what each gave, by rank."""


class Checkpoints(Protocol):
    """Where the state of a job survives its machine: see `fmrec.fm.checkpoints`."""

    def save(self, state: Arrays) -> None:
        """Keep this state in place of the one before."""

    def load(self) -> Arrays | None:
        """Return the state that was kept last by a job of the same configuration and data."""


@dataclass(frozen=True, eq=False)
class Start:
    """A model to go on from, in the columns of this job; ``known`` (d,) are those it had."""

    model: Model
    known: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Job:
    """What a solver needs. ``train`` are the rows of this host, not completed by ``features``.

    They are all rows when ``replicated``, else those that no other host has.
    """

    hp: Hyperparameters
    train: Rows
    features: Features | None
    start: Start | None
    hosts: Hosts
    checkpoints: Checkpoints
    log: JobLog
    stop: threading.Event
    replicated: bool = True


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained model; not ``finished`` when a stop came before the end.

    ``judge`` says of test rows, not completed by ``features``, what no error of single rows can.
    """

    model: Model
    finished: bool
    judge: Callable[[Rows], Mapping[str, float]] | None = None
