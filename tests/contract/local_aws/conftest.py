"""A local AWS as its users meet it: a process of its own, reached over HTTP by boto3."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

ROLE = "arn:aws:iam::123456789012:role/fmrec-local"
IMAGE = "382416733822.dkr.ecr.us-east-1.amazonaws.com/toy:1"
HERE = Path(__file__).parent


class Server:
    """A running server process and clients for it."""

    def __init__(self, process: subprocess.Popen[str], url: str, state: Path) -> None:
        self.process = process
        self.url = url
        self.state = state

    def client(self, service: str, **config: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=Config(retries={"max_attempts": 0}, **config),
        )

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)


def spawn(*command: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if "AWS" not in name}
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


@contextmanager
def running(state: Path, *arguments: str, stop_grace: float = 2) -> Iterator[Server]:
    process = spawn(
        *(str(HERE / "toy_server.py"), str(stop_grace), "--port", "0", "--state", str(state)),
        *arguments,
    )
    try:
        ready = process.stdout.readline()
        assert ready, process.stderr.read()
        yield Server(process, ready.split()[4].rstrip(","), state)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        process.stdout.close()
        process.stderr.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that neither stop nor restart it."""
    with running(tmp_path_factory.mktemp("state")) as started:
        yield started


@pytest.fixture
def start() -> Callable[..., Any]:
    """Start a server that the test itself stops or kills: `with start(state) as server`."""
    return running


@pytest.fixture
def sagemaker(server: Server) -> Any:
    return server.client("sagemaker")


@pytest.fixture
def s3(server: Server) -> Any:
    return server.client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    """A bucket of the test's own."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def name() -> str:
    """A job or model name of the test's own."""
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def training_request() -> Callable[..., dict[str, Any]]:
    """Build a CreateTrainingJob request; hyperparameters are given by keyword."""

    def build(
        name: str,
        bucket: str,
        *,
        image: str = IMAGE,
        channels: dict[str, str] | None = None,
        max_runtime: int = 60,
        **hyperparameters: object,
    ) -> dict[str, Any]:
        request: dict[str, Any] = {
            "TrainingJobName": name,
            "RoleArn": ROLE,
            "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
            "HyperParameters": {key: str(value) for key, value in hyperparameters.items()},
            "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/out/"},
            "ResourceConfig": {
                "InstanceType": "ml.m5.large",
                "InstanceCount": 1,
                "VolumeSizeInGB": 1,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": max_runtime},
        }
        if channels:
            request["InputDataConfig"] = [
                {
                    "ChannelName": channel,
                    "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}},
                }
                for channel, uri in channels.items()
            ]
        return request

    return build


@pytest.fixture
def wait_for() -> Callable[..., Any]:
    """Poll until a condition gives something true, and return it; fail after a minute."""

    def wait(condition: Callable[[], Any]) -> Any:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.03)
        raise AssertionError("the condition did not come true within a minute")

    return wait


@pytest.fixture
def finished(wait_for: Callable[..., Any]) -> Callable[..., Any]:
    """Wait until a job has ended and return its description."""

    def wait(client: Any, name: str, kind: str = "training") -> Any:
        describe = getattr(client, f"describe_{kind}_job")
        member = {"training": "TrainingJob", "transform": "TransformJob"}[kind]

        def ended() -> Any:
            description = describe(**{f"{member}Name": name})
            return (
                description
                if description[f"{member}Status"][:2] in ("Co", "Fa", "St")
                and (description[f"{member}Status"] != "Stopping")
                else None
            )

        return wait_for(ended)

    return wait
