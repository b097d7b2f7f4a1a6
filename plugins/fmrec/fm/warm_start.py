"""The optional channel ``model``: a model of an earlier job to go on from.

The channel holds ``model.tar.gz`` (or ``model_algo-1``) and, in the archive or beside it, the
``columns.json`` of the job that trained it. With that file and a ``features`` channel columns
are matched by name, so the feature space may have grown, shrunk or been reordered since.
Without it the columns must be the same.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np

from fmrec.errors import ConfigurationError
from fmrec.fm import artifact, features
from fmrec.fm.features import Features
from fmrec.fm.hyperparameters import Hyperparameters
from fmrec.fm.job import Start
from fmrec.fm.joblog import JobLog
from fmrec.fm.model import Model


def load(folder: Path, hp: Hyperparameters, columns: Features | None, log: JobLog) -> Start | None:
    """Return the model in ``folder`` in this job's columns; None when there is no such channel.

    Raises DataError for a damaged one and ConfigurationError for one that does not fit ``hp``.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    model = artifact.load(folder)
    if model.predictor_type != hp.predictor_type:
        raise ConfigurationError(
            f"channel 'model' holds a {model.predictor_type}, but predictor_type is "
            f"{hp.predictor_type!r}: train anew without the channel, or set predictor_type"
        )
    names = _names(folder)
    if names is None or columns is None:
        if model.feature_dim != hp.feature_dim:
            raise ConfigurationError(
                f"channel 'model' holds a model of {model.feature_dim} columns, but feature_dim "
                f"is {hp.feature_dim}: columns can be matched by name only where the model's "
                f"{features.COLUMNS} and a channel 'features' are given"
            )
        log.info(f"Going on from a model of {model.feature_dim} columns and {_factors(model)}")
        return Start(model, np.ones(model.feature_dim, np.bool_))
    if len(names) != model.feature_dim:
        raise ConfigurationError(
            f"channel 'model' holds a model of {model.feature_dim} columns and a "
            f"{features.COLUMNS} of {len(names)}: both must come from the same job"
        )
    return _matched(model, names, columns.names, log)


def _matched(model: Model, old: tuple[str, ...], new: tuple[str, ...], log: JobLog) -> Start:
    place = {name: n for n, name in enumerate(old)}
    source = np.array([place.get(name, -1) for name in new], np.int64)
    known = source >= 0
    w = np.zeros(len(new), np.float32)
    V = np.zeros((len(new), model.V.shape[1]), np.float32)
    w[known], V[known] = model.w[source[known]], model.V[source[known]]
    kept = int(known.sum())
    log.info(
        f"Going on from a model of {len(old)} columns and {_factors(model)}: {kept} columns are "
        f"in this job too, {len(new) - kept} are new, {len(old) - kept} are dropped"
    )
    return Start(Model(model.w0, w, V, model.predictor_type), known)


def _factors(model: Model) -> str:
    return f"{model.V.shape[1]} factors"


def _names(folder: Path) -> tuple[str, ...] | None:
    """Return the column names of the job that trained the model, where they were kept."""
    beside = folder / features.COLUMNS
    if beside.is_file():
        return features.parse(beside.read_bytes(), f"model/{features.COLUMNS}").names
    packed = folder / artifact.ARCHIVE
    if (folder / artifact.MEMBER).is_file() or not packed.is_file():
        return None
    with tarfile.open(packed) as archive:
        if features.COLUMNS not in archive.getnames():
            return None
        member = archive.extractfile(features.COLUMNS)
        assert member is not None  # noqa: S101 - a name that stands in the archive
        text = member.read()
    return features.parse(text, f"model/{artifact.ARCHIVE}/{features.COLUMNS}").names
