"""One suite for two SageMakers: the local one, which it starts by default, and AWS's own.

``--endpoint-url URL`` names a local AWS that runs already; ``--aws --aws-role ARN --aws-bucket
NAME`` runs the same tests on AWS with the environment's credentials. Whatever a test makes it
removes again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import contract_rows
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from fmrec.jobs import built_in_image

LOCAL_ROLE = "arn:aws:iam::123456789012:role/fmrec-local"
HERE = Path(__file__).parent
PROCESS = HERE / "contract_process.py"  # what the image "fmrec-contract" runs
# A test on AWS waits for machines: an endpoint takes minutes, a tuning job a quarter of an hour.
AWS_MINUTES = 45
FINAL = ("Completed", "Failed", "Stopped")


@dataclass(frozen=True)
class Target:
    """Where the suite runs; `url` is None for AWS. Times in seconds."""

    session: boto3.Session
    url: str | None
    region: str
    role: str
    bucket: str
    poll: float
    patience: float
    own: bool = False  # the suite's own server, which has the image that processes

    @property
    def is_aws(self) -> bool:
        return self.url is None

    def client(self, service: str) -> Any:
        # Every test's environment names a closed port as endpoint; AWS is meant only here.
        own = {} if self.url else {"ignore_configured_endpoint_urls": True}
        tries = {"mode": "standard", "max_attempts": 8 if self.is_aws else 1}
        config = Config(retries=tries, **own)
        return self.session.client(
            service, region_name=self.region, endpoint_url=self.url, config=config
        )

    def image(self, algorithm: str) -> str:
        """URI of a built-in algorithm's image: all of them share an account per region."""
        return built_in_image(self.region).replace("factorization-machines", algorithm)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--aws"):
        return
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(AWS_MINUTES * 60))


@pytest.fixture(scope="session")
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    """What the options name. Made once, before any test's environment is in force."""
    if request.config.getoption("--aws"):
        yield _aws(request.config)
        return
    url = request.config.getoption("--endpoint-url")
    with ExitStack() as stack:
        own = not url
        if own:
            url = stack.enter_context(_Started(tmp_path_factory.mktemp("local-aws")))
        target = Target(
            boto3.Session("any", "any"),
            url,
            region="us-east-1",
            role=LOCAL_ROLE,
            bucket=f"fmrec-contract-{uuid.uuid4().hex[:12]}",
            poll=0.05,
            patience=100,
            own=own,
        )
        s3 = target.client("s3")
        s3.create_bucket(Bucket=target.bucket)
        yield target
        s3.delete_bucket(Bucket=target.bucket)


def _aws(config: pytest.Config) -> Target:
    named = sorted(name for name in os.environ if name.startswith("AWS_ENDPOINT_URL"))
    if named:
        pytest.skip(f"--aws means AWS itself, but the environment sets {', '.join(named)}")
    session = boto3.Session()
    if session.get_credentials() is None:
        pytest.skip("--aws: the environment has no AWS credentials")
    if session.region_name is None:
        pytest.skip("--aws: no region; set AWS_DEFAULT_REGION")
    return Target(
        session,
        None,
        region=session.region_name,
        role=config.getoption("--aws-role"),
        bucket=config.getoption("--aws-bucket"),
        poll=10,
        patience=(AWS_MINUTES - 5) * 60,
    )


