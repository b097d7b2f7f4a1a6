"""SageMaker request dictionaries: nothing but data, made from a run and what came before."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fmrec.errors import ConfigurationError
from fmrec.fm.joblog import metric_definitions
from fmrec.layout import Run
from fmrec.settings import Deployment

RECORDIO = "application/x-recordio-protobuf"

# Registry accounts of the built-in Factorization Machines image, used where the SageMaker SDK
# (which bundles the whole list) cannot be installed. Source: its factorization-machines.json.
_ACCOUNTS = {
    "ap-northeast-1": "351501993468",
    "ap-south-1": "991648021394",
    "ap-southeast-1": "475088953585",
    "ap-southeast-2": "712309505854",
    "ca-central-1": "469771592824",
    "eu-central-1": "664544806723",
    "eu-north-1": "669576153137",
    "eu-west-1": "438346466558",
    "eu-west-2": "644912444149",
    "eu-west-3": "749696950732",
    "sa-east-1": "855470959533",
    "us-east-1": "382416733822",
    "us-east-2": "404615174143",
    "us-west-1": "632365934929",
    "us-west-2": "174872318107",
}


def built_in_image(region: str) -> str:
    """URI of SageMaker's own Factorization Machines image in a region.

    Raises ConfigurationError for a region that has none that we know of.
    """
    account = _sdk_accounts().get(region) or _ACCOUNTS.get(region)
    if account is None:
        raise ConfigurationError(
            f"no Factorization Machines image is known for region {region!r}; set "
            f"AWS_DEFAULT_REGION to one of: {', '.join(sorted(_ACCOUNTS))}"
        )
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"{account}.dkr.ecr.{region}.{domain}/factorization-machines:1"


def image(run: Run, deployment: Deployment) -> str:
    """URI of the image that the run trains with. Raises ConfigurationError when none is named."""
    if run.settings.image == "built-in":
        return built_in_image(deployment.region)
    if deployment.image_uri is None:
        raise ConfigurationError(
            "parameter image: 'fmrec' needs the environment variable FMREC_IMAGE_URI, the URI of "
            "fmrec's own algorithm in a registry; or set image to 'built-in'"
        )
    return deployment.image_uri


def _sdk_accounts() -> dict[str, str]:
    """The SDK's own table, read as a file: importing the SDK would cost five seconds."""
    package = importlib.util.find_spec("sagemaker")
    for folder in package.submodule_search_locations or [] if package else []:
        table = Path(folder, "core", "image_uri_config", "factorization-machines.json")
        if table.is_file():
            accounts: dict[str, str] = json.loads(table.read_text())["versions"]["1"]["registries"]
            return accounts
    return {}


def training_request(
    run: Run, deployment: Deployment, channels: Mapping[str, Any], number: int
) -> dict[str, Any]:
    """CreateTrainingJob for the run. `channels` is what the recordio step returned."""
    settings = run.settings
    return {
        "TrainingJobName": run.layout.job("train", number),
        "AlgorithmSpecification": {
            "TrainingImage": image(run, deployment),
            "TrainingInputMode": "File",
            # The built-in image brings its own and allows no others.
            **({"MetricDefinitions": metric_definitions()} if settings.image == "fmrec" else {}),
        },
        "RoleArn": deployment.role_arn,
        "InputDataConfig": [
            _channel(name, uri) for name, uri in sorted(channels["training"].items(), reverse=True)
        ],
        "OutputDataConfig": {"S3OutputPath": run.layout.uri(run.layout.models)},
        "ResourceConfig": {
            "InstanceType": settings.instance_type,
            "InstanceCount": 1,
            "VolumeSizeInGB": 10,
        },
        "StoppingCondition": _time_limits(run),
        **(_spot(run) if settings.spot else {}),
        "HyperParameters": {
            "feature_dim": str(channels["feature_dim"]),
            **(_start(channels["bias"]) if settings.fitted_by == "adam" else {}),
            **run.hyperparameters(),
        },
        "Tags": _tags(run),
    }


def _channel(name: str, uri: str) -> dict[str, Any]:
    # What the columns are is not said in RecordIO alone.
    kind = {} if name == "features" else {"ContentType": RECORDIO}
    return {
        "ChannelName": name,
        **kind,
        "DataSource": {
            "S3DataSource": {
                "S3DataType": "S3Prefix",
                "S3Uri": uri,
                "S3DataDistributionType": "FullyReplicated",
            }
        },
    }


