"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("fmrec", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fmrec")

CONTRACT = Path(__file__).parent / "contract"
SLOW = {"contract", "golden", "properties"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say what the contract suite runs against; by default a local AWS that it starts itself."""
    group = parser.getgroup("fmrec", "what tests/contract/aws runs against")
    group.addoption("--endpoint-url", metavar="URL", help="a local AWS that runs already")
    group.addoption(
        "--aws",
        action="store_true",
        help="AWS itself, with the environment's credentials and region; costs money",
    )
    group.addoption("--aws-role", metavar="ARN", help="the role of the jobs on AWS")
    group.addoption("--aws-bucket", metavar="NAME", help="an existing bucket on AWS for their data")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse options that contradict each other, before anything runs."""
    url, aws = config.getoption("--endpoint-url"), config.getoption("--aws")
    if url and aws:
        raise pytest.UsageError("--endpoint-url and --aws exclude each other")
    if url and "amazonaws.com" in url:
        raise pytest.UsageError("--endpoint-url names AWS: use --aws --aws-role --aws-bucket")
    if aws and not (config.getoption("--aws-role") and config.getoption("--aws-bucket")):
        raise pytest.UsageError("--aws needs --aws-role ARN and --aws-bucket NAME")


def _named(config: pytest.Config) -> str | None:
    """Which AWS the options name, if any."""
    return config.getoption("--endpoint-url") or ("AWS" if config.getoption("--aws") else None)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say against what the contract suite runs, and that it runs alone."""
    named = _named(config)
    if named is None:
        return None
    return f"contract suite: on {named}, without the tests that bring a server of their own"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark whole folders slow; leave out what brings servers of its own, where an AWS is named."""
    for item in items:
        if SLOW & {folder.name for folder in item.path.parents}:
            item.add_marker(pytest.mark.slow)
    if _named(config) is None:
        return
    own = [
        item
        for item in items
        if CONTRACT in item.path.parents and CONTRACT / "aws" not in item.path.parents
    ]
    items[:] = [item for item in items if item not in own]
    config.hook.pytest_deselected(items=own)


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


@pytest.fixture(autouse=True)
def clients_are_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """End the connections that clients keep: a socket that is forgotten open is a warning."""
    made: list[Any] = []
    make: Callable[..., Any] = boto3.client

    def client(*arguments: Any, **options: Any) -> Any:
        made.append(make(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(boto3, "client", client)
    yield
    for each in made:
        each.close()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real files (ml-100k.zip, published-fm-logs.json, aws-fm-regressor/)."""
    folder = os.environ.get("FMREC_DATA_DIR")
    if not folder:
        pytest.skip("FMREC_DATA_DIR is not set: the real MovieLens and AWS files are not at hand")
    return Path(folder)
