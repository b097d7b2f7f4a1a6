"""Data channels of a SageMaker job: the files below ``input/data/<channel>``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fmrec import recordio
from fmrec.errors import ConfigurationError, DataError
from fmrec.fm.hyperparameters import Hyperparameters
from fmrec.fm.model import Matrix
from fmrec.recordio import Records

CONTENT_TYPE = "application/x-recordio-protobuf"
# The first two are the built-in's.
CHANNELS = ("train", "test", "features", "model")

# What a value and a record take in a file at least, if written as float32 tensors.
VALUE_BYTES, RECORD_BYTES = 4, 24


class Rows(NamedTuple):
    """Feature rows ``(n, d)`` and their labels ``(n,)``."""

    features: Matrix
    labels: npt.NDArray[np.float32]

    def none(self) -> Rows:
        """Return no rows, of the same width, that hold nothing of these."""
        return Rows(self.features[:0], self.labels[:0].copy())


class Channel:
    """One channel of training or test rows, spread over any number of part files."""

    def __init__(self, ml_root: Path, name: str, hyperparameters: Hyperparameters) -> None:
        """Find the files. Raises ConfigurationError for an input mode or type not supported."""
        self.name = name
        self.folder = ml_root / "input" / "data" / name
        self._hp = hyperparameters
        settings = read_settings(ml_root).get(name, {})
        content_type = settings.get("ContentType") or CONTENT_TYPE
        if content_type != CONTENT_TYPE:
            raise ConfigurationError(
                f"channel {name!r} has ContentType {content_type!r}: "
                f"Factorization Machines reads {CONTENT_TYPE} only"
            )
        self.replicated = settings.get("S3DistributionType") != "ShardedByS3Key"
        self._label_type: str | None = None
        self.files = [self.folder / name for name, size in sizes(self.folder) if size]

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(path.stat().st_size for path in self.files)

    def read_all(self) -> Rows:
        """Return all rows.

        Raises DataError when there are none, unless the other hosts may have some.
        """
        # As much as the files may hold: pages that are never written to cost no memory, while
        # blocks that are joined in the end would cost all of it twice.
        indices = np.empty(self.bytes // VALUE_BYTES, np.int32)
        values = np.empty(self.bytes // VALUE_BYTES, np.float32)
        lengths = np.empty(self.bytes // RECORD_BYTES, np.int32)
        labels = np.empty(self.bytes // RECORD_BYTES, np.float32)
        rows, filled = 0, 0
        for block in self.read():
            X, n = block.features, len(block.labels)
            indices = _put(indices, filled, X.indices)
            values = _put(values, filled, X.data)
            lengths = _put(lengths, rows, np.diff(X.indptr))
            labels = _put(labels, rows, block.labels)
            rows, filled = rows + n, filled + X.nnz
        if not rows and self.replicated:
            raise DataError(
                f"channel {self.name!r} holds no records (looked for files below {self.folder}): "
                "check the S3 prefix of that channel"
            )
        indptr: npt.NDArray[Any] = np.zeros(rows + 1, np.int32 if filled < 1 << 31 else np.int64)
        np.cumsum(lengths[:rows], out=indptr[1:])
        parts = (values[:filled], indices[:filled], indptr)
        shape = (rows, self._hp.feature_dim)
        return Rows(sparse.csr_matrix(parts, shape=shape, copy=False), labels[:rows])

    def read(self) -> Iterator[Rows]:
        """Yield the rows in blocks, file by file in the order of their names.

        Raises DataError that names the file for rows that cannot be trained on or scored.
        """
        self._label_type = None
        for path in self.files:
            name = f"{self.name}/{path.relative_to(self.folder).as_posix()}"
            first = 0
            with path.open("rb") as stream:
                for block in recordio.read(stream, name=name):
                    yield self._checked(block, name, first)
                    first += block.features.shape[0]

    def _checked(self, block: Records, name: str, first: int) -> Rows:
        width, expected = block.features.shape[1], self._hp.feature_dim
        if width != expected:
            raise DataError(
                f"cannot copy sequence with size {width} to array axis with dimension {expected}: "
                f"the records of {name} have {width} features, but feature_dim is {expected}. "
                f"Set feature_dim to {width}, or write the records with {expected} features."
            )
        if block.labels is None:
            raise DataError(f"the records of {name} have no labels: write them with labels")
        self._check_types(block.label_types, name, first)
        bad = np.flatnonzero(~np.isfinite(block.labels))
        if self._hp.predictor_type == "binary_classifier" and not bad.size:
            bad = np.flatnonzero((block.labels != 0) & (block.labels != 1))
        if bad.size:
            kind = "0 or 1" if self._hp.predictor_type == "binary_classifier" else "a finite number"
            raise DataError(
                f"{name}: record {first + bad[0]} (counted from 0) has the label "
                f"{block.labels[bad[0]]}, but a {self._hp.predictor_type} needs {kind}"
            )
        if not np.isfinite(block.features.data).all():
            entry = int(np.flatnonzero(~np.isfinite(block.features.data))[0])
            row = int(np.searchsorted(block.features.indptr, entry, side="right")) - 1
            raise DataError(
                f"{name}: record {first + row} (counted from 0) has the value "
                f"{block.features.data[entry]}: write finite feature values"
            )
        if not block.features.has_canonical_format:
            _check_order(block.features, name, first)
        return Rows(block.features, block.labels)

    def _check_types(self, types: Mapping[str, int], name: str, first: int) -> None:
        """Refuse labels of several tensor types: most likely they are of different makers."""
        for kind, row in sorted(types.items(), key=lambda each: each[1]):
            self._label_type = self._label_type or kind
            if kind != self._label_type:
                raise DataError(
                    f"{name}: record {first + row} (counted from 0) has a label of type {kind}, "
                    f"but those before it are of type {self._label_type}: write all labels as "
                    "Float32Tensor"
                )


def _put(array: npt.NDArray[Any], at: int, more: npt.NDArray[np.generic]) -> npt.NDArray[Any]:
    """Write into ``array``, into a larger copy of it where it is too short, and return that."""
    if at + len(more) > len(array):
        array = np.concatenate([array[:at], np.empty(at + 2 * len(more), array.dtype)])
    array[at : at + len(more)] = more
    return array


def _check_order(X: Matrix, name: str, first: int) -> None:
    """Raise DataError for a record whose keys do not ascend: unsorted, or one of them twice."""
    wrong = np.flatnonzero(X.indices[1:] <= X.indices[:-1]) + 1
    rows = np.searchsorted(X.indptr, wrong, side="right") - 1
    within = X.indptr[rows] < wrong
    if within.any():
        at = int(np.flatnonzero(within)[0])
        key, before = X.indices[wrong[at]], X.indices[wrong[at] - 1]
        what = f"key {key} twice" if key == before else f"key {key} after {before}"
        raise DataError(
            f"{name}: record {first + rows[at]} (counted from 0) has the {what}: write each key "
            "once, in ascending order"
        )


def sizes(folder: Path) -> list[tuple[str, int]]:
    """Return the name and size of each file below a channel's folder, in the order of names."""
    found = folder.rglob("*") if folder.is_dir() else ()
    return sorted(
        (path.relative_to(folder).as_posix(), path.stat().st_size)
        for path in found
        if path.is_file()
    )


