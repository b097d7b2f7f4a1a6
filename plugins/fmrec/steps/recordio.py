"""Write the design matrices as RecordIO-protobuf files."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmrec import recordio as codec
from fmrec.events.design import Design
from fmrec.events.objectives import graded, labels
from fmrec.events.prepare import EXAMPLES
from fmrec.layout import Run
from fmrec.steps.xcom import Xcom, design_of, is_graded
from fmrec.store import Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

CHUNK_ROWS = 1 << 15
THREADS = 2


def recordio(run: Xcom, tables: Xcom, parts: Xcom, s3: S3Client) -> Xcom:
    """Write each part's design matrix as RecordIO files: the channels, and what is to be scored."""
    this = Run.from_xcom(run)
    store = Store(s3, this.layout.bucket)
    writer = _Writer(this, store, design_of(this, tables, parts, store))
    files: dict[str, list[dict[str, Any]]] = {}
    for name in ("train", "validation", "test"):
        part = parts["parts"][EXAMPLES if name == "train" and EXAMPLES in parts["parts"] else name]
        if part["rows"]:
            files[name] = writer.write(name, part)
            log.info("%s: %d files, %s rows", name, len(files[name]), f"{part['rows']:,}")
    # The channel `test` is what the job reports on while it trains: the validation events where
    # the split has them, so that the events the model is judged by stay unseen until the end.
    watched = "validation" if "validation" in files else "test"
    uris = {name: this.layout.uri(this.layout.channel(name)) for name in files}
    sums = [each.pop("labels") for name in files for each in files[name]][: len(files["train"])]
    mean = math.fsum(sums) / sum(each["rows"] for each in files["train"])
    classifies = this.settings.hyperparameters()["predictor_type"] == "binary_classifier"
    return {
        "feature_dim": writer.dimension,
        "bias": _starting_bias(mean, files["train"], classifies=classifies),
        "training": {"train": uris["train"], "test": uris[watched]},
        "watched": watched,
        "score": uris["test"],
        "files": files,
    }


class _Writer:
    """Writes one file of rows for each file of events."""

    def __init__(self, run: Run, store: Store, design: Design) -> None:
        self._run, self._store, self._design = run, store, design
        self.dimension = design.space.dimension

    def write(self, name: str, part: Xcom) -> list[dict[str, Any]]:
        """Write a channel from a part of the events."""
        with tempfile.TemporaryDirectory(prefix="fmrec-recordio-") as folder:

            def one(numbered: tuple[int, Xcom]) -> dict[str, Any]:
                number, file = numbered
                return self._file(name, number, file, Path(folder, str(number)))

            with ThreadPoolExecutor(THREADS) as pool:
                return list(pool.map(one, enumerate(part["files"])))

    def _file(self, name: str, number: int, file: Xcom, scratch: Path) -> dict[str, Any]:
        key = self._run.layout.channel_part(name, number)
        total = 0.0
        with scratch.open("wb") as stream:
            for chunk in chunks(self._store.get_table(file["key"]).to_pandas()):
                wanted = self._labels(chunk)
                total += float(wanted.sum(dtype=np.float64))
                codec.write(stream, self._design.encode(chunk), wanted)
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
