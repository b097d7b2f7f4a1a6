"""``knn serve``: a prediction for each row, and in verbose mode its neighbours too."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fmrec import recordio
from fmrec.fm.inference_server import MediaType
from fmrec.fm.payloads import JSON, JSON_LINES, RECORDIO
from fmrec.local_aws.built_in import inference_rows, knn_model, vector_responses
from fmrec.local_aws.built_in.knn_model import Answers, KnnModel
from fmrec.local_aws.built_in.nearest_rows import Floats


class KnnService:
    """Answers as the Developer Guide's "k-NN Request and Response Formats" has it."""

    content_types = inference_rows.CONTENT_TYPES
    accept_types = (JSON, JSON_LINES, RECORDIO)

    def __init__(self, model: KnnModel) -> None:
        self._model = model

    @property
    def kind(self) -> str:
        """The kind of model."""
        return f"knn {self._model.predictor_type}"

    def answer(self, body: bytes, content_type: MediaType, accept: MediaType) -> bytes:
        """Predict the rows of a payload. Raises DataError for one that cannot be evaluated."""
        X = inference_rows.parse(body, content_type, self._model.feature_dim)
        verbose = accept.parameters.get("verbose") == "true"
        blocks = (
            answers
            for part in inference_rows.dense_parts(X)
            for answers in self._model.answers(part)
        )
        if accept.name == RECORDIO:
            return b"".join(_recordio(block, verbose=verbose) for block in blocks)
        texts = [text for block in blocks for text in _objects(block, verbose=verbose)]
        if accept.name == JSON_LINES:
            return ("\n".join(texts) + "\n").encode()
        return ('{"predictions": [' + ", ".join(texts) + "]}").encode()


def load(folder: Path) -> KnnService:
    """Return the service of the model in a folder. Raises DataError when there is none."""
    return KnnService(knn_model.load(folder))


def _objects(answers: Answers, *, verbose: bool) -> list[str]:
    """Return the JSON object of each row."""
    predicted = map(float.__repr__, answers.predicted.tolist())
    if not verbose:
        return [f'{{"predicted_label": {text}}}' for text in predicted]
    lists = zip(predicted, _rows(answers.distances), _rows(answers.labels), strict=True)
    return [
        f'{{"predicted_label": {label}, "distances": [{distances}], "labels": [{labels}]}}'
        for label, distances, labels in lists
    ]


def _rows(values: Floats) -> list[str]:
    """Return the numbers of each row as text: all at once, for the digits take the time."""
    return json.dumps(values.tolist())[2:-2].split("], [")


def _recordio(answers: Answers, *, verbose: bool) -> bytes:
    if not verbose:
        return recordio.encode_responses({"predicted_label": answers.predicted})
    columns = {
        "predicted_label": answers.predicted[:, np.newaxis],
        "distances": answers.distances,
        "labels": answers.labels,
    }
    return vector_responses.encode(columns)
