"""What unit tests of the steps share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from fmrec.store import Store
from serving_world import s3_in_memory
from steps_world import World


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for generated archives: made once, as they are always the same."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def world(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Runs of the steps over S3 in memory."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="fmrec")
        yield World(s3, cache)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of S3 in memory, with an empty bucket `bbb`."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with mock_aws():
        made = boto3.client("s3", region_name="us-east-1")
        made.create_bucket(Bucket="bbb")
        yield made


@pytest.fixture
def store(client: Any) -> Store:
    """That bucket."""
    return Store(client, "bbb")


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """S3 in memory for a whole module, which empties it before each of its tests."""
    with s3_in_memory() as client:
        yield client
