"""The SageMaker operations on endpoint configurations."""

from __future__ import annotations

from collections.abc import Mapping

from fmrec.local_aws.api.constraints import missing
from fmrec.local_aws.api.faults import ApiError, JobFailedError, invalid, unsupported
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.api.operation import Operation
from fmrec.local_aws.s3.sources import parse_uri
from fmrec.local_aws.state.records import Identity, Listing
from fmrec.local_aws.workplace import Workplace

_REFUSED = ("AsyncInferenceConfig", "ExplainerConfig", "ShadowProductionVariants", "MetricsConfig")
_REFUSED_OF_VARIANTS = (
    *("InstancePools", "AcceleratorType", "CoreDumpConfig", "ManagedInstanceScaling"),
    *("CapacityReservationConfig", "VariantInstanceProvisionTimeoutInSeconds"),
)
_SERVERLESS_MEMORY = (1024, 2048, 3072, 4096, 5120, 6144)  # MB


class EndpointConfigs:
    """CreateEndpointConfig, DescribeEndpointConfig, ListEndpointConfigs, DeleteEndpointConfig."""

    def __init__(self, place: Workplace) -> None:
        self._place = place

    def operations(self) -> Mapping[str, Operation]:
        """Return the operations by the names that SageMaker gives them."""
        return {
            "CreateEndpointConfig": self.create,
            "DescribeEndpointConfig": self.describe,
            "ListEndpointConfigs": self.list,
            "DeleteEndpointConfig": self.delete,
        }

    def recover(self) -> None:
        """Nothing of this kind is ever in flight."""

    def create(self, region: str, request: Document) -> Document:
        """Record a configuration of models that exist."""
        identity = self._identity(region, request)
        document = self._completed(region, request)
        now = self._place.now()
        tags = document.pop("Tags", [])
        document.update({"EndpointConfigArn": str(identity), "CreationTime": now})
        if not self._place.records.insert(identity, document, now):
            raise invalid(f'Cannot create already existing endpoint configuration "{identity}".')
        self._place.records.add_tags(str(identity), tags)
        return {"EndpointConfigArn": str(identity)}

    def describe(self, region: str, request: Document) -> Document:
        """Return a configuration's document."""
        identity = self._identity(region, request)
        document = self._place.records.find(identity)
        if document is None:
            raise missing_config(identity)
        return document

    def list(self, region: str, request: Document) -> Document:
        """Return a page of summaries."""
        listing = Listing(request, "Descending")
        page, token = self._place.records.page("endpoint-config", region, listing)
        return {"EndpointConfigs": page, "NextToken": token}

    def delete(self, region: str, request: Document) -> Document:
        """Forget a configuration; endpoints that were made from it go on."""
        identity = self._identity(region, request)
        if not self._place.records.delete(identity):
            raise missing_config(identity)
        return {}

    def _identity(self, region: str, request: Document) -> Identity:
        return self._place.identity("endpoint-config", region, request["EndpointConfigName"])

    def _completed(self, region: str, request: Document) -> Document:
        """Return the request with SageMaker's defaults; refuse what cannot be honoured here."""
        for member in _REFUSED:
            if request.get(member):
                raise unsupported(f"{member} of CreateEndpointConfig")
        variants = [
            self._variant(region, given, f"productionVariants.{position}.member")
            for position, given in enumerate(request["ProductionVariants"], start=1)
        ]
        names = [variant["VariantName"] for variant in variants]
        if len(set(names)) < len(names):
            raise invalid(f"Production variant names must be unique within a config: {names}")
        document = {"EnableNetworkIsolation": False, **request, "ProductionVariants": variants}
        if "DataCaptureConfig" in request:
            document["DataCaptureConfig"] = _capture(request["DataCaptureConfig"])
        return document

    def _variant(self, region: str, given: Document, path: str) -> Document:
        name = given["VariantName"]
        for member in _REFUSED_OF_VARIANTS:
            if given.get(member):
                raise unsupported(f"{member} of production variant {name!r}")
        if given.get("RoutingConfig", {}).get("RoutingStrategy") == "PREFIX_AWARE":
            raise unsupported(f"RoutingStrategy PREFIX_AWARE of production variant {name!r}")
        if "ModelName" not in given:
            raise unsupported(f"inference components: variant {name!r} without a ModelName")
        model = self._place.identity("model", region, given["ModelName"])
        if self._place.records.find(model) is None:
            raise invalid(f'Could not find model "{model}".')
        if "ServerlessConfig" in given:
            _check_serverless(given)
        else:
            for member in ("InstanceType", "InitialInstanceCount"):
                if member not in given:
                    raise missing(f"{path}.{member[0].lower()}{member[1:]}")
        return {"InitialVariantWeight": 1.0, **given}


def missing_config(identity: Identity) -> ApiError:
    """Build the refusal of a request for a configuration that does not exist."""
    return invalid(f'Could not find endpoint configuration "{identity}".')


def _check_serverless(given: Document) -> None:
    name, memory = given["VariantName"], given["ServerlessConfig"]["MemorySizeInMB"]
    if "InstanceType" in given or "InitialInstanceCount" in given:
        raise invalid(
            f"Production variant {name!r} has both ServerlessConfig and an instance type or count."
        )
    if memory not in _SERVERLESS_MEMORY:
        allowed = ", ".join(str(size) for size in _SERVERLESS_MEMORY)
        raise invalid(
            f"1 validation error detected: Value '{memory}' at 'MemorySizeInMB' failed to satisfy "
            f"constraint: Member must satisfy enum value set: [{allowed}]"
        )


def _capture(given: Document) -> Document:
    try:
        parse_uri(given["DestinationS3Uri"])
    except JobFailedError as fault:
        raise invalid(str(fault).removeprefix("ClientError: ")) from None
    return {"EnableCapture": True, **given}
