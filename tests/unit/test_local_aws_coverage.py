"""What the coverage page claims: each refused member is refused, each other one is given back."""

from __future__ import annotations

import copy
import functools
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import boto3
import botocore.session
import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.model import ListShape, Shape, StructureShape

from fmrec.local_aws import coverage
from fmrec.local_aws.api.constraints import _compiled
from fmrec.local_aws.operations import Resources
from fmrec.local_aws.workplace import Workplace

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "plugins" / "fmrec" / "local_aws"
ROLE = "arn:aws:iam::123456789012:role/fmrec-local"
IMAGE = "382416733822.dkr.ecr.us-east-1.amazonaws.com/factorization-machines:1"

# Which modules see the requests of an operation, beside those that all jobs share.
SHARED = ("state/records", "jobs/*", "s3/sources", "tags", "algorithms")
MODULES = {
    "TrainingJob": ("training/*",),
    "HyperParameterTuningJob": ("tuning/*", "training/*"),
    "Model": ("models/models", "models/packages"),
    "TransformJob": ("transform/*",),
    "ProcessingJob": ("processing/*",),
    "EndpointConfig": ("endpoints/*",),
    "Endpoint": ("endpoints/*",),
    "EndpointWeightsAndCapacities": ("endpoints/*",),
}
# Members that a request may hold in one place or in another.
TWINS = (
    ("TrainingJobDefinition.", "TrainingJobDefinitions[]."),
    ("PrimaryContainer.", "Containers[]."),
    ("HyperParameterTuningJobConfig.Parameter", "TrainingJobDefinition.HyperParameter"),
    ("HyperParameterTuningJobConfig.Parameter", "TrainingJobDefinitions[].HyperParameter"),
)
# Of the registry every member is kept for whoever asks, which is all that AWS does with it.
KEPT = ("ModelPackage", "ModelPackageGroup")


@functools.cache
def model() -> Any:
    return botocore.session.get_session().get_service_model("sagemaker")


def implemented() -> list[str]:
    return list(Resources(cast(Workplace, None)).table())


def member(shape: Shape, path: str) -> Shape:
    """The shape that a path leads to; KeyError when there is none."""
    for part in path.partition("=")[0].split("."):
        shape = cast(StructureShape, shape).members[part.removesuffix("[]")]
        if part.endswith("[]"):
            shape = cast(ListShape, shape).member
    return shape