class _Started:
    """A local AWS of the suite's own: a real process with the real algorithms."""

    def __init__(self, folder: Path) -> None:
        images = folder / "images.toml"
        images.write_text(f'[images.fmrec-contract]\nprocess = ["python", "{PROCESS}"]\n')
        command = [
            sys.executable,
            "-m",
            "fmrec.local_aws",
            "--port",
            "0",
            "--jobs",
            "4",
            "--images",
            str(images),
        ]
        self._process = subprocess.Popen(
            [*command, "--state", str(folder / "state")], stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> str:
        ready = self._process.stdout.readline()
        assert ready.startswith("local AWS ready on "), ready
        return ready.split()[4].rstrip(",")

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        assert self._process.wait(60) == 0
        self._process.stdout.close()


@pytest.fixture(scope="session")
def sagemaker(target: Target) -> Any:
    return target.client("sagemaker")


@pytest.fixture(scope="session")
def runtime(target: Target) -> Any:
    return target.client("sagemaker-runtime")


@pytest.fixture(scope="session")
def s3(target: Target) -> Any:
    return target.client("s3")


@pytest.fixture(scope="session")
def logs(target: Target) -> Any:
    return target.client("logs")


TrainingRequest = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def training_request(target: Target) -> TrainingRequest:
    """Build a CreateTrainingJob request for data below a prefix: <prefix><channel>/."""

    def build(
        name: str,
        prefix: str,
        hyperparameters: dict[str, object],
        *,
        algorithm: str = "factorization-machines",
        channels: tuple[str, ...] = ("train", "test"),
        content_type: str = "application/x-recordio-protobuf",
    ) -> dict[str, Any]:
        place = f"s3://{target.bucket}/{prefix}"
        return {
            "TrainingJobName": name,
            "RoleArn": target.role,
            "AlgorithmSpecification": {
                "TrainingImage": target.image(algorithm),
                "TrainingInputMode": "File",
            },
            "HyperParameters": {key: str(value) for key, value in hyperparameters.items()},
            "InputDataConfig": [
                {
                    "ChannelName": channel,
                    "ContentType": content_type,
                    "DataSource": {
                        "S3DataSource": {
                            "S3DataType": "S3Prefix",
                            "S3Uri": f"{place}{channel}/",
                            "S3DataDistributionType": "FullyReplicated",
                        }
                    },
                }
                for channel in channels
            ],
            "OutputDataConfig": {"S3OutputPath": f"{place}models"},
            "ResourceConfig": {
                "InstanceType": "ml.m5.large",
                "InstanceCount": 1,
                "VolumeSizeInGB": 5,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": 1800},
        }

    return build


@pytest.fixture(scope="session")
def put_rows(target: Target, s3: Any) -> Callable[[str], None]:
    """Write the suite's rows to <prefix>train/ and <prefix>test/."""

    def put(prefix: str) -> None:
        for channel, seed in (("train", 1), ("test", 2)):
            body = contract_rows.records(*contract_rows.rows(seed))
            s3.put_object(Bucket=target.bucket, Key=f"{prefix}{channel}/part-0", Body=body)

    return put


@pytest.fixture(scope="session")
def ended(sagemaker: Any, wait: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """Wait for the end of a job, say ("training_job", name), and return its description."""

    def until(kind: str, name: str) -> dict[str, Any]:
        describe = getattr(sagemaker, f"describe_{kind}")

        def look() -> dict[str, Any] | None:
            found = describe(**{member(kind, "Name"): name})
            return found if found[member(kind, "Status")] in FINAL else None

        return wait(look)

    return until


@dataclass(frozen=True)
class Trained:
    """A training job that all tests may read; `archive` is its model.tar.gz."""

    request: dict[str, Any]
    description: dict[str, Any]
    archive: bytes


@pytest.fixture(scope="session")
def trained(
    target: Target,
    sagemaker: Any,
    s3: Any,
    session_cleaner: Cleaner,
    training_request: TrainingRequest,
    put_rows: Callable[[str], None],
    ended: Callable[..., dict[str, Any]],
) -> Trained:
    """A classifier of the suite's rows, trained to its end."""
    name = f"fmrec-{uuid.uuid4().hex[:12]}"
    prefix = f"fmrec-contract/{name}/"
    session_cleaner.prefix(prefix)
    put_rows(prefix)
    request = training_request(name, prefix, contract_rows.HYPERPARAMETERS)
    request["Tags"] = [{"Key": "suite", "Value": "contract"}]
    session_cleaner.job("training_job", name)
    sagemaker.create_training_job(**request)
    description = ended("training_job", name)
    assert description["TrainingJobStatus"] == "Completed", description.get("FailureReason")
    bucket, _, key = description["ModelArtifacts"]["S3ModelArtifacts"][5:].partition("/")
    archive = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return Trained(request, description, archive)


@pytest.fixture(scope="session")
def model_name(target: Target, sagemaker: Any, trained: Trained, session_cleaner: Cleaner) -> str:
    """A model of the trained classifier."""
    name = trained.request["TrainingJobName"]
    session_cleaner.call("delete_model", ModelName=name)
    sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=target.role,
        PrimaryContainer={
            "Image": target.image("factorization-machines"),
            "ModelDataUrl": trained.description["ModelArtifacts"]["S3ModelArtifacts"],
        },
    )
    return name


@pytest.fixture
def name() -> str:
    """A name that nothing else has, short enough for a tuning job and a suffix."""
    return f"fmrec-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def wait(target: Target) -> Callable[..., Any]:
    """Poll until a condition gives something true, and return that."""

    def until(condition: Callable[[], Any]) -> Any:
        end = time.monotonic() + target.patience
        while time.monotonic() < end:
            if found := condition():
                return found
            time.sleep(target.poll)
        raise AssertionError(f"the condition did not come true within {target.patience:.0f} s")

    return until


class Cleaner:
    """Takes back what was made, last first. What is gone already does not matter."""

    def __init__(self, target: Target, wait: Callable[..., Any]) -> None:
        self._stack = ExitStack()
        self._sagemaker = target.client("sagemaker")
        self._s3 = target.client("s3")
        self._bucket = target.bucket
        self._wait = wait

    def close(self) -> None:
        self._stack.close()

    def call(self, operation: str, **parameters: Any) -> None:
        """Call an operation of SageMaker in the end."""
        self._stack.callback(self._quietly, operation, parameters)

    def job(self, kind: str, name: str, *, delete: bool = True) -> None:
        """Stop a job, wait for its end, and delete it where SageMaker knows how to."""
        if delete:
            self.call(f"delete_{kind}", **{member(kind, "Name"): name})
        self._stack.callback(self._ended, kind, name)
        self.call(f"stop_{kind}", **{member(kind, "Name"): name})

    def prefix(self, prefix: str) -> None:
        """Remove all objects below a prefix of the suite's bucket."""
        self._stack.callback(self._empty, prefix)

    def _quietly(self, operation: str, parameters: dict[str, Any]) -> None:
        try:
            getattr(self._sagemaker, operation)(**parameters)
        except ClientError as error:
            gone = ("ValidationException", "ResourceNotFound", "ResourceInUse")
            if error.response["Error"]["Code"] not in gone:
                raise

    def _ended(self, kind: str, name: str) -> None:
        describe = getattr(self._sagemaker, f"describe_{kind}")
        try:
            self._wait(
                lambda: describe(**{member(kind, "Name"): name})[member(kind, "Status")] in FINAL
            )
        except ClientError:
            return  # it was never made

    def _empty(self, prefix: str) -> None:
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=prefix
        )
        for page in pages:
            keys = [{"Key": item["Key"]} for item in page.get("Contents", [])]
            if keys:
                self._s3.delete_objects(Bucket=self._bucket, Delete={"Objects": keys})


def member(kind: str, suffix: str) -> str:
    """TrainingJobName for ("training_job", "Name")."""
    return "".join(word.capitalize() for word in kind.split("_")) + suffix


@pytest.fixture(scope="session")
def session_cleaner(target: Target, wait: Callable[..., Any]) -> Iterator[Cleaner]:
    """Takes back, at the end of the suite, what several tests share."""
    cleaner = Cleaner(target, wait)
    yield cleaner
    cleaner.close()


@pytest.fixture
def cleaner(target: Target, wait: Callable[..., Any]) -> Iterator[Cleaner]:
    """Takes back, at the end of a test, what it made."""
    cleaner = Cleaner(target, wait)
    yield cleaner
    cleaner.close()


@pytest.fixture
def prefix(cleaner: Cleaner) -> str:
    """A place of the test's own in the bucket, ending in a slash."""
    made = f"fmrec-contract/{uuid.uuid4().hex}/"
    cleaner.prefix(made)
    return made
