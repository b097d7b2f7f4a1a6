"""Endpoints of the toy algorithm, for the tests of hosting."""

from __future__ import annotations

import io
import json
import tarfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::123456789012:role/fmrec-local"
ACCOUNT = "123456789012"
ARN = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}"
UNHEALTHY = (
    "The primary container for production variant AllTraffic did not pass the ping health check. "
    "Please check CloudWatch logs for this endpoint."
)


def wait_for(condition: Callable[[], Any]) -> Any:
    """Poll until a condition gives something true, and return it; fail after a minute."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.03)
    raise AssertionError("the condition did not come true within a minute")


class Hosting:
    """An AWS with a bucket, and what the tests do with endpoints there."""

    def __init__(self, server, bucket: str | None = None) -> None:
        self.server = server
        self.sagemaker = server.client("sagemaker")
        self.runtime = server.client("sagemaker-runtime", max_pool_connections=20)
        self.s3 = server.client("s3")
        self.bucket = bucket or f"e-{uuid.uuid4().hex[:12]}"
        self._numbers = count()
        if bucket is None:
            self.s3.create_bucket(Bucket=self.bucket)
            self.put_archive("model.tar.gz")

    def name(self) -> str:
        return f"{self.bucket}-{next(self._numbers)}"

    def put_archive(self, key: str) -> str:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            tar.addfile(tarfile.TarInfo("weights"))
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=archive.getvalue())
        return f"s3://{self.bucket}/{key}"

    def model(self, key: str = "model.tar.gz", **environment: str) -> str:
        name = self.name()
        container = {
            "Image": "toy",
            "ModelDataUrl": f"s3://{self.bucket}/{key}",
            "Environment": environment,
        }
        self.sagemaker.create_model(
            ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container
        )
        return name

    def config(self, *variants: dict, **more) -> str:
        name = self.name()
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=list(variants), **more
        )
        return name

    def create(self, config: str, **more) -> str:
        name = self.name()
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config, **more)
        return name

    def settled(self, endpoint: str) -> dict:
        def described():
            found = self.sagemaker.describe_endpoint(EndpointName=endpoint)
            return found if found["EndpointStatus"] in ("InService", "Failed") else None

        return wait_for(described)

    def deploy(self, config: str, **more) -> str:
        endpoint = self.create(config, **more)
        assert self.settled(endpoint)["EndpointStatus"] == "InService"
        return endpoint

    def ask(self, endpoint: str, body: bytes = b"a", **more) -> str:
        answer = self.runtime.invoke_endpoint(EndpointName=endpoint, Body=body, **more)
        return answer["Body"].read().decode()

    def said(self, endpoint: str, **more) -> str:
        return self.ask(endpoint, **more).split()[0]

    def pids(self, endpoint: str) -> set[int]:
        """Return the ids of an endpoint's processes, from the folders that they run in."""
        folder = f"/endpoint/us-east-1/{endpoint}/"
        found = set()
        for process in psutil.Process(self.server.process.pid).children():
            try:
                if folder in process.environ().get("FMREC_ML_ROOT", ""):
                    found.add(process.pid)
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        return found

    def delete(self, endpoint: str) -> None:
        self.sagemaker.delete_endpoint(EndpointName=endpoint)
        self.sagemaker.get_waiter("endpoint_deleted").wait(
            EndpointName=endpoint, WaiterConfig={"Delay": 0.1, "MaxAttempts": 100}
        )


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def variant(model: str, name: str = "AllTraffic", servers: int = 1, **more) -> dict:
    return {
        "VariantName": name,
        "ModelName": model,
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": servers,
        **more,
    }


def refusal(call, **parameters) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call(**parameters)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


class Traffic:
    """Threads that ask an endpoint without a pause and note what they are told."""

    def __init__(self, hosting: Hosting, endpoint: str, threads: int) -> None:
        self.told: Counter[str] = Counter()
        self.errors: list[Exception] = []
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(hosting, endpoint)) for _ in range(threads)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, hosting: Hosting, endpoint: str) -> None:
        while not self._end.is_set():
            try:
                self.told[hosting.said(endpoint)] += 1
            except ClientError as error:
                self.errors.append(error)


def captured(hosting: Hosting, prefix: str) -> list[tuple[str, dict]]:
    """Return every captured event with the key of its file."""
    listing = hosting.s3.list_objects_v2(Bucket=hosting.bucket, Prefix=prefix)
    return [
        (item["Key"], json.loads(line))
        for item in listing.get("Contents", [])
        for line in hosting.s3.get_object(Bucket=hosting.bucket, Key=item["Key"])["Body"]
        .read()
        .splitlines()
    ]
