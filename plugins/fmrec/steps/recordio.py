"""Write the design matrices as RecordIO-protobuf files."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from fmrec import recordio as codec
from fmrec.errors import DataError
from fmrec.events.objectives import graded, labels
from fmrec.events.prepare import EXAMPLES
from fmrec.fm.features import COLUMNS, Features, dump
from fmrec.layout import Run
from fmrec.steps.xcom import Xcom, design_of, features_of, is_graded
from fmrec.store import Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

Encode = Callable[[pd.DataFrame], csr_matrix]

CHUNK_ROWS = 1 << 15
THREADS = 2


def recordio(run: Xcom, tables: Xcom, parts: Xcom, s3: S3Client) -> Xcom:
    """Write each part's design matrix as RecordIO files: the channels, and what is to be scored."""
    this = Run.from_xcom(run)
    store = Store(s3, this.layout.bucket)
    design = design_of(this, tables, parts, store)
    completes = this.settings.completes_rows
    encode = design.compact if completes else design.encode
    writer = _Writer(this, store)
    files: dict[str, list[dict[str, Any]]] = {}
    for name in ("train", "validation", "test"):
        part = _rows_of(name, parts, this)
        if part["rows"]:
            files[name] = writer.write(name, part, design.encode if name == "test" else encode)
    # The channel `test` is what the job reports on while it trains: the validation events where
    # the split has them, so that the events the model is judged by stay unseen until the end.
    watched = "validation" if "validation" in files else "test"
    channels = {"train": "train", "test": watched}
    if completes:
        if watched == "test":  # which is written whole, for the batch transform
            files["watched"] = writer.write("watched", parts["parts"]["test"], encode)
            channels["test"] = "watched"
        files["features"] = _write_features(features_of(design), this, store)
        channels["features"] = "features"
    for name, written in files.items():
        rows = sum(each.get("rows", 0) for each in written)
        log.info("%s: %d files, %s rows", name, len(written), f"{rows:,}")
    sums = [each.pop("labels") for each in files["train"]]
    for each in (each for written in files.values() for each in written):
        each.pop("labels", None)
    mean = math.fsum(sums) / sum(each["rows"] for each in files["train"])
    classifies = this.hyperparameters()["predictor_type"] == "binary_classifier"
    return {
        "feature_dim": design.space.dimension,
        "bias": _starting_bias(mean, files["train"], classifies=classifies),
        "training": {
            channel: this.layout.uri(this.layout.channel(name))
            for channel, name in channels.items()
        },
        "watched": watched,
        "score": this.layout.uri(this.layout.channel("test")),
        "files": files,
    }


def _rows_of(name: str, parts: Xcom, run: Run) -> Xcom:
    """The rows of a channel: of a ranking with sampled films, these where they were sampled."""
    sampled = {"train": parts["parts"].get(EXAMPLES), "validation": parts["watched"]}.get(name)
    searches = run.settings.samples_negatives and run.settings.mode == "tune"
    if name == "validation" and searches and sampled is None:
        raise DataError(
            "no user of the training part likes one of its films in the validation part, so there "
            "is nothing to choose hyperparameters by: set as_of to a later moment, or "
            "validation_fraction to more"
        )
    found: Xcom = parts["parts"][name] if sampled is None else sampled
    return found


def _write_features(features: Features, run: Run, store: Store) -> list[dict[str, Any]]:
    """Write the channel that says what the columns are, and what belongs to whom."""
    contents = {COLUMNS: dump(features)}
    for side, records in features.records.items():
        contents[f"{side}.pbr"] = codec.encode(records, None)
    written = []
    for name, content in contents.items():
        key = run.layout.channel("features") + name
        digest = store.put(key, content)
        written.append({"key": key, "bytes": len(content), "sha256": digest})
    return written


class _Writer:
    """Writes one file of rows for each file of events."""

    def __init__(self, run: Run, store: Store) -> None:
        self._run, self._store = run, store

    def write(self, name: str, part: Xcom, encode: Encode) -> list[dict[str, Any]]:
        """Write a channel from a part of the events."""
        with tempfile.TemporaryDirectory(prefix="fmrec-recordio-") as folder:

            def one(numbered: tuple[int, Xcom]) -> dict[str, Any]:
                number, file = numbered
                return self._file(name, number, file, encode, Path(folder, str(number)))

            with ThreadPoolExecutor(THREADS) as pool:
                return list(pool.map(one, enumerate(part["files"])))

    def _file(
        self, name: str, number: int, file: Xcom, encode: Encode, scratch: Path
    ) -> dict[str, Any]:
        key = self._run.layout.channel_part(name, number)
        total = 0.0
        with scratch.open("wb") as stream:
            for chunk in chunks(self._store.get_table(file["key"]).to_pandas()):
                wanted = self._labels(chunk)
                total += float(wanted.sum(dtype=np.float64))
                codec.write(stream, encode(chunk), wanted)
        size = scratch.stat().st_size
        digest = self._store.put_file(key, scratch)
        scratch.unlink()
        return {"key": key, "rows": file["rows"], "bytes": size, "sha256": digest, "labels": total}

    def _labels(self, chunk: pd.DataFrame) -> NDArray[np.float32]:
        if "label" in chunk:
            return chunk["label"].to_numpy(np.float32)
        if is_graded(self._run):
            return graded(chunk["rating"])
        return labels(chunk, self._run.settings.objective)


def _starting_bias(mean: float, files: list[dict[str, Any]], *, classifies: bool) -> float:
    """The bias that alone predicts the training mean: the mean itself, or its logit.

    A bias that starts at 0 climbs slowly while the users' weights take over a part of the mean,
    and an event of an unknown user, scored by what is left, comes out far too low.
    """
    if not classifies:
        return mean
    rows = sum(each["rows"] for each in files)
    share = min(max(mean, 0.5 / rows), 1 - 0.5 / rows)
    return math.log(share / (1 - share))


def chunks(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Rows in pieces that bound what a design matrix takes."""
    for start in range(0, len(rows), CHUNK_ROWS):
        yield rows.iloc[start : start + CHUNK_ROWS]
