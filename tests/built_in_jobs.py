"""Folders of training jobs of the built-in algorithms, and a run of one in this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fmrec.local_aws.built_in import kmeans_training, knn_training, training

RECORDIO = "application/x-recordio-protobuf"
Files = Mapping[str, bytes]


def lay_out(
    ml_root: Path,
    hyperparameters: Mapping[str, str],
    channels: Mapping[str, Files | bytes],
    types: Mapping[str, str] | None = None,
    **configuration: Any,
) -> None:
    """Write the folder of a job; a channel is its files by name, or one file."""
    config = ml_root / "input" / "config"
    config.mkdir(parents=True)
    settings = {
        name: {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"}
        | ({"ContentType": types[name]} if types and name in types else {})
        for name in channels
    }
    written = {
        "hyperparameters": dict(hyperparameters),
        "inputdataconfig": settings,
        "resourceconfig": {"current_host": "algo-1", "hosts": ["algo-1"]},
    } | configuration
    for name, content in written.items():
        (config / f"{name}.json").write_text(json.dumps(content))
    for name, files in channels.items():
        for file, data in ({"part": files} if isinstance(files, bytes) else files).items():
            path = ml_root / "input" / "data" / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def run(
    algorithm: str,
    ml_root: Path,
    capsys: pytest.CaptureFixture[str],
    stop: threading.Event | None = None,
) -> tuple[int, str]:
    """Run a job, and return its exit code and its log."""
    fit = {"knn": knn_training.fit, "kmeans": kmeans_training.fit}[algorithm]
    code = training.run(algorithm, fit, ml_root, lambda: 1_600_000_000.0, stop or threading.Event())
    return code, capsys.readouterr().out


def failure(ml_root: Path) -> str:
    """What the job left in ``output/failure``."""
    return (ml_root / "output" / "failure").read_text()