def read_settings(ml_root: Path) -> dict[str, dict[str, Any]]:
    """Return the settings of each channel by name: ``inputdataconfig.json``.

    Raises ConfigurationError for a channel or an input mode that this image does not know.
    """
    settings = read_config(ml_root, "inputdataconfig")
    unknown = [name for name in settings if name not in CHANNELS]
    if unknown:
        raise ConfigurationError(
            f"Additional properties are not allowed ({unknown[0]!r} was unexpected): the "
            f"channels of this image are {', '.join(CHANNELS)}"
        )
    for name, channel in settings.items():
        if not isinstance(channel, dict):
            raise ConfigurationError(
                f"inputdataconfig.json describes channel {name!r} by {channel!r}, not by an object"
            )
        mode = channel.get("TrainingInputMode", "File")
        if mode not in ("File", "FastFile"):
            raise ConfigurationError(
                f"channel {name!r} has TrainingInputMode {mode!r}: use File or FastFile"
            )
    return settings


def extra_folder(ml_root: Path, name: str) -> Path:
    """Return the folder of channel ``features`` or ``model``.

    Raises DataError when the job has the channel and no file is there, ConfigurationError when
    each host would get a part of it.
    """
    folder = ml_root / "input" / "data" / name
    settings = read_settings(ml_root)
    if name in settings and not (folder.is_dir() and any(folder.iterdir())):
        raise DataError(f"channel {name!r} holds no files: check its S3 prefix, or leave it out")
    if settings.get(name, {}).get("S3DistributionType") == "ShardedByS3Key":
        raise ConfigurationError(
            f"channel {name!r} is ShardedByS3Key, but each host needs all of it: "
            "set S3DataDistributionType to FullyReplicated"
        )
    return folder


def read_config(ml_root: Path, name: str) -> dict[str, Any]:
    """Return ``input/config/<name>.json``, empty when there is none.

    Raises ConfigurationError when it is not a JSON object.
    """
    path = ml_root / "input" / "config" / f"{name}.json"
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ConfigurationError(f"{path} is not a JSON object")
    return config
