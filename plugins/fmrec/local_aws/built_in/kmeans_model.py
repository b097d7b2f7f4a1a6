"""The artifact of the built-in K-Means: ``model_algo-1``, an MXNet list of one array of centers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from fmrec.errors import DataError, FormatError
from fmrec.fm import mxnet_params
from fmrec.local_aws.built_in.lloyd import nearest
from fmrec.local_aws.built_in.single import single

MEMBER = "model_algo-1"

Floats = npt.NDArray[np.float32]


class KMeansModel:
    """Cluster centers ``(k, d)``, as they stand in the artifact."""

    def __init__(self, centers: Floats) -> None:
        self.centers = centers
        self._exact = centers.astype(np.float64)

    @property
    def feature_dim(self) -> int:
        """The number of columns ``d`` that rows must have."""
        width: int = self.centers.shape[1]
        return width

    def squared_distances(self, X: Floats) -> npt.NDArray[np.float64]:
        """Return for each row ``(n, d)`` the squared distance to the closest center: ``(n,)``."""
        return nearest(X, self._exact)[1]

    def clusters(self, X: Floats) -> tuple[Floats, Floats]:
        """Return for each row the closest center's number and the Euclidean distance to it."""
        closest, squares = nearest(X, self._exact)
        return closest.astype(np.float32), single(np.sqrt(squares))

    def dump(self) -> bytes:
        """Return the content of ``model_algo-1``."""
        return mxnet_params.dump([("", self.centers, False)])


def load(folder: Path) -> KMeansModel:
    """Return the model in ``folder/model_algo-1``.

    Raises DataError when it is not there and FormatError when it is damaged.
    """
    path = folder / MEMBER
    if not path.is_file():
        raise DataError(f"{folder} holds no {MEMBER}: was the model trained?")
    try:
        entries = mxnet_params.parse(path.read_bytes())
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
    arrays = [entry.dense() for entry in entries]
    if len(arrays) != 1 or arrays[0].ndim != 2 or not arrays[0].size:
        shapes = ", ".join(str(array.shape) for array in arrays) or "none"
        raise FormatError(f"{path} holds arrays of shapes {shapes}: no model of K-Means has these")
    if not np.isfinite(arrays[0]).all():
        raise FormatError(f"{path} holds centers that are no finite numbers")
    return KMeansModel(arrays[0])
