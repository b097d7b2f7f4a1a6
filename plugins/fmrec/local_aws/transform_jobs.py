"""The SageMaker operations on batch transform jobs."""

from __future__ import annotations

from fmrec.local_aws.algorithms import resolve
from fmrec.local_aws.constraints import missing
from fmrec.local_aws.faults import invalid, unsupported
from fmrec.local_aws.job_operations import Jobs
from fmrec.local_aws.json_wire import Document
from fmrec.local_aws.records import Identity
from fmrec.local_aws.transform_run import TransformRun, concurrency, max_payload

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
        resolve(model["PrimaryContainer"]["Image"], self._place.algorithms)
        return _completed(request)

    def run(self, identity: Identity) -> TransformRun:
        """Return the execution of a job."""
        return TransformRun(self._place, identity)


def _completed(request: Document) -> Document:
    """Return the request with SageMaker's defaults; refuse what cannot be honoured here."""
    for member in ("DataProcessing", "DataCaptureConfig"):
        if request.get(member):
            raise unsupported(f"{member} of CreateTransformJob")
    given, wanted = request["TransformInput"], request["TransformOutput"]
    source = given["DataSource"]["S3DataSource"]
    if source["S3DataType"] not in ("S3Prefix", "ManifestFile"):
        raise unsupported(f"S3DataType {source['S3DataType']}")
    if given.get("SplitType") == "TFRecord":
        raise unsupported("SplitType TFRecord")
    if request.get("MaxPayloadInMB") == 0:
        raise unsupported("MaxPayloadInMB 0 (payloads streamed in chunks)")
    if request["TransformResources"].get("InstanceCount", 1) != 1:
        raise unsupported("InstanceCount above 1: a job has one host here")
    if "InstanceType" not in request["TransformResources"]:
        raise missing("transformResources.instanceType")
    in_flight = concurrency(request) * max_payload(request)
    if in_flight > _MOST_IN_FLIGHT_MB:
        raise invalid(
            f"MaxConcurrentTransforms * MaxPayloadInMB is {in_flight} and must not exceed "
            f"{_MOST_IN_FLIGHT_MB}."
        )
    return {
        **request,
        "TransformInput": {"CompressionType": "None", "SplitType": "None", **given},
        "TransformOutput": {"AssembleWith": "None", "KmsKeyId": "", **wanted},
    }
