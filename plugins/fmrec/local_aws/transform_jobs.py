"""The SageMaker operations on batch transform jobs."""

from __future__ import annotations

from fmrec.local_aws.algorithms import resolve
from fmrec.local_aws.constraints import missing
from fmrec.local_aws.faults import invalid, unsupported
from fmrec.local_aws.job_admission import admit
from fmrec.local_aws.json_wire import Document
from fmrec.local_aws.records import Identity, Listing
from fmrec.local_aws.training_jobs import RESTARTED
from fmrec.local_aws.training_states import FINAL, LIVE
from fmrec.local_aws.transform_run import TransformRun, concurrency, max_payload
from fmrec.local_aws.workplace import Workplace

_MOST_IN_FLIGHT_MB = 100


class TransformJobs:
    """CreateTransformJob, DescribeTransformJob, ListTransformJobs, StopTransformJob."""

    def __init__(self, place: Workplace) -> None:
        self._place = place

    def create(self, region: str, request: Document) -> Document:
        """Record a job and queue its execution."""
        identity = self._identity(region, request)
        model_identity = self._place.identity("model", region, request["ModelName"])
        model = self._place.records.find(model_identity)
        if model is None:
            raise invalid(f'Could not find model "{model_identity}".')
        resolve(model["PrimaryContainer"]["Image"], self._place.algorithms)
        now = self._place.now()
        document = {
            **_completed(request),
            "TransformJobArn": str(identity),
            "TransformJobStatus": "InProgress",
            "CreationTime": now,
            "LastModifiedTime": now,
        }
        admit(self._place, identity, document, TransformRun(self._place, identity))
        return {"TransformJobArn": str(identity)}

    def describe(self, region: str, request: Document) -> Document:
        """Return a job's document."""
        document = self._place.records.find(self._identity(region, request))
        if document is None:
            name = request["TransformJobName"]
            raise invalid(f"Could not find requested job with name: {name}")
        return document

    def list(self, region: str, request: Document) -> Document:
        """Return a page of summaries."""
        listing = Listing(request, "Descending")
        page, token = self._place.records.page("transform-job", region, listing)
        return {"TransformJobSummaries": page, "NextToken": token}

    def stop(self, region: str, request: Document) -> Document:
        """Ask a job to stop; one that never began is Stopped at once."""
        identity = self._identity(region, request)
        status = self.describe(region, request)["TransformJobStatus"]
        if status in FINAL:
            raise invalid(
                f"The request was rejected because the transform job is in status {status}."
            )
        self._move(identity, "Stopping", None)
        if self._place.runner.stop(str(identity)):
            self._move(identity, "Stopped", None)
        return {}

    def fail_interrupted(self) -> None:
        """Mark the jobs that a former server left in flight as Failed."""
        for identity in self._place.records.with_status("transform-job", LIVE, self._place.account):
            self._move(identity, "Failed", RESTARTED)

    def _move(self, identity: Identity, status: str, reason: str | None) -> None:
        now = self._place.now()

        def change(document: Document) -> None:
            if document["TransformJobStatus"] in FINAL:
                return
            document.update({"TransformJobStatus": status, "LastModifiedTime": now})
            if status in FINAL:
                document["TransformEndTime"] = now
            if reason is not None:
                document["FailureReason"] = reason

        self._place.records.update(identity, change, now)

    def _identity(self, region: str, request: Document) -> Identity:
        return self._place.identity("transform-job", region, request["TransformJobName"])


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