def test_the_groups_hold_every_implemented_operation_once() -> None:
    grouped = [name for names in coverage.GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(implemented())


def test_every_implemented_operation_is_called_by_a_contract_test() -> None:
    folders = (ROOT / "tests" / "contract" / "aws", ROOT / "tests" / "contract" / "local_aws")
    text = "\n".join(path.read_text() for folder in folders for path in folder.glob("test_*.py"))
    called = set(re.findall(r"\b[a-z_]+\b", text))
    assert [name for name in implemented() if xform_name(name) not in called] == []
    assert [name for name in coverage.RUNTIME if xform_name(name) not in called] == []


@pytest.mark.parametrize("lists", [coverage.REFUSED, coverage.WITHOUT_EFFECT])
def test_every_path_leads_to_a_member_of_the_request(lists: Any) -> None:
    for operation, paths in lists.items():
        assert operation in implemented()
        assert len(set(paths)) == len(paths)
        shape = model().operation_model(operation).input_shape
        for path in paths:
            allowed = member(shape, path).metadata.get("enum")
            assert not allowed or "=" not in path or path.partition("=")[2] in allowed, path


def unknown(shape: Shape, path: str, known: tuple[str, ...], code: str) -> Iterator[str]:
    """The members below a path that are in no list and in no code."""
    if isinstance(shape, ListShape):
        yield from unknown(shape.member, f"{path}[]", known, code)
    elif isinstance(shape, StructureShape):
        for name, below in shape.members.items():
            here = f"{path}.{name}" if path else name
            listed = any(here == each or here + "[]" == each for each in known)
            if not listed:
                if f'"{name}"' not in code:
                    yield here
                else:
                    yield from unknown(below, here, known, code)


def test_no_member_of_a_request_is_ignored_in_silence() -> None:
    seen = 0
    for operation in implemented():
        kind = re.sub("^(Create|Update)", "", operation)
        if kind == operation or kind in KEPT:
            continue
        patterns = (*SHARED, *MODULES[kind])
        files = [path for pattern in patterns for path in PACKAGE.glob(f"{pattern}.py")]
        code = "\n".join(path.read_text() for path in files)
        listed = coverage.REFUSED.get(operation, ()) + coverage.WITHOUT_EFFECT.get(operation, ())
        own = (f"{kind}Name", "ExecutionRoleArn", "RoleArn")
        # Where one form of a request is listed, so is the other.
        twins = [path.replace(form, twin) for path in listed for form, twin in TWINS]
        shape = model().operation_model(operation).input_shape
        known = (*listed, *own, *twins)
        assert list(unknown(shape, "", known, code)) == [], operation
        seen += 1
    assert seen >= 8


def sample(shape: Shape) -> Any:
    """A value that the model allows, with what is required and no more."""
    if isinstance(shape, StructureShape):
        names = shape.required_members or list(shape.members)[:1]
        return {name: sample(shape.members[name]) for name in names}
    if isinstance(shape, ListShape):
        return [sample(shape.member)] * max(1, shape.metadata.get("min", 1))
    if shape.type_name == "map":
        return {"a": "b"}
    if shape.type_name == "boolean":
        return True
    if shape.type_name in ("integer", "long", "float", "double"):
        return max(1, shape.metadata.get("min", 1))
    if shape.metadata.get("enum"):
        return shape.metadata["enum"][0]
    kind = "sagemaker:us-east-1:123456789012"
    candidates = (
        *("value", "s3://bucket/key", "https://example.com/a", ROLE, "/opt/ml/a", "ml.m5.large"),
        *("fs-0123456789abcdef0", "sg-1", "text/csv"),
        *(f"arn:aws:{kind}:hub-content/h/{each}/m/1.0.0" for each in ("Model", "DataSet")),
        *(f"arn:aws:{kind}:training-plan/p", f"arn:aws:{kind}:mlflow-tracking-server/s"),
        *(f"arn:aws:{kind}:model-package-group/g", f"arn:aws:{kind}:model-package/g/1"),
        *(f"arn:aws:{kind}:mlflow-app/app-ABCDEFGHIJKL", "hyperparameter"),
    )
    pattern = shape.metadata.get("pattern", ".*")
    least, most = shape.metadata.get("min", 0), shape.metadata.get("max", 1000)
    fitting = [
        each
        for each in candidates
        if _compiled(pattern).fullmatch(each) and least <= len(each) <= most
    ]
    assert fitting, f"no value for {shape.name}: {pattern}"
    return fitting[0]


def place(request: dict[str, Any], operation: str, path: str) -> None:
    """Put a value at a path of a request."""
    names, _, value = path.partition("=")
    shape = member(model().operation_model(operation).input_shape, path)
    *parents, last = names.split(".")
    here: Any = request
    below = model().operation_model(operation).input_shape
    for part in parents:
        name = part.removesuffix("[]")
        below = below.members[name]
        here = here.setdefault(name, sample(below))
        if part.endswith("[]"):
            here, below = here[0], below.member
    if parents and parents[-1].endswith("DataSource") and "S3" not in parents[-1]:
        here.clear()  # one source, and no other beside it
    if last == "AlgorithmName":
        del here["TrainingImage"]
    here[last] = {"True": True, "17": 17}.get(value, value) if value else sample(shape)


def at(document: dict[str, Any], path: str) -> Any:
    here: Any = document
    for part in path.split("."):
        here = here[part.removesuffix("[]")]
        here = here[0] if part.endswith("[]") else here
    return here


def form_of(path: str) -> str:
    """The member of a path that stands instead of another one, if there is one."""
    forms = ("ModelDataSource", "HyperParameterTuningResourceConfig", "ServerlessConfig")
    return next((form for form in forms if f".{form}." in path), "")


class Cloud:
    """A local AWS with a model, and a plain request for each operation that refuses something."""

    def __init__(self, url: str) -> None:
        keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
        self.sagemaker = boto3.client(
            "sagemaker", endpoint_url=url, region_name="us-east-1", **keys
        )
        s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="model.tar.gz", Body=b"")
        self.container = {"Image": IMAGE, "ModelDataUrl": "s3://bucket/model.tar.gz"}
        self.sagemaker.create_model(
            ModelName="known", ExecutionRoleArn=ROLE, PrimaryContainer=self.container
        )
        self.sagemaker.create_model_package_group(ModelPackageGroupName="known")

    def request(self, operation: str, form: str) -> dict[str, Any]:
        """A plain request; with a form, one that has this member instead of another."""
        request = copy.deepcopy(self._requests()[operation])
        if form == "ModelDataSource":
            address = request["PrimaryContainer"].pop("ModelDataUrl")
            source = {"S3Uri": address, "S3DataType": "S3Object", "CompressionType": "Gzip"}
            request["PrimaryContainer"][form] = {"S3DataSource": source}
        elif form == "HyperParameterTuningResourceConfig":
            definition = request["TrainingJobDefinition"]
            definition[form] = definition.pop("ResourceConfig")
        elif form == "ServerlessConfig":
            (variant,) = request["ProductionVariants"]
            del variant["InstanceType"], variant["InitialInstanceCount"]
            variant[form] = {"MemorySizeInMB": 1024, "MaxConcurrency": 1}
        return request

    def _requests(self) -> dict[str, dict[str, Any]]:
        name = f"n-{uuid.uuid4().hex[:12]}"
        source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/none/"}}
        training = {
            "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
            "RoleArn": ROLE,
            "InputDataConfig": [{"ChannelName": "train", "DataSource": source}],
            "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
            "ResourceConfig": {
                "InstanceType": "ml.m5.large",
                "InstanceCount": 1,
                "VolumeSizeInGB": 5,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        }
        ranges = {
            "ContinuousParameterRanges": [
                {"Name": "linear_lr", "MinValue": "0.01", "MaxValue": "0.1"}
            ]
        }
        local = {"LocalPath": "/opt/ml/processing/a", "S3Uri": "s3://bucket/a"}
        return {
            "CreateTrainingJob": {"TrainingJobName": name, **training},
            "CreateHyperParameterTuningJob": {
                "HyperParameterTuningJobName": name,
                "HyperParameterTuningJobConfig": {
                    "Strategy": "Random",
                    "HyperParameterTuningJobObjective": {
                        "Type": "Minimize",
                        "MetricName": "test:rmse",
                    },
                    "ResourceLimits": {
                        "MaxNumberOfTrainingJobs": 1,
                        "MaxParallelTrainingJobs": 1,
                    },
                    "ParameterRanges": ranges,
                },
                "TrainingJobDefinition": training,
            },
            "CreateModel": {
                "ModelName": name,
                "ExecutionRoleArn": ROLE,
                "PrimaryContainer": self.container,
            },
            "CreateTransformJob": {
                "TransformJobName": name,
                "ModelName": "known",
                "TransformInput": {"DataSource": source},
                "TransformOutput": {"S3OutputPath": "s3://bucket/out"},
                "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
            },
            "CreateProcessingJob": {
                "ProcessingJobName": name,
                "RoleArn": ROLE,
                "AppSpecification": {"ImageUri": "processes"},
                "ProcessingInputs": [
                    {"InputName": "a", "S3Input": {"S3DataType": "S3Prefix", **local}}
                ],
                "ProcessingOutputConfig": {
                    "Outputs": [
                        {"OutputName": "a", "S3Output": {"S3UploadMode": "EndOfJob", **local}}
                    ]
                },
                "ProcessingResources": {
                    "ClusterConfig": {
                        "InstanceType": "ml.m5.large",
                        "InstanceCount": 1,
                        "VolumeSizeInGB": 5,
                    }
                },
            },
            "CreateEndpointConfig": {
                "EndpointConfigName": name,
                "ProductionVariants": [
                    {
                        "VariantName": "only",
                        "ModelName": "known",
                        "InstanceType": "ml.m5.large",
                        "InitialInstanceCount": 1,
                    }
                ],
            },
            "UpdateEndpointWeightsAndCapacities": {
                "EndpointName": name,
                "DesiredWeightsAndCapacities": [{"VariantName": "only"}],
            },
            "CreateModelPackageGroup": {"ModelPackageGroupName": name},
            "CreateModelPackage": {"ModelPackageGroupName": "known"},
            "DescribeModelPackage": {"ModelPackageName": name},
            "ListTrainingJobs": {},
            "Search": {"Resource": "TrainingJob"},
        }

    def call(self, operation: str, request: dict[str, Any]) -> Any:
        return getattr(self.sagemaker, xform_name(operation))(**request)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("local-aws")
    images = folder / "images.toml"
    images.write_text('[images.processes]\nprocess = ["true"]\n')
    command = [sys.executable, "-m", "fmrec.local_aws", "--port", "0", "--images", str(images)]
    server = subprocess.Popen(
        [*command, "--state", str(folder / "state")], stdout=subprocess.PIPE, text=True
    )
    try:
        yield Cloud(server.stdout.readline().split()[4].rstrip(","))
    finally:
        server.terminate()
        server.wait(60)
        server.stdout.close()


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("operation", "path"),
    [(operation, path) for operation, paths in coverage.REFUSED.items() for path in paths],
)
def test_what_is_listed_as_refused_is_refused(cloud: Cloud, operation: str, path: str) -> None:
    request = cloud.request(operation, form_of(path))
    place(request, operation, path)
    with pytest.raises(ClientError) as error:
        cloud.call(operation, request)
    told = error.value.response["Error"]
    assert told["Code"] == "ValidationException"
    assert "The local AWS does not implement" in told["Message"] or (
        "The local AWS runs no command that a request brings" in told["Message"]
    ), told["Message"]


@pytest.mark.e2e
@pytest.mark.parametrize("operation", [name for name in coverage.WITHOUT_EFFECT if "Job" in name])
def test_what_is_listed_as_without_effect_is_given_back(cloud: Cloud, operation: str) -> None:
    _given_back(cloud, operation)


@pytest.mark.e2e
@pytest.mark.parametrize("operation", ["CreateModel", "CreateEndpointConfig"])
def test_what_models_and_configurations_keep(cloud: Cloud, operation: str) -> None:
    _given_back(cloud, operation)


def _given_back(cloud: Cloud, operation: str) -> None:
    paths = coverage.WITHOUT_EFFECT[operation]
    for form in {form_of(path) for path in paths}:
        _sent_and_described(cloud, operation, [path for path in paths if form_of(path) == form])


def _sent_and_described(cloud: Cloud, operation: str, paths: list[str]) -> None:
    request = cloud.request(operation, form_of(paths[0]))
    for path in paths:
        place(request, operation, path)
    cloud.call(operation, request)
    kind = operation.removeprefix("Create")
    told = cloud.call(f"Describe{kind}", {f"{kind}Name": request[f"{kind}Name"]})
    for path in paths:
        assert at(told, path) == at(request, path), path
