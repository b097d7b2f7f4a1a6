"""The artifact of the built-in k-NN, and its predictions.

``model_algo-1`` is the index, ``model_algo-1.labels`` the float32 labels of its rows, and
``model_algo-1.json`` what inference needs beside: ``k``, ``predictor_type`` and how rows are
reduced. As on AWS, a changed ``k`` or ``predictor_type`` there changes what is answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from fmrec.errors import DataError, FormatError
from fmrec.local_aws.built_in import faiss_file
from fmrec.local_aws.built_in.hyperparameters import PredictorType
from fmrec.local_aws.built_in.nearest_rows import Floats, Index, Places
from fmrec.local_aws.built_in.projection import Projection

INDEX, LABELS, META = "model_algo-1", "model_algo-1.labels", "model_algo-1.json"
# Random projections are made anew from their seed, which means another one to AWS's own code.
_MAKER = "fmrec"


@dataclass(frozen=True)
class Preparation:
    """What is done to rows ``(n, feature_dim)`` before they are stored or searched for."""

    feature_dim: int
    projection: Projection | None
    normalize: bool

    def __call__(self, X: Floats, width: int) -> Floats:
        """Return the rows reduced, with length 1 under COSINE, and filled up with zeros."""
        if self.projection is not None:
            X = self.projection(X)
        if self.normalize:
            lengths = np.linalg.norm(X.astype(np.float64), axis=1, keepdims=True)
            X = (X / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        return np.pad(X, ((0, 0), (0, width - X.shape[1])))


class Answers(NamedTuple):
    """Predictions ``(n,)``, and what they come from: distances and labels ``(n, k)``."""

    predicted: Floats
    distances: Floats
    labels: Floats


@dataclass(frozen=True, eq=False)
class KnnModel:
    """An index with the label of each of its rows."""

    index: Index
    labels: Floats
    k: int
    predictor_type: PredictorType
    prepare: Preparation

    def __post_init__(self) -> None:
        rows = len(self.index.vectors)
        if len(self.labels) != rows:
            raise DataError(f"there are {len(self.labels)} labels for {rows} rows of the index")
        if self.k > rows:
            raise DataError(
                f"k is {self.k}, but the index holds {rows} records: lower k, or give more records "
                "or a larger sample_size"
            )

    @property
    def feature_dim(self) -> int:
        """The number of columns that rows must have."""
        return self.prepare.feature_dim

    def answers(self, X: Floats) -> Iterator[Answers]:
        """Yield predictions for rows ``(n, feature_dim)``, block by block.

        Distances ascend; `Index.search` says which row is nearest. A classifier predicts the label
        that most of the k nearest rows have, the smallest of several; a regressor their mean.
        """
        queries = self.prepare(X, self.index.vectors.shape[1])
        for rows, distances in self.index.search(queries, self.k):
            labels = self.labels[rows]
            if self.predictor_type == "regressor":
                predicted = labels.mean(axis=1, dtype=np.float64).astype(np.float32)
            else:
                predicted = self._majority(rows)
            yield Answers(predicted, distances, labels)

    def _majority(self, rows: Places) -> Floats:
        values, code = self._classes
        places = code[rows] + len(values) * np.arange(len(rows))[:, None]
        votes = np.bincount(places.ravel(), minlength=len(rows) * len(values))
        most: Floats = values[votes.reshape(len(rows), len(values)).argmax(axis=1)]
        return most

    @cached_property
    def _classes(self) -> tuple[Floats, npt.NDArray[np.intp]]:
        """Return the labels that occur, ascending, and which of them each row has."""
        return np.unique(self.labels, return_inverse=True)

    def dump(self) -> dict[str, bytes]:
        """Return the files of the artifact by name."""
        projection = self.prepare.projection
        reduction: dict[str, object] = {"type": "none", "input_dim": self.feature_dim}
        if projection is not None:
            reduction = {
                "type": projection.kind,
                "seed": projection.seed,
                "target_dim": projection.target_dim,
                "input_dim": projection.input_dim,
                "maker": _MAKER,
            }
        meta = {
            "k": self.k,
            "predictor_type": self.predictor_type,
            "dimension_reduction": reduction,
            "normalize": self.prepare.normalize,
            "version": "1.0",
        }
        return {
            INDEX: faiss_file.dump(self.index),
            LABELS: self.labels.astype("<f4").tobytes(),
            META: json.dumps(meta).encode(),
        }


def load(folder: Path) -> KnnModel:
    """Return the model in a folder. Raises DataError when files are missing or damaged."""
    missing = [name for name in (INDEX, LABELS, META) if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder} holds no {', no '.join(missing)}: was the model trained?")
    try:
        index = faiss_file.parse((folder / INDEX).read_bytes())
    except FormatError as error:
        raise FormatError(f"{folder / INDEX}, {error}") from error
    raw = (folder / LABELS).read_bytes()
    if len(raw) != 4 * len(index.vectors):
        raise FormatError(
            f"{folder / LABELS} has {len(raw)} bytes, but there are {len(index.vectors)} rows in "
            "the index, with a label of 4 bytes each"
        )
    try:
        meta = json.loads((folder / META).read_bytes())
        return _model(meta, index, np.frombuffer(raw, "<f4"))
    except (ValueError, KeyError, TypeError, AttributeError, DataError) as error:
        raise FormatError(f"{folder / META}: {error}") from error


def _model(meta: Mapping[str, Any], index: Index, labels: Floats) -> KnnModel:
    k, predictor_type = meta["k"], meta["predictor_type"]
    if type(k) is not int or k < 1:
        raise FormatError(f"k is {k!r}: set a whole number, 1 or more")
    if predictor_type not in get_args(PredictorType):
        raise FormatError(
            f"predictor_type is {predictor_type!r}: set {' or '.join(get_args(PredictorType))}"
        )
    reduction: dict[str, Any] = meta.get("dimension_reduction") or {}
    width, projection = index.vectors.shape[1], None
    kind = reduction.get("type", "none")
    if kind in ("sign", "fjlt"):
        if reduction.get("maker") != _MAKER:
            raise FormatError(
                "the random projection was made by other code, which is not known here: train the "
                "model again, or without dimension reduction"
            )
        projection = Projection(
            kind, reduction["seed"], reduction["input_dim"], reduction["target_dim"]
        )
    elif kind != "none":
        raise FormatError(f"the dimension reduction {kind!r} is unknown")
    feature_dim = int(reduction.get("input_dim") or width)
    stored = feature_dim if projection is None else projection.target_dim
    if not 0 < stored <= width:
        raise FormatError(f"rows of {stored} columns do not fit an index of {width}")
    prepare = Preparation(feature_dim, projection, bool(meta.get("normalize", False)))
    return KnnModel(index, labels, k, predictor_type, prepare)
