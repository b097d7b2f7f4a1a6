"""The SageMaker operations on batch transform jobs."""

from __future__ import annotations

from fmrec.local_aws.algorithms import Algorithm, resolve
from fmrec.local_aws.api.constraints import missing
from fmrec.local_aws.api.faults import invalid, unsupported
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.jobs.hosts import host_count
from fmrec.local_aws.jobs.operations import Jobs
from fmrec.local_aws.jobs.variables import check_variables
from fmrec.local_aws.state.records import Identity
from fmrec.local_aws.transform.data_processing import data_processing
from fmrec.local_aws.transform.run import TransformRun
from fmrec.local_aws.transform.settings import settings

_MOST_IN_FLIGHT_MB = 100


class TransformJobs(Jobs):
    """CreateTransformJob, DescribeTransformJob, ListTransformJobs, StopTransformJob."""

    kind = "transform-job"
    prefix = "TransformJob"
    missing_text = "Could not find requested job with name: {name}"

    def completed(self, region: str, request: Document) -> Document:
        """Return the request with SageMaker's defaults; refuse what cannot be honoured here."""
        model_identity = self._place.identity("model", region, request["ModelName"])
        model = self._place.records.find(model_identity)
        if model is None:
            raise invalid(f'Could not find model "{model_identity}".')
        algorithm = resolve(model["PrimaryContainer"]["Image"], self._place.algorithms)
        _check_payload(request, algorithm)
        check_variables(request.get("Environment", {}))
        return _completed(request)

    def run(self, identity: Identity) -> TransformRun:
        """Return the execution of a job."""
        return TransformRun(self._place, identity)


def _check_payload(request: Document, algorithm: Algorithm) -> None:
    if request.get("MaxPayloadInMB") == 0:
        if algorithm.built_in:
            raise invalid(
                "MaxPayloadInMB 0 sends an object in chunks, and built-in algorithms do not "
                "support HTTP chunked encoding."
            )
        if request.get("BatchStrategy") == "SingleRecord":
            raise unsupported("BatchStrategy SingleRecord with MaxPayloadInMB 0")
    chosen = settings(request, {}, streams=True)
    in_flight = chosen.at_once * chosen.max_payload_mb
    if in_flight > _MOST_IN_FLIGHT_MB:
        raise invalid(
            f"MaxConcurrentTransforms * MaxPayloadInMB is {in_flight} and must not exceed "
            f"{_MOST_IN_FLIGHT_MB}."
        )


def _completed(request: Document) -> Document:
    given, wanted = request["TransformInput"], request["TransformOutput"]
    resources = request["TransformResources"]
    source = given["DataSource"]["S3DataSource"]
    if source["S3DataType"] not in ("S3Prefix", "ManifestFile"):
        raise unsupported(f"S3DataType {source['S3DataType']}")
    if "InstanceType" not in resources:
        raise missing("transformResources.instanceType")
    host_count(resources)
    data_processing(request)
    return {
        **request,
        "TransformInput": {"CompressionType": "None", "SplitType": "None", **given},
        "TransformOutput": {"AssembleWith": "None", "KmsKeyId": "", **wanted},
        "TransformResources": {"InstanceCount": 1, **resources},
    }
