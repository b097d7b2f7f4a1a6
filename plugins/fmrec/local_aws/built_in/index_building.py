"""Builds the three types of index that the built-in k-NN takes from faiss.

faiss.Flat compares a query with every row, faiss.IVFFlat with the rows of a few cells, faiss.IVFPQ
with compressed rows of a few cells. Source: Jégou, Douze and Schmid, "Product Quantization for
Nearest Neighbor Search", 2011; the settings of training are faiss's.
"""

from __future__ import annotations

import math
import threading

import numpy as np
import numpy.typing as npt

from fmrec.errors import DataError
from fmrec.local_aws.built_in.hyperparameters import Knn
from fmrec.local_aws.built_in.lloyd import CELLS, Lloyd, lloyd, nearest
from fmrec.local_aws.built_in.nearest_rows import Cells, Codes, Floats, Index, Metric

_CODEBOOK = 256
_MOST_PER_CENTER = 256
_CLUSTERING = Lloyd("random", 25, 0.0)


def build(hp: Knn, vectors: Floats, rng: np.random.Generator, stop: threading.Event) -> Index:
    """Return an index of vectors ``(n, d)``, d a multiple of ``hp.pq_m`` where that is not 0.

    Under COSINE they have the length 1.

    Raises DataError when there are too few of them for the cells or codes that are asked for.
    """
    metric: Metric = "L2" if hp.index_metric == "L2" else "INNER_PRODUCT"
    if hp.index_type == "faiss.Flat":
        return Index(metric, vectors)
    points = vectors.astype(np.float64)
    count = hp.ivf_nlists or max(1, math.isqrt(len(points)))
    cells = _cells(points, count, metric, hp.nprobe, rng, stop)
    if hp.index_type == "faiss.IVFFlat":
        return Index(metric, vectors, cells)
    codes = _codes(points - cells.centers[cells.cell], hp.pq_m, rng, stop)
    coded: Floats = cells.centers[cells.cell] + codes.decoded()
    return Index(metric, coded, cells, codes)


def _cells(
    points: npt.NDArray[np.float64],
    count: int,
    metric: Metric,
    nprobe: int,
    rng: np.random.Generator,
    stop: threading.Event,
) -> Cells:
    if metric == "L2":
        centers = _clustered(points, count, "faiss_index_ivf_nlists", rng, stop)
        return Cells(centers, nearest(points, centers.astype(np.float64))[0], nprobe)
    # As faiss does under the inner product: cells of directions, not of lengths.
    found = _clustered(_unit(points), count, "faiss_index_ivf_nlists", rng, stop)
    centers = _unit(found).astype(np.float32)
    step = max(1, CELLS // count)
    parts = (points[first : first + step] for first in range(0, len(points), step))
    cell = [np.argmax(part @ centers.T.astype(np.float64), axis=1) for part in parts]
    return Cells(centers, np.concatenate(cell), nprobe)


def _codes(
    points: npt.NDArray[np.float64], parts: int, rng: np.random.Generator, stop: threading.Event
) -> Codes:
    books, codes = [], []
    for part in np.split(points, parts, axis=1):
        book = _clustered(part, _CODEBOOK, "the 256 codes of faiss.IVFPQ", rng, stop)
        books.append(book)
        codes.append(nearest(part, book.astype(np.float64))[0].astype(np.uint8))
    return Codes(np.stack(books), np.stack(codes, axis=1))


def _clustered(
    points: npt.NDArray[np.float64],
    count: int,
    what: str,
    rng: np.random.Generator,
    stop: threading.Event,
) -> Floats:
    if len(points) < count:
        raise DataError(
            f"Number of training points ({len(points)}) should be at least as large as number of "
            f"clusters ({count}): give more records or a larger sample_size for {what}, or use "
            "another index_type"
        )
    if len(points) > count * _MOST_PER_CENTER:
        points = points[rng.choice(len(points), count * _MOST_PER_CENTER, replace=False)]
    centers, _ = lloyd(points, np.ones(len(points)), count, _CLUSTERING, rng, stop)
    return centers.astype(np.float32)


def _unit(points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    lengths = np.linalg.norm(points.astype(np.float64), axis=1, keepdims=True)
    unit: npt.NDArray[np.float64] = points / np.where(lengths > 0, lengths, 1)
    return unit
