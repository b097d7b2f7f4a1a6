"""The ``serve`` command of the container: the answers of one Factorization Machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fmrec.fm import artifact, inference_server, payloads
from fmrec.fm.inference_server import MediaType
from fmrec.fm.model import Model


@dataclass(frozen=True, eq=False)
class Scores:
    """The service of a model: a score for each row."""

    model: Model
    content_types = accept_types = payloads.CONTENT_TYPES

    @property
    def kind(self) -> str:
        """The kind of model."""
        return self.model.predictor_type

    def answer(self, body: bytes, content_type: MediaType, accept: MediaType) -> bytes:
        """Score the rows of a payload. Raises DataError for one that cannot be evaluated."""
        X = payloads.parse(body, content_type.name, self.model.feature_dim)
        return payloads.render(self.model, X, accept.name)


def main(ml_root: Path, environ: Mapping[str, str]) -> int:
    """Serve the model in ``ml_root/model``: see `inference_server.serve`."""
    return inference_server.serve(lambda folder: Scores(artifact.load(folder)), ml_root, environ)
