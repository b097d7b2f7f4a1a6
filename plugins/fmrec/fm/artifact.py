"""The model artifact of the built-in Factorization Machines algorithm.

``model.tar.gz`` holds one member ``model_algo-1``: a zip whose stored members ``meta.json``,
``symbol.json`` and ``params`` stand in this order. Verified against an artifact from AWS.
"""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, cast, get_args

import numpy as np

from fmrec.errors import DataError, FormatError
from fmrec.fm import graph, mxnet_params
from fmrec.fm.model import Model, PredictorType

MEMBER = "model_algo-1"
ARCHIVE = "model.tar.gz"
LINEAR, BIAS, FACTORS = "arg:w1_weight", "arg:w0_weight", "arg:v"


def save(model: Model, folder: Path, training_parameters: Mapping[str, str]) -> Path:
    """Write ``folder/model_algo-1`` and return its path; the file appears whole or not at all.

    ``training_parameters`` is the complete configuration, every value a string. The same model
    and parameters give the same bytes.
    """
    d, k = model.V.shape
    meta = {
        "version": 1,
        "epoch_number": 1,
        "training_parameters": dict(training_parameters),
        "label_names": ["out_label"],
    }
    params = mxnet_params.dump(
        [
            (LINEAR, model.w.reshape(d, 1), True),
            (BIAS, np.array([model.w0], np.float32), False),
            (FACTORS, model.V, True),
        ]
    )
    members = {
        "meta.json": json.dumps(meta).encode(),
        "symbol.json": graph.symbol(training_parameters, d, k).encode(),
        "params": params,
    }
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / MEMBER
    descriptor, unfinished = tempfile.mkstemp(dir=folder, prefix=".model-", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
                for name, content in members.items():
                    archive.writestr(zipfile.ZipInfo(name), content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(unfinished).chmod(0o644)
        Path(unfinished).replace(target)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
    return target


def load(path: Path) -> Model:
    """Return the model in a ``model.tar.gz``, a ``model_algo-1``, or a folder holding either.

    Raises DataError when there is none and FormatError when it is damaged.
    """
    if path.is_dir():
        for name in (MEMBER, ARCHIVE):
            if (path / name).is_file():
                return load(path / name)
        raise DataError(f"{path} holds no {MEMBER} and no {ARCHIVE}: was the model trained?")
    if not path.is_file():
        raise DataError(f"{path} does not exist: was the model trained?")
    try:
        if not tarfile.is_tarfile(path):
            with path.open("rb") as stream:
                return _from_zip(stream)
        with tarfile.open(path) as archive:
            names = archive.getnames()
            member = archive.extractfile(MEMBER) if MEMBER in names else None
            if member is None:
                raise FormatError(f"has no member {MEMBER} (found: {', '.join(names) or 'none'})")
            return _from_zip(member)
    except (FormatError, zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise FormatError(f"{path}: {error}") from error


def _from_zip(stream: IO[bytes]) -> Model:
    with zipfile.ZipFile(stream) as archive:
        missing = {"meta.json", "params"} - set(archive.namelist())
        if missing:
            raise FormatError(f"{MEMBER} has no member {', '.join(sorted(missing))}")
        predictor_type = _predictor_type(archive.read("meta.json"))
        entries = {entry.name: entry for entry in mxnet_params.parse(archive.read("params"))}
    if not {LINEAR, BIAS, FACTORS} <= set(entries):
        raise FormatError(f"params holds {sorted(entries)} instead of {LINEAR}, {BIAS}, {FACTORS}")
    w, w0, V = (entries[name].dense() for name in (LINEAR, BIAS, FACTORS))
    if w.ndim != 2 or w.shape[1] != 1 or w0.shape != (1,) or V.ndim != 2 or len(V) != len(w):
        raise FormatError(f"params has shapes {w.shape}, {w0.shape}, {V.shape}: no FM")
    return Model(float(w0[0]), w[:, 0], V, predictor_type)


def _predictor_type(meta: bytes) -> PredictorType:
    try:
        value = json.loads(meta)["training_parameters"]["predictor_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError("meta.json names no predictor_type") from error
    if value not in get_args(PredictorType):
        raise FormatError(f"meta.json names the predictor_type {value!r}, which is unknown")
    return cast(PredictorType, value)
