"""The SageMaker operations on endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fmrec.local_aws.api.faults import ApiError, invalid, unsupported
from fmrec.local_aws.api.json_wire import Document
from fmrec.local_aws.api.operation import Operation
from fmrec.local_aws.endpoints.configs import missing_config
from fmrec.local_aws.endpoints.fleet import Fleet
from fmrec.local_aws.endpoints.plans import (
    check_size,
    plan_of,
    rescaled,
    retaining,
    shown,
    shown_pending,
)
from fmrec.local_aws.endpoints.transitions import (
    DEPLOYED,
    IN_PROGRESS,
    PENDING,
    PENDING_CONFIG,
    Transitions,
)
from fmrec.local_aws.state.records import Identity, Listing
from fmrec.local_aws.workplace import Workplace

_Change = Callable[[Document, float], None]


class Endpoints:
    """Create, describe, list, update, rescale and delete endpoints."""

    def __init__(self, place: Workplace, fleet: Fleet) -> None:
        self._place = place
        self._transitions = Transitions(place, fleet)

    def operations(self) -> Mapping[str, Operation]:
        """Return the operations by the names that SageMaker gives them."""
        return {
            "CreateEndpoint": self.create,
            "DescribeEndpoint": self.describe,
            "ListEndpoints": self.list,
            "UpdateEndpoint": self.update,
            "UpdateEndpointWeightsAndCapacities": self.rescale,
            "DeleteEndpoint": self.delete,
        }

    def recover(self) -> None:
        """Bring back what was in service and go on with what was under way."""
        states = ("InService", *IN_PROGRESS)
        for identity in self._place.records.with_status("endpoint", states, self._place.account):
            self._transitions.restore(identity)

    def create(self, region: str, request: Document) -> Document:
        """Record an endpoint and start its servers."""
        identity = self._identity(region, request)
        if self._place.records.find(identity) is not None:
            raise _taken(identity)
        plan = plan_of(self._place, region, self._config(region, request))
        now = self._place.now()
        document = {
            "EndpointName": request["EndpointName"],
            "EndpointArn": str(identity),
            "EndpointConfigName": request["EndpointConfigName"],
            "EndpointStatus": "Creating",
            "CreationTime": now,
            "LastModifiedTime": now,
            "PendingDeploymentSummary": shown_pending(plan, now),
            PENDING: plan,
            PENDING_CONFIG: request.get("DeploymentConfig"),
        }

        def record() -> None:
            if not self._place.records.insert(identity, document, now):
                raise _taken(identity)
            self._place.records.add_tags(str(identity), request.get("Tags", []))

        self._transitions.begin(identity, record)
        return {"EndpointArn": str(identity)}

    def describe(self, region: str, request: Document) -> Document:
        """Return an endpoint's document."""
        identity = self._identity(region, request)
        document = self._place.records.find(identity)
        if document is None:
            raise _missing(identity)
        return document

    def list(self, region: str, request: Document) -> Document:
        """Return a page of summaries."""
        listing = Listing(request, "Descending")
        page, token = self._place.records.page("endpoint", region, listing)
        return {"Endpoints": page, "NextToken": token}

    def update(self, region: str, request: Document) -> Document:
        """Start the servers of another configuration, which take over when all are healthy."""
        config = self._config(region, request)
        excluded = {
            item["VariantPropertyType"]
            for item in request.get("ExcludeRetainedVariantProperties", [])
        }

        def change(document: Document, now: float) -> None:
            present = document[DEPLOYED]
            plan = plan_of(self._place, region, config)
            if request.get("RetainAllVariantProperties"):
                plan = retaining(plan, present, excluded)
                check_size(plan, sum(variant["Count"] for variant in present["Variants"]))
            last = document.get("LastDeploymentConfig")
            kept = last if request.get("RetainDeploymentConfig") else None
            document[PENDING] = plan
            document[PENDING_CONFIG] = request.get("DeploymentConfig", kept)
            document["PendingDeploymentSummary"] = shown_pending(plan, now)

        return self._begin(region, request, "Updating", change)

    def rescale(self, region: str, request: Document) -> Document:
        """Change the number of servers of a variant and its share of the requests."""
        changes = request["DesiredWeightsAndCapacities"]
        for item in changes:
            if "ServerlessUpdateConfig" in item:
                raise unsupported("ServerlessUpdateConfig of UpdateEndpointWeightsAndCapacities")

        def change(document: Document, now: float) -> None:
            del now
            present = document[DEPLOYED]
            plan = rescaled(present, changes)
            check_size(plan, sum(variant["Count"] for variant in present["Variants"]))
            document[PENDING] = plan
            for summary, desired in zip(
                document["ProductionVariants"], shown(plan)["ProductionVariants"], strict=True
            ):
                summary.update(
                    {name: desired[name] for name in desired if name.startswith("Desired")}
                )

        return self._begin(region, request, "Updating", change)

    def delete(self, region: str, request: Document) -> Document:
        """End an endpoint's servers and forget it; its configuration and its models stay."""

        def change(document: Document, now: float) -> None:
            del document, now

        self._begin(region, request, "Deleting", change)
        return {}

    def _begin(self, region: str, request: Document, status: str, change: _Change) -> Document:
        """Begin a transition of an endpoint that is in none."""
        identity = self._identity(region, request)
        now = self._place.now()

        def enter(document: Document) -> None:
            present = document["EndpointStatus"]
            if present in IN_PROGRESS:
                raise invalid(f'Cannot update in-progress endpoint "{identity}".')
            if present == "Failed" and status != "Deleting":
                raise invalid(
                    f'Cannot update endpoint "{identity}" in status Failed: delete it and create '
                    "it again."
                )
            change(document, now)
            document.update(EndpointStatus=status, LastModifiedTime=now)

        def record() -> None:
            try:
                self._place.records.update(identity, enter, now)
            except KeyError:
                if self._place.records.find(identity) is None:
                    raise _missing(identity) from None
                raise

        self._transitions.begin(identity, record)
        return {"EndpointArn": str(identity)}

    def _config(self, region: str, request: Document) -> Document:
        identity = self._place.identity("endpoint-config", region, request["EndpointConfigName"])
        document = self._place.records.find(identity)
        if document is None:
            raise missing_config(identity)
        return document

    def _identity(self, region: str, request: Document) -> Identity:
        return self._place.identity("endpoint", region, request["EndpointName"])


def _taken(identity: Identity) -> ApiError:
    return invalid(f'Cannot create already existing endpoint "{identity}".')


def _missing(identity: Identity) -> ApiError:
    return invalid(f'Could not find endpoint "{identity}".')
