"""Channels ``train`` and ``test`` of a job: RecordIO-protobuf or CSV files, any number of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from fmrec import recordio
from fmrec.errors import ConfigurationError, DataError
from fmrec.fm.channels import read_config, sizes
from fmrec.fm.inference_server import MediaType
from fmrec.fm.payloads import RECORDIO
from fmrec.local_aws.built_in import csv_rows

CHANNELS = ("train", "test")
Floats = npt.NDArray[np.float32]


class Rows(NamedTuple):
    """Feature rows ``(n, d)`` and their labels ``(n,)``, zeros for an algorithm without labels."""

    features: Floats
    labels: Floats


class Channel:
    """One channel. Rows come file by file in the order of the names, as they stand there."""

    def __init__(self, ml_root: Path, name: str, feature_dim: int, *, labelled: bool) -> None:
        """Find the files. Raises ConfigurationError for an input mode or type not supported."""
        self.name = name
        self.folder = ml_root / "input" / "data" / name
        self._feature_dim = feature_dim
        self._labelled = labelled
        settings = _settings(ml_root).get(name, {})
        self._type = MediaType.of(settings.get("ContentType") or RECORDIO)
        if self._type.name not in (RECORDIO, csv_rows.CONTENT_TYPE):
            raise ConfigurationError(
                f"channel {name!r} has ContentType {settings['ContentType']!r}: this algorithm "
                f"reads {RECORDIO} and {csv_rows.CONTENT_TYPE}"
            )
        # Unless told otherwise, the built-ins take the first column of a CSV file for the label.
        self._label_size = csv_rows.label_size(self._type, 1)
        if labelled and self._label_size != 1:
            raise ConfigurationError(
                f"channel {name!r} has label_size={self._label_size}, but this algorithm needs one "
                "label for each record: write it into the first column and set label_size=1"
            )
        self.files = [self.folder / name for name, size in sizes(self.folder) if size]

    def batches(self, size: int) -> Iterator[Rows]:
        """Yield all rows, ``size`` at a time; only the last batch may have fewer.

        Raises DataError that names the file for rows that cannot be used.
        """
        kept: list[Rows] = []
        count = 0
        for piece in self._pieces(size):
            kept.append(piece)
            count += len(piece.features)
            while count >= size:
                whole = _joined(kept)
                yield _cut(whole, 0, size)
                kept, count = [_cut(whole, size, count)], count - size
        if count:
            yield _joined(kept)

    def first_batch(self, size: int) -> Rows:
        """Return the first batch. Raises DataError when there are no records at all."""
        batch = next(self.batches(size), None)
        if batch is None:
            raise DataError(
                f"channel {self.name!r} holds no records (looked for files below {self.folder}): "
                "check the S3 prefix of that channel"
            )
        return batch

    def _pieces(self, size: int) -> Iterator[Rows]:
        """Yield rows of one file, at most ``size`` of them."""
        for path in self.files:
            name = f"{self.name}/{path.relative_to(self.folder).as_posix()}"
            first = 0
            with path.open("rb") as stream:
                read = self._recordio if self._type.name == RECORDIO else self._csv
                for rows in read(stream, name, size):
                    yield self._checked(rows, name, first)
                    first += len(rows.features)

    def _recordio(self, stream: BinaryIO, name: str, size: int) -> Iterator[Rows]:
        for block in recordio.read(stream, name=name):
            self._check_width(block.features.shape[1], name)
            if block.labels is None and self._labelled:
                raise DataError(f"the records of {name} have no labels: write them with labels")
            for first in range(0, block.features.shape[0], size):
                part = slice(first, first + size)
                features = block.features[part].toarray()
                labels = np.zeros(len(features), np.float32)
                if block.labels is not None and self._labelled:
                    labels = block.labels[part]
                yield Rows(features, labels)

    def _csv(self, stream: BinaryIO, name: str, size: int) -> Iterator[Rows]:
        labels = self._label_size
        for block in csv_rows.read(stream, name):
            self._check_width(block.shape[1] - labels, f"{name} (label_size {labels})")
            with np.errstate(over="ignore"):
                values = block.astype(np.float32)
            targets = values[:, 0] if self._labelled else np.zeros(len(values), np.float32)
            rows = Rows(values[:, labels:], targets)
            for first in range(0, len(values), size):
                yield _cut(rows, first, first + size)

    def _check_width(self, width: int, name: str) -> None:
        expected = self._feature_dim
        if width != expected:
            raise DataError(
                f"cannot copy sequence with size {width} to array axis with dimension {expected}: "
                f"the records of {name} have {width} features, but feature_dim is {expected}. "
                f"Set feature_dim to {width}, or write the records with {expected} features."
            )

    def _checked(self, rows: Rows, name: str, first: int) -> Rows:
        bad = np.flatnonzero(~np.isfinite(rows.features).all(axis=1))
        if bad.size:
            raise DataError(
                f"{name}: record {first + bad[0]} (counted from 0) holds a value that is no finite "
                "float32 number: write finite feature values"
            )
        bad = np.flatnonzero(~np.isfinite(rows.labels))
        if bad.size:
            raise DataError(
                f"{name}: record {first + bad[0]} (counted from 0) has the label "
                f"{rows.labels[bad[0]]}: write finite labels"
            )
        return rows


def _joined(parts: list[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    return Rows(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _cut(rows: Rows, first: int, last: int) -> Rows:
    return Rows(rows.features[first:last], rows.labels[first:last])


def _settings(ml_root: Path) -> dict[str, dict[str, Any]]:
    settings = read_config(ml_root, "inputdataconfig")
    unknown = [name for name in settings if name not in CHANNELS]
    if unknown:
        raise ConfigurationError(
            f"Additional properties are not allowed ({unknown[0]!r} was unexpected): the "
            f"channels of this algorithm are {' and '.join(CHANNELS)}"
        )
    for name, channel in settings.items():
        mode = channel.get("TrainingInputMode", "File")
        if mode not in ("File", "FastFile"):
            raise ConfigurationError(
                f"channel {name!r} has TrainingInputMode {mode!r}: use File or FastFile"
            )
    return settings
