"""``kmeans serve``: the closest cluster of each row, and the distance to its center."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fmrec import recordio
from fmrec.fm.inference_server import MediaType
from fmrec.fm.payloads import JSON, JSON_LINES, RECORDIO
from fmrec.local_aws.built_in import csv_rows, inference_rows, kmeans_model
from fmrec.local_aws.built_in.kmeans_model import KMeansModel


class KMeansService:
    """Answers as the Developer Guide's "K-Means Response Formats" has it."""

    kind = "kmeans"
    content_types = inference_rows.CONTENT_TYPES
    accept_types = (JSON, JSON_LINES, RECORDIO, csv_rows.CONTENT_TYPE)

    def __init__(self, model: KMeansModel) -> None:
        self._model = model

    def answer(self, body: bytes, content_type: MediaType, accept: MediaType) -> bytes:
        """Assign the rows of a payload. Raises DataError for one that cannot be evaluated."""
        X = inference_rows.parse(body, content_type, self._model.feature_dim)
        parts = [self._model.clusters(part) for part in inference_rows.dense_parts(X)]
        closest, distances = (np.concatenate(each) for each in zip(*parts, strict=True))
        if accept.name == RECORDIO:
            columns = {"closest_cluster": closest, "distance_to_cluster": distances}
            return recordio.encode_responses(columns)
        pairs = zip(closest.tolist(), distances.tolist(), strict=True)
        if accept.name == csv_rows.CONTENT_TYPE:
            return _lines(f"{cluster},{distance}" for cluster, distance in pairs)
        texts = [
            f'{{"closest_cluster": {cluster}, "distance_to_cluster": {distance}}}'
            for cluster, distance in pairs
        ]
        if accept.name == JSON_LINES:
            return _lines(texts)
        return ('{"predictions": [' + ", ".join(texts) + "]}").encode()


def load(folder: Path) -> KMeansService:
    """Return the service of the model in a folder. Raises DataError when there is none."""
    return KMeansService(kmeans_model.load(folder))


def _lines(texts: Iterable[str]) -> bytes:
    return ("\n".join(texts) + "\n").encode()
