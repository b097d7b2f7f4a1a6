"""What a processing job's hosts find under /opt/ml: a folder each, with configuration and data.

There is no container, so a host's /opt/ml is a folder, and /opt/ml in the arguments and variables
of a request stands for it.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.jobs.hosts import Host
from fmrec.local_aws.s3.sources import download, find, shard
from fmrec.local_aws.state.records import Identity
from fmrec.local_aws.workplace import Workplace


def outputs_of(document: Document) -> list[Document]:
    """Return the outputs of a job, in the order of the request."""
    outputs: list[Document] = document.get("ProcessingOutputConfig", {}).get("Outputs", [])
    return outputs


def local_folder(place: Document, host: Host) -> Path:
    """Return where the LocalPath of an S3Input or S3Output lies on a host."""
    return host.folder / PurePosixPath(place["LocalPath"]).relative_to("/opt/ml")


def lay_out(place: Workplace, identity: Identity, document: Document, hosts: list[Host]) -> None:
    """Write the folders of all hosts, with the inputs downloaded and the outputs' folders made.

    Raises JobFailedError when an object cannot be found or stored.
    """
    configuration = _configuration(document)
    sources = [item["S3Input"] for item in document.get("ProcessingInputs", [])]
    found = [find(source, place.s3, identity.region, document["RoleArn"]) for source in sources]
    for index, host in enumerate(hosts):
        for part in ("config", "output", "processing"):
            (host.folder / part).mkdir(parents=True)
        addresses = [each.address for each in hosts]
        resources = {"current_host": host.address, "hosts": addresses}
        _write(host, "processingjobconfig", configuration)
        _write(host, "resourceconfig", resources)
        for source, objects in zip(sources, found, strict=True):
            sharded = source["S3DataDistributionType"] == "ShardedByS3Key"
            mine = shard(objects, index, len(hosts)) if sharded else objects
            download(mine, local_folder(source, host))
        for output in outputs_of(document):
            local_folder(output["S3Output"], host).mkdir(parents=True, exist_ok=True)


def _write(host: Host, name: str, content: Document) -> None:
    path = host.folder / "config" / f"{name}.json"
    path.write_text(json.dumps(content), encoding="utf-8")


def _configuration(document: Document) -> Document:
    """Return processingjobconfig.json: the request, with null for what it left out, as on AWS."""
    specification = document["AppSpecification"]
    inputs = [
        {**item, "S3Input": {**item["S3Input"], "S3DownloadMode": "StartOfJob"}}
        for item in document.get("ProcessingInputs", [])
    ]
    cluster = document["ProcessingResources"]["ClusterConfig"]
    return {
        "ProcessingJobArn": document["ProcessingJobArn"],
        "ProcessingJobName": document["ProcessingJobName"],
        "AppSpecification": {
            "ImageUri": specification["ImageUri"],
            "ContainerEntrypoint": None,
            "ContainerArguments": specification.get("ContainerArguments"),
        },
        "Environment": document.get("Environment", {}),
        "ProcessingInputs": inputs,
        "ProcessingOutputConfig": {
            "Outputs": outputs_of(document),
            "KmsKeyId": document.get("ProcessingOutputConfig", {}).get("KmsKeyId"),
        },
        "ProcessingResources": {"ClusterConfig": {"VolumeKmsKeyId": None, **cluster}},
        "RoleArn": document["RoleArn"],
        "StoppingCondition": document["StoppingCondition"],
    }
