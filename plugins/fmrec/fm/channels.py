"""Data channels of a SageMaker job: the files below ``input/data/<channel>``."""

from __future__ import annotations

import json
from collections.abc import Iterator
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


class Rows(NamedTuple):
    """Feature rows ``(n, d)`` and their labels ``(n,)``."""

    features: Matrix
    labels: npt.NDArray[np.float32]


class Channel:
    """One channel of training or test rows, spread over any number of part files."""

    def __init__(self, ml_root: Path, name: str, hyperparameters: Hyperparameters) -> None:
        """Find the files. Raises ConfigurationError for an input mode or type not supported."""
        self.name = name
        self.folder = ml_root / "input" / "data" / name
        self._hp = hyperparameters
        settings = read_config(ml_root, "inputdataconfig").get(name, {})
        mode = settings.get("TrainingInputMode", "File")
        if mode not in ("File", "FastFile"):
            raise ConfigurationError(
                f"channel {name!r} has TrainingInputMode {mode!r}: use File or FastFile"
            )
        content_type = settings.get("ContentType") or CONTENT_TYPE
        if content_type != CONTENT_TYPE:
            raise ConfigurationError(
                f"channel {name!r} has ContentType {content_type!r}: "
                f"Factorization Machines reads {CONTENT_TYPE} only"
            )
        found = self.folder.rglob("*") if self.folder.is_dir() else ()
        self.files = sorted(
            (path for path in found if path.is_file() and path.stat().st_size),
            key=lambda path: path.relative_to(self.folder).as_posix(),
        )

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(path.stat().st_size for path in self.files)

    def read_all(self) -> Rows:
        """Return all rows. Raises DataError when there are none."""
        blocks = list(self.read())
        if not blocks:
            raise DataError(
                f"channel {self.name!r} holds no records (looked for files below {self.folder}): "
                "check the S3 prefix of that channel"
            )
        features = sparse.vstack([block.features for block in blocks], format="csr")
        return Rows(features, np.concatenate([block.labels for block in blocks]))

    def read(self) -> Iterator[Rows]:
        """Yield the rows in blocks, file by file in the order of their names.

        Raises DataError that names the file for rows that cannot be trained on or scored.
        """
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
        return Rows(block.features, block.labels)


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
