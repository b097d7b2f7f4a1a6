"""The SageMaker operations on training jobs."""

from __future__ import annotations

from collections.abc import Mapping

from fmrec.local_aws.algorithms import metrics_of, resolve_for
from fmrec.local_aws.api.constraints import missing
from fmrec.local_aws.api.faults import invalid, unsupported
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.api.operation import Operation
from fmrec.local_aws.jobs.hosts import host_count
from fmrec.local_aws.jobs.operations import Jobs
from fmrec.local_aws.jobs.variables import check_variables
from fmrec.local_aws.state.records import Identity
from fmrec.local_aws.training.checkpoints import local_path
from fmrec.local_aws.training.run import TrainingRun

_ONE_DAY = 86_400
# Members that would change what the job does, and that nothing here carries out.
_REFUSED = (
    *("DebugRuleConfigurations", "ProfilerRuleConfigurations"),
    *("TensorBoardOutputConfig", "SessionChainingConfig", "ServerlessJobConfig"),
    *("MlflowConfig", "ModelPackageConfig"),
)


class TrainingJobs(Jobs):
    """CreateTrainingJob, DescribeTrainingJob, ListTrainingJobs, StopTrainingJob, Delete…."""

    kind = "training-job"
    prefix = "TrainingJob"
    missing_text = "Requested resource not found."
    default_order = "Ascending"

    def operations(self) -> Mapping[str, Operation]:
        """Return the operations by the names that SageMaker gives them."""
        return {**super().operations(), "DeleteTrainingJob": self.delete}

    def run(self, identity: Identity) -> TrainingRun:
        """Return the execution of a job."""
        return TrainingRun(self._place, identity)

    def list(self, region: str, request: Document) -> Document:
        """Return a page of summaries."""
        for member in ("WarmPoolStatusEquals", "TrainingPlanArnEquals"):
            if member in request:
                raise unsupported(f"{member} of ListTrainingJobs")
        return super().list(region, request)

    def completed(self, region: str, request: Document) -> Document:
        """Return the request with SageMaker's defaults; refuse what cannot be honoured here."""
        del region
        for member in ("AlgorithmSpecification", "ResourceConfig"):
            if member not in request:
                raise missing(member[0].lower() + member[1:])
        for member in _REFUSED:
            if request.get(member):
                raise unsupported(f"{member} of CreateTrainingJob")
        if request["OutputDataConfig"].get("CompressionType") == "NONE":
            raise unsupported("CompressionType NONE of OutputDataConfig")
        channels = [_completed_channel(item) for item in request.get("InputDataConfig", [])]
        names = [channel["ChannelName"] for channel in channels]
        if len(set(names)) < len(names):
            raise invalid(f"Channel names must be unique within a training job: {names}")
        condition = {"MaxRuntimeInSeconds": _ONE_DAY, **request.get("StoppingCondition", {})}
        _check_spot(condition, spot=request.get("EnableManagedSpotTraining", False))
        check_variables(request.get("Environment", {}))
        if "CheckpointConfig" in request:
            local_path(request["CheckpointConfig"])
        document: Document = {
            "EnableNetworkIsolation": False,
            "EnableInterContainerTrafficEncryption": False,
            "EnableManagedSpotTraining": False,
            **request,
            "AlgorithmSpecification": self._specification(request["AlgorithmSpecification"]),
            "ResourceConfig": _resources(request["ResourceConfig"]),
            "OutputDataConfig": {"KmsKeyId": "", **request["OutputDataConfig"]},
            "StoppingCondition": condition,
        }
        if channels:
            document["InputDataConfig"] = channels
        return document

    def _specification(self, given: Document) -> Document:
        if "TrainingImage" not in given:
            if "AlgorithmName" in given:
                raise unsupported("AlgorithmName; name a TrainingImage")
            raise missing("algorithmSpecification.trainingImage")
        for member in ("ContainerEntrypoint", "TrainingImageConfig"):
            if given.get(member):
                raise unsupported(f"{member} of AlgorithmSpecification")
        _check_mode(given["TrainingInputMode"])
        algorithm = resolve_for("train", given["TrainingImage"], self._place.algorithms)
        metrics = metrics_of(algorithm, given.get("MetricDefinitions", []))
        specification = {"EnableSageMakerMetricsTimeSeries": False, **given}
        if metrics:
            specification["MetricDefinitions"] = [
                {"Name": metric.name, "Regex": metric.regex} for metric in metrics
            ]
        return specification


def _completed_channel(given: Document) -> Document:
    name = given["ChannelName"]
    if name in (".", ".."):
        raise invalid(f"{name!r} is no name of a channel.")
    source = given["DataSource"].get("S3DataSource")
    if source is None:
        raise unsupported(f"channel {name!r} without an S3DataSource")
    if source["S3DataType"] not in ("S3Prefix", "ManifestFile"):
        raise unsupported(f"S3DataType {source['S3DataType']} (channel {name!r})")
    for member in ("AttributeNames", "InstanceGroupNames", "ModelAccessConfig", "HubAccessConfig"):
        if source.get(member):
            raise unsupported(f"{member} (channel {name!r})")
    if given.get("CompressionType", "None") != "None":
        raise invalid(f"CompressionType is for Pipe input mode alone (channel {name!r}).")
    if given.get("RecordWrapperType", "None") != "None":
        raise invalid(f"RecordWrapperType is for Pipe input mode alone (channel {name!r}).")
    if given.get("ShuffleConfig"):
        raise unsupported(f"ShuffleConfig (channel {name!r})")
    if "InputMode" in given:
        _check_mode(given["InputMode"])
    return {
        "CompressionType": "None",
        "RecordWrapperType": "None",
        **given,
        "DataSource": {
            "S3DataSource": {"S3DataDistributionType": "FullyReplicated", **source},
        },
    }


def _check_spot(condition: Document, *, spot: bool) -> None:
    longest = condition.get("MaxWaitTimeInSeconds")
    if spot and (longest is None or longest < condition["MaxRuntimeInSeconds"]):
        raise invalid(
            "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to "
            "MaxRuntimeInSeconds"
        )
    if not spot and longest is not None:
        raise invalid(
            "Invalid MaxWaitTimeInSeconds. It can only be set when EnableManagedSpotTraining is "
            "true"
        )


def _check_mode(mode: str) -> None:
    if mode == "Pipe":
        raise unsupported("input mode Pipe; use File or FastFile")


def _resources(given: Document) -> Document:
    if "InstanceGroups" in given or "InstanceType" not in given:
        raise unsupported("a ResourceConfig without InstanceType, or with InstanceGroups")
    return {**given, "InstanceCount": host_count(given)}
