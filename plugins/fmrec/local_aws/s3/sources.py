"""The input of a job: which S3 objects an S3DataSource means, under which relative names."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from fmrec.local_aws.api.faults import JobFailedError
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.s3.durable_s3 import DurableS3
from fmrec.local_aws.s3.object_files import StoredObject


@dataclass(frozen=True)
class SourceObject:
    """An input object and its name relative to the source, with / between its parts."""

    stored: StoredObject
    relative: str


def parse_uri(uri: str) -> tuple[str, str]:
    """Split s3://bucket/key; raise JobFailedError for anything else."""
    scheme, separator, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not separator or not bucket:
        raise JobFailedError(
            f"ClientError: {uri!r} is not an S3 address of the form s3://bucket/key."
        )
    return bucket, key


def join_uri(folder: str, name: str) -> str:
    """Return the address of a name below a folder that may or may not end in a slash."""
    return f"{folder.rstrip('/')}/{name}"


def find(source: Document, s3: DurableS3, region: str, role: str) -> list[SourceObject]:
    """Return the objects of an S3DataSource of type S3Prefix or ManifestFile, in key order.

    Raises JobFailedError when there are none, in the words of AWS.
    """
    uri = source["S3Uri"]
    bucket, key = parse_uri(uri)
    if source["S3DataType"] == "ManifestFile":
        found = _in_manifest(s3, bucket, key)
    else:
        found = _under_prefix(s3, bucket, key)
    if not found:
        raise JobFailedError(
            f'ClientError: No S3 objects found under S3 URL "{uri}" given in input data source. '
            f"Please ensure that the bucket exists in the selected region ({region}), that objects "
            f'exist under that S3 prefix, and that the role "{role}" has "s3:ListBucket" '
            f'permissions on bucket "{bucket}".'
        )
    return found


def shard(objects: list[SourceObject], index: int, count: int) -> list[SourceObject]:
    """Return the objects of one of `count` hosts (ShardedByS3Key): every count-th in key order."""
    return objects[index::count]


def download(objects: list[SourceObject], folder: Path) -> None:
    """Copy objects to their relative names below a folder.

    Raises JobFailedError when a name is no path below it, or collides with another.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for item in objects:
        address = f"s3://{item.stored.bucket}/{item.stored.key}"
        if any(part in ("", ".", "..") for part in item.relative.split("/")):
            raise JobFailedError(
                f"ClientError: Data download failed: {address} is no possible path."
            )
        path = folder / item.relative
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with item.stored.path.open("rb") as reader, path.open("xb") as writer:
                shutil.copyfileobj(reader, writer, 1 << 20)
        except (FileExistsError, IsADirectoryError, NotADirectoryError):
            raise JobFailedError(
                f"ClientError: Data download failed: {address} cannot be stored as "
                f"{item.relative!r}, which another object of the channel is or lies in."
            ) from None
        except FileNotFoundError:
            raise JobFailedError(
                f"ClientError: Data download failed: {address} was deleted meanwhile."
            ) from None
        except (OSError, ValueError) as error:
            raise JobFailedError(
                f"ClientError: Data download failed: {address} cannot be stored ({error})."
            ) from None


def _under_prefix(s3: DurableS3, bucket: str, prefix: str) -> list[SourceObject]:
    stored = [item for item in s3.under(bucket, prefix) if not item.key.endswith("/")]
    return [SourceObject(item, _relative(item.key, prefix)) for item in stored]


def _relative(key: str, prefix: str) -> str:
    """Return a key's name below a prefix: of the folder it names, else of the folder it is in."""
    if key.startswith(prefix.rstrip("/") + "/"):
        return key[len(prefix.rstrip("/")) + 1 :]
    return key[prefix.rfind("/") + 1 :]


def _in_manifest(s3: DurableS3, bucket: str, key: str) -> list[SourceObject]:
    """Read [{"prefix": "s3://bucket/folder/"}, "name", …], SageMaker's manifest format."""
    manifest = s3.find(bucket, key)
    if manifest is None:
        return []
    try:
        head, *names = json.loads(manifest.path.read_bytes())
        prefix = head["prefix"]
    except (ValueError, KeyError, TypeError) as error:
        raise JobFailedError(
            f"ClientError: s3://{bucket}/{key} is no manifest: expected a JSON list of an object "
            f'{{"prefix": "s3://…"}} followed by names ({error!r}).'
        ) from None
    found = []
    for name in names:
        listed_bucket, listed_key = parse_uri(f"{prefix}{name}")
        stored = s3.find(listed_bucket, listed_key)
        if stored is None:
            raise JobFailedError(
                f"ClientError: Data download failed: {prefix}{name}, named in the manifest "
                f"s3://{bucket}/{key}, does not exist."
            )
        found.append(SourceObject(stored, str(name)))
    return found