def _time_limits(run: Run) -> dict[str, int]:
    seconds = run.settings.max_runtime_minutes * 60
    if not run.settings.spot:
        return {"MaxRuntimeInSeconds": seconds}
    # The wait for capacity counts too. AWS allows an algorithm without checkpoints no more than
    # one hour of both together.
    whole = 3600 if run.settings.image == "built-in" else seconds + 3600
    return {"MaxRuntimeInSeconds": seconds, "MaxWaitTimeInSeconds": whole}


def _spot(run: Run) -> dict[str, Any]:
    """Train on spot capacity; our own image goes on from its checkpoints, also as a later job."""
    kept = {"CheckpointConfig": {"S3Uri": run.layout.uri(run.layout.checkpoints)}}
    return {
        "EnableManagedSpotTraining": True,
        **({} if run.settings.image == "built-in" else kept),
    }


def _start(bias: float) -> dict[str, str]:
    return {"bias_init_method": "constant", "bias_init_value": f"{bias:.6g}"}


def model_request(
    run: Run, deployment: Deployment, training: Mapping[str, Any], number: int
) -> dict[str, Any]:
    """CreateModel for the artifact of a training job. `training` is what that task returned."""
    return {
        "ModelName": run.layout.job("model", number),
        "ExecutionRoleArn": deployment.role_arn,
        "PrimaryContainer": {
            "Image": image(run, deployment),
            "ModelDataUrl": training["artifact"],
        },
        "Tags": _tags(run),
    }


def transform_request(
    run: Run, channels: Mapping[str, Any], model: Mapping[str, Any], number: int
) -> dict[str, Any]:
    """CreateTransformJob that scores the run's test events, one .out for each input file."""
    name = run.layout.job("score", number)
    return {
        "TransformJobName": name,
        "ModelName": model["name"],
        "MaxConcurrentTransforms": 1,
        "MaxPayloadInMB": 6,
        "BatchStrategy": "MultiRecord",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": channels["score"]}},
            "ContentType": RECORDIO,
            "SplitType": "RecordIO",
        },
        "TransformOutput": {
            "S3OutputPath": run.layout.uri(run.layout.predictions(name)),
            "Accept": "application/jsonlines",
            "AssembleWith": "Line",
        },
        "TransformResources": {
            "InstanceType": run.settings.transform_instance_type or run.settings.instance_type,
            "InstanceCount": 1,
        },
        "Tags": _tags(run),
    }


def training_work(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a training job does, by its request or its description: two that agree do the same."""
    return {
        "image": told["AlgorithmSpecification"].get("TrainingImage"),
        "hyperparameters": told.get("HyperParameters", {}),
        "channels": _uris(told),
    }


def tuning_work(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a tuning job does, by its request or its description."""
    config, each = told["HyperParameterTuningJobConfig"], told["TrainingJobDefinition"]
    fixed = each.get("StaticHyperParameters", {})
    return {
        "image": each["AlgorithmSpecification"].get("TrainingImage"),
        # SageMaker adds some of its own, such as _tuning_objective_metric.
        "hyperparameters": {name: fixed[name] for name in fixed if not name.startswith("_")},
        "channels": _uris(each),
        "ranges": {
            one["Name"]: [one.get("MinValue"), one.get("MaxValue"), one.get("Values")]
            for kind in config.get("ParameterRanges", {}).values()
            if isinstance(kind, list)
            for one in kind
        },
        "trials": config["ResourceLimits"].get("MaxNumberOfTrainingJobs"),
    }


def transform_work(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a transform job does, by its request or its description."""
    source = told["TransformInput"]["DataSource"]["S3DataSource"]
    return {"model": told["ModelName"], "input": source["S3Uri"]}


def model_work(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a model is made of, by its request or its description."""
    container = told["PrimaryContainer"]
    return {"image": container.get("Image"), "artifact": container.get("ModelDataUrl")}


def _uris(told: Mapping[str, Any]) -> dict[str, str | None]:
    return {
        each["ChannelName"]: each["DataSource"].get("S3DataSource", {}).get("S3Uri")
        for each in told.get("InputDataConfig", [])
    }


def _tags(run: Run) -> list[dict[str, str]]:
    """What a bill or a clean-up script can group by."""
    return [
        {"Key": "project", "Value": "fmrec"},
        {"Key": "fmrec:run", "Value": run.layout.run},
    ]
