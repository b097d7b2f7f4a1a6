"""Write the design matrices as RecordIO-protobuf files."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmrec import events as event
from fmrec import recordio as codec
from fmrec.layout import Run
from fmrec.steps.xcom import Xcom, feature_space
from fmrec.store import Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)


def recordio(run: Xcom, parts: Xcom, s3: S3Client) -> Xcom:
    """Write each part's design matrix as RecordIO files: the channels, and what is to be scored."""
    this = Run.from_xcom(run)
    store = Store(s3, this.layout.bucket)
    space = feature_space(parts, store)
    files: dict[str, list[dict[str, Any]]] = {}
    for name in ("train", "validation", "test"):
        rows = store.get_table(parts["parts"][name]["key"])
        if rows.empty:
            continue
        files[name] = []
        for number, chunk in enumerate(_chunks(rows)):
            key = this.layout.channel_part(name, number)
            labels = event.labels(chunk, this.settings.objective)
            data = codec.encode(space.encode(chunk), labels)
            digest = store.put(key, data)
            files[name].append(
                {"key": key, "rows": len(chunk), "bytes": len(data), "sha256": digest}
            )
        if name == "train":
            bias = _starting_bias(
                event.labels(rows, this.settings.objective), this.settings.objective
            )
        log.info("%s: %d files, %s rows", name, len(files[name]), f"{len(rows):,}")
    # The channel `test` is what the job reports on while it trains: the validation events where
    # the split has them, so that the events the model is judged by stay unseen until the end.
    watched = "validation" if "validation" in files else "test"
    uris = {name: this.layout.uri(this.layout.channel(name)) for name in files}
    return {
        "feature_dim": space.dimension,
        "bias": bias,
        "training": {"train": uris["train"], "test": uris[watched]},
        "watched": watched,
        "score": uris["test"],
        "files": files,
    }


def _starting_bias(labels: NDArray[np.float32], objective: str) -> float:
    """The bias that alone predicts the training mean: the mean itself, or its logit.

    A bias that starts at 0 climbs slowly while the users' weights take over a part of the mean,
    and an event of an unknown user, scored by what is left, comes out far too low.
    """
    mean = float(labels.mean(dtype=np.float64))
    if objective == "rating":
        return mean
    share = min(max(mean, 0.5 / len(labels)), 1 - 0.5 / len(labels))
    return math.log(share / (1 - share))


def _chunks(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Rows for one file each: about four files, none tiny and none beyond a million rows."""
    size = min(max(math.ceil(len(rows) / 4), 1_000), 1_000_000)
    for start in range(0, len(rows), size):
        yield rows.iloc[start : start + size]
