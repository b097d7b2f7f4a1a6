"""The rows of an inference request, in the formats that k-NN and K-Means take."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fmrec.errors import ConfigurationError, DataError
from fmrec.fm import payloads
from fmrec.fm.inference_server import MediaType
from fmrec.fm.model import Matrix
from fmrec.local_aws.built_in import csv_rows

CONTENT_TYPES = (*payloads.CONTENT_TYPES, csv_rows.CONTENT_TYPE)
# Values made dense at a time: 16 MiB.
CELLS = 1 << 22

Floats = npt.NDArray[np.float32]


def parse(body: bytes, content_type: MediaType, feature_dim: int) -> Matrix:
    """Return the rows of a request ``(n, feature_dim)``, n at least 1. Raises DataError."""
    if content_type.name != csv_rows.CONTENT_TYPE:
        return payloads.parse(body, content_type.name, feature_dim)
    try:
        labels = csv_rows.label_size(content_type, 0)
    except ConfigurationError as error:
        raise DataError(str(error)) from error
    blocks = list(csv_rows.read(io.BytesIO(body), "payload"))
    if not blocks:
        raise DataError("the payload holds no rows")
    with np.errstate(over="ignore"):
        X = np.concatenate(blocks)[:, labels:].astype(np.float32)
    if X.shape[1] != feature_dim:
        raise DataError(f"rows have {X.shape[1]} features, but the model has {feature_dim}")
    if not np.isfinite(X).all():
        raise DataError("the payload holds a value that is no finite float32 number")
    return sparse.csr_matrix(X)


def dense_parts(X: Matrix) -> Iterator[Floats]:
    """Yield the rows as dense blocks, whatever their width in bounded memory."""
    step = max(1, CELLS // X.shape[1])
    for first in range(0, X.shape[0], step):
        yield X[first : first + step].toarray()
