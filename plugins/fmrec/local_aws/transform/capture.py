"""Data capture of batch transform: manifests that name the inputs and the outputs of a job.

Source: "Capture data from batch transform job" in the SageMaker developer guide. The folder of the
hour is the documented one; the file's name, which is not documented, is the job's.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from fmrec.local_aws.api.faults import JobFailedError
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.s3.sources import SourceObject, join_uri, parse_uri
from fmrec.local_aws.workplace import Workplace


def capture(
    document: Document, inputs: list[SourceObject], place: Workplace, scratch: Path
) -> None:
    """Store the manifests of a completed job under its DestinationS3Uri.

    `scratch` is a file to write on the way. Raises JobFailedError for a bucket that is not there.
    """
    first = inputs[0]
    address = f"s3://{first.stored.bucket}/{first.stored.key}"
    source = address.removesuffix(first.relative)
    wanted = join_uri(document["TransformOutput"]["S3OutputPath"], "")
    names = [item.relative for item in inputs]
    started = datetime.fromtimestamp(document["TransformStartTime"], UTC)
    manifests = {
        "input": [{"prefix": source}, *names],
        "output": [{"prefix": wanted}, *(f"{name}.out" for name in names)],
    }
    for side, manifest in manifests.items():
        scratch.write_text(json.dumps(manifest), encoding="utf-8")
        name = f"{side}/{started:%Y/%m/%d/%H}/{document['TransformJobName']}.json"
        destination = join_uri(document["DataCaptureConfig"]["DestinationS3Uri"], name)
        try:
            place.s3.put(*parse_uri(destination), scratch, place.now())
        except FileNotFoundError as error:
            raise JobFailedError(f"ClientError: Data capture failed: {error}") from None


def stamp(seconds: float) -> str:
    """Return a time as it stands beside an inference id."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
