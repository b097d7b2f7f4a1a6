"""What a training job's hosts find under /opt/ml: a folder each, with configuration and data."""

from __future__ import annotations

import json

from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.jobs.hosts import Host
from fmrec.local_aws.s3.sources import download, find, shard
from fmrec.local_aws.state.records import Identity
from fmrec.local_aws.workplace import Workplace


def lay_out(place: Workplace, identity: Identity, document: Document, hosts: list[Host]) -> None:
    """Write the folders of all hosts, with the channels downloaded.

    Raises JobFailedError when an object cannot be found or stored.
    """
    channels = document.get("InputDataConfig", [])
    mode = document["AlgorithmSpecification"]["TrainingInputMode"]
    sources = {
        channel["ChannelName"]: find(
            channel["DataSource"]["S3DataSource"], place.s3, identity.region, document["RoleArn"]
        )
        for channel in channels
    }
    for index, host in enumerate(hosts):
        for part in ("input/config", "input/data", "model", "output/data"):
            (host.folder / part).mkdir(parents=True, exist_ok=True)
        configuration = {
            "hyperparameters": document.get("HyperParameters", {}),
            "inputdataconfig": {
                channel["ChannelName"]: _channel_configuration(channel, mode)
                for channel in channels
            },
            "resourceconfig": _resources(document["ResourceConfig"]["InstanceType"], hosts, host),
        }
        for name, content in configuration.items():
            path = host.folder / "input/config" / f"{name}.json"
            path.write_text(json.dumps(content), encoding="utf-8")
        for channel in channels:
            name = channel["ChannelName"]
            source = channel["DataSource"]["S3DataSource"]
            sharded = source["S3DataDistributionType"] == "ShardedByS3Key"
            objects = shard(sources[name], index, len(hosts)) if sharded else sources[name]
            download(objects, host.folder / "input/data" / name)


def _resources(instance_type: str, hosts: list[Host], current: Host) -> Document:
    addresses = [host.address for host in hosts]
    group = {
        "instance_group_name": "homogeneousCluster",
        "instance_type": instance_type,
        "hosts": addresses,
    }
    return {
        "current_host": current.address,
        "current_instance_type": instance_type,
        "current_group_name": "homogeneousCluster",
        "hosts": addresses,
        "instance_groups": [group],
        "network_interface_name": "lo",
    }


def _channel_configuration(channel: Document, mode: str) -> dict[str, str]:
    configuration = {
        "TrainingInputMode": channel.get("InputMode", mode),
        "S3DistributionType": channel["DataSource"]["S3DataSource"]["S3DataDistributionType"],
        "RecordWrapperType": channel["RecordWrapperType"],
    }
    if "ContentType" in channel:
        configuration["ContentType"] = channel["ContentType"]
    return configuration
