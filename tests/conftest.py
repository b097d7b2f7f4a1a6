"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def clean_environ() -> Iterator[None]:
    """No test sees the developer's AWS settings, and none leaves its own behind."""
    before = dict(os.environ)
    for name in before:
        ours = name.startswith("FMREC_") and name != "FMREC_DATA_DIR"
        if ours or name.startswith(("AWS_", "AIRFLOW_CONN_")):
            del os.environ[name]
    # Dummy keys and a closed port: a client made by mistake reaches nothing.
    os.environ.update(
        AWS_ACCESS_KEY_ID="local",
        AWS_SECRET_ACCESS_KEY="local",
        AWS_DEFAULT_REGION="us-east-1",
        AWS_ENDPOINT_URL="http://127.0.0.1:9",
        AWS_EC2_METADATA_DISABLED="true",
    )
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real files (ml-100k.zip, published-fm-logs.json, aws-fm-regressor/)."""
    folder = os.environ.get("FMREC_DATA_DIR")
    if not folder:
        pytest.skip("FMREC_DATA_DIR is not set: the real MovieLens and AWS files are not at hand")
    return Path(folder)
