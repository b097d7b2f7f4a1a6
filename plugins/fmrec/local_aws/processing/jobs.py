"""The SageMaker operations on processing jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from fmrec.local_aws.algorithms import resolve_for
from fmrec.local_aws.api.constraints import missing
from fmrec.local_aws.api.faults import invalid, unsupported
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.api.operation import Operation
from fmrec.local_aws.jobs.hosts import host_count
from fmrec.local_aws.jobs.operations import Jobs
from fmrec.local_aws.jobs.variables import check_variables
from fmrec.local_aws.processing.run import ProcessingRun
from fmrec.local_aws.state.records import Identity

_ONE_DAY = 86_400


class ProcessingJobs(Jobs):
    """CreateProcessingJob, DescribeProcessingJob, ListProcessingJobs, Stop…, Delete…."""

    kind = "processing-job"
    prefix = "ProcessingJob"
    missing_text = "Could not find requested job with name: {name}"
    default_order = "Ascending"

    def operations(self) -> Mapping[str, Operation]:
        """Return the operations by the names that SageMaker gives them."""
        return {**super().operations(), "DeleteProcessingJob": self.delete}

    def run(self, identity: Identity) -> ProcessingRun:
        """Return the execution of a job."""
        return ProcessingRun(self._place, identity)

    def completed(self, region: str, request: Document) -> Document:
        """Return the request with SageMaker's defaults; refuse what cannot be honoured here."""
        del region
        specification = request["AppSpecification"]
        if specification.get("ContainerEntrypoint"):
            raise invalid(
                "The local AWS runs no command that a request brings (ContainerEntrypoint of "
                "AppSpecification). Register the command as `process` of the image, in the file "
                "that it is given with --images, and leave ContainerEntrypoint out; "
                "ContainerArguments are appended to the registered command."
            )
        resolve_for("process", specification["ImageUri"], self._place.algorithms)
        check_variables(request.get("Environment", {}))
        document: Document = {
            **request,
            "ProcessingResources": _resources(request["ProcessingResources"]),
            "StoppingCondition": {"MaxRuntimeInSeconds": _ONE_DAY}
            | request.get("StoppingCondition", {}),
        }
        if "ProcessingInputs" in request:
            inputs = request["ProcessingInputs"]
            _check_names("InputName", inputs)
            document["ProcessingInputs"] = [_completed_input(item) for item in inputs]
        if "ProcessingOutputConfig" in request:
            outputs = request["ProcessingOutputConfig"]["Outputs"]
            _check_names("OutputName", outputs)
            document["ProcessingOutputConfig"] = {
                **request["ProcessingOutputConfig"],
                "Outputs": [_completed_output(item) for item in outputs],
            }
        return document


def _resources(given: Document) -> Document:
    cluster = given["ClusterConfig"]
    for member in ("InstancePreferences", "SelectedInstanceType", "SelectedInstanceCount"):
        if member in cluster:
            raise unsupported(f"{member} of ClusterConfig; name an InstanceType")
    if "InstanceType" not in cluster:
        raise missing("processingResources.clusterConfig.instanceType")
    return {"ClusterConfig": {**cluster, "InstanceCount": host_count(cluster)}}


def _completed_input(given: Document) -> Document:
    name = given["InputName"]
    if given.get("AppManaged"):
        raise unsupported(f"AppManaged (input {name!r})")
    if "DatasetDefinition" in given:
        raise unsupported(f"DatasetDefinition (input {name!r}); use an S3Input")
    source = given.get("S3Input")
    if source is None:
        raise invalid(f"The input {name!r} has neither S3Input nor DatasetDefinition.")
    if source.get("S3InputMode", "File") != "File":
        raise unsupported(f"S3InputMode Pipe (input {name!r}); use File")
    if source.get("S3CompressionType", "None") != "None":
        raise invalid(
            "S3CompressionType Gzip can only be used when Pipe mode is specified as the "
            f"S3InputMode (input {name!r})."
        )
    _check_local_path(source.get("LocalPath"), f"input {name!r}")
    defaults = {
        "S3InputMode": "File",
        "S3DataDistributionType": "FullyReplicated",
        "S3CompressionType": "None",
    }
    return {"AppManaged": False, **given, "S3Input": {**defaults, **source}}


def _completed_output(given: Document) -> Document:
    name = given["OutputName"]
    if given.get("AppManaged"):
        raise unsupported(f"AppManaged (output {name!r})")
    if "FeatureStoreOutput" in given:
        raise unsupported(f"FeatureStoreOutput (output {name!r}); use an S3Output")
    if "S3Output" not in given:
        raise invalid(f"The output {name!r} has no S3Output.")
    _check_local_path(given["S3Output"].get("LocalPath"), f"output {name!r}")
    return {"AppManaged": False, **given}


def _check_names(member: str, items: Sequence[Document]) -> None:
    names = [item[member] for item in items]
    if len(set(names)) < len(names):
        raise invalid(f"{member} must be unique within a processing job: {names}")


def _check_local_path(path: str | None, where: str) -> None:
    if path is None:
        raise invalid(f"LocalPath is required when AppManaged is False ({where}).")
    parts = PurePosixPath(path).parts
    inside = path.startswith("/opt/ml/processing/") and ".." not in parts
    if not inside or not path.isprintable() or any(len(part.encode()) > 255 for part in parts):
        raise invalid(
            f"LocalPath must be an absolute path that begins with /opt/ml/processing/ and stays "
            f"there; {where} has {path!r}."
        )
