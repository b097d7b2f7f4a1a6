"""The SageMaker operations on models."""

from __future__ import annotations

from collections.abc import Mapping

from fmrec.local_aws.algorithms import resolve_for
from fmrec.local_aws.api.constraints import missing
from fmrec.local_aws.api.faults import JobFailedError, invalid, unsupported
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.api.operation import Operation
from fmrec.local_aws.jobs.variables import check_variables
from fmrec.local_aws.models.packages import container_of
from fmrec.local_aws.s3.sources import parse_uri
from fmrec.local_aws.state.records import Identity, Listing
from fmrec.local_aws.workplace import Workplace

_REFUSED = (
    *("AdditionalModelDataSources", "AdditionalS3DataSource", "InferenceSpecificationName"),
    *("MultiModelConfig", "ImageConfig"),
)


class Models:
    """CreateModel, DescribeModel, ListModels, DeleteModel."""

    def __init__(self, place: Workplace) -> None:
        self._place = place

    def operations(self) -> Mapping[str, Operation]:
        """Return the operations by the names that SageMaker gives them."""
        return {
            "CreateModel": self.create,
            "DescribeModel": self.describe,
            "ListModels": self.list,
            "DeleteModel": self.delete,
        }

    def recover(self) -> None:
        """Nothing of this kind is ever in flight."""

    def create(self, region: str, request: Document) -> Document:
        """Record a model whose image is known and whose artifact exists."""
        identity = self._identity(region, request)
        document = {"EnableNetworkIsolation": False, **request}
        if "InferenceExecutionConfig" in request:
            raise unsupported("InferenceExecutionConfig of CreateModel")
        containers = document.pop("Containers", [])
        if len(containers) > 1 or (containers and "PrimaryContainer" in document):
            raise unsupported("a model of several containers")
        if containers:
            document["PrimaryContainer"] = containers[0]
        if "PrimaryContainer" not in document:
            raise missing("primaryContainer")
        document["PrimaryContainer"] = self._container(region, document["PrimaryContainer"])
        now = self._place.now()
        tags = document.pop("Tags", [])
        document.update({"ModelArn": str(identity), "CreationTime": now})
        if not self._place.records.insert(identity, document, now):
            raise invalid(f'Cannot create already existing model "{identity}".')
        self._place.records.add_tags(str(identity), tags)
        return {"ModelArn": str(identity)}

    def describe(self, region: str, request: Document) -> Document:
        """Return a model's document."""
        identity = self._identity(region, request)
        document = self._place.records.find(identity)
        if document is None:
            raise invalid(f'Could not find model "{identity}".')
        return document

    def list(self, region: str, request: Document) -> Document:
        """Return a page of summaries."""
        page, token = self._place.records.page("model", region, Listing(request, "Descending"))
        return {"Models": page, "NextToken": token}

    def delete(self, region: str, request: Document) -> Document:
        """Forget a model; its artifact stays in S3."""
        identity = self._identity(region, request)
        if not self._place.records.delete(identity):
            raise invalid(f'Could not find model "{identity}".')
        return {}

    def _identity(self, region: str, request: Document) -> Identity:
        return self._place.identity("model", region, request["ModelName"])

    def _container(self, region: str, given: Document) -> Document:
        container = self._unpacked(region, given)
        for member in _REFUSED:
            if container.get(member):
                raise unsupported(f"{member} of a model's container")
        if container.get("Mode", "SingleModel") != "SingleModel":
            raise unsupported("Mode MultiModel")
        if "Image" not in container:
            raise missing("primaryContainer.image")
        resolve_for("serve", container["Image"], self._place.algorithms)
        check_variables(container.get("Environment", {}))
        address = container.get("ModelDataUrl")
        if "ModelDataSource" in container:
            if address is not None:
                raise invalid("Specify one of ModelDataUrl and ModelDataSource in a container.")
            address = container["ModelDataUrl"] = _archive(container["ModelDataSource"])
        if address is not None:
            try:
                bucket, key = parse_uri(address)
            except JobFailedError as fault:
                raise invalid(str(fault).removeprefix("ClientError: ")) from None
            if self._place.s3.find(bucket, key) is None:
                raise invalid(f"Could not find model data at {address}.")
        return {"Mode": "SingleModel", "Environment": {}, **container}

    def _unpacked(self, region: str, given: Document) -> Document:
        """Return a container; of a model package, with what the package says of it."""
        if "ModelPackageName" not in given:
            return dict(given)
        if {"Image", "ModelDataUrl", "ModelDataSource"} & given.keys():
            raise invalid(
                "Specify one of either Image and Model Data URL or ModelPackageName in container "
                "definition."
            )
        packed = container_of(self._place, region, given["ModelPackageName"])
        variables = {**packed.get("Environment", {}), **given.get("Environment", {})}
        return {**packed, **given, "Environment": variables}


def _archive(source: Document) -> str:
    """Return the address of a ModelDataSource that is an archive as ModelDataUrl names one."""
    given = source.get("S3DataSource", {})
    if (given.get("S3DataType"), given.get("CompressionType")) != ("S3Object", "Gzip"):
        raise unsupported("a ModelDataSource that is no S3Object with CompressionType Gzip")
    for member in ("ModelAccessConfig", "HubAccessConfig", "ManifestS3Uri"):
        if given.get(member):
            raise unsupported(f"{member} of a ModelDataSource")
    address: str = given["S3Uri"]
    return address
